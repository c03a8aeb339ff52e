"""The event trigger as the triggerer runs it, with real sockets to the sandbox."""

from __future__ import annotations

import asyncio
import gc
import json
import logging

import pytest
from unit.triggers.model import Store
from unit.triggers.triggerer import known, until  # noqa: F401 - a fixture

from airflow_provider_binance_margin.lake.interval import ms, parse
from airflow_provider_binance_margin.triggers import shared_stream
from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationEventTrigger

HOUR = 3_600_000


class Triggerer:
    """Stand-in for Airflow's triggerer: runs each watcher, and collects what it fires."""

    def __init__(self):
        self.events, self.tasks = [], []

    def start(self, *triggers):
        self.tasks += [
            asyncio.create_task(self.run(number, trigger)) for number, trigger in enumerate(triggers, len(self.tasks))
        ]

    async def run(self, number, trigger):
        async for event in trigger.run():
            self.events.append((number, event.payload))

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        ended = await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []
        return [end for end in ended if not isinstance(end, asyncio.CancelledError)]


@pytest.fixture
def watch(sandbox, known):  # noqa: F811
    """Tell a story around running watchers; the triggerer afterwards. None of them may have ended, nothing be open."""

    def watch(story, *triggers):
        async def tell():
            triggerer = Triggerer()
            triggerer.start(*triggers)
            try:
                await story(triggerer)
            finally:
                ended = await triggerer.stop()
            assert [] == ended
            await asyncio.sleep(0)
            return triggerer

        triggerer = asyncio.run(tell())
        assert {} == shared_stream._streams
        gc.collect()
        return triggerer

    return watch


def make(store=None, **options):
    trigger = ForceLiquidationEventTrigger(**{"poll_interval": 1, **options})
    trigger.asset_state_store = Store() if store is None else store
    return trigger


def test_a_record_wakes_all_who_watch(watch, sandbox):
    """Each watcher of a connection fires once for a new record, with the window that holds it, and polls are shared."""

    async def story(triggerer):
        await until(lambda: len(sandbox.requests) >= 2)
        (record,) = sandbox.add(n=1)
        story.time = record["updatedTime"]
        await until(lambda: len(triggerer.events) == 3)
        await asyncio.sleep(1.5)

    events = watch(story, *(make(name=name) for name in "abc")).events

    assert [0, 1, 2] == sorted(number for number, _ in events)
    assert {(1, story.time)} == {(event["total"], ms(parse(event["newest"]))) for _, event in events}
    assert all(ms(parse(event["start"])) <= story.time < ms(parse(event["end"])) for _, event in events)
    assert len(sandbox.requests) <= 2 + 9 + 2


def test_a_thousand_watchers_make_one_request_a_poll(watch, sandbox, known):  # noqa: F811
    """However many watch one connection: one poll; and to catch up after a restart, one request more for all."""
    store = Store()
    store["binance/force_liquidation/binance_default/cross"] = json.dumps(
        {"since": sandbox.now_ms() - 5 * HOUR, "total": 0, "newest": None}
    )

    async def story(triggerer):
        await until(lambda: sandbox.requests)
        began = sandbox.now_ms()
        await asyncio.sleep(4)
        story.seconds = (sandbox.now_ms() - began) / 1000

    watch(story, *(make(store, name=str(number)) for number in range(1000)))

    assert 3 <= len(sandbox.requests) <= story.seconds + 3


def test_a_restart_catches_up_in_the_window_that_the_operator_takes(watch, sandbox):
    """What appears between two lives of the triggerer is announced in the second, in an interval that can be loaded."""
    from types import SimpleNamespace

    from airflow_provider_binance_margin.load_plan import resolve_plan

    store = Store()

    async def first_life(triggerer):
        await until(lambda: store)

    async def second_life(triggerer):
        await until(lambda: triggerer.events)
        await asyncio.sleep(1.5)

    watch(first_life, make(store))
    (record,) = sandbox.add(n=1)
    ((_, event),) = watch(second_life, make(store)).events

    extra = {"from_trigger": True, "payload": event}
    choice = resolve_plan({"triggering_asset_events": {"asset": [SimpleNamespace(extra=extra)]}})
    (interval,) = choice.intervals
    assert interval.start <= record["updatedTime"] < interval.end
    assert "asset_events" == choice.source


@pytest.mark.parametrize(("skip", "options"), [(1, {"at": "middle"}), (2, {"at": "head"}), (3, {"when": "after"})])
def test_what_slips_in_between_requests_is_announced(watch, sandbox, skip, options):
    """A record that enters at the very moment of a request, while the base moves, is announced."""
    sandbox.add(n=1, at=sandbox.now_ms() - 30_000)
    store = Store()
    store["binance/force_liquidation/binance_default/cross"] = json.dumps(
        {"since": sandbox.now_ms() - 3 * HOUR, "total": 0, "newest": None}
    )
    sandbox.fault("enter", skip=skip, **options)

    async def story(triggerer):
        await until(lambda: len(sandbox.requests) > skip + 2)
        await asyncio.sleep(0.2)

    async def rest(triggerer):
        await until(lambda: triggerer.events)

    events = watch(story, make(store)).events
    events += watch(rest, make(store)).events

    times = [record["updatedTime"] for record in sandbox.records()]
    now = sandbox.now_ms()
    assert 2 == len(times)
    for time in times:
        if time > now - HOUR:
            assert any(ms(parse(event["start"])) <= time < ms(parse(event["end"])) for _, event in events), time


@pytest.mark.parametrize(
    ("fault", "options", "seconds"),
    [("429", {"retry_after": 3}, 3), ("418", {"retry_after": 3}, 3), ("403", {"retry_after": 3}, 3)],
    ids=["429", "418", "403"],
)
def test_nothing_is_sent_before_the_exchange_allows_it(watch, sandbox, fault, options, seconds):
    """Told to wait, no watcher of the host sends anything before that time, and what came meanwhile is announced."""

    async def story(triggerer):
        await until(lambda: len(sandbox.requests) >= 2)
        sandbox.fault(fault, **options)
        await until(lambda: any(entry.fault for entry in sandbox.requests))
        sandbox.add(n=1)
        await until(lambda: triggerer.events)

    watch(story, make(), make(isolated_symbol="BTCUSDT"))

    (told,) = [entry.time for entry in sandbox.requests if entry.fault]
    after = [entry.time - told for entry in sandbox.requests if entry.time > told + 50]
    assert seconds * 1000 <= min(after)


@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        ("error", {"code": -1022}, "the signature is not valid"),
        ("error", {"code": -2015, "status": 401}, "were rejected"),
        ("500", {}, "the exchange failed"),
        ("reset", {}, "could not be reached"),
    ],
    ids=["-1022", "-2015", "500", "reset"],
)
def test_trouble_is_told_once_and_asked_about_ever_more_seldom(watch, sandbox, fault, options, words, caplog):
    """While an error lasts at most one request is made a poll interval, fewer and fewer; one line tells of it."""
    caplog.set_level(logging.INFO)

    async def story(triggerer):
        await until(lambda: len(sandbox.requests) >= 2)
        sandbox.fault(fault, times=None, **options)
        await until(lambda: sandbox.requests[-1].fault)
        await asyncio.sleep(5)
        story.asked = len([entry for entry in sandbox.requests if entry.fault])

    watch(story, make())

    told = [record.getMessage() for record in caplog.records if "Poll failed, will retry" in record.getMessage()]
    assert 1 == len(told)
    assert words in told[0]
    assert 2 <= story.asked <= 4


def test_a_dead_host_that_comes_back(watch, sandbox, caplog):
    """A lost network is waited out, and what appeared meanwhile is announced."""
    caplog.set_level(logging.INFO)

    async def story(triggerer):
        await until(lambda: len(sandbox.requests) >= 2)
        await asyncio.to_thread(sandbox.stop)
        await asyncio.sleep(1.5)
        sandbox.add(n=1)
        await asyncio.to_thread(sandbox.start)
        await until(lambda: triggerer.events)

    (event,) = watch(story, make()).events

    assert 1 == event[1]["total"]
    assert 1 == caplog.text.count(
        "Poll failed, will retry: connection 'binance_default': the exchange could not be reached"
    )
    assert "Poll succeeded again" in caplog.text


@pytest.mark.parametrize("fault", [None, "500", "-2015"])
def test_no_secret_is_shown(watch, sandbox, known, fault, caplog, capsys):  # noqa: F811
    """Arguments, events and logs of watchers, at the level DEBUG of every logger, hold no key, secret or signature."""
    conn = sandbox.connection()
    known(conn)
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.client", "aiohttp.internal", "asyncio", "airflow"):
        caplog.set_level(logging.DEBUG, name)
    trigger, store = make(), Store()
    trigger.asset_state_store = store

    async def story(triggerer):
        await until(lambda: len(sandbox.requests) >= 2)
        if fault:
            options = {"code": -2015, "status": 401} if fault == "-2015" else {}
            sandbox.fault("error" if options else fault, **options)
        sandbox.add(n=1)
        await until(lambda: triggerer.events)

    events = watch(story, trigger).events

    shown = repr((trigger, trigger.serialize(), events, dict(store)))
    shown += caplog.text + "".join(capsys.readouterr())
    assert "Using selector" in shown  # what is logged at DEBUG is there
    assert [] == [secret for secret in (conn["login"], conn["password"]) if secret in shown]
    assert "signature=" not in shown.replace("signature=***", "")
