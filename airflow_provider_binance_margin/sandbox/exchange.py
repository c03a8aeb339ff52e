"""Exchange: accounts, keys, clock and rate limits, and the methods by which a test changes them."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.answers import Answer, RefusedError, html, wrong_method
from airflow_provider_binance_margin.sandbox.asking import FOREVER, Visit
from airflow_provider_binance_margin.sandbox.book import ALL, CROSS, Account, Book
from airflow_provider_binance_margin.sandbox.dataset import DAY
from airflow_provider_binance_margin.sandbox.datasets import DATASETS, FORCE_LIQUIDATION, dataset_of
from airflow_provider_binance_margin.sandbox.endpoints import ENDPOINTS
from airflow_provider_binance_margin.sandbox.faults import Faults
from airflow_provider_binance_margin.sandbox.invent import invent
from airflow_provider_binance_margin.sandbox.keys import ACCOUNTS, MAIN
from airflow_provider_binance_margin.sandbox.limits import HEADERS, Cost, Limits
from airflow_provider_binance_margin.sandbox.log import Entry, logged
from airflow_provider_binance_margin.sandbox.market import ISOLATED
from airflow_provider_binance_margin.sandbox.rules import admit
from airflow_provider_binance_margin.sandbox.scene import Scene
from airflow_provider_binance_margin.sandbox.settings import Settings
from airflow_provider_binance_margin.sandbox.stories import Story, checked_kinds, tell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_binance_margin.sandbox.keys import ApiKey
    from airflow_provider_binance_margin.sandbox.message import Request

DEFAULT = FORCE_LIQUIDATION.name
# up to so many records are put into their places one by one, more are sorted in
FEW = 1_000


class Exchange:
    """Accounts on one exchange, each with all datasets. Thread-safe.

    Methods for records apply to `dataset` of `account` ("main", or "second", whose API key is `keys["second"]`).
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings: Settings = settings or Settings()
        self.keys: dict[str, ApiKey] = {}
        self._by_api_key: dict[str, ApiKey] = {}
        self._accounts: defaultdict[str, Account] = defaultdict(Account)
        self._stories: list[Story] = []
        self._faults = Faults()
        self._limits = Limits()
        self._log: list[Entry] = []
        self._lock = threading.Lock()

    # for tests

    def now_ms(self) -> int:
        """The exchange's clock."""
        return time.time_ns() // 1_000_000 + self.settings.clock_offset_ms

    def add(
        self,
        record: Mapping[str, Any] | None = None,
        *,
        dataset: str = DEFAULT,
        account: str = MAIN,
        at: int | None = None,
        **how: Any,
    ) -> list[dict[str, Any]]:
        """Add one record as given, or generated ones.

        Options: `n`, `at` (ms), `step_ms`, `isolated_symbol` (or `symbol` and `isolated`), any field of the dataset.
        """
        kind, settings = dataset_of(dataset), self.settings
        fields = {**(record or {}), **how}
        isolated = bool(fields.pop("isIsolated", fields.pop("isolated", False)))
        unit = None if settings.time_unit is None or not kind.in_seconds else settings.time_unit == "s"
        if kind.time in fields:
            at = kind.ms(fields)
            if "n" in fields:
                del fields[kind.time]
        if not isolated and kind.scope(fields):
            fields.setdefault("isolated_symbol", kind.scope(fields))
        made = {"isolated": isolated, "in_seconds": unit, "mixed_ids": settings.mixed_ids, **fields}
        records = list(invent(kind, at=self.now_ms() if at is None else at, **made))
        if len(records) > FEW:
            self.load(records, dataset=dataset, account=account)
            return records
        with self._lock:
            book = self._book(dataset, account)
            for each in records:
                book.add(each)
        return records

    def load(self, records: Iterable[Mapping[str, Any]], *, dataset: str = DEFAULT, account: str = MAIN) -> int:
        """Add complete records, of any number; return how many."""
        with self._lock:
            book = self._book(dataset, account)
            return book.load(map(book.noted, records))

    def clear(self, *, dataset: str | None = None, account: str | None = None) -> None:
        """Delete the records of a dataset, of an account, or all."""
        with self._lock:
            for name in [account] if account else list(self._accounts):
                books = self._account(name).books
                for each in [dataset] if dataset else list(books):
                    books[each] = Book(dataset_of(each))

    def records(
        self,
        start_ms: int = 0,
        end_ms: int = FOREVER,
        isolated_symbol: str | None = None,
        *,
        dataset: str = DEFAULT,
        account: str = MAIN,
    ) -> list[dict[str, Any]]:
        """Records in [start, end), oldest first, under the filter of the endpoint."""
        with self._lock:
            return self._book(dataset, account).all(self._scope(isolated_symbol), start_ms, end_ms - 1)

    def count(
        self,
        start_ms: int = 0,
        end_ms: int = FOREVER,
        isolated_symbol: str | None = None,
        *,
        dataset: str = DEFAULT,
        account: str = MAIN,
    ) -> int:
        """Number of records in [start, end), under the filter of the endpoint."""
        with self._lock:
            return self._book(dataset, account).count(self._scope(isolated_symbol), start_ms, end_ms - 1)

    @property
    def pairs(self) -> list[str]:
        """The main account's isolated pairs."""
        with self._lock:
            return sorted({*ISOLATED, *self._accounts[MAIN].pairs})

    def _scope(self, isolated_symbol: str | None) -> str:
        return isolated_symbol or (ALL if self.settings.unfiltered == "all" else CROSS)

    def _account(self, name: str) -> Account:
        if name not in {MAIN, *ACCOUNTS.values()}:
            raise ValueError(f"no such account: {name!r}; there are {', '.join([MAIN, *ACCOUNTS.values()])}")
        return self._accounts[name]

    def _book(self, dataset: str, account: str) -> Book:
        return self._account(account).books[dataset_of(dataset).name]

    def tell(
        self,
        kinds: str | Sequence[str] = "all",
        *,
        seed: int = 7,
        first_day: int | None = None,
        days: int = 30,
        account: str = MAIN,
    ) -> list[Story]:
        """Add stories (`KINDS`), one a day, from `first_day` (days since 1970-01-01) or over the last `days`."""
        chosen, now = checked_kinds(kinds), self.now_ms()
        first = now // DAY - days if first_day is None else first_day
        told = {story.time // DAY for story in self.stories() if story.account == account}
        if told & set(range(first, first + days)):
            raise ValueError("some of these days have their stories already")
        tellers = list(tell(seed, chosen, first, days, now))
        for name, kind in DATASETS.items():
            rows = [row for each in tellers for which, row in each.records if which == name]
            if self.settings.time_unit == "ms" and kind.in_seconds:
                rows = [{**row, kind.time: kind.ms(row)} for row in rows]
            self.load(rows, dataset=name, account=account)
        with self._lock:
            self._stories += (new := [replace(each.story, account=account) for each in tellers])
        return new

    def stories(self) -> list[Story]:
        """Stories added so far: kind, scope, time and the ids of their records."""
        with self._lock:
            return list(self._stories)

    def fault(self, name: str, **options: Any) -> None:
        """Inject a fault of `mishaps.KINDS`; `times=None` means forever."""
        with self._lock:
            self._faults.add(name, options)

    def clear_faults(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    @property
    def requests(self) -> list[Entry]:
        """All requests since the log was cleared, in order of arrival."""
        with self._lock:
            return list(self._log)

    @property
    def connections(self) -> int:
        """Number of connections that the requests in the log came by."""
        return len({entry.connection for entry in self.requests})

    def clear_log(self) -> None:
        """Clear the log of requests."""
        with self._lock:
            self._log.clear()

    def reset(self) -> None:
        """Reset records, faults, log, used weight, bans and settings."""
        with self._lock:
            self._accounts.clear()
            self._stories.clear()
            self._faults, self._limits, self._log = Faults(), Limits(), []
            self.settings.change(**vars(Settings()))

    # requests

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        with self._lock:
            now = self.now_ms()
            key = self._by_api_key.get(request.headers.get("x-mbx-apikey", ""))
            account = self._accounts[key.account if key else MAIN]
            scene = Scene(request.path, request.query, account, self.settings, now)
            whose, cost = self._cost(request, key)
            try:
                self._limits.charge(cost, now, self.settings)
                answer = self._faults.play(scene, lambda: self._serve(request, account, now))
            except RefusedError as refused:
                answer = refused.answer()
            self._log.append(logged(request, scene, key, answer.status))
            header = HEADERS[whose] if request.path.startswith("/sapi/") else "X-MBX-USED-WEIGHT-1M"
            used = str(self._limits.used(cost.path, cost.user))
            return replace(answer, headers=(*answer.headers, (header, used)))

    def _cost(self, request: Request, key: ApiKey | None) -> tuple[str, Cost]:
        """Charge of a request: to the address, or to the key's account where the endpoint counts by account."""
        endpoint = ENDPOINTS.get(request.path)
        weight, whose = (endpoint.weight, endpoint.whose) if endpoint else (1, "IP")
        if whose == "UID" and key is not None:
            cost = Cost(request.path, key.account, weight, self.settings.uid_limit, request.address)
        else:
            cost = Cost(request.path, request.address, weight, self.settings.limit, request.address)
        return whose, cost

    def _serve(self, request: Request, account: Account, now: int) -> Answer:
        endpoint = ENDPOINTS.get(request.path)
        if endpoint is None:
            return html(404, "404 Not Found")
        if request.method != "GET":
            return wrong_method(request.method, request.path, now)
        try:
            if endpoint.params is None:
                _need_no_parameters(request.query)
                return endpoint.answer(Visit(account, self.settings, now, {}))
            api_key = request.headers.get("x-mbx-apikey", "")
            key, params = admit(self._by_api_key, api_key, request.query, endpoint.params, now)
            return endpoint.answer(Visit(account, self.settings, now, params, key))
        except RefusedError as refused:
            return refused.answer()


def _need_no_parameters(query: bytes) -> None:
    if query:
        sent = query.count(b"&") + 1
        raise RefusedError(
            -1101, msg=f"Too many parameters sent for this endpoint; expected '0' and received '{sent}'."
        )
