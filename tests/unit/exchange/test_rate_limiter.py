"""Processes behind one address, in virtual time: they settle together at the share of the limit, none is refused."""

import heapq
import itertools
import json
import math
import random
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from unit.exchange.conftest import FakeClock

from airflow_provider_binance_margin.exchange.call import Caller
from airflow_provider_binance_margin.exchange.credentials import load_credentials
from airflow_provider_binance_margin.exchange.errors import BinanceError
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.messages import Reply, Wait

PATH = "/sapi/v1/thing"
MINUTE = 60.0
HEADERS = {"IP": "X-SAPI-USED-IP-WEIGHT-1M", "UID": "X-SAPI-USED-UID-WEIGHT-1M"}


class Fleet:
    """Processes of some threads each that always have a call to make, and an exchange that counts by the minute.

    :param lost: part of the answers that come without the used weight
    :param foreign: weight a second that others use, by the second since the begin
    :param way: seconds that a request or an answer is under way, at most
    """

    def __init__(
        self, *, weight=1, limit=12_000, kind="IP", share=0.6, lost=0.0, foreign=lambda _: 0, phase=0.0, way=0.2
    ):
        self.random = random.Random(f"{weight} {limit} {share}")
        self.clock = FakeClock()
        self.clock.sleep(MINUTE - self.clock.wall % MINUTE + phase)
        self.began, self.first_minute = self.clock.mono, self.clock.wall // MINUTE
        self.weight, self.limit, self.kind, self.share, self.lost, self.foreign = (
            weight,
            limit,
            kind,
            share,
            lost,
            foreign,
        )
        self.used, self.refused, self.way = {}, [], way
        self._events, self._numbers = [], itertools.count()
        self._later(1.0, self._others)

    def start(self, threads=8, *, key="key", after=0.0, calls=math.inf, then=None):
        process = SimpleNamespace(host=Host("https://exchange.test", self.clock), calls=calls, sent=0, threads=threads)
        options = {"kind": self.kind, "share": self.share, "width": 16}
        credentials = load_credentials(key, secret="s3cr3t")
        process.caller = Caller(process.host, credentials, PATH, self.weight, json.loads, **options)
        process.then = then
        for _ in range(threads):
            self._later(after + self.random.random() / 10, lambda: self._begin(process))
        return process

    def run(self, minutes):
        end = self.began + minutes * MINUTE
        while self._events and self._events[0][0] < end:
            at, _, act = heapq.heappop(self._events)
            self.clock.sleep(max(at - self.clock.mono, 0.0))
            act()
        return [self.used.get(self.first_minute + minute, 0) / self.limit for minute in range(minutes)]

    def _later(self, seconds, act):
        heapq.heappush(self._events, (self.clock.mono + seconds, next(self._numbers), act))

    def _others(self):
        self._count(self.foreign(self.clock.mono - self.began))
        self._later(1.0, self._others)

    def _count(self, weight):
        minute = self.clock.wall // MINUTE
        self.used[minute] = self.used.get(minute, 0) + weight
        return self.used[minute]

    def _begin(self, process):
        if process.calls > 0:
            process.calls -= 1
            self._step(process, process.caller.call({}), None)
            return
        process.threads -= 1
        if not process.threads and process.then:
            process.then()

    def _step(self, process, call, reply):
        try:
            step = call.send(reply)
        except (StopIteration, BinanceError):
            self._later(0.0, lambda: self._begin(process))
            return
        if not isinstance(step, Wait):
            self._later(self._way(), lambda: self._arrives(process, call))
        elif step.until is None:
            self._later(step.seconds, lambda: self._step(process, call, None))
        else:
            step.until.add_done_callback(lambda _: self._later(0.0, lambda: self._step(process, call, None)))

    def _way(self):
        return self.random.uniform(self.way / 20, self.way)

    def _arrives(self, process, call):
        used = self._count(self.weight)
        process.sent += self.weight
        self._later(self._way() / 2, lambda: self._answer(process, call, used))

    def _answer(self, process, call, used):
        """A request is counted when it comes, and its answer dated when it leaves, which may be in the next minute."""
        headers = {} if self.random.random() < self.lost else {HEADERS[self.kind]: str(used)}
        headers["Date"] = formatdate(int(self.clock.wall), usegmt=True)
        reply = Reply(200, headers, b"{}")
        if used > self.limit:
            self.refused.append((round(self.clock.mono - self.began, 1), process))
            left = math.ceil(MINUTE - self.clock.wall % MINUTE)
            reply = Reply(429, {**headers, "Retry-After": str(left)}, b'{"code":-1003,"msg":"m"}')
        self._later(self._way(), lambda: self._step(process, call, reply))


def minutes_of(fleet, processes, minutes, **options):
    """Part of the limit that was used in each minute."""
    for _ in range(processes):
        fleet.start(**options)
    return fleet.run(minutes)


@pytest.fixture(autouse=True)
def _same_each_time():
    """Backoff is random."""
    random.seed(1)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("weight", "processes", "first", "others"),
    [
        (10, 1, 0.2, 0.05),
        (10, 4, 0.05, 0.05),
        (10, 32, 0.1, 0.1),
        (100, 1, 0.2, 0.05),
        (100, 8, 0.2, 0.1),
        (100, 32, 0.25, 0.15),
    ],
)
def test_processes_settle_together_at_the_share(weight, processes, first, others, share):
    """However many they are: none is refused, and each minute's weight is the share of the limit."""
    fleet = Fleet(weight=weight, share=share)
    used = minutes_of(fleet, processes, 3)
    assert (fleet.refused, used[0], used[1:]) == (
        [],
        pytest.approx(share, abs=first),
        [pytest.approx(share, abs=others)] * 2,
    )


@pytest.mark.parametrize("phase", [0.0, 20.0, 50.0])
def test_a_process_alone_keeps_its_pace_as_minutes_end(phase):
    """Answers under way at that moment, whichever minute they were counted in, are not taken for what others use."""
    fleet = Fleet(phase=phase, way=0.05)
    used = minutes_of(fleet, 1, 4, threads=16)
    assert (fleet.refused, used[1] >= 0.5, used[2:]) == ([], True, [pytest.approx(0.59, abs=0.01)] * 2)


def test_processes_get_parts_of_one_order():
    """None takes all, none goes without."""
    fleet = Fleet(weight=10)
    processes = [fleet.start() for _ in range(8)]
    fleet.run(4)
    sent = [process.sent for process in processes]
    assert max(sent) < 3 * min(sent)


@pytest.mark.parametrize("weight", [10, 100])
def test_accounts_are_counted_by_themselves(weight):
    """All keys and processes of one account settle together at the share of its limit."""
    fleet = Fleet(weight=weight * 15, limit=180_000, kind="UID")
    for number in range(4):
        fleet.start(key=f"key-{number % 2}")
    assert (fleet.run(3)[1:], fleet.refused) == ([pytest.approx(0.6, abs=0.08)] * 2, [])


@pytest.mark.parametrize("weight", [10, 100])
@pytest.mark.parametrize("rate", [40, 100])
def test_foreign_load_that_comes_and_goes_is_made_room_for(weight, rate):
    """The sum stays at the share while others call, and ours takes all of it again in the minute after they end."""
    fleet = Fleet(weight=weight, foreign=lambda second: rate if 90 < second < 200 else 0)
    used = minutes_of(fleet, 8, 6)
    assert (fleet.refused, used) == ([], [pytest.approx(0.6, abs=0.18)] * 6)


@pytest.mark.parametrize("weight", [10, 100])
def test_foreign_load_beyond_the_share_leaves_little(weight):
    """Nobody is refused, as long as others alone stay below the limit."""
    fleet = Fleet(weight=weight, foreign=lambda second: 130 if 60 < second < 180 else 0)
    used = minutes_of(fleet, 8, 5)
    assert (fleet.refused, used[0], used[4]) == ([], pytest.approx(0.6, abs=0.08), pytest.approx(0.6, abs=0.08))


@pytest.mark.parametrize("weight", [10, 100])
@pytest.mark.parametrize(("lost", "processes"), [(0.3, 8), (0.7, 4), (1.0, 1)])
def test_answers_without_the_used_weight(weight, lost, processes):
    """What others have stated counts until the next word; a process that hears none keeps to its share by itself."""
    fleet = Fleet(weight=weight, lost=lost)
    used = minutes_of(fleet, processes, 4)
    assert (fleet.refused, used[1:]) == ([], [pytest.approx(0.6, abs=0.12)] * 3)


@pytest.mark.parametrize(("weight", "limit"), [(1, 600), (10, 3_000), (100, 6_000)])
@pytest.mark.parametrize("processes", [1, 4, 8])
def test_a_limit_that_is_lower_than_documented_is_met_once(weight, limit, processes):
    """Refusals come in one minute only; from then on the share of the true limit is used."""
    fleet = Fleet(weight=weight, limit=limit)
    used = minutes_of(fleet, processes, 6)
    refused_in = {int(at // MINUTE) for at, _ in fleet.refused}
    assert (len(refused_in) <= 1, used[2:]) == (True, [pytest.approx(0.6, abs=0.2)] * 4)


def test_processes_without_any_word_learn_from_their_refusals():
    """Each takes what it had sent itself for the limit, and so all together stay below it."""
    fleet = Fleet(weight=100, lost=1.0)
    used = minutes_of(fleet, 4, 5)
    assert ({int(at // MINUTE) for at, _ in fleet.refused}, used[1:]) == ({0}, [pytest.approx(0.6, abs=0.15)] * 4)


@pytest.mark.parametrize(("weight", "calls"), [(1, 200), (10, 40), (100, 5), (100, 20)])
def test_tasks_that_come_and_go_use_the_share_too(weight, calls):
    """Eight at a time, each a process that knows nothing yet."""
    fleet = Fleet(weight=weight)

    def begin():
        fleet.start(calls=calls, after=1.0, then=begin)

    for _ in range(8):
        begin()
    used = fleet.run(5)
    assert (fleet.refused, used[2:]) == ([], [pytest.approx(0.6, abs=0.12)] * 3)
