"""The sensor's trigger on a real event loop, against the sandbox over real sockets."""

from __future__ import annotations

import asyncio
import builtins
import gc
import io
import json
import logging
import os
import subprocess
import threading
import time
from contextvars import ContextVar
from itertools import pairwise
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from frames import shown_in_frames
from unit.triggers.triggerer import known, new_process, until  # noqa: F401 - a fixture
from versions import import_string

from airflow_provider_binance_margin.exchange import credentials, private_key
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError
from airflow_provider_binance_margin.exchange.scope import Scope
from airflow_provider_binance_margin.hooks import hosts
from airflow_provider_binance_margin.triggers import client, shared_stream
from airflow_provider_binance_margin.triggers.client import fetch_settings
from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationEventTrigger
from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryTrigger

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
OPTIONS = {
    "binance_conn_id": "binance_default",
    "end": None,
    "isolated_symbol": None,
    "min_records": 1,
    "settle": 60.0,
    "max_span": 604_800.0,
    "poke_interval": 0.3,
}


@pytest.fixture
def make(sandbox, known):  # noqa: F811
    return lambda **options: MarginHistoryTrigger(
        dataset="force_liquidation", **{**OPTIONS, "start": sandbox.now_ms() - 3_600_000, **options}
    )


async def first(trigger):
    async for event in trigger.run():
        return event.payload
    raise AssertionError("the trigger ended without an event")


def look(what, make_all):
    """Run triggers that have nothing to tell until this is so, however slow the machine is."""

    async def wait():
        running = [asyncio.create_task(first(each)) for each in make_all()]
        await until(what)
        for each in running:
            each.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*running, return_exceptions=True)
        )

    asyncio.run(wait())


@pytest.mark.parametrize(
    "trigger",
    [
        MarginHistoryTrigger(dataset="force_liquidation", **OPTIONS, start=1),
        MarginHistoryTrigger(
            dataset="force_liquidation",
            **{**OPTIONS, "isolated_symbol": "币安人生USDT", "end": 2},
            start=1,
            not_before=5.5,
        ),
        MarginHistoryTrigger(dataset="force_liquidation", **OPTIONS, start=1, exponential_backoff=True, max_wait=7.0),
        MarginHistoryTrigger(
            dataset="force_liquidation",
            **OPTIONS,
            start=1,
            memory={"asked": "x", "until": 5, "total": 2, "newest": "{}"},
        ),
        ForceLiquidationEventTrigger(),
        ForceLiquidationEventTrigger(since="2026-01-01", name="a", isolated_symbol="BTCUSDT", poll_interval=5),
    ],
    ids=["plain", "not before", "backoff", "memory", "event", "event since"],
)
def test_a_trigger_is_what_it_was_after_a_restart(trigger):
    """What is stored of a trigger makes an equal one again, by the path that is stored with it."""
    from airflow.serialization.serialized_objects import BaseSerialization

    path, kwargs = trigger.serialize()
    stored = json.loads(json.dumps(BaseSerialization.serialize(kwargs)))
    again = import_string(path)(**BaseSerialization.deserialize(stored))

    assert type(trigger) is type(again)
    assert trigger.serialize() == again.serialize()
    assert (
        type(trigger).hash(path, kwargs) == type(again).hash(*again.serialize()) if hasattr(trigger, "hash") else True
    )


@pytest.mark.parametrize("option", [{"poll_interval": 0.5}, {"max_span": 0}, {"since": "soon"}], ids=str)
def test_event_options_that_cannot_work_are_refused(option):
    """What would hammer the exchange or cannot be understood is an error when the DAG is parsed."""
    with pytest.raises(ValueError, match=r"poll_interval|max_span|point in time"):
        ForceLiquidationEventTrigger(**option)


# -- the loop ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def done_by(monkeypatch):
    """What may block is recorded, once it is started: names of what the loop's thread does, and of what others do."""
    names = {"loop": set(), "others": set()}

    def record(owner, name):
        do = getattr(owner, name)

        def recorded(*args, **kwargs):
            names["loop" if threading.current_thread() is threading.main_thread() else "others"].add(name)
            return do(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)

    def start():
        for owner, name in (
            *((builtins, "open"), (io, "open"), (os, "open"), (time, "sleep"), (subprocess, "run")),
            *((credentials, "load_block"), (private_key, "load_block"), (client, "open_settings")),
        ):
            record(owner, name)
        return names

    return start


@pytest.mark.parametrize("kind", ["text", "file"])
def test_nothing_blocks_the_triggerer(sandbox, known, make, tmp_path, kind, done_by):  # noqa: F811
    """Checking the connection, reading and decrypting an RSA key and loading it are done in other threads."""
    asyncio.run(first(make()) if sandbox.add(n=1) else None)  # what is imported once in a process is
    pem = rsa.generate_private_key(65_537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
    )
    (tmp_path / "key.pem").write_bytes(pem)
    where = {"key_file": str(tmp_path / "key.pem")} if kind == "file" else {"private_key": pem.decode()}
    known({**sandbox.connection("rsa"), "extra": {**where, "private_key_passphrase": "passphrase"}})
    names = done_by()

    asyncio.run(first(make()))

    assert 400 == sandbox.requests[-1].status
    assert (set(), {"open_settings", "load_block", "run"}) == (names["loop"], names["others"] - {"open", "sleep"})
    assert kind == "text" or "open" in names["others"]


def test_many_triggers_share_one_client(sandbox, make):
    """Fifty triggers of one connection use one HTTP client, closed when the last has gone, and leave nothing open."""
    sandbox.latency = 0.02

    async def all_of_them():
        start = sandbox.now_ms() - 3_600_000
        waiting = [asyncio.create_task(first(make(start=start - n))) for n in range(50)]
        await joined(50)
        users = [stream.users for (_, key), stream in shared_stream._streams.items() if key[0] == "transport"]
        sandbox.add(n=1)
        await asyncio.gather(*waiting)
        return users

    assert [50] == asyncio.run(all_of_them())
    assert {} == shared_stream._streams
    assert 1 <= sandbox.connections <= 20
    gc.collect()  # a socket that is still open warns, and warnings are errors


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.05, 0.2, 0.4])
def test_cancelled_at_any_moment_it_leaves_nothing_open(sandbox, make, seconds):
    """A trigger that is cancelled while it connects, asks or waits gives everything back, and its frames no secret."""
    sandbox.latency = 0.15

    async def cancel():
        task = asyncio.create_task(first(make()))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
        shown = shown_in_frames(cancelled.value)
        conn = sandbox.connection()
        assert [word for word in (conn["login"], conn["password"], "signature=") if word in shown] == []
        return dict(shared_stream._streams)

    assert {} == asyncio.run(cancel())
    gc.collect()


@pytest.mark.parametrize("key", ["hmac", "rsa", "ed25519"])
def test_the_bytes_signed_are_the_bytes_sent(sandbox, make, known, key):  # noqa: F811
    """The client sends the query as it was signed, whatever letters it holds; the sandbox checks the raw bytes."""
    known(sandbox.connection(key))
    for symbol in ("币安人生USDT", "A-B_C.D"):
        sandbox.add(n=1, symbol=symbol, isolated=True)

        assert 1 == asyncio.run(first(make(isolated_symbol=symbol)))["total"]
        assert symbol == sandbox.requests[-1].params["isolatedSymbol"]


def test_one_look_an_interval(sandbox, make):
    """A trigger asks once an interval, counted from its last answer, and not before its first moment."""
    sandbox.clear_log()
    began = sandbox.now_ms()

    look(lambda: len(sandbox.requests) >= 4, lambda: [make(not_before=began / 1000 + 0.5)])

    times = [entry.time - began for entry in sandbox.requests]
    assert times[0] >= 500
    assert all(b - a >= 295 for a, b in pairwise(times))


def test_what_a_worker_has_counted_is_not_asked_again(sandbox, make, known):  # noqa: F811
    """A trigger goes on from its memory in each triggerer that takes it up: one request a look."""
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

    day = 86_400_000
    (record,) = sandbox.add(n=1, at=sandbox.now_ms() - 100 * day)
    known(sandbox.connection())
    start = sandbox.now_ms() - 200 * day
    hook = BinanceHook("binance_default")
    counter = hook.settings.counter(FORCE_LIQUIDATION, Scope(), start, None, settle=60.0, max_span=604_800.0)
    hook.count(counter)
    for _ in range(2):
        new_process()
        sandbox.clear_log()
        event = asyncio.run(first(make(start=start, memory=counter.memory)))

        assert (1, record) == (event["total"], event["newest"])
        assert 1 == len(sandbox.requests)


@pytest.mark.parametrize("number", ["9" * 5000, "1e99999999999999999999", "-1E-99999999999999999999"], ids=str.__len__)
def test_odd_numbers_in_the_newest_row_end_no_trigger(make, known, serve, sandbox, number):  # noqa: F811
    """Such an answer cannot be read: the next poll asks again."""
    answers = iter([number, "0.5"])

    def answer(_):
        row = b'{"orderId":1,"updatedTime":1767225600000,"price":%b}' % next(answers).encode()
        return 200, {}, b'{"rows":[%b],"total":1}' % row

    known({**sandbox.connection(), "host": serve(answer)})

    event = asyncio.run(first(make()))

    assert ("found", "0.5") == (event["status"], event["newest"]["price"])


PASSING = [("429", {"retry_after": 2}), ("418", {"retry_after": 2}), ("403", {"retry_after": 2})]


@pytest.mark.parametrize(("fault", "options"), PASSING, ids=["429", "418", "403"])
def test_nothing_is_sent_before_the_exchange_allows_it(sandbox, make, fault, options):
    """Told to wait, ten triggers of one host send nothing before that time, none of them."""
    sandbox.fault(fault, **options)

    look(lambda: any(host.bans.not_before > time.monotonic() for host in hosts._hosts.values()), lambda: [make()])
    look(lambda: len(sandbox.requests) > 1, lambda: [make() for _ in range(10)])

    told, *after = [entry.time for entry in sandbox.requests]
    assert min(after) - told >= 2000


@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        ("error", {"code": -1022}, "the signature is not valid"),
        ("error", {"code": -2015, "status": 401}, "were rejected"),
        ("451", {}, "does not serve this machine's region"),
    ],
    ids=["-1022", "-2015", "451"],
)
def test_what_cannot_pass_is_told_once(sandbox, make, fault, options, words):
    """A refusal for good is one request and one event, in words."""
    sandbox.fault(fault, times=None, **options)

    event = asyncio.run(first(make()))

    assert ("failed", 1) == (event["status"], len(sandbox.requests))
    assert words in event["message"]


def test_a_dead_host_is_asked_once_an_interval(sandbox, make, told):
    """A host that refuses connections is tried once an interval and no more, each said in a line."""
    trigger = make()
    sandbox.stop()
    began = time.monotonic()

    look(lambda: told().count("could not be reached (ClientConnectorError)") >= 4, lambda: [trigger])

    assert time.monotonic() - began >= 3 * 0.3


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["hmac", "rsa", "ed25519"])
@pytest.mark.parametrize("fault", [None, "500", "reset", "cut", "-2015"])
def test_no_secret_is_shown(sandbox, make, known, key, fault, caplog, capsys):  # noqa: F811
    """Arguments, events and logs of a trigger, at the level DEBUG of every logger, hold no key, secret or signature."""
    conn = sandbox.connection(key)
    known(conn)
    sandbox.add(n=1)
    if fault == "-2015":
        sandbox.fault("error", code=-2015, status=401)
    elif fault:
        sandbox.fault(fault, times=2)
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.client", "aiohttp.internal", "asyncio", "airflow"):
        caplog.set_level(logging.DEBUG, name)
    trigger = make()

    event = asyncio.run(first(trigger))

    shown = repr((trigger, trigger.serialize(), event)) + caplog.text + "".join(capsys.readouterr())
    assert "Using selector" in shown  # what is logged at DEBUG is there
    secrets = [conn["login"], conn.get("password"), *str(conn["extra"].get("private_key", "")).split("\\n")]
    secrets += [line for text in secrets if text for line in text.splitlines() if len(line) > 16]
    assert [] == [
        secret for secret in secrets if secret and len(secret) > 16 and "-----" not in secret and secret in shown
    ]
    assert "signature=" not in shown.replace("signature=***", "")


def test_a_missing_connection_is_told_in_words(monkeypatch):
    """An id that names no connection is an error with its cure, not a stack trace."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    def none(conn_id):
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")

    async def nothing(conn_id):
        none(conn_id)

    if hasattr(BaseHook, "aget_connection"):
        monkeypatch.setattr(BaseHook, "aget_connection", nothing)
    else:  # before Airflow 3.1
        monkeypatch.setattr(BaseHook, "get_connection", none)

    with pytest.raises(BinanceConfigError, match="there is no connection 'nobody': create it"):
        asyncio.run(fetch_settings("nobody"))


def test_a_connection_is_looked_up_once_for_all_that_start_together(sandbox, make, monkeypatch):
    """Whatever each of them asks; who comes later looks it up again. A fault is each one's own."""
    looked_up = []

    async def look_up(conn_id):
        looked_up.append(conn_id)
        await asyncio.sleep(0.01)
        if conn_id == "nobody":
            raise BinanceConfigError("there is no such connection")
        return await fetch(conn_id)

    fetch = client._fetch
    monkeypatch.setattr(client, "_fetch", look_up)

    async def start(*conn_ids):
        return await asyncio.gather(*map(fetch_settings, conn_ids), return_exceptions=True)

    async def scene():
        one, other, none, again_none = await start("binance_default", "binance_default", "nobody", "nobody")
        (later,) = await start("binance_default")
        cancelled = [asyncio.create_task(fetch_settings("binance_default")) for _ in range(2)]
        await asyncio.sleep(0)
        cancelled[0].cancel()
        return one is other, later == one, str(none) == str(again_none), await cancelled[1] == one

    sandbox.add(n=1)
    assert asyncio.run(first(make())) is not None
    assert (looked_up.pop(), looked_up) == ("binance_default", [])
    assert asyncio.run(scene()) == (True, True, True, True)
    assert looked_up == ["binance_default", "nobody", "binance_default", "binance_default"]
    assert shared_stream._streams == {}


# -- triggers that ask the same ----------------------------------------------------------------------------------------


async def joined(number):
    """Wait until so many share one poll."""

    def polls():
        return [stream.users for (_, key), stream in shared_stream._streams.items() if key[0] != "settings"]

    await until(lambda: number in polls())


def test_a_thousand_sensors_that_ask_the_same_make_one_request_a_poll(sandbox, make):
    """However many wait for one question: one timer and one request a poll, and each hears of the record."""
    start = sandbox.now_ms() - 3_600_000

    async def wait():
        waiting = asyncio.gather(*(first(make(start=start, poke_interval=1.0)) for _ in range(1000)))
        await joined(1000)
        await asyncio.sleep(2.5)
        (record,) = sandbox.add(n=1)
        return record, await waiting, len(shared_stream._streams)

    began = time.monotonic()
    record, events, left = asyncio.run(wait())

    assert [("found", record)] * 1000 == [(event["status"], event["newest"]) for event in events]
    assert 2 <= len(sandbox.requests) <= time.monotonic() - began + 2
    assert 0 == left


def test_each_of_them_waits_for_its_own_number(sandbox, make):
    """One that has enough ends, and the others wait on, without a request more than a poll."""
    start = sandbox.now_ms() - 3_600_000
    sandbox.add(n=1)

    async def wait():
        one, two = (asyncio.create_task(first(make(start=start, min_records=number))) for number in (1, 2))
        found = await one
        (record,) = sandbox.add(n=1)
        return found["total"], (await two)["newest"], record

    total, newest, record = asyncio.run(wait())

    assert (1, record) == (total, newest)


def test_one_that_comes_later_hears_of_the_last_poll_at_once(sandbox, make):
    """It neither waits for the next nor makes one of its own."""
    start = sandbox.now_ms() - 3_600_000
    sandbox.add(n=1)

    async def wait():
        waiting = asyncio.create_task(first(make(start=start, min_records=2, poke_interval=60.0)))
        await until(lambda: sandbox.requests)
        async with asyncio.timeout(20):
            event = await first(make(start=start, poke_interval=60.0))
        waiting.cancel()
        return event

    assert ("found", 1) == ((event := asyncio.run(wait()))["status"], event["total"])
    assert 1 == len(sandbox.requests)


def test_an_error_reaches_each_of_them(sandbox, make):
    """A refusal for good is one request, and an event for each that asked."""
    start = sandbox.now_ms() - 3_600_000

    async def wait():
        waiting = asyncio.gather(*(first(make(start=start)) for _ in range(5)))
        await joined(5)
        sandbox.fault("error", code=-2015, status=401, times=None)
        return await waiting

    events = asyncio.run(wait())

    assert ["BinanceCredentialError"] * 5 == [event["kind"] for event in events]
    assert 1 == [entry.status for entry in sandbox.requests].count(401)


@pytest.mark.parametrize("cancelled", [0, 1], ids=["the first", "a later one"])
def test_one_that_is_cancelled_stops_no_other(sandbox, make, cancelled):
    """The poll belongs to all; it ends with the last."""
    start = sandbox.now_ms() - 3_600_000

    async def wait():
        waiting = [asyncio.create_task(first(make(start=start))) for _ in range(3)]
        await joined(3)
        waiting[cancelled].cancel()
        await asyncio.sleep(0.1)
        sandbox.add(n=1)
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        return [end["total"] for end in ended if not isinstance(end, asyncio.CancelledError)]

    assert [1, 1] == asyncio.run(wait())
    assert {} == shared_stream._streams


@pytest.mark.parametrize(
    "other",
    [
        {"isolated_symbol": "BTCUSDT"},
        {"end": 4_000_000_000_000},
        {"poke_interval": 0.4},
        {"settle": 30.0},
        {"max_span": 3600.0},
        {"start": 1_760_000_000_000},
        {"exponential_backoff": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_question_is_another_poll(make, other):
    """What differs in anything that an answer or its time depends on is not shared."""
    one, two = make(start=1), make(**{"start": 1, **other})

    assert one._question("c") == make(start=1, min_records=3, not_before=5.0, memory={})._question("c")
    assert one._question("c") != two._question("c")
    if "exponential_backoff" in other:
        assert two._question("c") != make(start=1, **other)._question("c")


@pytest.mark.parametrize("key", ["hmac", "rsa", "ed25519"])
def test_a_connection_is_known_by_what_it_holds(sandbox, known, key):  # noqa: F811
    """The same connection is fetched as an equal one; another key, secret, host, port or limit makes another."""
    conn = sandbox.connection(key)
    given = json.loads(conn.get("extra") or "{}") if isinstance(conn.get("extra"), str) else dict(conn["extra"] or {})
    changes = [{}, {"login": "sandbox" + "y" * 57}, {"host": "https://api.binance.com"}]
    changes += [{"extra": {**given, "timeout": 3}}, {"extra": {**given, "recv_window": 900}}]
    changes += [{"password": "other"}] if key == "hmac" else []

    def fetched(change):
        known({**conn, **change})
        return asyncio.run(fetch_settings("binance_default"))

    settings = [fetched(change) for change in changes]

    assert fetched({}) == settings[0]
    assert hash(fetched({})) == hash(settings[0])
    assert len(changes) == len(set(settings))


def test_a_connection_that_was_corrected_is_used_by_the_next(sandbox, make, known):  # noqa: F811
    """Though an earlier trigger still polls with what the connection held before."""
    start = sandbox.now_ms() - 3_600_000
    sandbox.add(n=1)

    async def wait():
        known({**sandbox.connection(), "host": "http://127.0.0.1:1"})
        waiting = asyncio.create_task(first(make(start=start)))
        await joined(1)
        known(sandbox.connection())
        async with asyncio.timeout(20):
            event = await first(make(start=start))
        assert not waiting.done()
        waiting.cancel()
        return event

    assert 1 == asyncio.run(wait())["total"]


WHO = ContextVar("who", default="nobody")


def test_each_logs_its_polls_to_its_own_log(sandbox, make):
    """The triggerer tells logs apart by context: not by who came first."""
    start, told = sandbox.now_ms() - 3_600_000, []

    async def wait(who):
        WHO.set(who)
        trigger = make(start=start, min_records=2)
        trigger._log = SimpleNamespace(
            info=lambda text, *_: told.append((who, WHO.get(), text.split(" of ")[0])),
            warning=lambda *_: told.append((who, WHO.get(), "warned")),
        )
        return await first(trigger)

    async def scene():
        one, two = (asyncio.create_task(wait(who)) for who in ("one", "two"))
        await joined(2)
        await until(lambda: len(told) >= 2)
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        gone = len(told)
        sandbox.fault("error", code=-1003, status=503)
        sandbox.add(n=2, at=sandbox.now_ms() - 1000)
        async with asyncio.timeout(20):
            await two
        return gone

    gone = asyncio.run(scene())

    assert {("one", "one", "0"), ("two", "two", "0")} == set(told[:gone])
    assert {("two", "two")} == {(who, context) for who, context, _ in told[gone:]}
    assert ("two", "two", "2") == told[-1]
    assert "warned" in [text for *_, text in told[gone:]]
