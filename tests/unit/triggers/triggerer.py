"""A triggerer in a test: triggers are made again from what Airflow stored, and run on a loop of their own."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter
from versions import deserialize, import_string

TIMED_OUT = {"next_method": "__fail__", "next_kwargs": {"error": "Trigger timeout"}}


def made_again(final):
    """The trigger of a task that was deferred, from the Execution API's payload."""
    kwargs = deserialize(final["trigger_kwargs"])
    return import_string(final["classpath"])(**kwargs)


async def until(what, seconds=60):
    """Wait until this is so; what changes it, such as the sandbox, runs in a thread or in another task."""
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def triggered(final):
    """How a deferred task goes on: with its trigger's event, or because the time is up."""
    timeout = final["trigger_timeout"]
    seconds = None if timeout is None else TypeAdapter(timedelta).validate_python(timeout).total_seconds()

    async def first_event():
        async with asyncio.timeout(seconds):
            async for event in made_again(final).run():
                return json.loads(json.dumps(event.payload, default=str))
        raise AssertionError("the trigger ended without an event")

    try:
        return {"next_method": final["next_method"], "next_kwargs": {"event": asyncio.run(first_event())}}
    except TimeoutError:
        return TIMED_OUT


def new_process():
    """Forget what a process knows of hosts."""
    from airflow_provider_binance_margin.hooks import hosts

    hosts._hosts.clear()


def live(make, mode, run_task, **run):
    """Run a sensor to its end as Airflow does, each leg like a new process; what it came to, and by which states."""
    states, first = [], None
    more = {}
    while True:
        if mode != "poke":
            new_process()
        options = {"mode": "reschedule"} if mode == "reschedule" else {"deferrable": mode == "deferrable"}
        began = datetime.now(UTC)
        done = run_task(make(**options), first_rescheduled=first, **run, **more)
        states.append(done.state)
        if done.state == "up_for_reschedule":
            first = first or began
            when = datetime.fromisoformat(done.final["reschedule_date"])
            time.sleep(max((when - datetime.now(UTC)).total_seconds(), 0))
        elif done.state == "deferred":
            new_process()
            more = triggered(done.final)
        else:
            return SimpleNamespace(state=done.state, error=done.error, result=done.result, states=states, final=done)


@pytest.fixture
def known(sandbox, monkeypatch):
    """Makes the sandbox known to the triggerer too, as `connect` does for tasks."""

    def known(conn, conn_id="binance_default"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({**conn, "extra": conn.get("extra") or "{}"}))

    known(sandbox.connection())
    return known
