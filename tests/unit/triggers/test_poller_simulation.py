"""An account as it may happen: records late and in ties, restarts at any moment. Every record must be announced."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.triggers.model import HOUR, START, Model, scene

NOW = int(START * 1000)
LENGTH = 3600.0
POLL, LATENCY, SAVE = 10, 1.0, 5.0

moment = st.floats(100.0, LENGTH, allow_nan=False).map(lambda seconds: round(seconds, 2))
#: when a record appears, how late it is by its own time, and how many there are of that millisecond
record = st.tuples(moment, st.sampled_from([0.0, 0.0, 0.5, 30.0, 600.0, 3000.0, 3590.0]), st.integers(1, 3))
#: when the triggerer dies, and for how long it stays away
death = st.tuples(moment, st.sampled_from([0.0, 0.0, 1.0, 30.0, 4000.0]))


@st.composite
def near(draw, moments):
    """A moment close to one of these: where the races are."""
    return round(draw(st.sampled_from(moments)) + draw(st.floats(0.0, 2 * POLL)), 2)


async def live(model, watcher, steps):
    loop = asyncio.get_running_loop()
    for at, what, *details in sorted(steps):
        await asyncio.sleep(max(at - loop.time(), 0.0))
        if what == "record":
            late, ties = details
            time = model.now_ms() - int(late * 1000)
            for _ in range(ties):
                model.add(time)
        else:
            await watcher.kill()
            watcher.deaths.append(loop.time())
            await asyncio.sleep(details[0])
            watcher.start()
    await asyncio.sleep(5 * POLL + 20)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_record_is_announced_and_nothing_else(data):
    """Whatever happens when: each record lies in a window announced after it appeared, and each event has news."""
    records = data.draw(st.lists(record, min_size=1, max_size=6), "records")
    close = near([at for at, _, _ in records])
    records += [(at, late, 1) for at, late in data.draw(st.lists(st.tuples(close, st.just(0.0) | st.just(1800.0))))]
    deaths = data.draw(st.lists(death | st.tuples(close, st.just(0.0)), max_size=4), "deaths")
    steps = [(at, "record", late, ties) for at, late, ties in records] + [(at, "death", away) for at, away in deaths]
    old = data.draw(st.lists(st.integers(0, 3 * HOUR), max_size=3), "old")
    model = Model(latency=LATENCY, records=[(NOW - age, 0.0) for age in old])

    async def story(model, watcher):
        watcher.deaths = []
        await live(model, watcher, steps)

    watcher = scene(story, model=model, poll_interval=POLL)

    check(model, watcher, len(old))


def check(model, watcher, old):
    new = model.records[old:]
    for time, appeared in new:
        assert any(event.holds(time) and event.at >= appeared for event in watcher.events), (time, appeared)
    known = 0.0
    for event in watcher.events:
        # what a request under way did not see is news to the next
        assert any(event.holds(time) and known - 8 * LATENCY < appeared <= event.at for time, appeared in new), event
        if not any(event.at <= died <= event.at + SAVE + 0.5 for died in watcher.deaths):
            known = event.at
