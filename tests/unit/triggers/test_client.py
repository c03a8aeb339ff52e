"""The triggerer's client: it does what a call yields, on the event loop, and ends with it."""

from __future__ import annotations

import asyncio
import math
import threading
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import pytest
from unit.triggers.model import run

from airflow_provider_binance_margin.exchange.credentials import load_credentials
from airflow_provider_binance_margin.exchange.messages import Reply, Request, Wait
from airflow_provider_binance_margin.hooks.settings import Settings
from airflow_provider_binance_margin.triggers.client import AsyncClient, open_client

SETTINGS = Settings("http://127.0.0.1:9", load_credentials("a" * 64, secret="b" * 64), 5000, 15.0)
REQUEST = Request("https://of.test")


def client(body=b"{}", send=None):
    async def answer(_):
        await asyncio.sleep(1)
        return Reply(200, {}, body)

    return AsyncClient(SimpleNamespace(conn_id="c"), SimpleNamespace(send=send or answer))


class Steps:
    """A call that yields these, and remembers what it was handed, when it was closed, and by what it ended."""

    def __init__(self, *steps):
        self.steps, self.handed, self.is_closed = steps, [], False

    def call(self):
        try:
            for step in self.steps:
                self.handed.append((yield step))
            return "done"
        finally:
            self.is_closed = True


def test_each_step_is_taken_and_its_reply_handed_over():
    """A reply is the answer to its own request, and a wait takes as long as it says."""
    steps = Steps(Wait(7.5), REQUEST, Wait(2.5), REQUEST)

    async def drive():
        return await client().drive(steps.call()), asyncio.get_running_loop().time()

    assert ("done", 12.0) == run(drive())
    assert [None, 200, None, 200] == [reply and reply.status for reply in steps.handed]


def test_a_turn_is_waited_for_until_it_comes():
    """However long: another call's end makes it come."""
    turn = Future()
    steps = Steps(Wait(math.inf, until=turn))

    async def drive():
        asyncio.get_running_loop().call_later(1000, turn.set_result, None)
        await client().drive(steps.call())
        return asyncio.get_running_loop().time()

    assert run(drive()) == 1000
    assert steps.handed == [None]


@pytest.mark.parametrize("step", [Wait(5.0), Wait(math.inf, until=Future()), REQUEST], ids=["pause", "turn", "request"])
def test_a_call_that_is_cancelled_is_closed_at_once(step):
    """Its place in flight is another's then, whoever still holds a reference to it."""
    steps = Steps(step)

    async def drive():
        call = steps.call()
        driving = asyncio.create_task(client().drive(call))
        await asyncio.sleep(0.5)
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving
        return steps.is_closed

    assert run(drive())


def test_a_call_is_closed_when_the_transport_breaks():
    async def broken(_):
        raise RuntimeError("of this test")

    steps = Steps(REQUEST)
    call = steps.call()

    with pytest.raises(RuntimeError, match="of this test"):
        run(client(send=broken).drive(call))
    assert steps.is_closed


@pytest.mark.parametrize("times", [1, 3])
def test_a_call_that_decodes_ends_before_its_cancellation(times):
    """A generator cannot be closed while it runs, however often its driver is cancelled meanwhile."""
    started, may_go_on = threading.Event(), threading.Event()
    ended = []

    def call():
        yield REQUEST
        started.set()
        ended.append(may_go_on.wait(10))

    async def answer(_):
        return Reply(200, {}, b"x" * 300_000)

    async def drive():
        driving = asyncio.create_task(client(send=answer).drive(call()))
        await asyncio.to_thread(started.wait, 10)
        for _ in range(times):
            driving.cancel()
            await asyncio.sleep(0.01)
        before = list(ended)
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await driving
        return before

    assert ([], [True]) == (asyncio.run(drive()), ended)


@pytest.mark.parametrize(
    ("other", "is_shared"),
    [({}, True), ({"conn_id": "other"}, True), ({"timeout": 3.0}, False), ({"base_url": "http://127.0.0.1:8"}, False)],
    ids=str,
)
def test_a_transport_is_one_for_each_host_and_timeout(other, is_shared):
    """It is closed with its last user."""

    async def open_two():
        async with open_client(SETTINGS) as one:
            async with open_client(replace(SETTINGS, **other)) as two:
                transports = one.transport, two.transport
            was_open = not one.transport._client.closed
        return transports, was_open

    (one, two), was_open = asyncio.run(open_two())

    assert (one is two) == is_shared
    assert (was_open, one._client.closed, two._client.closed) == (True, True, True)
