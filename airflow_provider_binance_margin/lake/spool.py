"""The rows of one object: each once, in order, on disk instead of in memory.

A private temporary sqlite3 database does all three. It stays in memory while it is small, spills to the temporary
folder when it is not, and is gone when it is closed or the process dies. Lines are kept page by page and compressed;
what is sorted is a small entry for each of them.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from types import TracebackType
from typing import Self, TypeAlias

KeyValue: TypeAlias = int | str | None
#: time, identifying key (or empty), values to sort by after the time, line
Row: TypeAlias = tuple[int | None, tuple[KeyValue, ...], tuple[KeyValue, ...], bytes]

_CACHE_KIB = 2048
_PAGES_AT_HAND = 64
_VALUES_AT_ONCE = 900  # old versions of sqlite take 999
_STATEMENTS = 16  # those of that many values are large


class Spool:
    """Takes rows in any order and gives them back sorted by (time, order..., line), equal ones once.

    :param order_columns: how many values each row is sorted by after its time, and identified by
    """

    def __init__(self, order_columns: int) -> None:
        # A spool is used by one thread at a time, but not always the one that made it.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS)
        self._columns = order_columns
        key = ", ".join(f"k{i}" for i in range(order_columns))
        marks = ", ".join("?" * order_columns)
        self._db.executescript(
            f"""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            PRAGMA cache_size = -{_CACHE_KIB};
            CREATE TABLE pages (id INTEGER PRIMARY KEY, lines BLOB);
            CREATE TABLE entries (time, {key}, page, position, PRIMARY KEY (time, {key}, page, position)) WITHOUT ROWID;
            CREATE TABLE keys ({key}, page, position, PRIMARY KEY ({key})) WITHOUT ROWID;
            BEGIN
            """
        )
        self._entry_marks = f"(?, {marks}, ?, ?)"
        self._key_marks = f"({marks}, ?, ?)"
        self._select_key = "SELECT page, position FROM keys WHERE " + " AND ".join(
            f"k{i} = ?" for i in range(order_columns)
        )
        order = f"ORDER BY time, {key}, page, position"
        self._select_entries = f"SELECT time, {key}, page, position FROM entries {order}"
        self._select_places = f"SELECT page, position FROM entries {order}"
        self._select_tie = f"SELECT 1 FROM entries GROUP BY time, {key} HAVING count(*) > 1 LIMIT 1"
        self._lines_of = lru_cache(_PAGES_AT_HAND)(self._read_page)
        self._page = self._window_page = 0
        self._distinct = self._conflicts = 0

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Give back memory and disk."""
        self._lines_of.cache_clear()  # which refers to the spool itself: else it would wait for the garbage collector
        self._db.close()

    # -- filling: what exchange.paging asks of a sink --------------------------------------------------------------

    def start_window(self) -> None:
        """The rows added from here on belong to a new window."""
        self._window_page = self._page
        self._forget_keys()

    def restart_window(self) -> None:
        """Forget the rows of the current window."""
        if self._page > self._window_page:
            self._db.execute("DELETE FROM entries WHERE page >= ?", (self._window_page,))
            self._db.execute("DELETE FROM pages WHERE id >= ?", (self._window_page,))
            self._page = self._window_page
            self._lines_of.cache_clear()
        self._forget_keys()

    def _forget_keys(self) -> None:
        if self._distinct:
            self._db.execute("DELETE FROM keys")
        self._distinct = self._conflicts = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows to the current window; one that it already has is dropped."""
        page = list(rows)
        if not page:
            return
        keys = [(*(row[1] or self._own_identity(row[3])), self._page, i) for i, row in enumerate(page)]
        added = self._insert("INSERT OR IGNORE INTO keys", self._key_marks, keys)
        self._distinct += added
        kept = list(enumerate(page))
        lines = [row[3] for row in page]
        if added < len(page):
            kept = [(i, row) for i, row in kept if self._is_new(keys[i], row, page)]
            new = {i for i, _ in kept}
            lines = [line if i in new else b"" for i, line in enumerate(lines)]
        entries = [(-1 if row[0] is None else row[0], *_sortable(row[2]), self._page, i) for i, row in kept]
        self._db.execute("INSERT INTO pages VALUES (?, ?)", (self._page, zlib.compress(b"\n".join(lines), 1)))
        self._insert("INSERT INTO entries", self._entry_marks, entries)
        self._page += 1

    def _insert(self, into: str, marks: str, rows: Sequence[tuple[KeyValue | bytes, ...]]) -> int:
        """Insert rows and return how many were taken: many in one step, since sqlite3 lets go of Python's lock in each.

        Where other threads wait for the lock, as those that fetch pages do, getting it back costs more than an insert.
        """
        taken, at_once = 0, _VALUES_AT_ONCE // marks.count("?")
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            values = ", ".join([marks] * len(some))
            taken += self._db.execute(f"{into} VALUES {values}", list(chain.from_iterable(some))).rowcount
        return taken

    def _own_identity(self, line: bytes) -> tuple[KeyValue | bytes, ...]:
        """What a row that lacks a part of its key is known by: its whole line."""
        return (line, *[""] * (self._columns - 1))

    def _is_new(self, key: tuple[KeyValue | bytes, ...], row: Row, page: list[Row]) -> bool:
        """Whether the window lacked this row of the page at hand, by the place its key was first seen at."""
        *identity, number, position = key
        first = self._db.execute(self._select_key, identity).fetchone()
        if first == (number, position):
            return True
        line = page[first[1]][3] if first[0] == number else self._lines_of(first[0])[first[1]]
        if row[3] == line:
            return False
        # Another row under a known key: kept beside it, counted once, and known by its line from here on.
        own = (*self._own_identity(row[3]), number, position)
        new = bool(self._insert("INSERT OR IGNORE INTO keys", self._key_marks, [own]))
        self._conflicts += new
        return new

    def distinct(self) -> int:
        """How many records the current window has, by their keys."""
        return self._distinct

    def conflicts(self) -> int:
        """How many rows of the current window differ from another under the same key."""
        return self._conflicts

    def times(self) -> tuple[int | None, int | None]:
        """The earliest and the latest time of all rows, in ms; None where there is none."""
        return tuple(self._db.execute("SELECT min(time), max(time) FROM entries WHERE time >= 0").fetchone())

    def holds(self, column: int, value: KeyValue) -> bool:
        """Whether any row has this value among those it is sorted by, counted from 0 after its time."""
        return self._db.execute(f"SELECT 1 FROM entries WHERE k{column} = ? LIMIT 1", (value,)).fetchone() is not None

    # -- giving back ---------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[bytes]:
        """All lines in order, each once, without line breaks."""
        if self._db.execute(self._select_tie).fetchone() is None:
            return (self._lines_of(page)[position] for page, position in self._db.execute(self._select_places))
        return self._lines_with_ties()

    def _lines_with_ties(self) -> Iterator[bytes]:
        place, lines = None, list[bytes]()  # the lines of one place in the order: nearly always one
        for entry in self._db.execute(self._select_entries):
            line = self._lines_of(entry[-2])[entry[-1]]
            if entry[:-2] == place:
                lines.append(line)
                continue
            yield from lines if len(lines) < 2 else sorted(set(lines))  # noqa: PLR2004
            place, lines = entry[:-2], [line]
        yield from sorted(set(lines))

    def _read_page(self, page: int) -> Sequence[bytes]:
        (data,) = self._db.execute("SELECT lines FROM pages WHERE id = ?", (page,)).fetchone()
        return zlib.decompress(data).split(b"\n")


def _sortable(values: tuple[KeyValue, ...]) -> tuple[KeyValue, ...]:
    return values if None not in values else tuple("" if value is None else value for value in values)
