"""The exchange itself: its records, keys, clock and limits, one request at a time, and all that a test may do to it."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.answers import Answer, RefusedError, html, wrong_method
from airflow_provider_binance_margin.sandbox.book import ALL, CROSS, Book, entry
from airflow_provider_binance_margin.sandbox.endpoints import ENDPOINTS, RECORDS, Visit
from airflow_provider_binance_margin.sandbox.faults import Faults
from airflow_provider_binance_margin.sandbox.history import ISOLATED
from airflow_provider_binance_margin.sandbox.invent import invent
from airflow_provider_binance_margin.sandbox.limits import Limits
from airflow_provider_binance_margin.sandbox.log import Entry, logged
from airflow_provider_binance_margin.sandbox.mishaps import Scene
from airflow_provider_binance_margin.sandbox.rules import admit
from airflow_provider_binance_margin.sandbox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_binance_margin.sandbox.keys import ApiKey
    from airflow_provider_binance_margin.sandbox.message import Request

CURRENT = re.compile(rb"(?:^|&)current=([0-9]{1,9})(?:&|$)")
FOREVER = 2**62
# up to so many records are put into their places one by one, more are sorted in
FEW = 1_000


class Exchange:
    """One account on one exchange. Every method may be called from any thread."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.keys: dict[str, ApiKey] = {}
        self._by_api_key: dict[str, ApiKey] = {}
        self._book = Book()
        self._faults = Faults()
        self._limits = Limits()
        self._log: list[Entry] = []
        self._lock = threading.Lock()

    # what a test may do

    def now_ms(self) -> int:
        """The exchange's clock."""
        return time.time_ns() // 1_000_000 + self.settings.clock_offset_ms

    def add(
        self, record: Mapping[str, Any] | None = None, *, at: int | None = None, **how: Any
    ) -> list[dict[str, Any]]:
        """Add one record as given, or made-up ones: `n`, `at` (ms), `step_ms`, `symbol`, `isolated`, any field."""
        fields = dict(record or {})
        moment = fields.pop("updatedTime", self.now_ms() if at is None else at)
        isolated = bool(fields.pop("isIsolated", how.pop("isolated", False)))
        records = list(invent(at=moment, isolated=isolated, **{**fields, **how}))
        if len(records) > FEW:
            self.load(records)
            return records
        with self._lock:
            for each in records:
                self._book.add(each)
        return records

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Add complete records, as many as there are; their number is returned."""
        with self._lock:
            return self._book.load(map(self._noted, records))

    def _noted(self, record: Mapping[str, Any]) -> tuple[int, str, bytes]:
        self._book.know(record)
        return entry(record)

    def clear(self) -> None:
        """Forget all records."""
        with self._lock:
            self._book = Book()

    def records(
        self, start_ms: int = 0, end_ms: int = FOREVER, isolated_symbol: str | None = None
    ) -> list[dict[str, Any]]:
        """What there is in [start, end), oldest first, under the filter of the endpoint."""
        with self._lock:
            return self._book.all(self._scope(isolated_symbol), start_ms, end_ms - 1)

    def count(self, start_ms: int = 0, end_ms: int = FOREVER, isolated_symbol: str | None = None) -> int:
        """How many records there are in [start, end), under the filter of the endpoint."""
        with self._lock:
            return self._book.count(self._scope(isolated_symbol), start_ms, end_ms - 1)

    @property
    def pairs(self) -> list[str]:
        """The account's isolated pairs."""
        with self._lock:
            return sorted({*ISOLATED, *self._book.pairs})

    def _scope(self, isolated_symbol: str | None) -> str:
        return isolated_symbol or (ALL if self.settings.unfiltered == "all" else CROSS)

    def fault(self, name: str, **options: Any) -> None:
        """Let something go wrong: see `faults.KINDS` for the names; `times=None` is for ever."""
        with self._lock:
            self._faults.add(name, options)

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._faults.clear()

    @property
    def requests(self) -> list[Entry]:
        """All requests since the log was cleared, in order of arrival."""
        with self._lock:
            return list(self._log)

    @property
    def connections(self) -> int:
        """How many connections the requests in the log came by."""
        return len({entry.connection for entry in self.requests})

    def clear_log(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._log.clear()

    def reset(self) -> None:
        """As new: no records, faults, log, used weight or bans, and default settings."""
        with self._lock:
            self._book, self._faults, self._limits, self._log = Book(), Faults(), Limits(), []
            self.settings.change(**vars(Settings()))

    # what the exchange does

    def answer(self, request: Request) -> Answer:
        """What one request is answered."""
        with self._lock:
            now = self.now_ms()
            key = self._by_api_key.get(request.headers.get("x-mbx-apikey", ""))
            scene = Scene(request.path, request.query, _current(request), self._book, self.settings, now)
            try:
                self._limits.charge(request.path, weight(request.path), now, self.settings)
                answer = self._faults.play(scene, lambda: self._serve(request, now))
            except RefusedError as refused:
                answer = refused.answer()
            self._log.append(logged(request, scene, key, answer.status))
            return replace(answer, headers=(*answer.headers, self._used(request.path)))

    def _serve(self, request: Request, now: int) -> Answer:
        endpoint = ENDPOINTS.get(request.path)
        if endpoint is None:
            return html(404, "404 Not Found")
        if request.method != "GET":
            return wrong_method(request.method, request.path, now)
        try:
            if endpoint.params is None:
                return endpoint.answer(_open(self._book, self.settings, now, request.query))
            api_key = request.headers.get("x-mbx-apikey", "")
            key, params = admit(self._by_api_key, api_key, request.query, endpoint.params, now)
            return endpoint.answer(Visit(self._book, self.settings, now, params, key))
        except RefusedError as refused:
            return refused.answer()

    def _used(self, path: str) -> tuple[str, str]:
        name = "X-SAPI-USED-IP-WEIGHT-1M" if path.startswith("/sapi/") else "X-MBX-USED-WEIGHT-1M"
        return name, str(self._limits.used(path))


def weight(path: str) -> int:
    """What a request to a path costs."""
    return ENDPOINTS[path].weight if path in ENDPOINTS else 1


def _open(book: Book, settings: Settings, now: int, query: bytes) -> Visit:
    if query:
        sent = query.count(b"&") + 1
        raise RefusedError(
            -1101, msg=f"Too many parameters sent for this endpoint; expected '0' and received '{sent}'."
        )
    return Visit(book, settings, now, {})


def _current(request: Request) -> int | None:
    if request.path != RECORDS:
        return None
    found = CURRENT.search(request.query)
    return int(found[1]) if found else 1
