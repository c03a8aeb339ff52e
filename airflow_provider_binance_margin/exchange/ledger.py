"""Pager of a bare list with a limit and no total (``capital-flow``): a window is exhausted, or an error is raised.

A window with fewer rows than the limit is whole in one answer, which must come twice. A fuller one is read by cursor:
``fromId`` is the greatest id seen, itself, since ``id > fromId`` is documented and ``>=`` was seen; a row that comes
again is taken once. The oldest page comes first, newest first inside. The rows read are confirmed by the window's
newest rows. Where anything disagrees (ids that are not in the order of time, an id that comes twice, an ignored
cursor), the window is halved until each answer is shorter than the limit, which assumes nothing about order. A page of
as many rows as a server's own limit might let through is taken for a full one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from airflow_provider_binance_margin.exchange.dataset import Page, Record
from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError
from airflow_provider_binance_margin.exchange.paging import MOST_PAGES, READINGS, Bounds, Reader, Reading, Sink

_SECOND_MS = 1_000
#: Servers' limits of a list are multiples of this.
_CAP_STEP = 50


@dataclass(frozen=True, kw_only=True)
class LedgerReader(Reader):
    """Reader of intervals of a ledger whose record key is one integer id."""

    limit: int  # the most rows of one page
    make_sink: Callable[[], AbstractContextManager[Sink]]  # to count with: nothing is stated, so a count is a reading

    def count(self, start: int, end: int) -> int:
        """The records of ``[start, end)`` (ms), read and forgotten; BinanceIncompleteError as for a reading."""
        with self.make_sink() as sink:
            return self.read(start, end, sink).records

    def read_window(self, start: int, end: int, sink: Sink) -> Reading:
        """Read one window into the sink; BinanceIncompleteError when a second holds as many rows as one page."""
        sink.start_window()
        newest, requests = self.fetch(start, end, None).records, 1
        while len(newest) < self._limit_of(newest):  # nothing states how many there are: two answers must be alike
            again, requests = self.fetch(start, end, None).records, requests + 1
            if _lines(again) == _lines(newest):
                sink.add(newest)
                return self._reading(sink, requests, (start, end), partial(_shows, _lines(newest)))
            if requests > READINGS:
                raise BinanceIncompleteError(
                    f"the window [{start}, {end}) ms was answered {requests} times and never twice alike: try later"
                )
            newest = again
        limit = self._limit_of(newest)
        run = self._run(start, end, limit, sink)
        requests += run.pages

        def is_confirmed(newest: Sequence[Record]) -> bool:
            return len(newest) >= limit and run.ends_with(newest)

        agrees = run.agrees and is_confirmed(newest)
        if run.agrees and not agrees:  # rows may have entered since
            requests += 1
            agrees = is_confirmed(self.fetch(start, end, None).records)
        if agrees and not sink.conflicts:
            return self._reading(sink, requests, (start, end), lambda page: is_confirmed(page.records))
        sink.restart_window()
        middle = middle_of(start, end, limit)
        return (
            Reading(requests=requests, proof="exhausted")
            + self.read_window(start, middle, sink)
            + self.read_window(middle, end, sink)
        )

    @staticmethod
    def _reading(sink: Sink, requests: int, bounds: Bounds, is_unchanged: Callable[[Page], bool]) -> Reading:
        records, rows = sink.distinct, sink.distinct + sink.conflicts
        return Reading(records, rows, records, requests, proof="exhausted", looks=(((bounds, None), is_unchanged),))

    def _limit_of(self, page: Sequence[Record]) -> int:
        """The most rows of one page, which a full one shows to be lower than what is asked for."""
        return len(page) if page and len(page) % _CAP_STEP == 0 else self.limit

    def _run(self, start: int, end: int, limit: int, sink: Sink) -> _CursorRun:
        """Read a window by cursor, as long as its pages agree with each other."""
        run = _CursorRun()
        while run.agrees and run.pages < MOST_PAGES:
            page = self.fetch(start, end, run.greatest).records
            sink.add(run.take(page))
            if len(page) < limit:
                break
        return run


def middle_of(start: int, end: int, limit: int) -> int:
    """The whole second to cut a window at that one answer cannot hold; BinanceIncompleteError if there is none."""
    middle = (start + end) // 2 // _SECOND_MS * _SECOND_MS
    if not start < middle < end:
        raise BinanceIncompleteError(
            f"the window [{start}, {end}) ms holds {limit} rows or more, and one answer shows no more: a second this "
            "full cannot be read completely"
        )
    return middle


@dataclass
class _CursorRun:
    """The pages of one cursor run."""

    pages: int = 0
    greatest: int = 0  # of the ids seen
    agrees: bool = True  # until a page contradicts the order that the cursor relies on
    _latest: int = -1
    _tail: deque[Sequence[Record]] = field(default_factory=lambda: deque(maxlen=3))

    def take(self, page: Sequence[Record]) -> list[Record]:
        """Return the page's new records, and note whether all of them come after those of the pages before."""
        self.pages += 1
        known = {record.line for record in self._tail[-1]} if self._tail else set()
        new = [record for record in page if record.line not in known]
        ids = [record.key[0] for record in new]
        times = [record.time for record in new if record.time is not None]
        whole = [number for number in ids if isinstance(number, int) and number > self.greatest]
        self.agrees = (
            len(times) == len(new) == len(whole) == len(set(whole))
            and len(page) - len(new) <= 1
            and min(times, default=self._latest) >= self._latest
            and (bool(new) or len(page) <= 1)
        )
        if self.agrees and new:
            self.greatest, self._latest = max(whole), max(times)
            # within a page too, the ids must be in the order of time: else a later page may lie behind the cursor
            ordered = sorted(zip(times, whole, strict=True))
            self.agrees = all(a[0] == b[0] or a[1] < b[1] for a, b in pairwise(ordered))
        self._tail.append(new)
        return new

    def ends_with(self, newest: Sequence[Record]) -> bool:
        """Tell whether these are the newest of the rows read: of a second that they cut, any rows will do."""
        tail = {record.line: record.time for page in self._tail for record in page}
        lines = _lines(newest)
        oldest = min((record.time or 0 for record in newest), default=0)
        return lines <= tail.keys() and all(line in lines for line, time in tail.items() if (time or 0) > oldest)


def _lines(records: Sequence[Record]) -> set[bytes]:
    return {record.line for record in records}


def _shows(lines: set[bytes], page: Page) -> bool:
    return _lines(page.records) == lines
