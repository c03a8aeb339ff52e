"""The rows of one object: each once, in order, on disk instead of in memory.

A private temporary sqlite3 database does all three. It stays in memory while it is small, spills to the temporary
folder when it is not, and is gone when it is closed or the process dies. Lines are kept page by page and compressed;
what is told apart and sorted is a small entry for each of them.
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
#: time, key, line; a row is known by its key, or, where the key lacks a value, by its line
Row: TypeAlias = tuple[int | None, tuple[KeyValue, ...], bytes]

_CACHE_KIB = 2048
_PAGES_AT_HAND = 16
_VALUES_AT_ONCE = 900  # old versions of sqlite take 999
_STATEMENTS = 16  # those of that many values are large


class Spool:
    """Takes rows in any order and gives them back sorted by (time, key..., line), equal ones once.

    :param key_columns: how many values a row's key has
    """

    def __init__(self, key_columns: int) -> None:
        # A spool is used by one thread at a time, but not always the one that made it.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS)
        names = [f"k{i}" for i in range(key_columns)]
        key = ", ".join(names)
        # `rows` are known by their keys; `others`, the few whose key lacks a value or is another row's, by their lines.
        self._db.executescript(
            f"""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            PRAGMA cache_size = -{_CACHE_KIB};
            CREATE TABLE pages (id INTEGER PRIMARY KEY, lines BLOB);
            CREATE TABLE rows (window, {key}, time, page, position, PRIMARY KEY (window, {key})) WITHOUT ROWID;
            CREATE TABLE others (window, line, {key}, time, page, position, PRIMARY KEY (window, line)) WITHOUT ROWID;
            CREATE VIEW entries AS
                SELECT time, {key}, page, position FROM rows UNION ALL SELECT time, {key}, page, position FROM others;
            BEGIN
            """
        )
        self._marks = f"({', '.join('?' * (key_columns + 4))})"
        self._insert_other = f"INSERT OR IGNORE INTO others VALUES ({', '.join('?' * (key_columns + 5))})"
        self._select_place = " AND ".join(
            ["SELECT page, position FROM rows WHERE window = ?", *(f"{name} = ?" for name in names)]
        )
        self._select_places = f"SELECT page, position FROM rows ORDER BY time, {key}"
        self._select_entries = f"SELECT time, {key}, page, position FROM entries ORDER BY time, {key}"
        self._lines_of = lru_cache(_PAGES_AT_HAND)(self._read_page)
        self._window = self._page = self._first_page = 0
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
        self._window += 1
        self._first_page = self._page
        self._distinct = self._conflicts = 0

    def restart_window(self) -> None:
        """Forget the rows of the current window."""
        if self._page > self._first_page:
            self._db.execute("DELETE FROM rows WHERE window = ?", (self._window,))
            self._db.execute("DELETE FROM others WHERE window = ?", (self._window,))
            self._db.execute("DELETE FROM pages WHERE id >= ?", (self._first_page,))
            self._page = self._first_page
            self._lines_of.cache_clear()
        self._distinct = self._conflicts = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows to the current window; one that it already has is dropped."""
        page = list(rows)
        if not page:
            return
        added = self._insert(
            [
                (self._window, *key, -1 if time is None else time, self._page, position)
                for position, (time, key, _) in enumerate(page)
                if None not in key
            ]
        )
        self._distinct += added
        if added < len(page):
            for position in range(len(page)):
                self._add_other(position, page)
        lines = [line for _, _, line in page]
        self._db.execute("INSERT INTO pages VALUES (?, ?)", (self._page, zlib.compress(b"\n".join(lines), 1)))
        self._page += 1

    def _insert(self, entries: Sequence[tuple[KeyValue, ...]]) -> int:
        """Insert rows and return how many were taken: many in one step, since sqlite3 lets go of Python's lock in each.

        Where other threads wait for the lock, as those that fetch pages do, getting it back costs more than an insert.
        """
        taken, at_once = 0, _VALUES_AT_ONCE // self._marks.count("?")
        for start in range(0, len(entries), at_once):
            some = entries[start : start + at_once]
            insert = f"INSERT OR IGNORE INTO rows VALUES {', '.join([self._marks] * len(some))}"
            taken += self._db.execute(insert, list(chain.from_iterable(some))).rowcount
        return taken

    def _add_other(self, position: int, page: Sequence[Row]) -> None:
        """Add a row of the page at hand that is known by its line, if it is one and the window lacks it."""
        time, key, line = page[position]
        is_named = None not in key
        if is_named:
            number, place = self._db.execute(self._select_place, (self._window, *key)).fetchone()
            if line == (page[place][-1] if number == self._page else self._lines_of(number)[place]):
                return  # what its key stands for is this very row, or its equal
        sortable = ("" if value is None else value for value in key)
        entry = (self._window, line, *sortable, -1 if time is None else time, self._page, position)
        new = self._db.execute(self._insert_other, entry).rowcount
        if is_named:
            self._conflicts += new  # another row under a known key: kept beside it, counted once
        else:
            self._distinct += new

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
        """Whether any row has this value in its key, counted from 0."""
        return self._db.execute(f"SELECT 1 FROM entries WHERE k{column} = ? LIMIT 1", (value,)).fetchone() is not None

    # -- giving back ---------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[bytes]:
        """All lines in order, each once, without line breaks."""
        may_tie = "SELECT EXISTS (SELECT 1 FROM others) OR EXISTS (SELECT 1 FROM rows WHERE window < ?)"
        if self._db.execute(may_tie, (self._window,)).fetchone() == (0,):
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
