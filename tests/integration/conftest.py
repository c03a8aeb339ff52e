"""What integration tests share: operators wired to the sandbox and to a bucket, and a proxy in front of S3."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from serving import forward, s3_error, serving


@pytest.fixture(scope="session", autouse=True)
def _botocore_reads_its_files_once():
    """Each client of S3 reads megabytes of botocore's own JSON anew, which is most of the time of a test here."""
    from botocore.loaders import JSONFileLoader

    read, known = JSONFileLoader.load_file, {}

    def load_file(self, path):
        if path not in known:
            known[path] = read(self, path)
        return known[path]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", load_file)
        yield


@pytest.fixture
def day():
    """A day long past, its bounds in ms, and the key it is written to by default."""
    start, end = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 16, tzinfo=UTC)
    return SimpleNamespace(
        start=start,
        end=end,
        interval=(start, end),
        ms=(int(start.timestamp() * 1000), int(end.timestamp() * 1000)),
        key="binance/margin/force_liquidation/account=binance_default/scope=cross/dt=2026-01-15/"
        "20260115T000000Z_20260116T000000Z.jsonl.gz",
    )


@pytest.fixture
def connect(sandbox, s3, api):
    """Makes the sandbox (with one of its keys, or changed) and the S3 server Airflow's default connections."""

    def connect(key="hmac", *, aws=None, extra=None, **changes):
        conn = {**sandbox.connection(key), **changes}
        conn["extra"] = json.dumps({**(conn.get("extra") or {}), **(extra or {})})
        api.conns["binance_default"] = conn
        api.conns["aws_default"] = aws or s3.connection()
        return conn

    connect()
    return connect


@pytest.fixture
def operator(connect, s3):
    """Makes operators that are connected to the sandbox and to the bucket."""
    from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator

    def make(**options):
        return ForceLiquidationToS3Operator(**{"task_id": "load", "s3_bucket": s3.name, **options})

    return make


@pytest.fixture
def rows():
    """Reads the rows of an object."""

    def read(body):
        text = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        return [json.loads(line) for line in text.splitlines()]

    return read


@pytest.fixture
def s3_proxy(s3, connect):
    """Puts a function between the operator and the S3 server: it may answer itself, or act and then return None."""
    running = []

    def start(meddle, attempts=1):
        def answer(handler):
            return meddle(handler) or forward(handler, s3.url)

        running.append(server := serving(answer))
        url = server.__enter__()
        extra = {
            "endpoint_url": url,
            "region_name": "us-east-1",
            "config_kwargs": {"retries": {"total_max_attempts": attempts}},
        }
        connect(aws={**s3.connection(), "extra": json.dumps(extra)})

    start.error = s3_error
    start.forward = lambda handler: forward(handler, s3.url)
    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def serve():
    """Starts HTTP servers of one function, which end with the test."""
    running = []

    def start(answer):
        running.append(server := serving(answer))
        return server.__enter__()

    yield start
    for server in running:
        server.__exit__(None, None, None)
