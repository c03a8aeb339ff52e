"""A window is read completely or not at all, however its records move meanwhile.

The exchange of these tests is a list of rows, newest first, that changes between two calls; what a read returns is
compared with every state that the list was in.
"""

import json
from functools import reduce
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_binance_margin.exchange import paging
from airflow_provider_binance_margin.exchange.dataset import Page
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.errors import (
    BinanceIncompleteError,
    BinanceSpanError,
    BinanceTransientError,
)
from airflow_provider_binance_margin.exchange.paging import HOUR_MS, MOST_PAGES, READINGS, Reader, Reading, Span
from airflow_provider_binance_margin.lake.spool import Spool

START, END = 1_000_000, 2_000_000
HALF = (END - START) // 2
WEEK = 7 * 24 * HOUR_MS


class Memory:
    """The simplest sink: lists."""

    def __init__(self):
        self.windows = []

    def clear(self):
        self.windows = []

    def start_window(self):
        self.windows.append([])

    def restart_window(self):
        self.windows[-1] = []

    def add(self, records):
        self.windows[-1] += records

    @property
    def distinct(self):
        return len({identity(record) for record in self.windows[-1]})

    @property
    def conflicts(self):
        return len({record.line for record in self.windows[-1]}) - self.distinct

    @property
    def fingerprint(self):
        return hash(frozenset(record.line for record in self.windows[-1]))

    def settle(self, end):
        self.settled = (end, len(self.windows[-1]))

    def kept(self):
        """Each row once, of the window that has the latest version of its record."""
        latest = {}
        for number, window in enumerate(self.windows):
            for record in window:
                version = (record.time or -1, number)
                latest[identity(record)] = max(version, latest.get(identity(record), version))
        return {
            record
            for number, window in enumerate(self.windows)
            for record in window
            if number == latest[identity(record)][1]
        }

    def records(self):
        return len({identity(record) for record in self.kept()})

    def rows(self):
        return len(self.kept())

    def lines(self):
        return [record.line for record in self.kept()]


def identity(record):
    return record.line if None in record.key else record.key


_spools = []


def spool():
    _spools.append(Spool(3))
    return _spools[-1]


@pytest.fixture(autouse=True)
def _spools_are_closed():
    yield
    while _spools:
        _spools.pop().close()


def row(number, at=START, symbol="BTCUSDT", qty="1", *, isolated=False):
    """One row of the exchange, as a tuple that can be compared and put into a set."""
    return (at, symbol, number, isolated, qty)


def body(rows, total):
    """As it comes over the wire, and is read by the endpoint itself."""
    made = [
        {"qty": qty, "orderId": number, "symbol": symbol, "isIsolated": isolated, "updatedTime": at}
        for at, symbol, number, isolated, qty in rows
    ]
    # a total that contradicts its rows is refused before; what gets here all the same must be seen through too
    return FORCE_LIQUIDATION.read_page(json.dumps({"rows": made}).encode())._replace(total=total)


def unpacked(lines):
    """The rows of a sink, as the tuples they were."""
    fields = ("updatedTime", "symbol", "orderId", "isIsolated", "qty")
    return sorted(tuple(json.loads(line)[name] for name in fields) for line in lines)


class Exchange:
    """Rows that can be asked for, with everything that was asked.

    :param rows: what there is at first
    :param moves: call number -> a function of the rows, applied before that call is answered
    :param size: rows on a page, whatever is asked for
    """

    def __init__(self, rows=(), moves=None, size=100):
        self.rows, self.moves, self.size = list(rows), moves or {}, size
        self.asked, self.states = [], []
        self.remember()

    def remember(self):
        self.states.append(set(self.rows))

    def matching(self, start, end):
        # ties stand in an order of their own, which nobody may rely on
        return sorted((r for r in self.rows if start <= r[0] < end), key=lambda r: (-r[0], hash(r)))

    def __call__(self, start, end, current):
        move = self.moves.get(len(self.asked))
        self.asked.append((start, end, current))
        if move is not None:
            self.rows = move(self.rows)
            self.remember()
        rows = self.matching(start, end)
        return body(rows[(current - 1) * self.size : current * self.size], len(rows))


def read(exchange, sink, start=START, end=END, *, span=WEEK, **how):
    reading = Reader(exchange, Span(span), **how).read(start, end, sink)
    return reading, unpacked(sink.lines())


def pages_of(n, size=100):
    return max(1, -(-n // size))


def old():
    """A clock by which every window of these tests ended days ago."""
    return (END + 10 * WEEK) / 1000


def recent():
    """A clock by which they ended just now."""
    return END / 1000


SINKS = pytest.mark.parametrize("make_sink", [Memory, spool], ids=["memory", "spool"])
MODES = pytest.mark.parametrize("require_total", [True, False], ids=["total", "pages"])


# -- nothing moves ---------------------------------------------------------------------------------------------------


@SINKS
@MODES
@pytest.mark.parametrize("n", [0, 1, 99, 100, 101, 199, 200, 201, 950])
@pytest.mark.parametrize("now", [old, recent, None])
def test_a_still_window_takes_no_more_requests_than_its_records_need(make_sink, require_total, n, now):
    """Its pages; if they are several, all of them once more, or of a window a day old the first and the last."""
    rows = [row(i, START + i) for i in range(n)]
    exchange = Exchange(rows)
    clock = {} if now is None else {"now": now}
    reading, got = read(exchange, make_sink(), require_total=require_total, **clock)
    pages = [*range(1, pages_of(n) + 1)]
    again = [] if len(pages) == 1 else [1, len(pages)] if now is old else pages
    assert (got, reading) == (sorted(rows), Reading(records=n, rows=n, total=n, requests=len(pages + again)))
    assert exchange.asked == [(START, END, current) for current in pages + again]


@pytest.mark.parametrize(
    ("age_ms", "requests"), [(24 * HOUR_MS, 3 + 2), (24 * HOUR_MS - 1, 3 + 3), (0, 3 + 3), (-1, 3 + 3)]
)
def test_rows_move_for_a_day_after_the_end_of_their_window(age_ms, requests):
    """By the exchange's clock."""
    rows = [row(i, START + i) for i in range(250)]
    reading, _ = read(Exchange(rows), Memory(), now=lambda: (END + age_ms) / 1000)
    assert reading.requests == requests


@settings(deadline=None, max_examples=80)
@given(
    rows=st.sets(st.builds(row, st.integers(1, 400), st.integers(START - 5, START + 60)), max_size=120),
    size=st.integers(1, 50),
    span=st.integers(1, 70),
    length=st.integers(1, 60),
    require_total=st.booleans(),
)
def test_windows_cover_an_interval_once_to_the_millisecond(rows, size, span, length, require_total):
    """Any span and page size: no millisecond is asked for twice or left out, and every row of the interval is there."""
    rows = list({(r[1], r[2], r[3]): r for r in rows}.values())
    exchange = Exchange(rows, size=size)
    reading, got = read(exchange, Memory(), START, START + length, span=span, require_total=require_total)
    windows = sorted({(start, end) for start, end, _ in exchange.asked})
    expected = [r for r in rows if START <= r[0] < START + length]
    assert (got, reading.records, reading.outside) == (sorted(expected), len(expected), 0)
    assert [a[1] - b[0] for a, b in pairwise(windows)] == [0] * (len(windows) - 1)
    assert (windows[0][0], windows[-1][1], max(b - a for a, b in windows)) == (START, START + length, min(span, length))
    needed = [pages_of(len(exchange.matching(*window)), size) for window in windows]
    once_more = len(windows) - 1
    assert reading.requests == len(exchange.asked) == sum(n if n == 1 else 2 * n for n in needed) + once_more


def test_an_empty_interval_asks_for_nothing():
    """There is nothing to ask for between an instant and itself."""
    exchange = Exchange()
    assert (read(exchange, Memory(), START, START), exchange.asked) == ((Reading(), []), [])


def test_ties_in_one_millisecond_are_all_read():
    """Three hundred records of one instant, on pages that cut through it."""
    rows = [row(i, START) for i in range(300)]
    assert read(Exchange(rows), spool())[1] == sorted(rows)


def test_one_order_id_of_many_pairs_is_many_records():
    """Order ids are numbered by pair, and a pair's isolated account is another one."""
    rows = [row(1, symbol=f"P{i}", isolated=isolated) for i in range(80) for isolated in (True, False)]
    assert read(Exchange(rows), spool())[1] == sorted(rows)


def backwards(fetch, asks):
    return map(fetch, reversed(list(asks)))


def test_pages_may_come_side_by_side_in_any_order():
    """How they are fetched is the caller's."""
    rows = [row(i, START + i) for i in range(750)]
    reading, got = read(Exchange(rows), spool(), fetch_pages=backwards)
    assert (got, reading.requests) == (sorted(rows), 2 * 8)


def test_a_server_that_caps_the_page_is_read_to_its_end():
    """If no more than 50 come, 100 asked for or not, there are twice as many pages."""
    rows = [row(i, START + i) for i in range(425)]
    reading, got = read(Exchange(rows, size=50), spool())
    assert (got, reading.requests) == (sorted(rows), 2 * 9)


# -- requests one after the other --------------------------------------------------------------------------------------


class SideBySide:
    """Pages fetched so many at once; `rounds` are the round trips that one waits for."""

    def __init__(self, width=16):
        self.width, self.rounds = width, 0

    def __call__(self, fetch, asks):
        asks = iter(asks)
        while at_once := list(islice(asks, self.width)):
            self.rounds += 1
            yield from [fetch(ask) for ask in at_once]


@pytest.mark.parametrize(
    ("n", "now", "requests", "rounds"),
    [
        (10, old, 1, 1),
        (11, old, 2 + 2, 1 + 1 + 1),
        (160, old, 16 + 2, 1 + 1 + 1),
        (990, old, 99 + 2, 1 + 7 + 1),
        (1_000, old, 100 + 2, 1 + 7 + 1),
        (1_000, recent, 100 + 2 + 100, 1 + 7 + 1 + 7),
        (2_000, old, 200 + 2, 1 + 13 + 1),
    ],
)
def test_rounds_of_a_reading(n, now, requests, rounds):
    """The first page, the others, of a young window the halves of a likely limit, and the confirmation."""
    rows = [row(i, START + HALF - n // 2 + i) for i in range(n)]
    at_once = SideBySide()
    reading, got = read(Exchange(rows, size=10), Memory(), now=now, fetch_pages=at_once)
    assert (got, reading.requests, at_once.rounds) == (sorted(rows), requests, rounds)


@pytest.mark.parametrize("n", [5, 15])
def test_rounds_of_several_windows(n):
    """Their first pages are looked at once more all at once."""
    rows = [row(i * 1_000 + j, START + 100_000 * i + j) for i in range(10) for j in range(n)]
    at_once = SideBySide()
    reading, _ = read(Exchange(rows, size=10), Memory(), span=100_000, now=old, fetch_pages=at_once)
    assert (reading.requests, at_once.rounds) == (10 * (1 if n <= 10 else 4) + 9, 10 * (1 if n <= 10 else 3) + 1)


@pytest.mark.parametrize(
    ("n", "counted", "requests", "rounds"),
    [(999, None, 1, 1), (8_000, None, 3, 2), (4_000, 1_000, 1 + 2 + 4 + 8, 4), (6_000, 1_000, 1 + 2 + 4 + 8, 4)],
)
def test_rounds_of_a_count(n, counted, requests, rounds):
    """Halves are counted level by level."""
    exchange = Capped([row(i, START + 1_000_000 * i // n) for i in range(n)], counted=counted or 10**9)
    at_once = SideBySide()
    count = Reader(exchange, Span(WEEK), fetch_pages=at_once).count(START, END)
    assert (count, len(exchange.asked), at_once.rounds) == (n, requests, rounds)


def test_a_window_beyond_a_limit_is_read_in_vain_once():
    """Its halves tell; then it is read by them."""
    exchange = Capped([row(i, START + 100 * i) for i in range(9_999)], listed=5_000, counted=5_000)
    read(exchange, spool(), now=old, fetch_pages=SideBySide(4))
    assert sum((start, end) == (START, END) for start, end, _ in exchange.asked) == 50


# -- everything moves ------------------------------------------------------------------------------------------------


def enters(*rows):
    return lambda there: [*there, *rows]


def leaves(index):
    return lambda there: there[:index] + there[index + 1 :]


def updated(index, at):
    """The row is served again with another quantity and a later time: it moves to the head."""
    return lambda there: (
        [*leaves(index)(there), (at, *there[index][1:4], there[index][4] + "1")] if there[index:] else there
    )


HEAD, TAIL = START + 900, START


@st.composite
def moving_exchanges(draw):
    """Up to forty rows on small pages; before up to six of the calls something moves, or some things do at once."""
    size = draw(st.integers(1, 7))
    times = draw(st.lists(st.integers(START + 1, START + 20), max_size=40))
    rows = [row(i, at, symbol=draw(st.sampled_from(["A", "B"]))) for i, at in enumerate(times)]
    new = iter(range(1_000, 2_000))
    kinds = {
        "enter": lambda: enters(row(number := next(new), HEAD + number)),
        "enter-tie": lambda: enters(row(next(new), START + 20)),
        "enter-many": lambda: enters(*(row(next(new), HEAD) for _ in range(size + 1))),
        "late": lambda: enters(row(next(new), TAIL)),
        "update": lambda: updated(draw(st.integers(0, 40)), HEAD + next(new)),
        "leave": lambda: leaves(draw(st.integers(0, 40))),
    }

    def move():
        names = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=3))
        steps = [kinds[name]() for name in names]
        return lambda there: reduce(lambda rows, step: step(rows), steps, there)

    return Exchange(rows, {call: move() for call in draw(st.sets(st.integers(0, 25), max_size=6))}, size)


@settings(deadline=None, max_examples=200)
@given(exchange=moving_exchanges(), require_total=st.booleans(), use_spool=st.booleans())
def test_what_is_read_is_a_state_the_exchange_was_in_or_an_error(exchange, require_total, use_spool):
    """Records enter, leave and are updated between the calls: never is one lost, doubled or invented."""
    sink = spool() if use_spool else Memory()
    try:
        reading, got = read(exchange, sink, require_total=require_total)
    except BinanceIncompleteError:
        return
    assert any(sorted(state) == sorted(set(got)) for state in exchange.states)
    assert reading.records == len({r[1:4] for r in got})
    assert reading.total == reading.records if reading.proof == "total" else not require_total


@SINKS
@pytest.mark.parametrize(
    "move",
    [
        pytest.param(enters(row(9_999, HEAD)), id="one-enters"),
        pytest.param(enters(*(row(9_000 + i, HEAD) for i in range(150))), id="more-than-a-page-enter"),
        pytest.param(enters(row(9_999, TAIL)), id="a-late-comer"),
        pytest.param(leaves(0), id="the-oldest-leaves"),
        pytest.param(leaves(249), id="the-newest-leaves"),
        pytest.param(updated(0, HEAD), id="one-not-yet-read-is-updated"),
        pytest.param(updated(249, HEAD), id="one-already-read-is-updated"),
        pytest.param(lambda _: [], id="all-leave"),
    ],
)
def test_one_move_in_the_middle_costs_another_reading_at_most(make_sink, move):
    """The window is read again where it has to be, and the result is the state before or after the move."""
    rows = [row(i, START + 1 + i) for i in range(250)]
    exchange = Exchange(rows, {1: move})
    reading, got = read(exchange, make_sink())
    assert (got in [sorted(state) for state in exchange.states], reading.requests <= 3 * 4) == (True, True)


def test_an_account_that_never_rests_is_an_error_and_not_a_guess():
    """A record enters before each call: after four readings the error names window, seen and stated numbers."""
    rows = [row(i, START + 1) for i in range(150)]
    moves = {call: enters(row(10_000 + call, HEAD)) for call in range(100)}
    exchange = Exchange(rows, moves)
    with pytest.raises(
        BinanceIncompleteError, match=r"\[1000000, 2000000\) ms was read 4 times.*157 distinct.*157 and 158"
    ):
        read(exchange, Memory())
    assert len(exchange.asked) == 2 * READINGS


def test_a_window_that_fails_is_a_fault_that_may_pass():
    """So that the task is retried."""
    assert issubclass(BinanceIncompleteError, BinanceTransientError)


def test_a_page_that_has_become_empty_ends_the_reading():
    """The total is not met any more, so that the pages behind it need not be asked for."""
    rows = [row(i, START + 1 + i) for i in range(900)]
    exchange = Exchange(rows, {1: lambda there: there[-100:]})
    reading, got = read(exchange, Memory())
    assert (got, [current for *_, current in exchange.asked]) == (sorted(rows[-100:]), [1, 2, 1])
    assert reading.requests == 3


# -- one leaves while another enters: the total stays ------------------------------------------------------------------


def swapped(index):
    """One row leaves at the very moment at which a late one enters behind all others."""
    return lambda there: enters(row(9_999, TAIL))(leaves(index)(there))


@SINKS
@MODES
@pytest.mark.parametrize(
    ("now", "index"),
    [*((recent, index) for index in (0, 49, 50, 100, 149, 150, 249)), *((old, index) for index in (0, 49, 150, 249))],
)
@pytest.mark.parametrize("call", [1, 2])
def test_a_row_that_leaves_while_another_enters_hides_no_third(make_sink, require_total, now, call, index):
    """Rows shift from a page that was read to one that was not, and the total stays: another look shows it.

    Between which two pages it happens, and on whichever page, the result is a state the account was in.
    """
    exchange = Exchange([row(i, START + 1 + i) for i in range(250)], {call: swapped(index)})
    reading, got = read(exchange, make_sink(), require_total=require_total, now=now)
    assert got in [sorted(state) for state in exchange.states]
    assert (reading.records, reading.total, reading.proof) == (250, 250, "total")
    assert reading.requests <= (3 + 2) * 2


def test_a_window_of_one_page_is_one_moment():
    """Nothing can move while it is read, and it needs no second look, however young."""
    exchange = Exchange([row(i, START + 1 + i) for i in range(100)], {1: swapped(50)})
    assert read(exchange, Memory(), now=recent)[0].requests == 1


def test_what_moves_on_inner_pages_of_an_old_window_is_not_seen():
    """As documented: of what ended more than a day ago, the first and the last page alone are looked at again."""
    exchange = Exchange([row(i, START + 1 + i) for i in range(250)], {2: swapped(100)})
    reading, got = read(exchange, Memory(), now=old)
    assert (reading.proof, got in [sorted(state) for state in exchange.states]) == ("total", False)


def test_two_copies_that_differ_for_good_are_not_seen():
    """As documented: if one page always comes from one copy and one from another, each reading is the same."""
    late = row(77, START)
    older, newer = TEN, [late, *TEN[:7], *TEN[8:]]  # a row has left, a late one has entered
    reading, got = read(scripted([(TEN[5:], 10), ([late, *TEN[:4]], 10)]), Memory(), now=recent)
    assert (reading.records, got == sorted(older), got == sorted(newer), TEN[4] in got) == (10, False, False, False)


@pytest.mark.parametrize("now", [old, recent])
def test_rows_of_one_time_may_come_in_another_order_each_time(now):
    """What pages hold changes, what the window holds does not: one reading more at most."""
    rows = [row(i, START) for i in range(250)]
    orders = iter([rows, rows, rows, *[rows[::-1]] * 20])

    def fetch(start, end, current):
        return body(next(orders)[(current - 1) * 100 : current * 100], 250)

    reading, got = read(fetch, spool(), now=now)
    assert (got, reading.requests <= 3 + 2 + 3) == (sorted(rows), True)


# -- a server that lists or counts no more than so many at once --------------------------------------------------------


class Capped(Exchange):
    """An exchange with limits.

    :param listed: no page shows a row beyond so many
    :param counted: no total is higher
    """

    def __init__(self, rows, listed=10**9, counted=10**9, **options):
        super().__init__(rows, **options)
        self.listed, self.counted = listed, counted

    def __call__(self, start, end, current):
        if move := self.moves.get(len(self.asked)):
            self.rows = move(self.rows)
            self.remember()
        self.asked.append((start, end, current))
        rows = self.matching(start, end)
        shown = rows[: self.listed][(current - 1) * self.size : current * self.size]
        return body(shown, min(len(rows), self.counted))


CAPS = pytest.mark.parametrize(
    "caps",
    [{"listed": 1_000}, {"counted": 1_000}, {"listed": 1_000, "counted": 1_000}, {"listed": 1_000, "counted": 1_500}],
    ids="-".join,
)


@MODES
@CAPS
@pytest.mark.parametrize("n", [1_000, 1_500, 2_301])
def test_a_server_with_a_limit_is_read_by_halves(require_total, caps, n):
    """Every record is there, and the total is that of all windows that were asked for."""
    rows = [row(i, START + 400 * i) for i in range(n)]
    exchange = Capped(rows, **caps)
    reading, got = read(exchange, spool(), require_total=require_total, now=old)
    assert (got, reading.records, reading.total, reading.proof) == (sorted(rows), n, n, "total")
    assert reading.requests == len(exchange.asked)


@CAPS
@pytest.mark.parametrize("n", [0, 1_000, 1_500, 1_501, 2_300, 4_321])
@pytest.mark.parametrize("crowd", [1, 400])
def test_a_server_with_a_limit_is_counted_by_halves(caps, n, crowd):
    """Wherever in the window its records are; a list's limit does not matter."""
    exchange = Capped([row(i, START + crowd * (i // 2)) for i in range(n)], **caps)
    assert Reader(exchange, Span(WEEK)).count(START, END) == n


@pytest.mark.parametrize(("n", "more"), [(999, 0), (1_000, 2), (1_001, 0), (1_500, 2), (1_750, 0), (2_000, 2)])
def test_a_number_that_looks_like_a_limit_costs_two_requests_more(n, more):
    """The halves add up, and neither has all of it: whatever they look like themselves, nothing is cut off.

    Of an old window, the same two pages are its confirmation.
    """
    rows = [row(i, START + 1_000_000 * i // n) for i in range(n)]
    exchange = Exchange(rows)
    reading, got = read(exchange, spool(), now=old)
    assert (got, reading.requests) == (sorted(rows), pages_of(n) + 2)
    exchange.asked.clear()
    reading, got = read(exchange, spool(), now=recent)
    assert (got, reading.requests) == (sorted(rows), 2 * pages_of(n) + more)
    exchange.asked.clear()
    assert (Reader(exchange, Span(WEEK)).count(START, END), len(exchange.asked)) == (n, 1 + more)


@MODES
@pytest.mark.parametrize("now", [old, recent])
@pytest.mark.parametrize("before", [19, 20])
@pytest.mark.parametrize("at", [START, START + 400_001, END - 1], ids=["oldest", "amid", "newest"])
@pytest.mark.parametrize("order", [map, backwards])
@pytest.mark.parametrize("apart", [400, 40_000])
def test_a_limit_that_is_reached_while_one_reads_hides_no_row(
    monkeypatch, require_total, now, before, at, order, apart
):
    """Whenever that is: a total that was right before is looked into again."""
    monkeypatch.setattr(paging, "_CAP_STEP", 10)
    rows = [row(i, START + apart * i + 1) for i in range(before)]
    for call in range(1, 20):
        enters = {call: lambda rows: [*rows, row(5_000, at)]}
        exchange = Capped(rows, listed=20, counted=20, moves=enters, size=5)
        reading, got = read(exchange, Memory(), require_total=require_total, now=now, fetch_pages=order)
        assert got in [sorted(state) for state in exchange.states]
        assert reading.requests == len(exchange.asked)


@MODES
@pytest.mark.parametrize("now", [old, recent])
@pytest.mark.parametrize("order", [map, backwards])
@pytest.mark.parametrize("size", [5, 6, 9])
@pytest.mark.parametrize("older", [3, 10, 18])
def test_a_row_that_leaves_a_window_beyond_a_limit_hides_no_other(monkeypatch, require_total, now, order, size, older):
    """With it the total is right again, and what was cut off is shown: whichever it is, between any two requests."""
    monkeypatch.setattr(paging, "_CAP_STEP", 10)
    rows = [row(i, START + (1_000 if i < older else HALF) + i) for i in range(21)]
    for call in range(pages_of(20, size), 12):
        for index in range(21):
            leaves = {call: lambda rows, index=index: [*rows[:index], *rows[index + 1 :]]}
            exchange = Capped(rows, listed=20, counted=20, moves=leaves, size=size)
            reading, got = read(exchange, Memory(), require_total=require_total, now=now, fetch_pages=order)
            assert got in [sorted(state) for state in exchange.states], (call, index)
            assert reading.requests == len(exchange.asked)


@pytest.mark.parametrize(("leaves", "enters"), [(249, 150), (249, 1), (0, 150), (0, 120), (130, 240)])
def test_a_row_that_leaves_a_full_window_while_another_enters_hides_no_third(monkeypatch, leaves, enters):
    """In one half as between the two, on the first page or the last: the halves show it as the whole does."""
    monkeypatch.setattr(paging, "_CAP_STEP", 125)
    rows = [row(i, START + 4_000 * i) for i in range(250)]
    for call in range(1, 6):
        late = row(999, START + 4_000 * enters + 1)
        swap = {call: lambda rows, late=late: [*(r for r in rows if r[2] != leaves), late]}
        exchange = Exchange(rows, swap, size=50)
        reading, got = read(exchange, Memory(), now=old)
        assert got in [sorted(state) for state in exchange.states], call
        assert reading.requests == len(exchange.asked)


def test_a_page_of_a_half_that_shows_too_few_confirms_nothing():
    """Whatever total it states: the totals of the halves and the whole's own ends are asked for instead."""
    rows = [row(i, START + 1_000 * i) for i in range(1_000)]

    class Sparse(Exchange):
        def __call__(self, start, end, current):
            page = super().__call__(start, end, current)
            return page if (start, end) == (START, END) else page._replace(records=page.records[:1])

    exchange = Sparse(rows)
    reading, got = read(exchange, spool(), now=old)
    assert (got, reading.requests, len(exchange.asked)) == (sorted(rows), 10 + 2 + 2 + 2, 10 + 2 + 2 + 2)


def test_what_is_confirmed_may_be_used_meanwhile():
    """While the pages that confirm a window are under way, the sink has all its rows; else it is not told."""
    told = {}
    for n, now in [(1_000, old), (950, old), (100, old), (950, recent)]:
        sink = Memory()
        read(Exchange([row(i, START + 1_000 * i) for i in range(n)]), sink, now=now)
        told[n, now] = getattr(sink, "settled", None)
    assert told == {(1_000, old): (END, 1_000), (950, old): (END, 950), (100, old): None, (950, recent): None}


@pytest.mark.parametrize(("first", "last", "levels"), [(0, 400_000, 2), (700_000, 999_999, 2), (600_000, 620_000, 6)])
def test_a_half_that_has_all_of_it_proves_nothing_and_is_halved(first, last, levels):
    """A limit cuts it off as it does the whole; so it goes on until the records are shared between two halves."""
    rows = [row(i, START + first + (last - first) * i // 1_000) for i in range(1_000)]
    exchange = Exchange(rows)
    reading, got = read(exchange, spool(), now=old)
    assert (got, reading.requests) == (sorted(rows), 10 + 2 + 2 * levels)
    exchange.asked.clear()
    assert (Reader(exchange, Span(WEEK)).count(START, END), len(exchange.asked)) == (1_000, 1 + 2 * levels)


@pytest.mark.parametrize("crowded", [0, 1])
def test_a_limit_is_seen_where_one_half_is_empty(crowded):
    """Both say the same number then, however many records there are."""
    rows = [row(i, START + HALF * crowded + 300 * i) for i in range(1_500)]
    exchange = Capped(rows, listed=1_000, counted=1_000)
    reading, got = read(exchange, spool(), now=old)
    assert (got, reading.total, Reader(exchange, Span(WEEK)).count(START, END)) == (sorted(rows), 1_500, 1_500)


@pytest.mark.parametrize("caps", [{"counted": 1_000}, {"listed": 1_000}])
@pytest.mark.parametrize("require_total", [True, False])
def test_a_millisecond_that_is_full_is_an_error_that_says_so(caps, require_total):
    """It cannot be halved, and nobody can say what more there is."""
    exchange = Capped([row(i, START + 5) for i in range(1_500)], **caps)
    with pytest.raises(BinanceIncompleteError, match="cannot be read in halves: it holds more records"):
        read(exchange, Memory(), require_total=require_total)
    assert len(exchange.asked) < 500


def test_counting_a_full_millisecond_is_an_error_too():
    """Its total may be a limit."""
    exchange = Capped([row(i, START + 5) for i in range(1_500)], counted=1_000)
    with pytest.raises(BinanceIncompleteError, match="cannot be read in halves"):
        Reader(exchange, Span(WEEK)).count(START, END)


@settings(deadline=None, max_examples=100)
@given(
    times=st.lists(st.integers(START, START + 60), max_size=70),
    size=st.integers(1, 9),
    caps=st.fixed_dictionaries({}, optional={"listed": st.integers(2, 9), "counted": st.integers(2, 9)}),
    require_total=st.booleans(),
    now=st.sampled_from([old, recent]),
)
def test_whatever_the_limits_all_is_read_or_it_is_an_error(times, size, caps, require_total, now):
    """With limits from ten on, for speed; errors are for milliseconds that hold as many as a limit."""
    rows = [row(i, at) for i, at in enumerate(times)]
    most = max(map(times.count, times), default=0)
    exchange = Capped(rows, size=size, **{name: number * 5 for name, number in caps.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "_CAP_STEP", 5)
        try:
            reading, got = read(exchange, Memory(), START, START + 64, require_total=require_total, now=now)
        except BinanceIncompleteError:
            assert most >= 10
            return
        assert (got, reading.records, reading.total) == (sorted(rows), len(rows), len(rows))
        assert Reader(exchange, Span(WEEK)).count(START, START + 64) == len(rows)


# -- an interval of several windows ------------------------------------------------------------------------------------


@SINKS
@pytest.mark.parametrize("index", [0, 120, 149])
@pytest.mark.parametrize("call", [2, 3, 4, 5])
def test_a_record_that_moves_to_a_later_window_is_in_the_interval_once(make_sink, index, call):
    """All windows are read again, so that their totals add up to the records, as an audit will find them."""
    rows = [row(i, START + 1 + i) for i in range(150)] + [row(500 + i, START + HALF + i) for i in range(150)]
    exchange = Exchange(rows, {call: updated(index, END - 1)})
    reading, got = read(exchange, make_sink(), span=HALF, now=recent)
    assert got == sorted(exchange.rows)
    assert (reading.records, reading.rows, reading.total) == (300, 300, 300)
    assert reading.total == Reader(exchange, Span(HALF)).count(START, END)
    assert reading.requests == sum(1 for _ in exchange.asked) - 2


THIRD = (END - START) // 3 + 1


@SINKS
@MODES
@pytest.mark.parametrize("now", [old, recent])
@pytest.mark.parametrize("n", [0, 150], ids="{} in the window it moves to".format)
@pytest.mark.parametrize(("source", "target"), [(1, 0), (2, 0), (2, 1)])
def test_a_record_that_moves_to_an_earlier_window_is_not_lost(make_sink, require_total, now, n, source, target):
    """Whenever it moves while the interval is read, the result is a state the account was in."""
    starts = [START + window * THIRD for window in range(3)]
    moved = row(1_000, starts[source] + 7)
    there = [row(i, starts[target] + 1 + i) for i in range(n)]

    def moves(rows):
        return [each for each in rows if each != moved] + [row(1_000, starts[target])]

    calls = 3 + 2 * (n > 0) * (2 + 1)
    for call in range(1, calls):
        exchange = Exchange([*there, moved], {call: moves})
        reading, got = read(exchange, make_sink(), span=THIRD, require_total=require_total, now=now)
        assert got in [sorted(state) for state in exchange.states]
        assert (reading.records, reading.requests) == (n + 1, len(exchange.asked))


@SINKS
@pytest.mark.parametrize(
    ("first", "to", "calls"), [(START, END - 100, (1, 3, 5, 7)), (START + HALF, START, (1, 4, 7, 10))]
)
def test_records_that_move_between_windows_at_each_reading_are_an_error(make_sink, first, to, calls):
    """None of the readings can be told to be a state the account was in."""
    rows = [row(i, first + i) for i in range(50)]
    moves = {call: updated(0, to + call) for call in calls}
    with pytest.raises(BinanceIncompleteError, match=r"\[1000000, 2000000\) ms was read 4 times.*between its windows"):
        read(Exchange(rows, moves), make_sink(), span=HALF)


@SINKS
@pytest.mark.parametrize("n", [5, 150])
def test_without_the_total_one_that_never_stays_is_not_held_against_a_window(make_sink, n):
    """Its rows are."""
    rows = [row(i, START + 1 + i) for i in range(n)] + [row(1_000 + i, START + HALF + i) for i in range(n)]
    exchange, totals = Exchange(rows), iter(range(5_001, 6_000))
    fetch = lambda *asked: exchange(*asked)._replace(total=next(totals))  # noqa: E731
    reading, got = read(fetch, make_sink(), span=HALF, require_total=False)
    assert (got, reading.proof) == (sorted(rows), "pages")


@SINKS
@MODES
@pytest.mark.parametrize("n", [1, 3, 150])
def test_rows_that_two_windows_answer_are_there_once_and_both_totals_are_stated(make_sink, require_total, n):
    """A server that takes the end as inclusive, and rounds it up: what it will state for an audit is the total."""
    rows = [row(i, START + HALF) for i in range(n)] + [row(1_000, START)]
    exchange = Exchange(rows)
    fetch = lambda start, end, current: exchange(start, end + 1, current)  # noqa: E731
    reading, got = read(fetch, make_sink(), span=HALF, require_total=require_total)
    assert (got, reading.records, reading.rows, reading.total) == (sorted(rows), n + 1, n + 1, 2 * n + 1)
    assert reading.total == Reader(fetch, Span(HALF)).count(START, END)


# -- answers that disagree with themselves ---------------------------------------------------------------------------


def scripted(pages, asked=None):
    """An exchange that answers page `current` from a list, whatever the window; beyond it, an empty one."""

    def fetch(start, end, current):
        if asked is not None:
            asked.append((start, end, current))
        rows, total = pages[current - 1] if current <= len(pages) else ([], pages[-1][1])
        return body(rows, total)

    return fetch


TEN = [row(i, START + i) for i in range(10)]

DISAGREEING = {
    "total-too-high": [(TEN[:5], 11), (TEN[5:], 11)],
    "total-too-low": [(TEN, 9)],
    "total-missing": [(TEN, None)],
    "total-zero": [(TEN, 0)],
    "total-negative": [(TEN, -10)],
    "total-changes": [(TEN[:5], 10), (TEN[5:], 11)],
    "total-missing-on-one": [(TEN[:5], 10), (TEN[5:], None)],
    "a-page-short": [(TEN[:5], 10), (TEN[5:9], 10)],
    "a-page-empty": [(TEN[:5], 10), ([], 10)],
    "first-page-empty": [([], 10)],
    "a-page-twice": [(TEN[:5], 10), (TEN[:5], 10)],
    "a-row-twice-for-another": [(TEN[:5], 10), ([*TEN[5:9], TEN[8]], 10)],
}


@SINKS
@pytest.mark.parametrize("pages", DISAGREEING.values(), ids=DISAGREEING)
def test_an_answer_at_odds_with_its_total_is_never_taken(make_sink, pages):
    """However often it comes."""
    with pytest.raises(BinanceIncompleteError):
        read(scripted(pages), make_sink())


@SINKS
@pytest.mark.parametrize("pages", DISAGREEING.values(), ids=DISAGREEING)
def test_without_the_total_two_equal_readings_to_an_empty_page_are_taken(make_sink, pages):
    """Every row of every page, once; the reading says what stands for it."""
    asked = []
    reading, got = read(scripted(pages, asked), make_sink(), require_total=False)
    totals = {total for _, total in pages}
    expected = sorted({r for rows, _ in pages for r in rows})
    stated = (totals.pop() or 0) if len(totals) == 1 else 0
    assert (sorted(set(got)), reading.records, reading.total, reading.proof) == (
        expected,
        len(expected),
        stated,
        "pages",
    )
    until_empty = next((i for i, (rows, _) in enumerate(pages, 1) if not rows), len(pages) + 1)
    assert [current for *_, current in asked] == [*range(1, until_empty + 1)] * 2


def test_without_the_total_readings_that_differ_are_not_taken():
    """If it is another row each time, nobody knows which."""
    count = iter(range(1_000))
    fetch = lambda *_: body([row(next(count))], 7)  # noqa: E731
    limited = lambda start, end, current: fetch() if current == 1 else body([], 7)  # noqa: E731, ARG005
    with pytest.raises(
        BinanceIncompleteError, match="never agreed with its total: 1 distinct records seen, total stated as 7"
    ):
        read(limited, Memory(), require_total=False)


def test_without_the_total_a_total_that_agrees_is_proof_enough():
    """Then it is no more work than with it."""
    reading, _ = read(scripted([(TEN[:5], 10), (TEN[5:], 10)]), Memory(), require_total=False)
    assert (reading.proof, reading.requests) == ("total", 2 * 2)


def test_a_fault_that_passes_is_read_over():
    """A page that was short once is whole at the next reading."""
    pages = iter([body(TEN[:5], 10), body(TEN[5:9], 10), body(TEN, 10)])
    assert read(lambda *_: next(pages), spool())[1] == sorted(TEN)


@SINKS
@MODES
def test_a_row_twice_on_a_page_is_one_record(make_sink, require_total):
    """Equal rows are taken once; the count is by key."""
    reading, got = read(scripted([([*TEN, TEN[9]], 10)]), make_sink(), require_total=require_total)
    assert (sorted(set(got)), reading.records) == (sorted(TEN), 10)


@SINKS
def test_two_rows_under_one_key_are_both_kept_and_counted_as_one(make_sink):
    """Read again first: if it stays, nobody can say which is right."""
    twin = (*TEN[9][:4], "2")
    reading, got = read(scripted([([*TEN, twin], 10)]), make_sink())
    numbers = (reading.records, reading.rows, reading.total, reading.conflicts, reading.proof, reading.requests)
    assert (got, numbers) == (sorted([*TEN, twin]), (10, 11, 10, 1, "total", READINGS))


@SINKS
def test_two_rows_under_one_key_that_were_a_moment_are_one(make_sink):
    """The next reading, without the old one, is taken."""
    pages = iter([body([*TEN, (*TEN[9][:4], "2")], 10), body(TEN, 10)])
    reading, got = read(lambda *_: next(pages), make_sink())
    assert (got, reading.conflicts, reading.requests) == (sorted(TEN), 0, 2)


def alternating(*readings):
    """An exchange that answers each reading's pages in turn, as they are listed."""
    pages = iter([body(*page) for reading in readings for page in reading])
    return lambda *_: next(pages)


CLEAN, TWIN = [(TEN[:5], 10), (TEN[5:], 10)], (*TEN[9][:4], "2")
ODD, ODDER = [(TEN[:5], 10), ([*TEN[5:], TWIN], 10)], [(TEN[:5], 10), ([*TEN[5:], (*TEN[9][:4], "3")], 10)]


@SINKS
@pytest.mark.parametrize(
    ("readings", "kept"),
    [
        pytest.param([ODD, ODD, ODD, ODD], [TWIN], id="in-all"),
        pytest.param([ODD, CLEAN, CLEAN], [], id="in-the-first"),
        pytest.param([CLEAN, ODD, CLEAN], [], id="between-two-equal-ones"),
        pytest.param([CLEAN, CLEAN], [], id="in-none"),
        pytest.param([ODD, ODD, CLEAN, ODD], [TWIN], id="in-all-but-one"),
        pytest.param([CLEAN, ODD, ODD, CLEAN], [], id="in-two-of-four"),
    ],
)
def test_of_two_rows_under_one_key_readings_that_are_equal_decide(make_sink, readings, kept):
    """What the last reading shows must have been seen before."""
    reading, got = read(alternating(*readings), make_sink())
    assert (got, reading.records, reading.rows, reading.total) == (sorted(TEN + kept), 10, 10 + len(kept), 10)


@SINKS
@pytest.mark.parametrize(
    "readings",
    [
        [CLEAN, [(TEN[:5], 9), (TEN[5:9], 9)], [(TEN[1:6], 9), (TEN[6:], 9)], ODD],
        [ODD, ODD, ODD, ODDER],
        [ODDER, ODD, ODD, CLEAN],
    ],
    ids=["clean-ones-that-differ", "another-twin-at-last", "a-clean-one-at-last"],
)
def test_a_row_that_one_reading_alone_shows_is_never_kept(make_sink, readings):
    """Nor lost: nothing is taken."""
    with pytest.raises(BinanceIncompleteError, match="never agreed with its total twice alike"):
        read(alternating(*readings), make_sink())


@SINKS
def test_rows_without_a_key_are_told_apart_by_their_whole_line(make_sink):
    """A system repayment may have no order id: two of them are two records."""
    page = FORCE_LIQUIDATION.read_page(b'{"rows":[{"symbol":"A"},{"symbol":"B"},{"symbol":"A"}],"total":2}')
    sink = make_sink()
    reading = Reader(lambda *_: page, Span(WEEK)).read(START, END, sink)
    assert (reading.records, reading.conflicts, {*sink.lines()}) == (2, 0, {b'{"symbol":"A"}', b'{"symbol":"B"}'})


def test_rows_outside_their_window_are_kept_and_counted():
    """Which field the exchange filters by is not documented: nothing is dropped for its time, or for having none."""
    rows = [row(1, START - 1), row(2, START), row(3, END - 1), row(4, END), row(5, None)]
    sink = Memory()
    reading = Reader(scripted([(rows, 5)]), Span(WEEK)).read(START, END, sink)
    assert (len(sink.lines()), reading.outside, reading.records) == (5, 3, 5)


def test_rows_outside_are_counted_in_the_reading_that_is_taken():
    """Not once more for each reading that was not."""
    rows = [row(1, START - 1), row(2, START)]
    pages = iter([body(rows, 3), body([], 2), body(rows, 2)])
    assert read(lambda *_: next(pages), Memory())[0].outside == 1


# -- ends that do not come -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [100 * MOST_PAGES + 1, 10**30 + 1])
def test_a_total_beyond_belief_is_an_error_at_once(total):
    """A million pages are not asked for."""
    asked = []
    with pytest.raises(BinanceIncompleteError, match="not believable"):
        read(scripted([([row(i) for i in range(100)], total)], asked), Memory())
    assert len(asked) == 1


def test_as_many_pages_as_are_believed_are_read(monkeypatch):
    """And not one more."""
    monkeypatch.setattr(paging, "MOST_PAGES", 3)
    rows = [row(i, START + i) for i in range(31)]
    assert read(Exchange(rows[:30], size=10), Memory())[1] == sorted(rows[:30])
    with pytest.raises(BinanceIncompleteError, match="states 31 records: not believable"):
        read(Exchange(rows, size=10), Memory())


def test_a_total_that_is_missing_is_called_so():
    """Where it is missing on some pages only, the stated one is named too."""
    with pytest.raises(BinanceIncompleteError, match="total stated as 10 and missing"):
        read(scripted(DISAGREEING["total-missing-on-one"]), Memory())


def test_a_list_that_never_ends_is_an_error(monkeypatch):
    """Pages that go on and on are asked for up to a number."""
    monkeypatch.setattr(paging, "MOST_PAGES", 50)
    asked = []
    with pytest.raises(BinanceIncompleteError, match="does not end after 50 pages"):
        read(lambda *what: asked.append(what) or body([row(len(asked))], 999), Memory(), require_total=False)
    assert len(asked) == 50


@SINKS
@pytest.mark.parametrize("pages", [[TEN], [TEN, TEN[:9]], [TEN, TEN[::-1], TEN[3:]]], ids=["one", "two", "three"])
def test_without_the_total_a_server_that_ignores_the_page_number_is_an_error_soon(make_sink, pages):
    """The same rows for ever are neither asked for a hundred thousand times nor taken for all there is."""
    asked = []
    with pytest.raises(BinanceIncompleteError, match="the same rows again and again"):
        read(
            lambda *what: asked.append(what) or body(pages[len(asked) % len(pages)], 999),
            make_sink(),
            require_total=False,
        )
    assert len(asked) <= 4


@pytest.mark.parametrize("total", [25, 801_234])
def test_with_the_total_a_server_that_ignores_the_page_number_is_an_error(total):
    """The second page without a new row is the last that is asked for."""
    asked = []
    with pytest.raises(BinanceIncompleteError, match="the same rows again and again"):
        read(lambda *what: asked.append(what) or body(TEN, total), Memory())
    assert [current for *_, current in asked] == [1, 2, 3]


def test_an_error_of_a_call_ends_the_reading():
    """What the call could not help, paging cannot."""

    def broken(start, end, current):
        raise BinanceTransientError("no answer")

    with pytest.raises(BinanceTransientError, match="no answer"):
        read(broken, Memory())


# -- spans -----------------------------------------------------------------------------------------------------------


def limited_to(longest_ms, exchange):
    """The exchange, refusing longer windows."""

    def fetch(start, end, current):
        if end - start > longest_ms:
            exchange.asked.append((start, end, current))
            raise BinanceSpanError("too long")
        return exchange(start, end, current)

    return fetch


@SINKS
@pytest.mark.parametrize("longest", [HOUR_MS, 24 * HOUR_MS, 30 * HOUR_MS, WEEK - 1, WEEK], ids=lambda ms: f"{ms}ms")
def test_a_window_that_is_too_long_is_halved_until_it_is_not(make_sink, longest):
    """Then every window is of the length that worked, the records are all there, and none is there twice."""
    rows = [row(i, i * HOUR_MS) for i in range(14 * 24)]
    exchange, span = Exchange(rows), Span(WEEK)
    sink = make_sink()
    reading = Reader(limited_to(longest, exchange), span).read(0, 2 * WEEK, sink)
    assert (unpacked(sink.lines()), reading.records, span.ms <= longest) == (sorted(rows), len(rows), True)
    accepted = [end - start for start, end, _ in exchange.asked if end - start <= longest]
    refused = [end - start for start, end, _ in exchange.asked if end - start > longest]
    assert (len(refused), max(accepted)) == (len({*refused}), span.ms)


def test_the_span_that_worked_is_kept_for_the_intervals_to_come():
    """One span serves a whole run: no later window is refused again."""
    exchange, span = Exchange(), Span(WEEK)
    reader = Reader(limited_to(24 * HOUR_MS, exchange), span)
    reader.read(0, WEEK, Memory())
    exchange.asked.clear()
    reader.read(WEEK, 2 * WEEK, Memory())
    assert [end - start for start, end, _ in exchange.asked if end - start > 24 * HOUR_MS] == []


@pytest.mark.parametrize(
    ("span", "tried"),
    [
        (WEEK, [WEEK, WEEK // 2, WEEK // 4, WEEK // 8, WEEK // 16, WEEK // 32, WEEK // 64, WEEK // 128, HOUR_MS]),
        (HOUR_MS, [HOUR_MS]),
        (90, [90]),
    ],
)
def test_an_hour_that_is_refused_is_an_error(span, tried):
    """It is not the length then: nothing shorter is tried."""
    exchange = Exchange()
    with pytest.raises(BinanceSpanError):
        Reader(limited_to(0, exchange), Span(span)).read(0, WEEK, Memory())
    assert [end - start for start, end, _ in exchange.asked] == tried


@SINKS
def test_a_span_refused_in_the_middle_of_a_window_leaves_nothing_behind(make_sink):
    """The rows of its first page come again in the shorter windows, and are there once."""
    rows = [row(i, i * HOUR_MS) for i in range(200)]
    exchange = Exchange(rows)

    def fetch(start, end, current):
        if current == 2 and end - start > 100 * HOUR_MS:
            raise BinanceSpanError("too long")
        return exchange(start, end, current)

    sink = make_sink()
    reading = Reader(fetch, Span(200 * HOUR_MS)).read(0, 200 * HOUR_MS, sink)
    assert (unpacked(sink.lines()), reading.records) == (sorted(rows), 200)


def test_readings_of_windows_add_up():
    """The weakest proof is the proof of the whole."""
    one = Reading(records=1, rows=6, total=2, requests=3, outside=4)
    both = one + Reading(records=10, rows=60, total=20, requests=30, outside=40, proof="pages")
    assert (both, (one + one).proof, both.conflicts) == (Reading(11, 66, 22, 33, 44, "pages"), "total", 55)


# -- counting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 250])
def test_counting_asks_for_one_page_of_each_window(n):
    """The total is all that is wanted."""
    exchange = Exchange([row(i, START + i * 10) for i in range(n)])
    assert Reader(exchange, Span(1_000)).count(START, START + 2_500) == n
    assert exchange.asked == [
        (START, START + 1_000, 1),
        (START + 1_000, START + 2_000, 1),
        (START + 2_000, START + 2_500, 1),
    ]


def test_counting_takes_shorter_windows_where_it_must():
    """As reading does."""
    exchange = Exchange([row(i, i * HOUR_MS) for i in range(100)])
    assert Reader(limited_to(10 * HOUR_MS, exchange), Span(WEEK)).count(0, WEEK) == 100


def test_a_total_that_is_not_stated_is_not_counted_as_none():
    """It is an error: nothing would be known."""
    with pytest.raises(BinanceIncompleteError, match="states no total"):
        Reader(lambda *_: Page([], None), Span(WEEK)).count(START, END)
