"""The faults of S3: a proxy in front of the S3 server that refuses, dawdles and hangs up, and the operator."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from integration.fault_matrix.consumers import as_object, failed
from serving import HANG_UP, forward, s3_error, serving

from airflow_provider_binance_margin.sandbox import Sandbox
from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator

WHOLE, UNCHANGED = "the new object, whole", "as before"
START, END = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 16, tzinfo=UTC)
READ_TIMEOUT = 4


@dataclass(frozen=True, eq=False)
class StoreFault:
    """One row.

    :param name: in words
    :param outcome: "records", "is retried" or "fails"
    :param verb: which requests it happens to
    :param how: what happens: "slow", "hang", "cut", "lost", "changed", "ignored", or status and code of an answer
    :param times: how often; None is for ever
    """

    name: str
    outcome: str
    verb: str = "PUT"
    how: Any = None
    times: int | None = None

    @property
    def holds(self) -> str:
        """What is under the key in the end."""
        return WHOLE if self.outcome == "records" else UNCHANGED


STORE_FAULTS = [
    StoreFault("connection refused", "is retried", how="refused"),
    StoreFault("slow, in time", "records", how="slow"),
    StoreFault("no answer to HEAD in time", "is retried", "HEAD", "hang"),
    StoreFault("no answer to an upload in time, once", "records", how="hang", times=1),
    StoreFault("no answer to an upload in time", "is retried", how="hang"),
    StoreFault("503 SlowDown, once", "records", how=(503, "SlowDown"), times=1),
    StoreFault("503 SlowDown", "is retried", how=(503, "SlowDown")),
    StoreFault("500 InternalError, once", "records", how=(500, "InternalError"), times=1),
    StoreFault("500 InternalError", "is retried", how=(500, "InternalError")),
    StoreFault("reset in the middle of an upload, once", "records", how="cut", times=1),
    StoreFault("reset in the middle of an upload", "is retried", how="cut"),
    StoreFault("stored, but the answer is lost, once", "records", how="lost", times=1),
    StoreFault("changed by somebody else meanwhile, once", "records", how="changed", times=1),
    StoreFault("refused as if it had been changed, once", "records", how=(412, "PreconditionFailed"), times=1),
    StoreFault("refused as if it had been changed, again and again", "is retried", how=(412, "PreconditionFailed")),
    StoreFault("conditions ignored in silence", "records", how="ignored"),
    StoreFault("400 to a HEAD, without a reason", "is retried", "HEAD", (400, "400")),
    StoreFault("checksum of newer boto3 unknown: InvalidArgument", "fails", how=(400, "InvalidArgument")),
    StoreFault("checksum of newer boto3 unknown: MissingContentLength", "fails", how=(411, "MissingContentLength")),
    StoreFault("checksum of newer boto3 unknown: NotImplemented", "fails", how=(501, "NotImplemented")),
    StoreFault("access denied to see", "fails", "HEAD", (403, "AccessDenied")),
    StoreFault("access denied to write", "fails", how=(403, "AccessDenied")),
    StoreFault("no such bucket", "fails", how=(404, "NoSuchBucket")),
    StoreFault("unknown access key", "fails", how=(403, "InvalidAccessKeyId")),
    StoreFault("wrong secret key", "fails", how=(403, "SignatureDoesNotMatch")),
]


@dataclass
class Door:
    """What is done to the requests for one key's folder."""

    fault: StoreFault
    left: int | None = field(init=False, default=0)

    def arm(self):
        self.left = self.fault.times

    def takes(self, verb):
        if verb != self.fault.verb or self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        return True


def _change(bucket, handler):
    """Put another object of the same interval, with as many records as the one before, if any."""
    key = unquote(urlsplit(handler.path).path).split("/", 2)[2]
    names = [name for name in handler.headers if name.lower().startswith("x-amz-meta-")]
    metadata = {name.lower().removeprefix("x-amz-meta-"): handler.headers[name] for name in names}
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"another's", Metadata={**metadata, "records": "1"})


def proxy(bucket, doors):
    """A proxy in front of an S3 server; doors are found by the first folder of the key."""

    def answer(handler):
        _, _, folder, *_ = f"{urlsplit(handler.path).path}/".split("/")
        door = doors.get(folder)  # of the bucket itself there is none
        how = door.fault.how if door and door.takes(handler.command) else None
        if how == "cut":
            handler.rfile.read(min(int(handler.headers.get("Content-Length") or 0), 1000))
            return HANG_UP
        if how == "hang":
            time.sleep(READ_TIMEOUT + 1)
            return HANG_UP
        if how == "slow":
            time.sleep(0.3)
        if isinstance(how, tuple):
            return s3_error(*how)
        if how == "changed":
            _change(bucket, handler)
        if how == "ignored":
            del handler.headers["If-Match"], handler.headers["If-None-Match"]
        answered = forward(handler, bucket.url)
        return HANG_UP if how == "lost" else answered

    return serving(answer)


def run_store(home, bucket):
    """What became of each fault, with nothing under the key and with an object: the outcome, and what is there now."""
    doors = {f"s3-{n}": Door(fault) for n, fault in enumerate(STORE_FAULTS)}
    doors |= {f"s3-{n}-again": Door(fault) for n, fault in enumerate(STORE_FAULTS)}
    with proxy(bucket, doors) as url, ThreadPoolExecutor(12) as threads:
        results = threads.map(lambda name: _run(name, doors[name], url, home, bucket), doors)
        found = {}
        for door, result in zip(doors.values(), results, strict=True):
            assert found.setdefault(door.fault, result) == result, door.fault.name
    for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_S3_MATRIX_")]:
        del os.environ[name]
    return found


def _run(name, door, url, home, bucket):
    conn = f"s3_matrix_{name.replace('-', '_')}"
    with Sandbox(days=0, home=home) as sandbox, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody else gets the port, and nobody listens
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        shown = sandbox.connection()
        os.environ[f"AIRFLOW_CONN_{conn.upper()}"] = json.dumps({**shown, "extra": "{}"})
        _connect(bucket, conn, url, READ_TIMEOUT if door.fault.how == "hang" else 60)
        before = None
        if name.endswith("again"):
            sandbox.add(n=20, at=int(START.timestamp() * 1000))
            _load(bucket, name, conn, "before")
            before = _object(bucket, name)
        sandbox.add(n=200, at=int(START.timestamp() * 1000) + 1_000_000)
        door.arm()
        if door.fault.how == "refused":
            _connect(bucket, conn, nowhere, READ_TIMEOUT)
        error, word = None, "records"
        try:
            _load(bucket, name, conn, "now")
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is the outcome
            error, word = raised, failed(raised)
        now = _object(bucket, name)
        assert "test-secret-key" not in f"{error!r} {error}"
        if now and gzip.decompress(now) == as_object(sandbox.records()):
            return word, WHOLE
        return word, UNCHANGED if now == before else "SOMETHING ELSE"


def _connect(bucket, conn, url, seconds):
    timeouts = {"connect_timeout": seconds, "read_timeout": seconds, "retries": {"total_max_attempts": 2}}
    aws = json.loads(bucket.shown)
    aws["extra"] = json.dumps({"endpoint_url": url, "region_name": "us-east-1", "config_kwargs": timeouts})
    os.environ[f"AIRFLOW_CONN_{conn.upper()}_AWS"] = json.dumps(aws)


def _load(bucket, name, conn, run_id):
    task = ForceLiquidationToS3Operator(
        task_id="load",
        s3_bucket=bucket.name,
        s3_key=f"{name}/{{start}}.jsonl.gz",
        start=START,
        end=END,
        binance_conn_id=conn,
        aws_conn_id=f"{conn}_aws",
    )
    task.execute({"run_id": run_id})


def _object(bucket, name):
    listed = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=f"{name}/").get("Contents", [])
    assert len(listed) <= 1
    return bucket.get(listed[0]["Key"]) if listed else None
