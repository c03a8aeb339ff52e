"""A watch sees each record that appears, and asks no more than it has to."""

import json
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_binance_margin.exchange.counter import RecordCounter
from airflow_provider_binance_margin.exchange.credentials import load_credentials
from airflow_provider_binance_margin.exchange.datasets import BORROW, FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.errors import (
    BinanceIncompleteError,
    BinanceSpanError,
    BinanceTransientError,
)
from airflow_provider_binance_margin.exchange.messages import Reply
from airflow_provider_binance_margin.exchange.paging import HOUR_MS, Span
from airflow_provider_binance_margin.exchange.scope import Scope

NOW = 1_760_000_000_000
SETTLE = 60_000


class Room:
    """An exchange with some times at which something happened, and a watch on it.

    Its clock is ours and `ahead` seconds more; an answer is `latency` seconds on its way back.
    """

    def __init__(self, rig, start, end, *times, span=7 * 24 * HOUR_MS, longest=None, symbol=None, settle=SETTLE / 1000):
        self.rig, self.times, self.asked, self.longest = rig, list(times), [], longest
        self.ahead = self.latency = 0.0
        self.dated = True
        rig.caller = replace(rig.caller, decode=FORCE_LIQUIDATION.read_page)
        self.make = lambda **changes: RecordCounter(
            **{
                "caller": rig.caller,
                "start": start,
                "end": end,
                "span": Span(span),
                "settle": settle,
                "dataset": FORCE_LIQUIDATION,
                "scope": Scope(symbol),
                **changes,
            }
        )
        self.watch = self.make()

    @property
    def span(self):
        return self.watch.span

    def now(self):
        return self.rig.clock.time() + self.ahead

    def __call__(self, request):
        reply = self.answer(request)
        date = {"Date": formatdate(int(self.now()), usegmt=True)} if self.dated else {}
        self.rig.clock.sleep(self.latency)
        return replace(reply, headers=date)

    def answer(self, request):
        if "/api/v3/time" in request.url:
            return Reply(200, {}, b'{"serverTime":%d}' % (self.now() * 1000))
        asked = dict(parse_qsl(urlsplit(request.url).query))
        if not -5000 <= int(asked["timestamp"]) - self.now() * 1000 < 1000:
            return Reply(400, {}, b'{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}')
        start, end = int(asked["startTime"]), int(asked["endTime"])
        self.asked.append((start, end))
        self.sent = asked
        if self.longest is not None and end - start + 1 > self.longest:
            return Reply(400, {}, b'{"code":-1127,"msg":"More than 1 hours between startTime and endTime."}')
        there = sorted((t for t in self.times if start <= t <= end), reverse=True)
        rows = [{"orderId": t, "symbol": "X", "isIsolated": False, "updatedTime": t} for t in there[:1]]
        return Reply(200, {}, json.dumps({"rows": rows, "total": len(there)}).encode())

    def look(self):
        self.asked.clear()
        return self.rig.drive(self.watch.poll(), self)


@pytest.mark.parametrize("symbol", [None, "BTCUSDT"])
def test_a_look_is_one_request_of_one_row(rig, symbol):
    """From the start to this moment, both ends inclusive as the exchange takes them."""
    room = Room(rig, NOW - 1_000, NOW + HOUR_MS, symbol=symbol)
    seen = room.look()
    sent = {name: room.sent.get(name) for name in ("startTime", "endTime", "isolatedSymbol", "current", "size")}
    assert (seen.total, seen.newest, seen.newest_time, seen.end, seen.closed) == (0, None, None, NOW + 1, False)
    assert (room.asked, sent) == (
        [(NOW - 1_000, NOW)],
        {
            "startTime": str(NOW - 1_000),
            "endTime": str(NOW),
            "isolatedSymbol": symbol,
            "current": "1",
            "size": "1",
        },
    )


def test_a_record_of_this_very_millisecond_is_seen(rig):
    """Total and newest say so."""
    seen = Room(rig, NOW, None, NOW).look()
    assert (seen.total, seen.newest_time) == (1, NOW)


def test_nothing_is_asked_about_what_has_not_begun(rig):
    """A window in the future costs no request."""
    room = Room(rig, NOW + 1, NOW + 2)
    assert (room.look().total, room.asked) == (0, [])


@pytest.mark.parametrize(
    ("age", "closed"),
    [
        pytest.param(SETTLE, True, id="settled"),
        pytest.param(SETTLE - 1, False, id="not-yet"),
        pytest.param(-1, False, id="open"),
    ],
)
def test_a_window_is_closed_once_it_has_settled(rig, age, closed):
    """Then nothing can appear in it any more, and it is not asked for again."""
    room = Room(rig, NOW - 10 * SETTLE, NOW - age, NOW - 9 * SETTLE)
    first, second = room.look(), room.look()
    assert (first.closed, second.closed, second.total, len(room.asked)) == (closed, closed, 1, 0 if closed else 1)


def test_a_long_watch_remembers_what_has_closed(rig):
    """Windows of the longest span, ascending; the next look asks for the last alone and still knows all."""
    room = Room(rig, NOW - 10 * HOUR_MS, None, NOW - 9 * HOUR_MS, NOW - 8 * HOUR_MS, span=4 * HOUR_MS)
    first, windows = room.look(), list(room.asked)
    assert windows == [
        (NOW - 10 * HOUR_MS, NOW - 6 * HOUR_MS - 1),
        (NOW - 6 * HOUR_MS, NOW - 2 * HOUR_MS - 1),
        (NOW - 2 * HOUR_MS, NOW),
    ]
    room.times.append(NOW - 1)
    second = room.look()
    assert ((first.total, first.newest_time), (second.total, second.newest_time), room.asked) == (
        (2, NOW - 8 * HOUR_MS),
        (3, NOW - 1),
        [(NOW - 2 * HOUR_MS, NOW)],
    )


def test_a_span_that_is_refused_is_halved_and_kept(rig):
    """No window is left out, and the next look is not refused again."""
    room = Room(rig, NOW - 8 * HOUR_MS, None, NOW - 7 * HOUR_MS, longest=2 * HOUR_MS, span=8 * HOUR_MS)
    assert (room.look().total, room.span.ms <= 2 * HOUR_MS) == (1, True)
    accepted = [window for window in room.asked if window[1] - window[0] < 2 * HOUR_MS]
    assert [b[0] - a[1] for a, b in pairwise(accepted)] == [1] * (len(accepted) - 1)
    assert (accepted[0][0], accepted[-1][1]) == (NOW - 8 * HOUR_MS, NOW)


def test_an_hour_that_is_refused_is_an_error(rig):
    """It is not the length then."""
    with pytest.raises(BinanceSpanError):
        Room(rig, NOW - HOUR_MS, NOW, longest=0).look()


def test_a_total_that_is_not_stated_is_no_zero(rig):
    """An unknown count would be taken for an empty window."""
    room = Room(rig, NOW - 1_000, None)
    with pytest.raises(BinanceIncompleteError, match="states no total"):
        rig.drive(room.watch.poll(), [Reply(200, {}, b'{"rows":[]}')])


CONTRADICTIONS = {
    "none shown": b'{"rows":[],"total":1}',
    "none stated": b'{"rows":[{"updatedTime":1}],"total":0}',
    "fewer than none": b'{"rows":[],"total":-1}',
    "fewer than none, one shown": b'{"rows":[{"updatedTime":1}],"total":-1}',
    "an error": b'{"rows":[],"total":0,"code":-1000,"msg":"m"}',
    "an error in the middle": b'{"rows":[],"code":-1000,"total":0}',
    "fewer than shown": b'{"rows":[{"updatedTime":1},{"updatedTime":2}],"total":1}',
}


@pytest.mark.parametrize("body", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_an_answer_at_odds_with_itself_tells_nothing(rig, body):
    """A total of nothing beside a record would close a window in which something is."""
    room = Room(rig, NOW - HOUR_MS, NOW - SETTLE)
    rig.caller = replace(rig.caller, attempts=1)
    room.watch = room.make(caller=rig.caller)
    dated = {"Date": formatdate(NOW // 1000, usegmt=True)}
    with pytest.raises(BinanceTransientError):
        rig.drive(room.watch.poll(), [Reply(200, dated, body)])
    assert room.watch.memory is None


# -- the exchange's clock closes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-600.0, -0.9, 0.0, 0.9, 4.0, 600.0])
@pytest.mark.parametrize("settle", [0.0, 2.0])
@pytest.mark.parametrize("new_process", [False, True], ids=["one process", "a process a look"])
def test_a_window_closes_by_the_exchanges_clock(rig, ahead, settle, new_process):
    """Never before its end by that clock, whatever ours says, and at most two seconds and a poll after."""
    room = Room(rig, NOW - HOUR_MS, NOW + 5_000 + int(ahead * 1000), settle=settle)
    room.ahead, room.latency = ahead, 0.04
    end = NOW / 1000 + 5 + ahead + settle
    for _ in range(100):
        began = room.now()
        if new_process:
            rig.host = type(rig.host)(rig.host.base_url, rig.clock)
            rig.caller = replace(rig.caller, host=rig.host)
            room.watch = room.make(caller=rig.caller)
        if room.look().closed:
            break
        rig.clock.sleep(0.1)
    assert end <= began + 1  # the look that closed it may have set our clock first
    assert end <= room.now() <= end + 2.5


@pytest.mark.parametrize("ahead", [-0.9, 0.9])
def test_what_was_asked_before_the_end_closes_nothing(rig, ahead):
    """An answer that takes seconds is dated after the window's end, but tells of what was there before."""
    room = Room(rig, NOW - HOUR_MS, NOW, settle=2.0)
    room.ahead = ahead

    def late(request):
        rig.clock.sleep(3.0)  # on its way there
        return room(request)

    rig.caller = replace(rig.caller, recv_window=60_000)
    room.answer = lambda _: Reply(200, {}, b'{"rows":[],"total":0}')
    assert rig.drive(room.watch.poll(), late).closed is False
    rig.clock.sleep(1.0)
    assert rig.drive(room.watch.poll(), room).closed is True


def test_an_exchange_that_says_no_time_closes_nothing(rig):
    """Without its clock there is no telling; with the first date there is, in that very look."""
    room = Room(rig, NOW - HOUR_MS, NOW - 10 * SETTLE)
    room.dated = False
    assert room.look().closed is False
    room.dated = True
    assert (room.look().closed, len(room.asked)) == (True, 1)


def test_a_clock_that_is_behind_hides_nothing(rig):
    """What appeared between our time and the exchange's is seen by the look that has set our clock."""
    room = Room(rig, NOW - HOUR_MS, None)
    room.ahead = 600.0
    room.times.append(NOW + 599_000)
    assert room.look().total == 1
    assert (room.look().total, len(room.asked)) == (1, 1)


# -- what another process goes on from ---------------------------------------------------------------------------------


def going_on(room, memory, **changes):
    """A watch of another process, with what was remembered on its way through JSON."""
    room.watch = room.make(**changes)
    room.watch.recall(json.loads(json.dumps(memory)))
    return room.watch


@pytest.mark.parametrize("length", [2.5, 3.0, 27.0, 28.0, 309.0])
def test_a_look_after_the_first_is_one_request_in_any_process(rig, length):
    """However far back the start is, round multiples of the span included, and until the span has passed again."""
    span = 7 * 24 * HOUR_MS
    oldest = NOW - int(length * span)
    room = Room(rig, oldest, None, oldest, NOW - 10, span=span)
    first = room.look()
    assert len(room.asked) <= length + 2
    for _ in range(5):
        going_on(room, room.watch.memory)
        rig.clock.sleep(20)
        assert (room.look().total, len(room.asked)) == (first.total, 1)
    counts = []
    for _ in range(16):
        going_on(room, room.watch.memory)
        rig.clock.sleep(12 * 3600)
        room.look()
        counts.append(len(room.asked))
    assert sorted(counts) == [1] * 15 + [2]  # a week has passed once


def test_the_newest_is_remembered_too(rig):
    """As the exchange sent it."""
    room = Room(rig, NOW - 10 * HOUR_MS, None, NOW - 9 * HOUR_MS, span=4 * HOUR_MS)
    first = room.look()
    memory = room.watch.memory
    second = going_on(room, memory) and room.look()
    assert (second.total, second.newest, len(room.asked)) == (1, first.newest, 1)


def test_what_was_counted_before_a_failure_is_remembered(rig):
    """The next process goes on where the failure was."""
    room = Room(rig, NOW - 10 * HOUR_MS, None, span=HOUR_MS)
    answers = iter(range(7))
    with pytest.raises(BinanceSpanError):
        rig.drive(room.watch.poll(), lambda request: room(request) if next(answers, 9) < 6 else Reply(400, {}, REFUSED))
    going_on(room, room.watch.memory)
    room.look()
    assert room.asked[0][0] == NOW - 4 * HOUR_MS


REFUSED = b'{"code":-1127,"msg":"m"}'


def test_a_span_that_was_refused_is_remembered(rig):
    """The next process is not refused again."""
    room = Room(rig, NOW - 30 * HOUR_MS, None, span=24 * HOUR_MS, longest=4 * HOUR_MS)
    room.look()
    going_on(room, room.watch.memory)
    rig.clock.sleep(3 * 3600)
    room.look()
    assert all(end - start < 4 * HOUR_MS for start, end in room.asked)


def test_nothing_is_remembered_of_a_window_that_is_open(rig):
    """There is nothing to go on from."""
    room = Room(rig, NOW - HOUR_MS, None)
    room.look()
    assert room.watch.memory is None


OTHER = {
    "start": {"start": NOW - 11 * HOUR_MS},
    "end": {"end": NOW + HOUR_MS},
    "pair": {"scope": Scope("BTCUSDT")},
    "filter": {"scope": Scope(None, (("asset", "BTC"),))},
    "dataset": {"dataset": BORROW},
    "settle": {"settle": 61.0},
}


@pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER)
def test_another_questions_count_is_not_taken(rig, changes):
    """A changed start, end, pair or settle is counted from its start."""
    room = Room(rig, NOW - 10 * HOUR_MS, None, NOW - 9 * HOUR_MS, span=4 * HOUR_MS)
    room.look()
    going_on(room, room.watch.memory, **changes)
    room.look()
    assert room.asked[0][0] == changes.get("start", NOW - 10 * HOUR_MS)


@pytest.mark.parametrize("what", ["key", "host", "endpoint"])
def test_another_accounts_count_is_not_taken(rig, what):
    """Whatever the connection is called; the memory shows no key."""
    room = Room(rig, NOW - 10 * HOUR_MS, None, NOW - 9 * HOUR_MS, span=4 * HOUR_MS)
    room.look()
    memory = room.watch.memory
    host = type(rig.host)("https://other.test", rig.clock)
    other = {
        "key": {"credentials": load_credentials("other", secret="s")},
        "host": {"host": host},
        "endpoint": {"path": "/sapi/v1/other"},
    }
    going_on(room, memory, caller=replace(rig.caller, **other[what]))
    room.look()
    assert len(room.asked) == 3
    assert rig.caller.credentials.api_key not in json.dumps(memory)


BROKEN = {
    "nothing": lambda _: None,
    "no mapping": lambda _: [1],
    "text": lambda _: "x",
    "empty": lambda _: {},
    "no newest": lambda good: {name: value for name, value in good.items() if name != "newest"},
    "until of text": lambda good: {**good, "until": "1"},
    "until before the start": lambda good: {**good, "until": 5},
    "until in a year": lambda good: {**good, "until": NOW + 365 * 24 * HOUR_MS},
    "total below none": lambda good: {**good, "total": -1},
    "total of truth": lambda good: {**good, "total": True},
    "newest that is no row": lambda good: {**good, "newest": "{"},
    "newest of nothing": lambda good: {**good, "newest": ""},
    "span of nothing": lambda good: {**good, "span": 0},
    "huge": lambda good: {**good, "until": 10**30},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_memory_that_cannot_be_read_is_no_harm(rig, broken):
    """The count starts anew."""
    room = Room(rig, NOW - 10 * HOUR_MS, None, NOW - 9 * HOUR_MS, span=4 * HOUR_MS)
    room.look()
    going_on(room, broken(room.watch.memory))
    assert (room.look().total, len(room.asked)) == (1, 3)
