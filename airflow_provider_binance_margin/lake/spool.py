"""The rows of one object: each once, in order, on disk instead of in memory.

A private temporary sqlite3 database does all three. It stays in memory while it is small, spills to the temporary
folder when it is not, and is gone when it is closed or the process dies. Lines are kept page by page and compressed;
what is told apart and sorted is a small entry for each of them.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import chain, groupby
from types import TracebackType
from typing import Any, TypeAlias

KeyValue: TypeAlias = int | str | None
#: time, key, line; a row is known by its key, or, where the key lacks a value, by its line
Row: TypeAlias = tuple[int | None, tuple[KeyValue, ...], bytes]

_CACHE_KIB = 2048
_PAGES_AT_HAND = 16
_VALUES_AT_ONCE = 900  # old versions of sqlite take 999
_STATEMENTS = 16  # those of that many values are large

#: of the folder: full, or one that cannot be written to
_FOLDER_ERRORS = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOENT", "EIO")
_FOLDER_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class TemporaryFolderError(Exception):
    """The temporary folder cannot take more, or nothing at all; trying again may help."""


@contextmanager
def temporary_storage() -> Iterator[None]:
    """Raise a failure of the temporary folder as TemporaryFolderError, which names it.

    :raises TemporaryFolderError: when it is full or cannot be written to
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _FOLDER_CODES:
            raise
        reason: object = error
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) not in _FOLDER_ERRORS:
            raise
        reason = error.strerror
    else:
        return
    folder = os.environ.get("TMPDIR")
    named = f"TMPDIR={folder}" if folder else "TMPDIR is not set: /var/tmp or /tmp"
    raise TemporaryFolderError(
        f"the temporary folder ({named}) is full or cannot be written to: {reason}. Rows wait there until their object "
        "is written: make room in it, or set TMPDIR to another folder"
    ) from None


class _Database(sqlite3.Connection):
    def execute(self, *statement: Any) -> sqlite3.Cursor:
        with temporary_storage():
            return super().execute(*statement)


class Spool(AbstractContextManager["Spool"]):
    """Takes rows in any order and gives them back sorted by (time, key..., line), equal ones once.

    A record is there once, by its key, whatever windows have it: as its latest row has it. Where rows of one window
    differ under one key, nobody can say which is right, and all are kept.

    :param key_columns: how many values a row's key has
    :param draft: makes something of all rows, while those before an end (ms) are confirmed
    """

    def __init__(self, key_columns: int, draft: Callable[[Spool, int], Any] | None = None) -> None:
        # A spool is used by one thread at a time, but not always the one that made it.
        with temporary_storage():
            self._db = sqlite3.connect(
                "", isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS, factory=_Database
            )
        self._names = names = [f"k{i}" for i in range(key_columns)]
        self._key = key = ", ".join(names)
        self._same_key = same_key = " AND ".join(f"a.{name} = b.{name}" for name in names)
        # `rows` are known by their keys; `others`, the few whose key lacks a value or is another row's, by their lines.
        # `outdated` are those whose record a later window has too; `versions` are what windows have of such records.
        self._kept = kept = f"NOT EXISTS (SELECT 1 FROM outdated b WHERE a.window = b.window AND {same_key})"
        self._db.executescript(
            f"""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            PRAGMA cache_size = -{_CACHE_KIB};
            CREATE TABLE pages (id INTEGER PRIMARY KEY, lines BLOB);
            CREATE TABLE rows (window, {key}, time, page, position, PRIMARY KEY (window, {key})) WITHOUT ROWID;
            CREATE TABLE others (window, line, named, {key}, time, page, position, PRIMARY KEY (window, line))
                WITHOUT ROWID;
            CREATE TABLE versions ({key}, window, time, PRIMARY KEY ({key}, window)) WITHOUT ROWID;
            CREATE TABLE outdated (window, {key}, PRIMARY KEY (window, {key})) WITHOUT ROWID;
            CREATE VIEW entries AS
                SELECT time, {key}, page, position FROM rows a WHERE {kept}
                UNION ALL SELECT time, {key}, page, position FROM others a WHERE NOT named OR {kept};
            BEGIN
            """
        )
        self._lines_of = lru_cache(_PAGES_AT_HAND)(self._read_page)
        self._window = self._page = self._first_page = 0
        self.distinct = self.conflicts = self.fingerprint = 0  # of the current window
        self._records = self._rows = 0
        self._is_joined = True
        self._make_draft = draft
        self.draft: Any = None  # of the rows as they are

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Give back memory and disk."""
        self._lines_of.cache_clear()  # which refers to the spool itself: else it would wait for the garbage collector
        self._db.close()

    # -- filling: what exchange.paging asks of a sink --------------------------------------------------------------

    def clear(self) -> None:
        """Forget all rows."""
        self._delete("rows", "others", "pages")
        self._lines_of.cache_clear()
        self._page, self._is_joined, self.draft = 0, False, None
        self.start_window()

    def start_window(self) -> None:
        """The rows added from here on belong to a new window."""
        self._window += 1
        self._first_page = self._page
        self.distinct = self.conflicts = self.fingerprint = 0

    def restart_window(self) -> None:
        """Forget the rows of the current window."""
        if self._page > self._first_page:
            self._delete("rows", "others", where=f"WHERE window = {self._window}")
            self._delete("pages", where=f"WHERE id >= {self._first_page}")
            self._page = self._first_page
            self._lines_of.cache_clear()
            self._is_joined, self.draft = False, None
        self.distinct = self.conflicts = self.fingerprint = 0

    def _delete(self, *tables: str, where: str = "") -> None:
        for table in tables:
            self._db.execute(f"DELETE FROM {table} {where}")

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows to the current window; one that it already has is dropped."""
        page = list(rows)
        if not page:
            return
        self._is_joined, self.draft = False, None
        added = self._insert(
            [
                (self._window, *key, -1 if time is None else time, self._page, position)
                for position, (time, key, _) in enumerate(page)
                if None not in key
            ]
        )
        self.distinct += added
        lines = new = [line for _, _, line in page]
        if added < len(page):
            new = [line for position, line in enumerate(lines) if self._is_new(position, page)]
        self.fingerprint += sum(map(hash, new))
        self._db.execute("INSERT INTO pages VALUES (?, ?)", (self._page, zlib.compress(b"\n".join(lines), 1)))
        self._page += 1

    def _insert(self, entries: Sequence[tuple[KeyValue, ...]]) -> int:
        """Insert rows and return how many were taken: many in one step, since sqlite3 lets go of Python's lock in each.

        Where other threads wait for the lock, as those that fetch pages do, getting it back costs more than an insert.
        """
        taken, at_once = 0, _VALUES_AT_ONCE // (len(self._names) + 4)
        for start in range(0, len(entries), at_once):
            taken += self._insert_or_ignore("rows", entries[start : start + at_once])
        return taken

    def _insert_or_ignore(self, table: str, entries: Sequence[tuple[Any, ...]]) -> int:
        marks = f"({', '.join('?' * len(entries[0]))})"
        statement = f"INSERT OR IGNORE INTO {table} VALUES {', '.join([marks] * len(entries))}"
        return self._db.execute(statement, list(chain.from_iterable(entries))).rowcount

    def _is_new(self, position: int, page: Sequence[Row]) -> bool:
        """True for a row that the window lacked; one that its key does not tell apart is added by its line."""
        time, key, line = page[position]
        is_named = None not in key
        if is_named:
            known = " AND ".join(f"{name} = ?" for name in ("window", *self._names))
            find = f"SELECT page, position FROM rows WHERE {known}"
            number, place = self._db.execute(find, (self._window, *key)).fetchone()
            if (number, place) == (self._page, position):
                return True  # what its key stands for is this very row
            if line == (page[place][-1] if number == self._page else self._lines_of(number)[place]):
                return False  # or its equal
        sortable = ("" if value is None else value for value in key)
        entry = (self._window, line, is_named, *sortable, -1 if time is None else time, self._page, position)
        new = self._insert_or_ignore("others", [entry])
        if is_named:
            self.conflicts += new  # another row under a known key: kept beside it, counted once
        else:
            self.distinct += new
        return bool(new)

    def settle(self, end: int) -> None:
        """Make the draft, if there is to be one."""
        self.draft = self._make_draft(self, end) if self._make_draft else None

    # -- all windows ---------------------------------------------------------------------------------------------

    def _join_windows(self) -> None:
        """Find the rows that are outdated, since another window has a later version of their record; count the rest."""
        if self._is_joined:
            return
        self._delete("versions", "outdated")
        self._records, conflicts = self.distinct, self.conflicts
        if self._first_page > 0:  # there are more windows than the current one
            self._db.execute(
                f"INSERT INTO versions SELECT {self._key}, window, max(time, ifnull((SELECT max(b.time) FROM others b"
                f" WHERE b.window = a.window AND b.named AND {self._same_key}), -1)) FROM rows a"
                f" WHERE ({self._key}) IN (SELECT {self._key} FROM rows GROUP BY {self._key} HAVING count(*) > 1)"
            )
            self._db.execute(
                f"INSERT INTO outdated SELECT window, {self._key} FROM versions a WHERE EXISTS (SELECT 1 FROM"
                f" versions b WHERE {self._same_key} AND (b.time, b.window) > (a.time, a.window))"
            )
            self._records, conflicts = self._db.execute(
                f"SELECT (SELECT count(*) FROM rows a WHERE {self._kept})"
                " + (SELECT count(DISTINCT line) FROM others WHERE NOT named),"
                f" (SELECT count(*) FROM others a WHERE named AND {self._kept})"
            ).fetchone()
        self._rows = self._records + conflicts
        self._is_joined = True

    def records(self) -> int:
        """Number of records in all windows, by their keys."""
        self._join_windows()
        return self._records

    def rows(self) -> int:
        """Number of rows, or lines, in all windows: more than records where two differ under one key."""
        self._join_windows()
        return self._rows

    def times(self) -> tuple[int | None, int | None]:
        """The earliest and the latest time of all rows, in ms; None where there is none."""
        self._join_windows()
        return tuple(self._db.execute("SELECT min(time), max(time) FROM entries WHERE time >= 0").fetchone())

    def holds(self, column: int, value: KeyValue) -> bool:
        """True when any row has this value in that column of its key, counted from 0."""
        self._join_windows()
        return self._db.execute(f"SELECT 1 FROM entries WHERE k{column} = ? LIMIT 1", (value,)).fetchone() is not None

    # -- giving back ---------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[bytes]:
        """All lines in order, each once, without line breaks."""
        self._join_windows()
        may_tie = "SELECT EXISTS (SELECT 1 FROM others) OR EXISTS (SELECT 1 FROM outdated)"
        if self._db.execute(may_tie).fetchone() == (0,):
            places = self._db.execute(f"SELECT page, position FROM rows ORDER BY time, {self._key}")
            return (self._lines_of(page)[position] for page, position in places)
        return self._lines_with_ties()

    def _lines_with_ties(self) -> Iterator[bytes]:
        entries = self._db.execute(f"SELECT time, {self._key}, page, position FROM entries ORDER BY time, {self._key}")
        for _, ties in groupby(entries, key=lambda entry: entry[:-2]):
            yield from sorted({self._lines_of(page)[position] for *_, page, position in ties})

    def _read_page(self, page: int) -> Sequence[bytes]:
        (data,) = self._db.execute("SELECT lines FROM pages WHERE id = ?", (page,)).fetchone()
        return zlib.decompress(data).split(b"\n")
