"""Few requests in flight until answers show that there is room, and none that waits is signed or sent too late."""

import asyncio
import heapq
import itertools
import json
import math
import threading
import time
from concurrent.futures import wait
from contextlib import ExitStack
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from unit.exchange.conftest import FakeClock

from airflow_provider_binance_margin.exchange.call import Caller
from airflow_provider_binance_margin.exchange.credentials import load_credentials
from airflow_provider_binance_margin.exchange.errors import (
    BinanceBannedError,
    BinanceError,
    BinanceThrottledError,
)
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.in_flight import InFlight
from airflow_provider_binance_margin.exchange.messages import Reply, Wait, drive
from airflow_provider_binance_margin.exchange.rate_limiter import Endpoint, Limit
from airflow_provider_binance_margin.triggers.client import AsyncClient

PATH = "/sapi/v1/thing"
KEY = load_credentials("key", secret="s3cr3t")


class World:
    """Workers, one exchange and the way between them, in a time that nothing but them moves."""

    def __init__(self, *, latency, limit=12_000, header=True):
        self.clock = FakeClock()
        self.host = Host("https://exchange.test", self.clock)
        self.latency, self.limit, self.header = latency, limit, header
        self.used, self.banned, self.closed_at = {}, False, None
        self.sent, self.errors, self.answered = [], [], 0
        self._events, self._numbers = [], itertools.count()

    def caller(self, path=PATH, weight=1, **options):
        return Caller(self.host, KEY, path, weight, json.loads, **options)

    def answer(self, url):
        """One request as it arrives: over the limit the first is 429, all others 418."""
        path = urlsplit(url).path
        age = self.clock.wall * 1_000 - int(parse_qs(urlsplit(url).query)["timestamp"][0])
        if not -1_000 < age <= 5_000:
            return Reply(400, {}, b'{"code":-1021,"msg":"m"}')
        self.used[path] = self.used.get(path, 0) + 1
        used = {"X-SAPI-USED-IP-WEIGHT-1M": str(self.used[path])} if self.header else {}
        if self.used[path] > self.limit:
            status, self.banned = (418 if self.banned else 429), True
            return Reply(status, {**used, "Retry-After": "600"}, b'{"code":-1003,"msg":"m"}')
        return Reply(200, used, b'{"fine":true}')

    def work(self, calls, workers):
        """Let so many workers make the calls; a worker whose call fails goes on with the next."""
        calls = iter(calls)
        for _ in range(workers):
            self._next(calls)
        while self._events:
            at, _, act = heapq.heappop(self._events)
            self.clock.sleep(max(at - self.clock.mono, 0.0))
            act()

    def _at(self, seconds, act):
        heapq.heappush(self._events, (self.clock.mono + seconds, next(self._numbers), act))

    def _next(self, calls):
        if call := next(calls, None):
            self._step(call, None, calls)

    def _step(self, call, reply, calls):
        try:
            step = call.send(reply)
        except (StopIteration, BinanceError) as end:
            self.answered += isinstance(end, StopIteration)
            self.errors += [end] if isinstance(end, BinanceError) else []
            self._at(0.0, lambda: self._next(calls))
            return
        if not isinstance(step, Wait):
            self.sent.append(self.clock.mono)
            assert self.closed_at is None, "sent after a ban was known"
            self._at(self.latency / 2, lambda: self._arrives(call, step, calls))
        elif step.until is None:
            self._at(step.seconds, lambda: self._step(call, None, calls))
        else:
            step.until.add_done_callback(lambda _: self._at(0.0, lambda: self._step(call, None, calls)))

    def _arrives(self, call, request, calls):
        reply = self.answer(request.url)

        def delivered():
            if reply.status in (418, 429):
                self.closed_at = self.clock.mono
            self._step(call, reply, calls)

        self._at(self.latency / 2, delivered)


@pytest.mark.parametrize("latency", [0.01, 0.05, 0.4])
@pytest.mark.parametrize(("limit", "most"), [(10, 8), (30, 8), (60, 8), (100, 16), (200, 16), (900, 16)])
def test_a_limit_that_nobody_has_told_of_is_met_by_few(limit, most, latency):
    """Sixteen workers: one 429, and after it what was in flight beside, no more."""
    world = World(latency=latency, limit=limit)
    world.work((world.caller(width=16).call({}) for _ in range(limit * 2)), 16)
    assert world.answered == limit
    assert len(world.sent) - limit <= most
    assert {type(error) for error in world.errors} <= {BinanceThrottledError, BinanceBannedError}


@pytest.mark.parametrize("limit", range(5, 65))
def test_a_limit_of_sixty_or_less_is_met_by_eight_at_most(limit):
    """Whatever is in flight when it is reached: one 429 and seven beside it."""
    world = World(latency=0.05, limit=limit)
    world.work((world.caller(width=16).call({}) for _ in range(limit * 2)), 16)
    assert (world.answered, len(world.sent) - limit <= 8) == (limit, True)


def test_ten_thousand_records_cost_a_quarter_of_a_second_more():
    """A hundred pages, fifty milliseconds away, by a process that knows nothing yet."""
    seconds = {}
    for known in (False, True):
        world = World(latency=0.05)
        if known:
            world.host.record_response(200, {"x-sapi-used-ip-weight-1m": "400"}.get, Endpoint(PATH))
        world.work((world.caller(width=16).call({}) for _ in range(100)), 16)
        seconds[known] = world.clock.mono - 5_000.0
        assert world.answered == 100
    assert seconds[True] == pytest.approx(100 / 16 * 0.05, abs=0.05)
    assert seconds[False] - seconds[True] <= 0.26


@pytest.mark.parametrize("header", [True, False], ids=["used-weight", "no-header"])
def test_a_thousand_sensors_at_once_are_all_in_time(header):
    """Each is signed when it leaves, however long it has waited: with exact clocks none is refused."""
    world = World(latency=0.4, header=header)
    world.work([world.caller(attempts=1).call({}) for _ in range(1_000)], 1_000)
    assert (world.answered, world.errors, len(world.sent)) == (1_000, [], 1_000)
    assert world.clock.mono - 5_000.0 < (30.0 if header else 110.0)


@pytest.mark.parametrize("attempts", [1, 5])
def test_what_waits_when_a_ban_comes_is_never_sent(attempts):
    """Of sixty that wait for a place, all are told of the ban, and none leaves; nor of those that wait for the pace."""
    world = World(latency=0.4, limit=0)
    world.banned = True
    world.work([world.caller(attempts=attempts).call({}) for _ in range(60)], 60)
    assert ([type(error) for error in world.errors], len(world.sent)) == ([BinanceBannedError] * 60, 4)
    assert world.clock.mono == pytest.approx(5_000.4)


# -- how many ----------------------------------------------------------------------------------------------------------


def in_flight(host, path=PATH, weight=1, **options):
    """How many calls get a place at once."""
    calls = [Caller(host, KEY, path, weight, json.loads, **{"width": 50, **options}).call({}) for _ in range(60)]
    steps = [next(call) for call in calls]
    for call in calls:
        call.close()
    return sum(not isinstance(step, Wait) or step.until is None for step in steps)


def hear(host, used, status=200, path=PATH, **options):
    host.record_response(status, {"x-sapi-used-ip-weight-1m": str(used)}.get, Endpoint(path), **options)


@pytest.mark.parametrize(
    ("used", "places"),
    [(0, 4), (1, 8), (63, 8), (64, 16), (255, 16), (256, 32), (2_500, 50), (11_800, 25), (11_990, 1), (99_999, 1)],
)
def test_places_grow_with_the_weight_that_was_accepted(clock, used, places):
    """Up to where the room that is left below the limit is small again."""
    host = Host("https://exchange.test", clock)
    hear(host, used)
    assert in_flight(host) == places


def test_places_are_no_more_than_the_caller_can_carry(clock):
    """A transport has so many connections."""
    host = Host("https://exchange.test", clock)
    hear(host, 2_500)
    assert in_flight(host, width=16) == 16


def test_a_heavy_call_counts_by_its_weight(clock):
    """Calls of weight 100 that used 600 show no more room than six of weight 1, and are not doubled."""
    host = Host("https://exchange.test", clock)
    hear(host, 600)
    assert (in_flight(host, weight=100), in_flight(host, weight=1)) == (4, 32)


def test_a_limit_that_nothing_is_known_of_is_the_documented_one_of_its_kind(clock):
    """A call of weight 100 is heavy for an address, and light for an account."""
    host = Host("https://exchange.test", clock)
    assert [in_flight(host, weight=100, kind=kind) for kind in ("IP", "UID")] == [1, 4]


def test_what_one_endpoint_shows_is_not_believed_of_another(clock):
    """Each has a limit of its own, and a call of one need not wait for places of another."""
    host = Host("https://exchange.test", clock)
    hear(host, 100)
    busy = [Caller(host, KEY, PATH, 1, json.loads, width=50).call({}) for _ in range(30)]
    taken = [next(call) for call in busy]
    assert (sum(not isinstance(step, Wait) for step in taken), in_flight(host, "/other")) == (16, 4)
    for call in busy:
        call.close()


def test_refusals_show_no_room(clock):
    """Only an answer that was accepted does."""
    host = Host("https://exchange.test", clock)
    hear(host, 400, status=400)
    hear(host, 400, accepted=False)
    assert in_flight(host) == 4


def test_what_was_shown_an_hour_ago_is_forgotten(clock):
    """A smaller weight does not replace it before."""
    host = Host("https://exchange.test", clock)
    hear(host, 400)
    clock.sleep(1_800)
    hear(host, 10)
    assert in_flight(host) == 32
    clock.sleep(1_800)
    assert in_flight(host) == 4


def test_after_a_429_few_are_in_flight_again_and_fewer_near_its_limit(clock):
    """What was under way when it came shows no room."""
    host = Host("https://exchange.test", clock)
    hear(host, 60)
    hear(host, 61, status=429)
    host.record_throttle(429, "30", Endpoint(PATH), banned_until_ms=None)
    hear(host, 60)
    clock.sleep(30)
    places = [in_flight(host)]
    for used in (16, 40, 54, 60):
        hear(host, used)
        places.append(in_flight(host))
    assert places == [4, 5, 2, 1, 1]


# -- threads and event loops -------------------------------------------------------------------------------------------


def host_in_use(clock, n=4):
    """A host with so many requests in flight, which end when their calls are closed."""
    host = Host("https://exchange.test", clock)
    calls = [Caller(host, KEY, PATH, 1, json.loads).call({}) for _ in range(n)]
    for call in calls:
        assert not isinstance(next(call), Wait)
    return host, calls


def asynchronously(host, send):
    """Makes calls as the triggerer does, with this for a transport."""
    connection = SimpleNamespace(settings=SimpleNamespace(conn_id="c"), transport=SimpleNamespace(send=send))
    return lambda: AsyncClient.drive(connection, Caller(host, KEY, PATH, 1, json.loads, attempts=1).call({}))


def waiting(host):
    return sum(map(len, host.in_flight._waiting.values()))


def taken(host):
    return sum(map(len, host.in_flight._taken.values()))


async def ok(_):
    return Reply(200, {}, b"{}")


def test_a_cancelled_coroutine_gives_its_place_back(clock):
    """While it waits for one as while it is answered, and also where it was given one in the same moment."""

    async def scene():
        host, calls = host_in_use(clock)
        forever = asyncio.Event()

        async def never(_):
            await forever.wait()

        drive_one = asynchronously(host, never)
        queued = [asyncio.create_task(drive_one()) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert waiting(host) == 3
        queued[0].cancel()
        await asyncio.sleep(0.01)
        assert waiting(host) == 2
        calls[0].close()  # its place is given to the second...
        queued[1].cancel()  # ... which does not take it
        await asyncio.sleep(0.01)
        assert (waiting(host), taken(host)) == (0, 4)  # the third is sent
        queued[2].cancel()
        await asyncio.gather(*queued, return_exceptions=True)
        for call in calls:
            call.close()
        assert (in_flight(host), taken(host)) == (4, 0)

    asyncio.run(scene())


def test_a_turn_that_was_cancelled_while_it_waited_is_passed_on():
    """Before its block has ended: the next one in line is sent."""
    in_flight, limit = InFlight(lambda *_: 1), Limit(PATH, "IP", "")
    with ExitStack() as first:
        assert first.enter_context(in_flight.place(limit, 1, 4)) is None
        with in_flight.place(limit, 1, 4) as cancelled, in_flight.place(limit, 1, 4) as last:
            cancelled.cancel()
            first.close()
            assert last.done()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_call_that_is_cancelled_while_its_answer_is_decoded_gives_its_place_back(clock, monkeypatch, times):
    """On a thread, which cannot be cancelled: it is waited for, however often the coroutine is told to end."""
    monkeypatch.setattr("airflow_provider_binance_margin.triggers.client._LONG_BODY", 1)
    host, decoding, go_on = Host("https://exchange.test", clock), threading.Event(), threading.Event()

    def decode(_):
        decoding.set()
        go_on.wait(30)
        raise ValueError

    async def scene():
        connection = SimpleNamespace(settings=SimpleNamespace(conn_id="c"), transport=SimpleNamespace(send=ok))
        task = asyncio.create_task(AsyncClient.drive(connection, Caller(host, KEY, PATH, 1, decode).call({})))
        await asyncio.to_thread(decoding.wait, 30)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert (in_flight(host), taken(host)) == (4, 0)


def test_a_call_that_is_given_up_gives_its_place_back(clock):
    """Whatever ends it: a transport that raises, a wait that raises."""
    host, calls = host_in_use(clock, 0)

    def raises(*_):
        raise KeyboardInterrupt

    kept = []  # as a traceback keeps frames
    for _ in range(6):
        kept.append(Caller(host, KEY, PATH, 1, json.loads).call({}))
        with pytest.raises(KeyboardInterrupt):
            drive(kept[-1], raises, raises)
    assert (in_flight(host), calls) == (4, [])


class Counted:
    """How many requests are in flight, and were at most."""

    def __init__(self):
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_):
        with self.lock:
            self.now -= 1


def test_threads_and_event_loops_share_the_places_of_a_host():
    """No more than there are places at once, whoever sends; all get theirs, and nobody waits for ever."""
    host, counted = Host("https://exchange.test", time), Counted()

    def send(_):
        with counted:
            time.sleep(0.001)
        return Reply(200, {}, b"{}")

    async def send_async(request):
        with counted:
            await asyncio.sleep(0.001)
        return await ok(request)

    def pause(step):
        assert wait([step.until], 20).done

    def work():
        for _ in range(40):
            drive(Caller(host, KEY, PATH, 1, json.loads).call({}), send, pause)

    async def loop():
        await asyncio.wait_for(asyncio.gather(*(asynchronously(host, send_async)() for _ in range(200))), 30)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(loop())
    for thread in threads:
        thread.join(30)
    assert ([thread.is_alive() for thread in threads], counted.most, counted.now) == ([False] * 8, 4, 0)


def test_a_ban_that_a_thread_hears_of_stops_the_coroutines_that_wait(clock):
    """None of them is signed or sent."""
    host, calls = host_in_use(clock)
    sent = []

    async def send(request):
        sent.append(request)
        return await ok(request)

    async def scene():
        tasks = [asyncio.create_task(asynchronously(host, send)()) for _ in range(50)]
        await asyncio.sleep(0.01)
        thread = threading.Thread(target=banned)
        thread.start()
        return await asyncio.gather(*tasks, return_exceptions=True), thread.join()

    def banned():
        with pytest.raises(BinanceBannedError):
            calls[0].send(Reply(418, {"Retry-After": "600"}))

    ends, _ = asyncio.run(scene())
    assert ([type(end) for end in ends], sent) == ([BinanceBannedError] * 50, [])


def test_what_is_refused_in_any_case_does_not_wait_for_a_place(clock):
    """A ban, or a wait that is longer than the caller takes, is raised at once."""
    host, _calls = host_in_use(clock)
    host.record_throttle(429, "30", Endpoint(PATH), banned_until_ms=None)
    with pytest.raises(BinanceThrottledError):
        next(Caller(host, KEY, PATH, 1, json.loads, longest_wait=5.0).call({}))
    assert next(Caller(host, KEY, PATH, 1, json.loads).call({})).seconds == math.inf
