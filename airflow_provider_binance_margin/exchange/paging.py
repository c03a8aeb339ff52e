"""Pager of an endpoint that answers ``rows`` and ``total``: a window is read completely, or an error is raised.

Rows come newest first and move while one pages: a row that enters shifts all behind it. So equal rows are taken once,
all pages must state one total, and the distinct records must number it; what does not agree is read again. A row that
leaves while another enters keeps the total: what took several pages is confirmed, by a second reading or, where rows
rest, by its first and its last page. A total that looks like a server's limit is held against those of the window's
halves, which are asked for beside the pages: two shares of it, neither of them empty, prove that nothing is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any, Protocol, TypeAlias, TypeVar

from airflow_provider_binance_margin.exchange.dataset import Page, Record
from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError, BinanceSpanError

T = TypeVar("T")

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
READINGS = 4
#: Beyond this many pages up to an empty one, an answer is not a list that ends.
MOST_PAGES = 100_000
#: So many pages without a new row, one after the other, are the answer of a server that ignores the page's number.
_STALE_PAGES = 2
#: Servers' limits of a list or a count are multiples of this, from twice as many on.
_CAP_STEP = 500

#: (start, end, current) -> page; the window is half-open, in ms. A ledger is asked for its newest rows, or from an id
Fetch: TypeAlias = Callable[[int, int, "int | None"], Page]
#: (start, end) in ms
Bounds: TypeAlias = tuple[int, int]
#: a window and the number of one of its pages, or the cursor of a ledger
Ask: TypeAlias = tuple[Bounds, Any]
Answer: TypeAlias = tuple[Ask, Page]
#: lines and total of a page
Seen: TypeAlias = tuple[frozenset[bytes], "int | None"]
#: maps a function over pages: one by one or side by side, in any order
FetchPages: TypeAlias = Callable[[Callable[[Ask], Answer], Iterable[Ask]], Iterable[Answer]]


class Sink(Protocol):
    """Sink for the records of one interval, window by window. A window that is read anew is taken out first."""

    distinct: int  # records of the current window, by their key
    conflicts: int  # rows of it that differ from another under the same key
    fingerprint: int  # hash of its rows, whatever their order

    def clear(self) -> None:
        """Forget all windows."""

    def start_window(self) -> None:
        """The records added from here on belong to a new window."""

    def restart_window(self) -> None:
        """Forget what the current window has added."""

    def add(self, records: Iterable[Record]) -> None:
        """Add records; one that the window already has is taken once."""

    def settle(self, end: int) -> None:
        """Use the time of the requests that confirm the rows before `end` (ms): unless they fail, none is added."""

    def records(self) -> int:
        """Count the distinct records of all windows: one that several have is kept in its latest version."""

    def rows(self) -> int:
        """Count the rows of all windows: more than records where two differ under one key."""


@dataclass(frozen=True)
class Reading:
    """Result of reading an interval: counts, and the proof of its completeness."""

    records: int = 0  # distinct, by their key
    rows: int = 0  # distinct: more than records where two differ under one key
    total: int = 0  # as stated, summed over windows: more than records where windows share one
    requests: int = 0
    outside: int = 0  # rows whose time lies outside the window they were asked for
    #: "total" when records and total agree, "pages" when two equal readings stand for it, "exhausted" where no total is
    #: stated and every page was read
    proof: str = "total"
    #: for each window, ascending: tells whether its first page, asked for once more, is the same
    looks: tuple[tuple[Ask, Callable[[Page], bool]], ...] = field(default=(), repr=False, compare=False)

    @property
    def conflicts(self) -> int:
        """Rows that differ from another under the same key."""
        return self.rows - self.records

    def __add__(self, other: Reading) -> Reading:
        """Two windows as one."""
        return Reading(
            records=self.records + other.records,
            rows=self.rows + other.rows,
            total=self.total + other.total,
            requests=self.requests + other.requests,
            outside=self.outside + other.outside,
            proof=other.proof if self.proof in ("", other.proof) else "pages",
            looks=self.looks + other.looks,
        )


@dataclass
class Span:
    """The longest window that is asked for; shrinks when the exchange refuses one, and stays so for the run."""

    ms: int

    def halve(self, refused_ms: int) -> bool:
        """Take half of a refused window from here on, but no less than an hour; False when it is that already."""
        if refused_ms <= HOUR_MS:
            return False
        self.ms = min(self.ms, max(refused_ms // 2, HOUR_MS))
        return True


@dataclass(frozen=True)
class Reader:
    """Reads intervals of one endpoint. Safe to share between threads, each with a sink of its own."""

    fetch: Fetch
    span: Span
    require_total: bool = True  # accept only an answer that agrees with its own total
    fetch_pages: FetchPages = field(default=map)
    now: Callable[[], float] = float  # the exchange's clock; without one, the rows of every window may still move

    def read(self, start: int, end: int, sink: Sink) -> Reading:
        """Put the complete records of ``[start, end)`` (ms) into the sink.

        Windows are read in ascending order, so that a record that moves to a later one meanwhile is seen twice rather
        than never. Whether one has moved to an earlier one, that one's first page tells in the end. After either, all
        are read again; what windows share at each reading is kept once.

        :raises BinanceIncompleteError: when a window's pages never agree with its total, or no reading is confirmed
        """
        requests = 0
        for attempt in range(1, READINGS + 1):
            sink.clear()
            windows = self._windows(start, end, lambda first, last: self.read_window(first, last, sink))
            reading = sum(windows, Reading(proof=""))
            requests += reading.requests
            if sink.records() != reading.records and attempt < READINGS:
                continue
            looks = dict(reading.looks[:-1])
            unchanged = [looks[ask](page) for ask, page in self.ask(looks)]
            requests += len(unchanged)
            if all(unchanged):
                return replace(
                    reading,
                    records=sink.records(),
                    rows=sink.rows(),
                    requests=requests,
                    proof=reading.proof or "total",
                    looks=(),
                )
        raise BinanceIncompleteError(
            f"the interval [{start}, {end}) ms was read {READINGS} times, and records moved between its windows each "
            "time: try later"
        )

    def count(self, start: int, end: int) -> int:
        """Sum of the totals of the windows of ``[start, end)`` (ms), one request each if none looks like a limit.

        :raises BinanceIncompleteError: when it states nothing
        """
        return sum(self._windows(start, end, lambda first, last: _Window(self, (first, last)).count()))

    def read_window(self, start: int, end: int, sink: Sink) -> Reading:
        """Put the complete records of one window into the sink."""
        return _Window(self, (start, end)).read(sink)

    def ask(self, asks: Iterable[Ask]) -> Iterable[Answer]:
        """Fetch pages of any windows, in any order."""
        return self.fetch_pages(lambda ask: (ask, self.fetch(*ask[0], ask[1])), asks)

    def _windows(self, start: int, end: int, do: Callable[[int, int], T]) -> Iterator[T]:
        """Do something for each window, ascending; one that is refused for its length is tried again shorter."""
        while start < end:
            stop = min(start + self.span.ms, end)
            try:
                yield do(start, stop)
            except BinanceSpanError:
                if not self.span.halve(stop - start):
                    raise
            else:
                start = stop


class _CappedError(Exception):
    """A window holds more than the exchange lists or counts at once."""


@dataclass
class _Window:
    """One window of an interval, and the requests that it took so far."""

    reader: Reader
    bounds: Bounds
    requests: int = 0

    def __str__(self) -> str:
        return _name(*self.bounds)

    def read(self, sink: Sink) -> Reading:
        """Read all of it; in halves, if the exchange lists or counts no more than a part of it at once."""
        sink.start_window()
        try:
            return self._confirmed(sink)
        except (_CappedError, BinanceSpanError) as error:
            sink.restart_window()  # the shorter windows to come have the same rows
            if isinstance(error, BinanceSpanError):
                raise
        halves = (_Window(self.reader, half) for half in _halves(*self.bounds))
        return sum((half.read(sink) for half in halves), Reading(requests=self.requests))

    def count(self) -> int:
        """Return the total or, where it may be a limit, the sum of those of its parts, counted level by level."""
        return self._count(self._totals([self.bounds]))

    def _count(self, stated: dict[Bounds, int]) -> int:
        """Return the sum of windows' totals, each checked if it looks like a limit."""
        count = 0
        while stated:
            halved = {bounds: _halves(*bounds) for bounds, total in stated.items() if _is_likely_cap(total)}
            totals = self._totals(chain.from_iterable(halved.values()))
            parts = dict[Bounds, int]()
            for bounds, total in stated.items():
                halves = {half: totals[half] for half in halved.get(bounds, ())}
                # a limit is never the sum of two numbers that are both less
                if not halves or (sum(halves.values()) == total and min(halves.values()) > 0):
                    count += total
                else:
                    parts |= halves
            stated = parts
        return count

    def _totals(self, windows: Iterable[Bounds]) -> dict[Bounds, int]:
        return {bounds: _total(bounds, page) for (bounds, _), page in self._ask((bounds, 1) for bounds in windows)}

    def _confirmed(self, sink: Sink) -> Reading:
        """Return the reading that agrees with its total and is confirmed, or, without `require_total`, comes twice."""
        known, agreed, seen, last = set[int](), False, "", 1
        for attempt in range(1, READINGS + 1):
            sink.restart_window()
            read = self._read_pages(sink, last)
            found, rows = sink.distinct, sink.distinct + sink.conflicts
            agrees, is_known = read.totals == {found}, sink.fingerprint in known
            is_whole = False
            if agrees and not is_known:
                is_whole = rows == found and self._is_whole(read, found, sink)
                if not is_whole and self._count({self.bounds: found}) != found:
                    raise _CappedError  # asked between reading and confirmation, through which the rows seen were there
            if agrees and rows == found:
                is_taken = is_known or read.last == 1 or is_whole or self._is_at_rest(read, sink)
            else:  # of two rows under one key, only time can tell which is right
                is_taken = agrees and is_known and attempt == READINGS
            if is_taken or (is_known and not self.reader.require_total):
                if not agrees and read.may_be_cut(found):
                    raise _CappedError
                proof = "total" if is_taken else "pages"
                looks = (((self.bounds, 1), partial(read.starts_with, counted=is_taken)),)
                return Reading(found, rows, read.total or 0, self.requests, read.outside, proof, looks)
            if agrees or not self.reader.require_total:
                known.add(sink.fingerprint)
            agreed = agreed or agrees
            last = read.last if agrees and self.reader.require_total else 1
            seen = f"{found} distinct records seen, total stated as {_stated(read.totals)}"
        if not agreed and read.may_be_cut(found):
            raise _CappedError
        alike = " twice alike" if agreed else ""
        raise BinanceIncompleteError(
            f"{self} was read {READINGS} times and never agreed with its total{alike}"
            f": {seen}. Records move, or the exchange counts differently; try later, or set require_total=False to "
            "accept two equal readings instead"
        )

    def _is_whole(self, read: _Pages, found: int, sink: Sink) -> bool:
        """Tell, of a total that may be a limit, whether the halves share it and show the same ends: one page of each.

        Each is one moment of its half, so neither has to come before the other.
        """
        size, older = max(len(read.ends[1][0]), 1), read.older
        if not (_is_likely_cap(found) and 0 < older < found and self._is_old()):
            return False
        half, newer_half = _halves(*self.bounds)
        last = -(-older // size)
        (newest, newer), (oldest, total) = self._look([(newer_half, 1), (half, last)], sink)
        tail = frozenset[bytes]().union(*(lines for number, (lines, _) in read.ends.items() if number > read.last - 2))
        return (
            (newer, total) == (found - older, older)
            and (len(newest), len(oldest)) == (min(size, found - older), older - (last - 1) * size)
            and newest <= read.ends[1][0]
            and oldest <= tail
        )

    def _is_at_rest(self, read: _Pages, sink: Sink) -> bool:
        """Tell whether rows of that age move no more, and the first and the last page are still the same."""
        asks = [(self.bounds, number) for number in (1, read.last)]
        return self._is_old() and self._look(asks, sink) == [read.ends.get(number) for _, number in asks]

    def _is_old(self) -> bool:
        return self.bounds[1] <= self.reader.now() * 1000 - DAY_MS

    def _look(self, asks: list[Ask], sink: Sink) -> list[Seen]:
        """Pages that confirm what was read; where they are fetched side by side, the sink has their time."""

        def sent() -> Iterator[Ask]:
            yield from asks
            sink.settle(self.bounds[1])

        seen = {ask: _seen(page) for ask, page in self._ask(sent())}
        return [seen[ask] for ask in asks]

    def _read_pages(self, sink: Sink, last: int) -> _Pages:
        """Read once: as many pages as the total asks for, or, without `require_total`, until it is met.

        :param last: pages that are there for sure, to be asked for at once
        """
        read = _Pages(last)
        self._take(range(1, last + 1), read, sink)
        if self.reader.require_total:
            if len(read.totals) == 1:
                self._take(range(last + 1, read.last + 1), read, sink)
            return read
        while read.has_more and (read.totals != {sink.distinct} or sink.conflicts):
            if read.last == MOST_PAGES:
                raise BinanceIncompleteError(f"{self} does not end after {MOST_PAGES} pages")
            read.last += 1
            self._take((read.last,), read, sink)
        return read

    def _take(self, numbers: Iterable[int], read: _Pages, sink: Sink) -> None:
        """Put pages into the sink while their totals agree.

        :raises _CappedError: when a page is empty although the total goes beyond it
        """
        for (_, number), page in self._ask((self.bounds, number) for number in numbers):
            self._add(number, page, read, sink)
            if len(read.totals) > 1:
                return  # something has moved: the rest need not be asked for
            if not page.records and 1 < number <= read.last and self.reader.require_total:
                if [again.total for _, again in self._ask([(self.bounds, 1)])] == [read.total]:
                    raise _CappedError
                return

    def _add(self, number: int, page: Page, read: _Pages, sink: Sink) -> None:
        """Add a page to the sink; the second in a row without a new row is one too many."""
        start, end = self.bounds
        before = sink.distinct + sink.conflicts
        sink.add(page.records)
        read.totals.add(page.total)
        read.outside += sum(r.time is None or not start <= r.time < end for r in page.records)
        read.older += sum(r.time is not None and r.time < (start + end) // 2 for r in page.records)
        is_stale = page.records and sink.distinct + sink.conflicts == before
        read.stale = read.stale + 1 if is_stale else 0
        read.has_more = bool(page.records)
        if read.stale == _STALE_PAGES:
            raise BinanceIncompleteError(
                f"{self} is answered with the same rows again and again, whichever page is asked for"
            )
        if number == 1 and page.records and self.reader.require_total:
            read.last = max(-(-(page.total or 0) // len(page.records)), 1)
            if read.last > MOST_PAGES:
                raise BinanceIncompleteError(f"{self} states {page.total} records: not believable")
        if number == 1 or number > read.last - 2:
            read.ends = {n: seen for n, seen in read.ends.items() if n == 1 or n > read.last - 2}
            read.ends[number] = _seen(page)

    def _ask(self, asks: Iterable[Ask]) -> Iterator[Answer]:
        for answer in self.reader.ask(asks):
            self.requests += 1
            yield answer


@dataclass
class _Pages:
    """The pages of one reading of one window."""

    last: int = 1  # the number of the last page
    outside: int = 0
    older: int = 0  # rows of the older half of the window
    stale: int = 0  # pages without a new row, one after the other
    has_more: bool = True
    totals: set[int | None] = field(default_factory=set)
    ends: dict[int, Seen] = field(default_factory=dict)  # number of the first and the last two pages -> what they hold

    @property
    def total(self) -> int | None:
        """The total that all pages state; None where they state several or none."""
        return next(iter(self.totals)) if len(self.totals) == 1 else None

    def may_be_cut(self, found: int) -> bool:
        """Tell whether the number of records, or one that was stated, looks like a limit."""
        return any(map(_is_likely_cap, {found, *self.totals}))

    def starts_with(self, page: Page, *, counted: bool) -> bool:
        """Tell whether a page holds the rows of the first one and, if `counted`, states its total."""
        return _seen(page)[: 1 + counted] == self.ends[1][: 1 + counted]


def _seen(page: Page) -> Seen:
    return frozenset(record.line for record in page.records), page.total


def _name(start: int, end: int) -> str:
    return f"the window [{start}, {end}) ms"


def _total(bounds: Bounds, page: Page) -> int:
    if page.total is None:
        raise BinanceIncompleteError(f"the exchange states no total for {_name(*bounds)}")
    return page.total


def _halves(start: int, end: int) -> tuple[Bounds, Bounds]:
    middle = (start + end) // 2
    if middle == start:
        raise BinanceIncompleteError(
            f"{_name(start, end)} cannot be read in halves: it holds more records than the exchange lists or counts at "
            f"once, or a multiple of {_CAP_STEP} that cannot be told from such a limit"
        )
    return (start, middle), (middle, end)


def _is_likely_cap(number: int | None) -> bool:
    return number is not None and number >= 2 * _CAP_STEP and number % _CAP_STEP == 0


def _stated(totals: set[int | None]) -> str:
    return " and ".join("missing" if total is None else str(total) for total in sorted(totals, key=str)) or "nothing"
