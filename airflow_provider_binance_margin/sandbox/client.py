"""Client of a sandbox that runs in another process."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from airflow_provider_binance_margin.sandbox.answers import dumps
from airflow_provider_binance_margin.sandbox.log import Entry
from airflow_provider_binance_margin.sandbox.stories import Story

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TIMEOUT = 60
# records in one request: a body has a limit
BATCH = 10_000


class SandboxControl:
    """Remote control of the sandbox at `url`: methods as those of `Sandbox`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # never through a proxy: both processes are on this machine
        self._opener = build_opener(ProxyHandler({}))

    def add(self, record: Mapping[str, Any] | None = None, **how: Any) -> list[dict[str, Any]]:
        """Add one record as given, or generated ones: the options of `Sandbox.add`."""
        added: list[dict[str, Any]] = self._call("POST", "records", {"record": record, **how})
        return added

    def load(self, records: Iterable[Mapping[str, Any]], **where: str) -> int:
        """Add complete records, of any number, to `dataset` of `account`."""
        rest, path = iter(records), "records?" + urlencode(where)
        batches = iter(lambda: list(islice(rest, BATCH)), [])
        return sum(int(self._call("POST", path, batch)["loaded"]) for batch in batches)

    def clear(self, **where: str) -> None:
        """Delete the records of `dataset`, of `account`, or all."""
        self._call("DELETE", "records?" + urlencode(where))

    def records(
        self, start_ms: int, end_ms: int, isolated_symbol: str | None = None, **where: str
    ) -> list[dict[str, Any]]:
        """Records of `dataset` of `account` in [start, end), oldest first."""
        query = _interval(start_ms, end_ms, isolated_symbol, where)
        found: list[dict[str, Any]] = self._call("GET", "records" + query)
        return found

    def count(self, start_ms: int, end_ms: int, isolated_symbol: str | None = None, **where: str) -> int:
        """Number of records of `dataset` of `account` in [start, end)."""
        return int(self._call("GET", "count" + _interval(start_ms, end_ms, isolated_symbol, where))["count"])

    def tell(self, kinds: str | Sequence[str] = "all", **how: Any) -> list[Story]:
        """Add stories: the options of `Sandbox.tell`."""
        return [Story(**each) for each in self._call("POST", "stories", {"kinds": kinds, **how})]

    def stories(self) -> list[Story]:
        """Stories added so far."""
        return [Story(**each) for each in self._call("GET", "stories")]

    def fault(self, name: str, **options: Any) -> None:
        """Inject a fault."""
        self._call("POST", "faults", {"name": name, **options})

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._call("DELETE", "faults")

    @property
    def requests(self) -> list[Entry]:
        """All requests since the log was cleared."""
        return [Entry(**entry) for entry in self._call("GET", "log")]

    @property
    def connections(self) -> int:
        """Number of connections that the requests in the log came by."""
        return len({entry.connection for entry in self.requests})

    def clear_log(self) -> None:
        """Clear the log of requests."""
        self._call("DELETE", "log")

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings; return all of them."""
        told: dict[str, Any] = self._call("POST", "settings", changes)
        return told

    def reset(self) -> None:
        """Reset records, faults, log, used weight, bans and settings."""
        self._call("POST", "reset")

    def health(self) -> dict[str, Any]:
        """Status and clock of the sandbox."""
        told: dict[str, Any] = self._call("GET", "health")
        return told

    def now_ms(self) -> int:
        """The exchange's clock."""
        return int(self.health()["now_ms"])

    def _call(self, method: str, path: str, content: object = None) -> Any:
        body = None if content is None else dumps(content)
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url}/sandbox/{path}", body, headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from None


def _interval(start_ms: int, end_ms: int, isolated_symbol: str | None, where: Mapping[str, str]) -> str:
    symbol = {} if isolated_symbol is None else {"isolatedSymbol": isolated_symbol}
    return "?" + urlencode({"startTime": start_ms, "endTime": end_ms, **symbol, **where})
