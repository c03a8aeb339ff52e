"""A window of a ledger is read completely or not at all, whatever its cursor means and however its ids are ordered."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_binance_margin.exchange.dataset import Page, Record
from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError
from airflow_provider_binance_margin.exchange.ledger import LedgerReader
from airflow_provider_binance_margin.exchange.paging import Span
from airflow_provider_binance_margin.lake.spool import Spool

DAY = 86_400_000
WEEK = 7 * DAY


def record(number, second, note=""):
    return Record(second * 1000, (number,), f'{{"id":{number},"timestamp":{second * 1000},"note":"{note}"}}'.encode())


def ledger(book, limit, span=None):
    return LedgerReader(book.fetch, span or Span(WEEK), limit=limit, make_sink=lambda: Spool(1))


class Book:
    """The exchange: rows, a limit, and each reading of its page that is not documented."""

    def __init__(self, rows, limit, *, asked=None, inclusive=False, newest_first=True, by="id", ignores_cursor=False):
        self.rows, self.limit, self.inclusive = list(rows), limit, inclusive
        self.asked = asked or limit
        self.newest_first, self.by, self.ignores_cursor = newest_first, by, ignores_cursor
        self.requests, self.before = 0, lambda _: None

    def fetch(self, start, end, from_id):
        self.requests += 1
        assert self.requests < 5000
        self.before(self.requests)
        rows = [row for row in self.rows if start <= row.time < end]
        if from_id is None or self.ignores_cursor:
            rows = sorted(rows, key=lambda row: (row.time, row.key))[-self.limit :]
        else:
            rows = [row for row in rows if row.key[0] > from_id - self.inclusive]
            order = (lambda row: row.key) if self.by == "id" else (lambda row: (row.time, row.key))
            rows = sorted(rows, key=order)[: self.limit]
        return Page(sorted(rows, key=lambda row: (row.time, row.key), reverse=self.newest_first), None)

    def read(self, start=0, end=WEEK):
        with Spool(1) as spool:
            reading = ledger(self, self.asked).read_window(start, end, spool)
            lines = list(spool.lines())
        assert reading.requests == self.requests
        assert (reading.records, reading.proof) == (len(lines), "exhausted")
        return lines

    def truth(self):
        return [row.line for row in sorted(self.rows, key=lambda row: (row.time, row.key))]


def ascending(count, *, per_second=3, first=10):
    return [record(first + n, 100 + n // per_second) for n in range(count)]


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(("count", "requests"), [(0, 2), (1, 2), (999, 2), (1000, 3), (1001, 3), (2500, 4), (2999, 4)])
def test_a_window_takes_one_request_for_each_page_and_one_that_confirms(inclusive, newest_first, count, requests):
    book = Book(ascending(count), 1000, inclusive=inclusive, newest_first=newest_first)
    assert book.read() == book.truth()
    assert book.requests <= requests + (inclusive and count in (1999, 2998, 2999))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_row_is_read_once_or_an_error_is_raised_whatever_the_exchange_means(data):
    """Ids in any order, seconds shared, cursor inclusive or not or ignored, pages by id or by time."""
    count, limit = data.draw(st.integers(0, 60)), data.draw(st.integers(2, 9))
    ids = data.draw(st.permutations(range(1, count + 1)) | st.just(list(range(1, count + 1))))
    seconds = sorted(data.draw(st.lists(st.integers(0, 40), min_size=count, max_size=count)))
    book = Book(
        [record(number, second) for number, second in zip(ids, seconds, strict=True)],
        limit,
        inclusive=data.draw(st.booleans()),
        newest_first=data.draw(st.booleans()),
        ignores_cursor=data.draw(st.booleans()),
    )
    fullest = max((seconds.count(second) for second in seconds), default=0)
    try:
        lines = book.read(0, 64_000)
    except BinanceIncompleteError:
        assert fullest >= limit
    else:
        assert lines == book.truth()


@pytest.mark.parametrize("way", [{}, {"inclusive": True}, {"newest_first": False}, {"ignores_cursor": True}])
@pytest.mark.parametrize("limit", [50, 100, 200, 300, 500])
@pytest.mark.parametrize("count", [0, 49, 50, 51, 299, 300, 301, 500, 999, 1000, 1001, 1200])
def test_a_limit_lower_than_what_is_asked_for_loses_nothing(limit, count, way):
    """An answer as long as a server's own limit is no proof that there is no more."""
    book = Book(ascending(count), limit, asked=1000, **way)
    assert book.read() == book.truth()
    if count % limit and not way:
        assert book.requests <= 3 + count // limit


@pytest.mark.parametrize("count", [50, 100, 300, 500])
def test_as_many_rows_as_a_limit_would_let_through_take_one_request_more(count):
    book = Book(ascending(count), 1000)
    assert book.read() == book.truth()
    assert book.requests == 3


def test_a_full_second_is_an_error_that_says_so():
    with pytest.raises(BinanceIncompleteError, match="a second this full"):
        Book([record(n, 5) for n in random.Random(1).sample(range(1, 99), 20)], 10, ignores_cursor=True).read()


def test_a_second_fuller_than_a_page_is_read_by_cursor_where_ids_are_in_order():
    book = Book([record(n, 5) for n in range(1, 26)], 10)
    assert book.read() == book.truth()


def test_an_id_that_comes_twice_halves_the_window():
    """What the halves share is one record, as its latest row has it."""
    older, later = record(20, 103), record(20, 108, "later")
    book = Book([*ascending(25), later], 10)
    with Spool(1) as spool:
        reading = ledger(book, 10).read_window(0, WEEK, spool)
        lines = list(spool.lines())
    assert sorted(lines) == sorted(line for line in book.truth() if line != older.line)
    assert (reading.records, len(lines), reading.requests) == (26, 25, book.requests)


@pytest.mark.parametrize("at", range(1, 6))
def test_a_row_that_enters_while_one_reads_is_never_taken_for_nothing(at):
    """What was there all the while is read; a late row is there or not, as with any reading."""
    book = Book(ascending(25), 10)
    late = record(900, 150)
    book.before = lambda request: book.rows.append(late) if request == at else None
    before = book.truth()
    lines = book.read()
    assert [line for line in lines if line != late.line] == before


def test_a_cursor_in_the_middle_of_the_ids_loses_nothing():
    """Ids far apart, and beyond 2**53."""
    book = Book([record(2**53 + 7 * n, 100 + n) for n in range(35)], 10, inclusive=True)
    assert book.read() == book.truth()


@pytest.mark.parametrize("count", [0, 1, 9, 10, 25])
@pytest.mark.parametrize("at", range(1, 5))
@pytest.mark.parametrize("kept", [0, 1, 5])
def test_an_answer_that_is_cut_short_once_loses_nothing(count, at, kept):
    """No total tells: what is alike twice, or confirmed, is believed."""
    book = Book(ascending(count), 10)
    fetch = book.fetch

    def cut(*window):
        page = fetch(*window)
        return Page(page.records[:kept], None) if book.requests == at else page

    book.fetch = cut
    assert book.read() == book.truth()


def test_a_window_that_is_never_answered_twice_alike_is_an_error():
    book = Book([], 10)
    book.before = lambda request: book.rows.append(record(request, request)) if request < 9 else None
    with pytest.raises(BinanceIncompleteError, match="never twice alike"):
        book.read()


@pytest.mark.parametrize("limit", [3, 10], ids=["halves", "windows"])
@pytest.mark.parametrize(("from_second", "to_second"), [(30, 10), (10, 30), (50, 10), (50, 30)])
def test_a_row_that_moves_from_one_window_to_another_is_there_once(limit, from_second, to_second):
    """Whenever it moves while windows are read, or halves of one that is too full: else records are missing."""
    moved = record(5, from_second)
    still = [record(3, 11), record(4, 12), record(7, 31), record(9, 51)]
    for call in range(1, 20):
        book = Book([*still, moved], limit)
        states = [book.truth()]

        def move(request, book=book, states=states, call=call):
            if request == call:
                book.rows = [*still, record(5, to_second)]
                states.append(book.truth())

        book.before = move
        reader = ledger(book, limit, Span(20_000))
        with Spool(1) as spool:
            reading = reader.read(0, 60_000, spool)
            assert list(spool.lines()) in states
        assert (reading.records, reading.requests) == (5, book.requests)


@pytest.mark.parametrize("at", range(1, 14))
def test_a_row_that_leaves_a_window_while_another_enters_a_later_one_is_noticed(at):
    """Fewer of the newest rows than one answer shows leave nothing open about a second that it would cut."""
    book = Book([record(1, 1), record(2, 1), record(3, 1), record(8, 30)], 3)
    states = [book.truth()]

    def swap(request):
        if request == at:
            book.rows = [*book.rows[1:], record(9, 31)]
            states.append(book.truth())

    book.before = swap
    reader = ledger(book, 3, Span(20_000))
    with Spool(1) as spool:
        reader.read(0, 40_000, spool)
        assert list(spool.lines()) in states


def test_a_row_against_the_order_of_ids_is_not_seen_where_a_cursor_is_cut_by_time():
    """As documented: the pages of such a cursor leave it out, and are those of a ledger without it."""
    rows = [record(10 + n, n) for n in range(9)]
    book = Book([*rows, record(1, 4, "unseen")], 3, by="time")
    assert book.read() == [row.line for row in rows]
