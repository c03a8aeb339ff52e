"""An account's records, by dataset, isolated pair and time: counting is a bisection, a page is a slice."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.datasets import DATASETS, FORCE_LIQUIDATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_binance_margin.sandbox.dataset import Dataset

CROSS = ""
ALL = "*"


class Shelf:
    """Records in order of time, equal times in order of arrival."""

    def __init__(self) -> None:
        self.times = array("q")
        self.rows: list[bytes] = []

    def put(self, time: int, row: bytes) -> None:
        """One record in its place."""
        place = bisect_right(self.times, time)
        self.times.insert(place, time)
        self.rows.insert(place, row)

    def sort(self) -> None:
        """Order after records were appended."""
        order = sorted(range(len(self.times)), key=self.times.__getitem__)
        self.times = array("q", [self.times[place] for place in order])
        self.rows = [self.rows[place] for place in order]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The places of the records from `start` to `end`, both included; none if the end is before the start."""
        low = bisect_left(self.times, start)
        return low, max(low, bisect_right(self.times, end))

    def take(self, time: int, row: bytes) -> None:
        """Remove this very record."""
        low, high = self.span(time, time)
        place = next(place for place in range(low, high) if self.rows[place] is row)
        del self.times[place], self.rows[place]


class Book:
    """All records of one dataset, with one shelf for each scope and one for all together."""

    def __init__(self, dataset: Dataset = FORCE_LIQUIDATION) -> None:
        self.dataset = dataset
        self._shelves: dict[str, Shelf] = {ALL: Shelf()}
        self.symbols: set[str] = set()
        self.pairs: set[str] = set()

    def __len__(self) -> int:
        return len(self._shelves[ALL].rows)

    def add(self, record: Mapping[str, Any]) -> None:
        """One more record."""
        time, scope, row = self.noted(record)
        for shelf in self._both(scope):
            shelf.put(time, row)

    def load(self, entries: Iterable[tuple[int, str, bytes]]) -> int:
        """Many more records at once, each as (time, scope, packed row); their number is returned."""
        before = len(self)
        touched = {ALL}
        try:
            for time, scope, row in entries:
                touched.add(scope)
                for shelf in self._both(scope):
                    shelf.times.append(time)
                    shelf.rows.append(row)
        finally:  # also when one of them is no record
            for name in touched:
                self._shelves[name].sort()
        return len(self) - before

    def noted(self, record: Mapping[str, Any]) -> tuple[int, str, bytes]:
        """A record as the book keeps it, its pair taken note of."""
        made = entry(record, self.dataset)
        if made[1]:
            self.pairs.add(made[1])
        self.symbols.add(str(record["symbol"]) if self.dataset.ids[0] == "symbol" else made[1])
        return made

    def count(self, scope: str, start: int, end: int) -> int:
        """Number of records of a scope in [start, end]."""
        low, high = self._shelf(scope).span(start, end)
        return high - low

    def cut(self, scope: str, start: int, end: int, first: int, last: int) -> list[bytes]:
        """The records in [start, end] from the place `first` to the place before `last`, counted from the newest."""
        shelf = self._shelf(scope)
        low, high = shelf.span(start, end)
        top = high - first
        return shelf.rows[max(low, high - last) : top][::-1] if top > low else []

    def entries(self, scope: str, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Times and packed rows in [start, end], oldest first."""
        shelf = self._shelf(scope)
        low, high = shelf.span(start, end)
        return zip(shelf.times[low:high], shelf.rows[low:high], strict=True)

    def all(self, scope: str, start: int, end: int) -> list[dict[str, Any]]:
        """The records in [start, end], oldest first."""
        return [self.dataset.packing.unpack(row) for _, row in self.entries(scope, start, end)]

    def take(self, scope: str, start: int, end: int, *, newest: bool) -> dict[str, Any] | None:
        """Remove the newest or the oldest record in [start, end] and return it."""
        shelf = self._shelf(scope)
        low, high = shelf.span(start, end)
        if low == high:
            return None
        place = high - 1 if newest else low
        time, row = shelf.times[place], shelf.rows[place]
        record = self.dataset.packing.unpack(row)
        for each in self._both(self.dataset.scope(record)):
            each.take(time, row)
        return record

    def _shelf(self, scope: str) -> Shelf:
        return self._shelves.setdefault(scope, Shelf())

    def _both(self, scope: str) -> tuple[Shelf, Shelf]:
        return self._shelves[ALL], self._shelf(scope)


def entry(record: Mapping[str, Any], dataset: Dataset = FORCE_LIQUIDATION) -> tuple[int, str, bytes]:
    """A record as the book keeps it; a KeyError if it has no time or no id."""
    record[dataset.ids[0]]
    return dataset.ms(record), dataset.scope(record), dataset.packing.pack(record)


class Account:
    """One margin account: a book for each dataset."""

    def __init__(self) -> None:
        self.books = {name: Book(dataset) for name, dataset in DATASETS.items()}

    @property
    def pairs(self) -> set[str]:
        """The isolated pairs that it has records of."""
        return set().union(*(book.pairs for book in self.books.values()))

    @property
    def symbols(self) -> set[str]:
        """The pairs that it has records of."""
        return set().union(*(book.symbols for book in self.books.values()))
