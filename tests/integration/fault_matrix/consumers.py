"""Who reads or looks, each as Airflow drives it; what it came to is a word: records, or the class of the error."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import time
from contextlib import aclosing
from datetime import UTC, datetime
from types import SimpleNamespace

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    TaskDeferred,
)
from integration.fault_matrix.faults import FINAL
from versions import AirflowRescheduleException, import_string

from airflow_provider_binance_margin.exchange.errors import BinanceError
from airflow_provider_binance_margin.hooks import hosts
from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.retry_policy import BinanceRetryPolicy
from airflow_provider_binance_margin.sensors.force_liquidation import ForceLiquidationSensor
from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator
from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationEventTrigger

HOUR = 3_600_000
ROWS = 120
POKE = 0.3
PATIENCE = 90.0
HASTE = 1.2
#: within which a trigger sends its first request, however busy the machine is
START_SECONDS = 30.0


class Case:
    """One fault and one consumer, with an exchange of their own."""

    def __init__(self, number, fault, sandbox, bucket):
        self.fault, self.sandbox, self.bucket = fault, sandbox, bucket
        self.conn_id, self.prefix = f"matrix_{number}", f"{number}/"
        self.now = sandbox.now_ms()
        self.start, self.end = self.now - 3 * HOUR, self.now - HOUR
        self.closed = socket.socket()
        self.closed.bind(("127.0.0.1", 0))  # nobody else gets the port, and nobody listens
        self.connect({})

    @property
    def patience(self):
        """Seconds that are given to a look that shall succeed, or that never will."""
        ends = {*FINAL, "records", "as stated"}
        return HASTE if self.fault.lasts and self.fault.expected("sensor") not in ends else PATIENCE

    def connect(self, changes):
        conn = {**self.sandbox.connection(), **changes}
        conn["extra"] = json.dumps({"timeout": self.fault.timeout})
        os.environ[f"AIRFLOW_CONN_{self.conn_id.upper()}"] = json.dumps(conn)

    def arrange(self, *, pages, ago=2 * HOUR):
        """Let there be records, and the fault."""
        fault, url = self.fault, self.sandbox.url
        self.sandbox.add(n=ROWS, at=self.now - ago, step_ms=1000)
        self.sandbox.clear_log()
        if fault.way == "dns":
            self.connect({"host": "https://exchange.invalid"})
        elif fault.way == "tls":
            self.connect({"host": url.replace("http:", "https:")})
        elif fault.way == "refused":
            self.connect({"host": f"http://127.0.0.1:{self.closed.getsockname()[1]}"})
        else:
            options = dict(fault.options)
            if options.get("retry_after") == "in 9 s":
                ends = datetime.fromtimestamp(time.time() + 9, UTC)
                options["retry_after"] = ends.strftime("%a, %d %b %Y %H:%M:%S GMT")
            page = {"current": fault.page} if pages and fault.page else {}
            path = {} if "path" in options else {"path": "/sapi/v1/margin/forceLiquidationRec"}
            self.sandbox.fault(fault.kind, times=None if fault.lasts else 1, **page, **path, **options)

    def new_process(self):
        """Forget what this process knows of the host."""
        hosts._hosts.pop(self.sandbox.url, None)
        hosts._hosts.pop(f"http://127.0.0.1:{self.closed.getsockname()[1]}", None)
        hosts._hosts.pop(self.sandbox.url.replace("http:", "https:"), None)

    def right(self):
        """The bytes that an object of all the records has."""
        return as_object(self.sandbox.records(self.start, self.end))

    def total(self, total):
        """Whether a look's total is that of the exchange."""
        return "records" if total == self.sandbox.count() else "as stated"


def as_object(rows):
    """Rows as the bytes of an object: a line each as the exchange wrote it, oldest first."""
    assert len({*map(repr, rows)}) == len(rows) > 0, "an exchange that holds a row twice, or none, proves nothing"
    names = ("updatedTime", "symbol", "orderId", "isIsolated")
    return as_lines(sorted(rows, key=lambda row: [row[name] for name in names]))


def as_lines(rows):
    """Rows as JSON lines, in the order they have."""
    return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows).encode()


def failed(error):
    """An error as a word, and whether Airflow shall try again."""
    decision = BinanceRetryPolicy().evaluate(error, 1, 3)
    final = isinstance(error, AirflowFailException) or decision.action.value == "fail"
    return "fails" if final else "is retried"


# -- who reads all ---------------------------------------------------------------------------------------------------


def hook(case):
    """`force_liquidations`."""
    case.arrange(pages=True)
    hook = BinanceHook(case.conn_id)
    try:
        rows = hook.force_liquidations(*(datetime.fromtimestamp(at / 1000, UTC) for at in (case.start, case.end)))
    except BinanceError as error:
        return type(error).__name__, error
    finally:
        hook.close()
    return "records" if case.right() == as_lines(rows) else "WRONG RECORDS", None


def operator(case):
    """The operator, one call at a time: what is in the bucket in the end is all, or nothing."""
    case.arrange(pages=True)
    task = ForceLiquidationToS3Operator(
        task_id="load",
        s3_bucket=case.bucket.name,
        s3_key=case.prefix + "{start}.jsonl.gz",
        start=datetime.fromtimestamp(case.start / 1000, UTC),
        end=datetime.fromtimestamp(case.end / 1000, UTC),
        max_workers=1,
        binance_conn_id=case.conn_id,
        aws_conn_id="matrix_s3",
    )
    error, word = None, "records"
    try:
        task.execute({"run_id": "matrix"})
    except Exception as raised:  # noqa: BLE001 - whatever it is, it is the outcome
        error, word = raised, failed(raised)
    listed = case.bucket.client.list_objects_v2(Bucket=case.bucket.name, Prefix=case.prefix).get("Contents", [])
    if (word == "records") != bool(listed) or len(listed) > 1:
        return f"{word}, but {len(listed)} objects", error
    for item in listed:
        if gzip.decompress(case.bucket.get(item["Key"])) != case.right():
            return "WRONG OBJECT", error
    return word, error


# -- who looks for one -----------------------------------------------------------------------------------------------


def _sensor(case, **options):
    return ForceLiquidationSensor(
        task_id="wait",
        start=datetime.fromtimestamp(case.start / 1000, UTC),
        binance_conn_id=case.conn_id,
        poke_interval=POKE,
        **{"timeout": case.patience, **options},
    )


def _sensed(case, sensor, act):
    try:
        result = act()
    except AirflowSensorTimeout as error:
        return "looks again", error
    except (AirflowFailException, BinanceError) as error:
        return failed(error), error
    finally:
        sensor.on_kill()
    return case.total(result["total"]), None


def poke(case):
    """The sensor on its worker."""
    case.arrange(pages=False)
    sensor = _sensor(case)
    return _sensed(case, sensor, lambda: sensor.execute({}))


def reschedule(case):
    """The sensor that leaves its worker between looks: each look is a process of its own."""
    case.arrange(pages=False)
    first = None
    while True:
        case.new_process()
        sensor = _sensor(case, mode="reschedule")
        began = datetime.now(UTC)
        context = {"ti": SimpleNamespace(get_first_reschedule_date=lambda _, first=first: first)}
        try:
            return _sensed(case, sensor, lambda s=sensor, c=context: s.execute(c))
        except AirflowRescheduleException as later:
            first = first or began
            time.sleep(max((later.reschedule_date - datetime.now(UTC)).total_seconds(), 0))


async def _first(case, trigger, seconds):
    """The first event of a trigger, whose time counts from its first request on, if the fault lets one through."""
    try:
        async with aclosing(trigger.run()) as events:
            event = asyncio.ensure_future(anext(events))
            async with asyncio.timeout(START_SECONDS):
                while case.fault.way is None and not event.done() and not case.sandbox.requests:  # noqa: ASYNC110 - of a thread
                    await asyncio.sleep(0.02)
            return (await asyncio.wait_for(event, seconds)).payload
    finally:
        await asyncio.sleep(0.05)  # a triggerer's loop goes on, so that what was closed is gone in a moment


def deferrable(case):
    """The sensor in the triggerer, to which it went before anything was wrong."""
    sensor = _sensor(case, deferrable=True, timeout=PATIENCE)
    try:
        sensor.execute({})
    except TaskDeferred as deferred:
        path, kwargs = deferred.trigger.serialize()
    sensor.on_kill()
    case.new_process()
    case.arrange(pages=False)

    def act():
        try:
            happened = asyncio.run(_first(case, import_string(path)(**kwargs), max(case.patience, 3.0)))
        except TimeoutError:
            raise AirflowSensorTimeout("the triggerer's time is up") from None
        return sensor.execute_complete({}, happened)

    return _sensed(case, sensor, act)


def event(case):
    """The event trigger: the first event, if there is any."""
    case.arrange(pages=False, ago=HOUR // 2)
    since = datetime.fromtimestamp(case.start / 1000, UTC)
    trigger = ForceLiquidationEventTrigger(binance_conn_id=case.conn_id, poll_interval=1.0, since=since)

    never = case.fault.expected("event") in FINAL
    try:
        return case.total(asyncio.run(_first(case, trigger, 2.4 if never else max(case.patience, 2.4)))["total"]), None
    except TimeoutError:
        return "polls again", None


CONSUMERS = {
    "hook": hook,
    "operator": operator,
    "poke": poke,
    "reschedule": reschedule,
    "deferrable": deferrable,
    "event": event,
}
POLL = {"event": 1.0}
