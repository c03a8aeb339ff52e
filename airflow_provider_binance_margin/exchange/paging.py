"""How a whole window of an endpoint that answers ``rows`` and ``total`` is read: completely, or not at all.

Rows come newest first and move while one pages: a row that enters shifts all behind it. So equal rows are taken once,
all pages must state one total, and the distinct records must number it; what does not agree is read again. A row that
leaves while another enters keeps the total: what took several pages is confirmed, by a second reading or, where rows
rest, by its first and its last page. A total that looks like a server's limit is held against those of the window's
halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeAlias, TypeVar

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
#: fetches the pages of these numbers, in any way, and yields them in any order
FetchPages: TypeAlias = Callable[[Callable[[int], Page], Iterable[int]], Iterable[Page]]


class Sink(Protocol):
    """Where the records of one interval go, window by window. A window that is read anew is taken out first."""

    def clear(self) -> None:
        """Forget all windows."""

    def start_window(self) -> None:
        """The records added from here on belong to a new window."""

    def restart_window(self) -> None:
        """Forget what the current window has added."""

    def add(self, records: Iterable[Record]) -> None:
        """Add records; one that the window already has is taken once."""

    def distinct(self) -> int:
        """How many distinct records the current window has, by their key."""

    def conflicts(self) -> int:
        """How many rows of the current window differ from another under the same key."""

    def fingerprint(self) -> int:
        """The same for two readings of a window that brought the same rows, in any order."""

    def records(self) -> int:
        """How many distinct records all windows have: one that several have is kept in its latest version."""

    def rows(self) -> int:
        """How many rows all windows have: more than records where two differ under one key."""


@dataclass(frozen=True)
class Reading:
    """What it took to read an interval, and what stands for its completeness.

    :param records: distinct records, by their key
    :param rows: distinct rows: more than records where two differ under one key
    :param total: what the exchange stated, summed over windows: more than records where windows share one
    :param requests: requests sent
    :param outside: rows whose time lies outside the window they were asked for
    :param proof: "total" when records and total agree, "pages" when two equal readings stand for it, "exhausted" where
        no total is stated and every page was read
    :param looks: for each window, ascending: look once more, and tell whether its first page is the same
    """

    records: int = 0
    rows: int = 0
    total: int = 0
    requests: int = 0
    outside: int = 0
    proof: str = "total"
    looks: tuple[Callable[[], bool], ...] = field(default=(), repr=False, compare=False)

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


def _without_clock() -> float:
    return 0.0


@dataclass(frozen=True)
class Reader:
    """Reads intervals of one endpoint. Safe to share between threads, each with a sink of its own.

    :param fetch: fetches one page of one window
    :param span: the longest window asked for at once
    :param require_total: whether only an answer that agrees with its own total is accepted
    :param fetch_pages: how the pages after the first are fetched: one by one, or side by side
    :param now: the exchange's clock, seconds since 1970; without one, the rows of every window may still move
    """

    fetch: Fetch
    span: Span
    require_total: bool = True
    fetch_pages: FetchPages = field(default=map)
    now: Callable[[], float] = _without_clock

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
            looks = [is_unchanged() for is_unchanged in reading.looks[:-1]]
            requests += len(looks)
            if all(looks):
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
        """What the exchange states for ``[start, end)`` (ms), with one call per window whose total is no likely limit.

        :raises BinanceIncompleteError: when it states nothing
        """
        return sum(self._windows(start, end, lambda first, last: _Window(self, first, last).count()))

    def read_window(self, start: int, end: int, sink: Sink) -> Reading:
        """Put the complete records of one window into the sink."""
        return _Window(self, start, end).read(sink)

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
    """One window of an interval, ``[start, end)`` in ms, and what it takes to read it."""

    reader: Reader
    start: int
    end: int
    requests: int = 0

    def __str__(self) -> str:
        return f"the window [{self.start}, {self.end}) ms"

    def read(self, sink: Sink) -> Reading:
        """All of it; in halves, if the exchange lists or counts no more than a part of it at once."""
        sink.start_window()
        try:
            return self._confirmed(sink)
        except (_CappedError, BinanceSpanError) as error:
            sink.restart_window()  # the shorter windows to come have the same rows
            if isinstance(error, BinanceSpanError):
                raise
        halves = self._halves()
        return sum((half.read(sink) for half in halves), Reading(requests=self.requests))

    def count(self) -> int:
        """What the exchange states, or, where that may be its limit, the sum of what it states for the halves."""
        total = self._page().total
        if total is None:
            raise BinanceIncompleteError(f"the exchange states no total for {self}")
        return self._count_of_halves() if _is_likely_cap(total) else total

    def _count_of_halves(self) -> int:
        halves = self._halves()
        total = sum(half.count() for half in halves)
        self.requests += sum(half.requests for half in halves)
        return total

    def _halves(self) -> tuple[_Window, _Window]:
        middle = (self.start + self.end) // 2
        if middle == self.start:
            raise BinanceIncompleteError(
                f"{self} cannot be read in halves: it holds more records than the exchange lists or counts at once, "
                f"or a multiple of {_CAP_STEP} that cannot be told from such a limit"
            )
        return _Window(self.reader, self.start, middle), _Window(self.reader, middle, self.end)

    def _confirmed(self, sink: Sink) -> Reading:
        """The reading that agrees with its total and is confirmed, or, without `require_total`, comes twice."""
        known, agreed, seen = set[int](), False, ""
        for attempt in range(1, READINGS + 1):
            sink.restart_window()
            read = self._read_pages(sink)
            found, rows = sink.distinct(), sink.distinct() + sink.conflicts()
            agrees, is_known = read.totals == {found}, sink.fingerprint() in known
            if agrees and not is_known and _is_likely_cap(found) and self._count_of_halves() != found:
                raise _CappedError  # asked between reading and confirmation, through which the rows seen were there
            if agrees and rows == found:
                is_taken = is_known or read.last == 1 or self._is_at_rest(read)
            else:  # of two rows under one key, only time can tell which is right
                is_taken = agrees and is_known and attempt == READINGS
            if is_taken or (is_known and not self.reader.require_total):
                if not agrees and _is_likely_cap(found):
                    raise _CappedError
                proof = "total" if is_taken else "pages"
                looks = (partial(self._is_unchanged, read, counted=is_taken),)
                return Reading(found, rows, read.total or 0, self.requests, read.outside, proof, looks)
            if agrees or not self.reader.require_total:
                known.add(sink.fingerprint())
            agreed = agreed or agrees
            seen = f"{found} distinct records seen, total stated as {_stated(read.totals)}"
        if not agreed and _is_likely_cap(found):
            raise _CappedError
        alike = " twice alike" if agreed else ""
        raise BinanceIncompleteError(
            f"the window [{self.start}, {self.end}) ms was read {READINGS} times and never agreed with its total{alike}"
            f": {seen}. Records are moving, or the exchange counts otherwise; try later, or set require_total=False to "
            "accept two equal readings instead"
        )

    def _is_at_rest(self, read: _Pages) -> bool:
        """Whether rows of that age move no more, and the first and the last page are still the same."""
        if self.end > self.reader.now() * 1000 - DAY_MS:
            return False
        again = _Pages(last=read.last)
        for _ in self._fetch((1, read.last), again):
            pass
        return (again.first, again.final) == (read.first, read.final)

    def _is_unchanged(self, read: _Pages, *, counted: bool) -> bool:
        """Whether the first page still holds the same rows and, where it is to be relied on, states the same total."""
        again = _Pages()
        again.remember(1, self._page())
        return again.first == read.first if counted else (again.first or ())[:1] == (read.first or ())[:1]

    def _read_pages(self, sink: Sink) -> _Pages:
        read = _Pages()
        first = self._take(1, read, sink)
        if self.reader.require_total:
            self._read_to_total(first, read, sink)
        else:
            self._read_until_empty(first, read, sink)
        return read

    def _read_to_total(self, first: Page, read: _Pages, sink: Sink) -> None:
        """As many pages as the first one's total asks for."""
        total, per_page = first.total or 0, len(first.records)
        if not per_page or total <= per_page:
            return
        read.last = -(-total // per_page)
        if read.last > MOST_PAGES:
            raise BinanceIncompleteError(f"{self} states {total} records: not believable")
        for page in self._fetch(range(2, read.last + 1), read):
            self._add(page, read, sink)
            if len(read.totals) > 1:
                return  # something has moved: the rest need not be asked for
            if not page.records:
                if self._page().total == total:
                    raise _CappedError
                return

    def _read_until_empty(self, page: Page, read: _Pages, sink: Sink) -> None:
        """Pages until the total is met, or, where it is not, until an empty one."""
        while page.records and (read.totals != {sink.distinct()} or sink.conflicts()):
            if read.last == MOST_PAGES:
                raise BinanceIncompleteError(f"{self} does not end after {MOST_PAGES} pages")
            read.last += 1
            page = self._take(read.last, read, sink)

    def _take(self, current: int, read: _Pages, sink: Sink) -> Page:
        (page,) = self._fetch([current], read)
        self._add(page, read, sink)
        return page

    def _add(self, page: Page, read: _Pages, sink: Sink) -> None:
        """Add a page to the sink; the second in a row without a new row is one too many."""
        before = sink.distinct() + sink.conflicts()
        sink.add(page.records)
        read.totals.add(page.total)
        read.outside += sum(r.time is None or not self.start <= r.time < self.end for r in page.records)
        is_stale = page.records and sink.distinct() + sink.conflicts() == before
        read.stale = read.stale + 1 if is_stale else 0
        if read.stale == _STALE_PAGES:
            raise BinanceIncompleteError(
                f"{self} is answered with the same rows again and again, whichever page is asked for"
            )

    def _page(self) -> Page:
        (page,) = self._fetch([1], _Pages())
        return page

    def _fetch(self, numbers: Iterable[int], read: _Pages) -> Iterator[Page]:
        """Fetch the pages of these numbers, in any order; what the first and the last hold is remembered."""

        def fetch(current: int) -> Page:
            page = self.reader.fetch(self.start, self.end, current)
            if current in (1, read.last):
                read.remember(current, page)
            return page

        for page in self.reader.fetch_pages(fetch, numbers):
            self.requests += 1
            yield page


@dataclass
class _Pages:
    """The pages of one reading of one window.

    :param last: the number of the last page
    :param stale: pages without a new row, one after the other
    :param first: the rows and the total of the first page
    :param final: those of the last page
    """

    last: int = 1
    outside: int = 0
    stale: int = 0
    totals: set[int | None] = field(default_factory=set)
    first: tuple[frozenset[bytes], int | None] | None = None
    final: tuple[frozenset[bytes], int | None] | None = None

    @property
    def total(self) -> int | None:
        """The total that all pages state; None where they state several or none."""
        return next(iter(self.totals)) if len(self.totals) == 1 else None

    def remember(self, current: int, page: Page) -> None:
        """Keep what the first or the last page holds, to be compared with later."""
        seen = frozenset(record.line for record in page.records), page.total
        if current == 1:
            self.first = seen
        if current == self.last:
            self.final = seen


def _is_likely_cap(number: int | None) -> bool:
    return number is not None and number >= 2 * _CAP_STEP and number % _CAP_STEP == 0


def _stated(totals: set[int | None]) -> str:
    return " and ".join("missing" if total is None else str(total) for total in sorted(totals, key=str)) or "nothing"
