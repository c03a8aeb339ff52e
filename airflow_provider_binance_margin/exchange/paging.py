"""How a whole window of an endpoint that answers ``rows`` and ``total`` is read: completely, or not at all.

Rows come newest first and move while one pages: a row that enters shifts all behind it. So equal rows are taken once,
all pages must state one total, and the distinct records must number it; what does not agree is read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias, TypeVar

from airflow_provider_binance_margin.exchange.endpoint import Page, Record
from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError, BinanceSpanError

T = TypeVar("T")

HOUR_MS = 3_600_000
READINGS = 4
#: Beyond this many pages up to an empty one, an answer is not a list that ends.
MOST_PAGES = 100_000
#: So many pages without a new row, one after the other, are the answer of a server that ignores the page's number.
_STALE_PAGES = 2

#: (start, end, current) -> page; the window is half-open, in ms
Fetch: TypeAlias = Callable[[int, int, int], Page]
#: fetches the pages of these numbers, in any way, and yields them in any order
FetchPages: TypeAlias = Callable[[Callable[[int], Page], Iterable[int]], Iterable[Page]]


class Sink(Protocol):
    """Where records go. What one window put in is taken out again when the window is read anew."""

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


@dataclass(frozen=True)
class Reading:
    """What it took to read an interval, and what stands for its completeness.

    :param records: distinct records, by their key
    :param total: what the exchange stated, summed over windows
    :param requests: pages fetched
    :param outside: rows whose time lies outside the window they were asked for
    :param conflicts: rows that differ from another under the same key
    :param proof: "total" when records and total agree, "pages" when two equal readings stand for it
    """

    records: int = 0
    total: int = 0
    requests: int = 0
    outside: int = 0
    conflicts: int = 0
    proof: str = "total"

    def __add__(self, other: Reading) -> Reading:
        """Two windows as one."""
        return Reading(
            records=self.records + other.records,
            total=self.total + other.total,
            requests=self.requests + other.requests,
            outside=self.outside + other.outside,
            conflicts=self.conflicts + other.conflicts,
            proof=self.proof if self.proof == other.proof else "pages",
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
    """Reads intervals of one endpoint.

    :param fetch: fetches one page of one window
    :param span: the longest window asked for at once
    :param require_total: whether only an answer that agrees with its own total is accepted
    :param fetch_pages: how the pages after the first are fetched: one by one, or side by side
    """

    fetch: Fetch
    span: Span
    require_total: bool = True
    fetch_pages: FetchPages = field(default=map)

    def read(self, start: int, end: int, sink: Sink) -> Reading:
        """Put the complete records of ``[start, end)`` (ms) into the sink.

        :raises BinanceIncompleteError: when a window's pages never agree with its total
        """
        return sum(self._windows(start, end, lambda first, last: self._window(first, last, sink)), Reading())

    def count(self, start: int, end: int) -> int:
        """What the exchange states for ``[start, end)`` (ms), with one call per window.

        :raises BinanceIncompleteError: when it states nothing
        """
        totals = list(self._windows(start, end, lambda first, last: self._page(first, last, 1).total))
        if None in totals:
            raise BinanceIncompleteError(f"the exchange states no total for the window [{start}, {end}) ms")
        return sum(total for total in totals if total is not None)

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

    def _window(self, start: int, end: int, sink: Sink) -> Reading:
        sink.start_window()
        requests, last, seen = 0, "", ""
        for attempt in range(1, READINGS + 1):
            sink.restart_window()
            read = self._reading(start, end, sink)
            requests += read.requests
            found, conflicts = sink.distinct(), sink.conflicts()
            total = next(iter(read.totals)) if len(read.totals) == 1 else None
            result = Reading(found, total or 0, requests, read.outside, conflicts)
            if found == total and (not conflicts or attempt == READINGS):
                return result
            if not self.require_total and last == read.digest:
                return replace(result, proof="pages")
            last, seen = read.digest, f"{found} distinct records seen, total stated as {_stated(read.totals)}"
        raise BinanceIncompleteError(
            f"the window [{start}, {end}) ms was read {READINGS} times and never agreed with its total: {seen}. "
            "Records are moving, or the exchange counts otherwise; try later, or set require_total=False to accept "
            "two equal readings instead"
        )

    def _reading(self, start: int, end: int, sink: Sink) -> _Pages:
        try:
            return self._pages(start, end, sink) if self.require_total else self._until_empty(start, end, sink)
        except BinanceSpanError:
            sink.restart_window()  # the shorter windows to come would have the same rows
            raise

    def _pages(self, start: int, end: int, sink: Sink) -> _Pages:
        """The first page, then as many as its total asks for."""
        read = _Pages(start, end, sink)
        first = read.take(self._page(start, end, 1))
        total, per_page = first.total or 0, len(first.records)
        if not per_page or total <= per_page:
            return read
        last = -(-total // per_page)
        if last > MOST_PAGES:
            raise BinanceIncompleteError(f"the window [{start}, {end}) ms states {total} records: not believable")
        for page in self.fetch_pages(lambda current: self.fetch(start, end, current), range(2, last + 1)):
            if not read.take(page).records:
                break  # the total is not met any more: the rest need not be asked for
        return read

    def _until_empty(self, start: int, end: int, sink: Sink) -> _Pages:
        """Pages until the total is met, or, where it is not, until an empty one."""
        read = _Pages(start, end, sink)
        known, stale = (0, 0), 0
        for current in range(1, MOST_PAGES + 1):
            page = read.take(self._page(start, end, current))
            found, conflicts = sink.distinct(), sink.conflicts()
            if not page.records or (read.totals == {found} and not conflicts):
                return read
            stale = stale + 1 if (found, conflicts) == known else 0
            if stale == _STALE_PAGES:
                raise BinanceIncompleteError(
                    f"the window [{start}, {end}) ms is answered with the same rows again and again, whichever page is "
                    "asked for"
                )
            known = found, conflicts
        raise BinanceIncompleteError(f"the window [{start}, {end}) ms does not end after {MOST_PAGES} pages")

    def _page(self, start: int, end: int, current: int) -> Page:
        (page,) = self.fetch_pages(lambda number: self.fetch(start, end, number), [current])
        return page


@dataclass
class _Pages:
    """The pages of one reading of one window."""

    start: int
    end: int
    sink: Sink
    requests: int = 0
    outside: int = 0
    totals: set[int | None] = field(default_factory=set)
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, page: Page) -> Page:
        self.requests += 1
        self.totals.add(page.total)
        self.outside += sum(r.time is None or not self.start <= r.time < self.end for r in page.records)
        self._hash.update(b"".join([record.line + b"\n" for record in page.records]))
        self.sink.add(page.records)
        return page

    @property
    def digest(self) -> str:
        """Of the rows in the order they came: two readings with the same one saw the same."""
        return self._hash.hexdigest()


def _stated(totals: set[int | None]) -> str:
    return " and ".join("missing" if total is None else str(total) for total in sorted(totals, key=str)) or "nothing"
