"""A watch sees each record that appears, and asks no more than it has to."""

import json
from dataclasses import replace
from itertools import pairwise
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError, BinanceSpanError
from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.paging import HOUR_MS, Span
from airflow_provider_binance_margin.exchange.watch import Watch
from airflow_provider_binance_margin.exchange.wire import Reply

NOW = 1_760_000_000_000
SETTLE = 60_000


class Room:
    """An exchange with some times at which something happened, and a watch on it."""

    def __init__(self, rig, start, end, *times, span=7 * 24 * HOUR_MS, longest=None, symbol=None):
        self.rig, self.times, self.asked, self.longest = rig, list(times), [], longest
        rig.caller = replace(rig.caller, decode=FORCE_LIQUIDATION.read_page)
        self.span = Span(span)
        self.watch = Watch(rig.caller, start, end, span=self.span, settle_ms=SETTLE, isolated_symbol=symbol)

    def __call__(self, request):
        asked = dict(parse_qsl(urlsplit(request.url).query))
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
        return self.rig.drive(self.watch.look(), self)


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
        rig.drive(room.watch.look(), [Reply(200, {}, b'{"rows":[]}')])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"rows":[],"total":1}', "states 1 records and shows none of them", id="none shown"),
    ],
)
def test_an_answer_at_odds_with_itself_tells_nothing(rig, body, words):
    """A total of nothing beside a record would close a window in which something is."""
    room = Room(rig, NOW - HOUR_MS, NOW - SETTLE)
    with pytest.raises(BinanceIncompleteError, match=f"^the exchange {words}"):
        rig.drive(room.watch.look(), [Reply(200, {}, body)])


def test_a_clock_that_runs_ahead_does_not_close_a_window_too_soon(rig):
    """If an answer set it back meanwhile, what is settled is judged by the corrected time."""
    room = Room(rig, NOW - 10 * SETTLE, NOW - SETTLE)
    call, behind = room.watch.look(), 10 * SETTLE
    replies = [Reply(400, {}, b'{"code":-1021,"msg":"m"}'), Reply(200, {}, b'{"serverTime":%d}' % (NOW - behind))]
    seen = rig.drive(call, [*replies, Reply(200, {}, b'{"rows":[],"total":0}')])
    assert seen.closed is False
