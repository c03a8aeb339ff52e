"""What an event trigger announces: every new record at least once, nothing else, through whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
from urllib.parse import parse_qs

import pytest
from unit.triggers.model import HOUR, START, Model, Store, scene
from versions import needs

from airflow_provider_binance_margin.exchange.messages import Reply
from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationEventTrigger

STATE = "binance/force_liquidation/binance_default/cross"
NOW = int(START * 1000)


def windows(watcher):
    return [(event.payload["total"], event.payload["newest"]) for event in watcher.events]


def refused(status, code=None, **headers):
    body = b"<html/>" if code is None else b'{"code":%d,"msg":"no"}' % code
    return Reply(status, headers, body)


def test_a_first_start_announces_nothing_old():
    """What was there when the trigger was first started is not news, not even after base and triggerer have moved."""

    async def story(model, watcher):
        await asyncio.sleep(3 * 24 * 3600)
        await watcher.restart()
        await asyncio.sleep(60)

    model = Model(records=[(NOW - HOUR // 2, 0.0), (NOW - 5 * HOUR, 0.0), (NOW - 100 * HOUR, 0.0)])

    assert [] == scene(story, model=model, poll_interval=60).events


@pytest.mark.parametrize(
    ("since", "expected"),
    [("2026-02-02T00:40:00Z", 1), ("2026-02-01T00:00:00", 2), ("2025-10-01T00:00:00Z", 3), ("2026-02-02T02:00:00Z", 0)],
    ids=["an hour", "a day", "months: many windows", "now"],
)
def test_since_asks_for_what_is_old(since, expected):
    """With `since` a first start announces, once, all that has appeared from then on."""

    async def story(model, watcher):
        await asyncio.sleep(100)
        await watcher.restart()
        await asyncio.sleep(100)

    # START is 2026-02-02T02:40:00Z
    model = Model(records=[(NOW - HOUR, 0.0), (NOW - 20 * HOUR, 0.0), (NOW - 2000 * HOUR, 0.0)])
    watcher = scene(story, model=model, since=since)

    assert ([expected] if expected else []) == [event.payload["total"] for event in watcher.events]


@pytest.mark.parametrize("nothing", ["", "None"])
def test_a_since_that_names_no_moment_is_none(nothing):
    """However a template leaves it: Airflow tells triggers apart by their arguments."""
    assert ForceLiquidationEventTrigger(since=nothing).serialize() == ForceLiquidationEventTrigger().serialize()


def test_a_record_is_announced_within_a_poll():
    """A new record is announced once, within a poll interval and its answer, in a window that holds it."""

    async def story(model, watcher):
        await asyncio.sleep(31)
        model.add()
        await asyncio.sleep(3600)

    watcher = scene(story)
    (event,) = watcher.events

    assert 31 <= event.at <= 31 + 5.3
    assert event.holds(NOW + 31_000)
    assert {"start", "end", "total", "newest", "binance_conn_id", "isolated_symbol", "dataset"} == set(event.payload)


def test_ties_and_late_comers_are_news():
    """A second record of one millisecond, and one that comes an hour late by its own time, are announced too."""

    async def story(model, watcher):
        await asyncio.sleep(7200)
        time = model.now_ms()
        for late in (0, 0, 60_000, HOUR // 2, HOUR - 30_000):
            model.add(time - late)
            await asyncio.sleep(20)

    watcher = scene(story)

    assert [1, 2, 3, 4, 5] == [event.payload["total"] for event in watcher.events]
    assert all(event.holds(NOW + 7_200_000) for event in watcher.events)
    assert watcher.events[-1].holds(NOW + 7_200_000 - HOUR + 30_000)


@pytest.mark.parametrize("span", [3600, 6 * 3600, 7 * 24 * 3600])
def test_late_comers_are_news_whatever_the_longest_window(span):
    """A window that has passed is counted again as long as late-comers may appear in it."""

    async def story(model, watcher):
        await asyncio.sleep(24 * 3600 - 1200)
        for late in (10, 1000, 2000, 3000, 3500):
            model.add(model.now_ms() - late * 1000)
            await asyncio.sleep(60)

    assert 5 == len(scene(story, max_span=span, poll_interval=20).events)


@pytest.mark.parametrize("pause", [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 1])
def test_nothing_slips_through_while_the_base_moves(pause):
    """A record that appears between the counts that move the base is announced."""

    async def story(model, watcher):
        await asyncio.sleep(7200)
        model.add()
        count = len(model.sent)
        while len(model.sent) < count + 2:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.01)
        await asyncio.sleep(pause - 0.05)
        model.add(model.now_ms() - HOUR // 2)
        await asyncio.sleep(60)

    watcher = scene(story)

    assert [1, 2] == [event.payload["total"] for event in watcher.events]


@pytest.mark.parametrize("late", [0, HOUR // 2], ids=["new", "late"])
def test_a_stale_answer_hides_nothing(late):
    """A record that one server knows already and the next does not yet, while the base moves, is announced."""

    async def story(model, watcher):
        await asyncio.sleep(7200)
        model.add()
        while not watcher.events:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.01)
        count, known = len(model.sent), list(model.records)

        def behind(url):
            """The third request from here is answered by a server that lags."""
            if len(model.sent) == count + 1:
                model.add(model.now_ms() - late)
            if len(model.sent) == count + 3:
                hidden, model.records = model.records, known
                try:
                    return model.page(url)
                finally:
                    model.records = hidden
            return None

        await asyncio.sleep(0)
        model.wrong = behind
        await asyncio.sleep(60)

    model = Model()
    watcher = scene(story, model=model)
    (_, (new, _)) = model.records

    assert any(event.holds(new) for event in watcher.events[1:])


def test_the_base_moves_with_the_days():
    """A quiet account costs one request a poll, of a window that does not grow beyond a day and an hour."""

    async def story(model, watcher):
        await asyncio.sleep(10 * 24 * 3600)

    model = Model()
    watcher = scene(story, model=model, poll_interval=600)

    polls = 10 * 24 * 6
    assert polls - 30 <= len(model.sent) <= polls + 30
    assert [] == watcher.events
    assert NOW + 9 * 24 * HOUR - 2 * HOUR <= int(watcher.store[STATE].split('"since": ')[1].split(",")[0])


def test_a_restart_neither_repeats_nor_misses():
    """What was announced before a restart is not announced after it; what came meanwhile is, in one window."""

    async def story(model, watcher):
        await asyncio.sleep(60)
        model.add()
        await asyncio.sleep(60)
        await watcher.restart()
        await asyncio.sleep(60)
        await watcher.kill()
        await asyncio.sleep(30 * 24 * 3600)
        for late in (0, 0, 20 * 24 * HOUR):
            model.add(model.now_ms() - late)
        watcher.start()
        await asyncio.sleep(60)

    watcher = scene(story)

    assert [1, 4] == [event.payload["total"] for event in watcher.events]
    assert watcher.events[-1].holds(NOW + 10 * 24 * HOUR + 120_000)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 4.0])
def test_what_was_not_saved_is_announced_again(seconds):
    """Killed between an event and its remembering, the trigger announces it again: at least once."""

    async def story(model, watcher):
        await asyncio.sleep(60)
        model.add()
        while not watcher.events:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds)
        await watcher.restart()
        await asyncio.sleep(60)

    watcher = scene(story)

    assert [1, 1] == [event.payload["total"] for event in watcher.events]


@pytest.mark.parametrize("ahead", [-4.0, 600.0, 3 * 3600.0, -3 * 3600.0], ids=lambda ahead: f"{ahead:+.0f}s")
def test_a_wrong_clock_loses_nothing(ahead):
    """A machine whose clock is wrong by minutes or hours announces records as they appear."""

    async def story(model, watcher):
        await asyncio.sleep(30)
        model.add()
        await asyncio.sleep(30)
        model.add(model.now_ms() - HOUR // 2)
        await asyncio.sleep(30)

    watcher = scene(story, model=Model(clock_ahead=ahead))

    assert [1, 2] == [event.payload["total"] for event in watcher.events]


# -- what goes wrong ---------------------------------------------------------------------------------------------------

WRONG = {
    "rejected key": (lambda: refused(401, -2015), "were rejected", "somebody has to act"),
    "signature": (lambda: refused(400, -1022), "the signature is not valid", "somebody has to act"),
    "no answer": (
        lambda: Reply(None, fault="ClientConnectorError"),
        "could not be reached (ClientConnectorError)",
        "it may pass",
    ),
    "500": (lambda: refused(500), "the exchange failed (HTTP 500)", "it may pass"),
    "no JSON": (lambda: Reply(200, {}, b"<html/>"), "could not be read", "it may pass"),
    "no total": (lambda: Reply(200, {}, b'{"rows":[]}'), "states no total", "it may pass"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_trouble_is_told_once_and_waited_out(kind, caplog):
    """An error is logged once in words, asked about ever more seldom, said to be over, and nothing is lost by it."""
    answer, words, hope = WRONG[kind]
    caplog.set_level(logging.INFO, "airflow_provider_binance_margin")

    async def story(model, watcher):
        await asyncio.sleep(60)
        model.wrong = lambda _: answer()
        began = len(model.sent)
        await asyncio.sleep(1)
        model.add()
        await asyncio.sleep(12 * 3600)
        model.asked = len(model.sent) - began
        model.wrong = None
        await asyncio.sleep(700)

    model = Model()
    watcher = scene(story, model=model)

    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [1] == [event.payload["total"] for event in watcher.events]
    assert 12 * 6 <= model.asked <= 12 * 6 + 12
    assert 1 == len(told), told
    assert words in told[0]
    assert hope in told[0]
    assert "Poll succeeded again" in caplog.text


@pytest.mark.parametrize(("status", "seconds"), [(429, 60), (429, 3600), (418, 60), (418, 86_400), (403, 300)], ids=str)
def test_nothing_is_sent_before_the_time_that_the_exchange_named(status, seconds):
    """After a 429, a 418 or a 403 no request is made before its end, and the first soon after."""
    headers = {} if status == 403 else {"Retry-After": str(seconds)}

    async def story(model, watcher):
        await asyncio.sleep(61)
        began = len(model.sent)
        model.wrong = lambda _: refused(status, None if status == 403 else -1003, **headers)
        while len(model.sent) == began:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.01)
        model.wrong = None
        model.add()
        at = model.sent[-1]
        await asyncio.sleep(seconds + 60)
        model.first_after = next(time for time in model.sent if time > at) - at

    model = Model()
    watcher = scene(story, model=model)

    assert seconds <= model.first_after <= seconds + 6
    assert [1] == [event.payload["total"] for event in watcher.events]


def test_an_unexpected_exception_is_survived(caplog):
    """A mistake in our own code is logged by its class and waited out: the trigger does not end."""

    def wrong(_):
        raise ZeroDivisionError("signature=abc")

    async def story(model, watcher):
        await asyncio.sleep(60)
        model.wrong = wrong
        await asyncio.sleep(100)
        model.wrong = None
        model.add()
        await asyncio.sleep(200)

    watcher = scene(story)

    assert [1] == [event.payload["total"] for event in watcher.events]
    assert 1 == caplog.text.count("unexpected ZeroDivisionError")
    assert "signature" not in caplog.text


# -- the memory --------------------------------------------------------------------------------------------------------


def test_a_broken_memory_does_not_end_the_trigger(told):
    """A state store that fails for a time is asked again, said so once, and costs repetitions at most."""
    store = Store()
    store.broken = RuntimeError("database is locked")

    async def story(model, watcher):
        await asyncio.sleep(60)
        store.broken = None
        await asyncio.sleep(60)
        model.add()
        await asyncio.sleep(3)
        store.broken = RuntimeError("database is locked")
        await asyncio.sleep(60)
        store.broken = None
        await asyncio.sleep(60)
        await watcher.restart()
        await asyncio.sleep(60)

    watcher = scene(story, store=store)

    assert [1] == [event.payload["total"] for event in watcher.events]
    text = told()
    assert 1 == text.count("Catch-up failed, will retry at the next poll: RuntimeError")
    assert 1 == text.count("State not written, will retry at the next poll: RuntimeError")


GOOD = {"since": NOW - 2 * HOUR, "total": 0, "newest": None}
STATES = {
    "no since": {"total": 0, "newest": None},
    "no total": {"since": NOW, "newest": None},
    "no newest": {"since": NOW, "total": 0},
    "empty": {},
    "list": [],
    "list of the fields": [NOW, 0, None],
    "text": "1770000000000",
    "empty text": "",
    "number": 5,
    "nothing": 0,
    "truth": True,
    "untruth": False,
    "since of text": {**GOOD, "since": str(NOW)},
    "since of ISO text": {**GOOD, "since": "2026-02-02T02:40:00Z"},
    "since of nothing": {**GOOD, "since": None},
    "since of truth": {**GOOD, "since": True},
    "since before all": {**GOOD, "since": -1},
    "since in seconds": {**GOOD, "since": NOW // 1000},
    "since in microseconds": {**GOOD, "since": NOW * 1000},
    "since in a year": {**GOOD, "since": NOW + 365 * 24 * HOUR},
    "since of 30 digits": {**GOOD, "since": 10**30},
    "since without end": {**GOOD, "since": float("inf")},
    "since of no number": {**GOOD, "since": float("nan")},
    "total of text": {**GOOD, "total": "0"},
    "total below none": {**GOOD, "total": -1},
    "total of a list": {**GOOD, "total": [0]},
    "newest of text": {**GOOD, "newest": "soon"},
    "newest of a list": {**GOOD, "newest": []},
    "newest of a mapping": {**GOOD, "newest": {}},
    "an older version": {"watermark": NOW},
    "a newer version": {"version": 2, "cursor": {"since": NOW, "total": 0, "newest": None}},
}


@pytest.mark.parametrize("since", [None, "2026-02-02T01:00:00Z"], ids=["from now", "since"])
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_state_that_nobody_can_go_on_from_mutes_nothing(state, since, told):
    """It is said once with what is wrong, what is new (or since `since`) is announced, and a good state written."""
    store = Store()
    store[STATE] = json.dumps(state)

    async def story(model, watcher):
        await asyncio.sleep(60)
        model.add()
        await asyncio.sleep(60)
        await watcher.restart()
        await asyncio.sleep(60)
        model.add()
        await asyncio.sleep(60)

    watcher = scene(story, model=Model(records=[(NOW - 80 * 60_000, 0.0)]), store=store, since=since)

    assert ([1, 1, 2] if since else [1, 2]) == [event.payload["total"] for event in watcher.events]
    assert {"since", "total", "newest"} == set(json.loads(store[STATE]))
    text = told()
    assert 1 == text.count("State ignored, since it cannot be used: ")
    assert "will retry" not in text


@pytest.mark.parametrize(
    "error", [json.JSONDecodeError("m", "d", 0), UnicodeDecodeError("u", b"", 0, 1, "r")], ids=repr
)
def test_a_state_that_cannot_be_decoded_mutes_nothing(error, told):
    """Nor is it taken for a trigger that several assets share."""

    class Broken(Store):
        async def aget(self, *_):
            raise error

    async def story(model, watcher):
        await asyncio.sleep(60)
        model.add()
        await asyncio.sleep(60)

    watcher = scene(story, store=Broken())

    assert [1] == [event.payload["total"] for event in watcher.events]
    assert 1 == told().count(f"State ignored, since it cannot be used: {type(error).__name__}")
    assert "name= of its own" not in told()


def test_a_state_that_is_never_read_mutes_nothing(told):
    """A reference whose file is gone, say: what has appeared since the first poll is announced after some polls."""

    class Broken(Store):
        async def aget(self, key, *_):
            raise KeyError(key)

    async def story(model, watcher):
        await asyncio.sleep(30)
        model.add()
        await asyncio.sleep(300)

    watcher = scene(story, store=Broken())

    assert [1] == [event.payload["total"] for event in watcher.events]
    assert 1 == told().count("State ignored, since it cannot be used: KeyError at each of 20 polls")


@pytest.mark.parametrize("since", [None, "2025-10-01T00:00:00Z"], ids=["state", "state and since"])
def test_a_start_that_the_exchange_refuses_mutes_nothing(since, told):
    """What asks for too much of the past is done without, and said."""
    store = Store()
    store[STATE] = json.dumps({**GOOD, "since": NOW - 5000 * HOUR})

    def wrong(url):
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        return refused(400, -7001) if int(asked.get("startTime", NOW)) < NOW - 1000 * HOUR else None

    async def story(model, watcher):
        await asyncio.sleep(60)
        model.add()
        await asyncio.sleep(60)

    watcher = scene(story, model=Model(wrong=wrong), store=store, since=since)

    assert [1] == [event.payload["total"] for event in watcher.events]
    assert 1 == told().count("State ignored, since it cannot be used: the date range is not supported")
    assert NOW - 2 * HOUR < json.loads(store[STATE])["since"]


def test_a_good_state_is_not_warned_of(told):
    """Fields that a later version adds are no flaw."""
    store = Store()
    store[STATE] = json.dumps({**GOOD, "more": 1})

    async def story(model, watcher):
        await asyncio.sleep(60)

    watcher = scene(story, model=Model(records=[(NOW - HOUR, 0.0)]), store=store)

    assert [1] == [event.payload["total"] for event in watcher.events]
    assert "ignored" not in told()


def test_without_a_memory_its_cost_is_said(told):
    """An Airflow without asset state is told of at the start, in words; new records are announced as ever."""

    async def story(model, watcher):
        await asyncio.sleep(60)
        model.add()
        await asyncio.sleep(60)

    watcher = scene(story, store=None)

    assert [1] == [event.payload["total"] for event in watcher.events]
    assert 1 == told().count("what appears while the triggerer is down is not announced")


@needs("airflow.sdk.execution_time.context.AssetStateStoreAccessors")
def test_several_assets_on_one_trigger_are_told_of_with_the_cure(told):
    """Airflow's store refuses where two assets share a trigger: the log names the cure, and the trigger goes on."""
    from airflow.sdk import Asset
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

    store = AssetStateStoreAccessors(inlets=[Asset("one"), Asset("two")])

    async def story(model, watcher):
        await asyncio.sleep(60)
        model.add()
        await asyncio.sleep(60)

    watcher = scene(story, store=store)

    assert [1] == [event.payload["total"] for event in watcher.events]
    assert "give each trigger a name= of its own" in told()


def test_each_connection_and_filter_has_a_memory_of_its_own():
    """Watchers of several accounts or pairs may tell of one asset without overwriting what the others remember."""
    store = Store()

    async def story(model, watcher):
        await asyncio.sleep(30)

    for options in (
        {},
        {"binance_conn_id": "other/one"},
        {"isolated_symbol": "BTCUSDT"},
        {"isolated_symbol": "币USDT"},
    ):
        scene(story, store=store, **options)

    assert 4 == len(store)
    assert all(key.isascii() and key.count("/") == 3 for key in store)
