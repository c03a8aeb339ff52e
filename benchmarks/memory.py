"""How much memory a task takes over an empty one, for each format, and how large its temporary files are.

``python benchmarks/memory.py 1000000 .jsonl.gz .parquet``: records in one object, and formats (all of them if none is
named). Exchange and S3 server are processes of their own, as they are in life. A million records take minutes: the
package sends no more than a hundred requests a second, of a hundred records each.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"AIRFLOW_HOME": tempfile.mkdtemp(prefix="airflow-benchmark-"), "AIRFLOW__CORE__UNIT_TEST_MODE": "True"}

import boto3

from airflow_provider_binance_margin.lake.layout import SUFFIXES
from airflow_provider_binance_margin.sandbox import Sandbox

MIB = 1 << 20
START = 1_767_225_600_000  # 2026-01-01
DAY = 86_400_000
#: the process that is measured
MEASURED = Path(__file__).parents[1] / "tests" / "integration" / "test_memory.py"


def s3_server() -> tuple[subprocess.Popen[bytes], str]:
    """A moto server with a bucket called lake."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    while socket.socket().connect_ex(("127.0.0.1", port)):
        time.sleep(0.1)
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test-secret-key"}
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **credentials).create_bucket(Bucket="lake")
    return server, url


def main(records: int, suffixes: list[str]) -> None:
    """Print a line for each format."""
    server, url = s3_server()
    extra = {"endpoint_url": url, "region_name": "us-east-1"}
    aws = {"conn_type": "aws", "login": "test", "password": "test-secret-key", "extra": extra}
    try:
        with Sandbox(days=0) as exchange:
            exchange.add(n=records, at=START, step_ms=max(1, DAY // (records + 1)))
            env = {**os.environ, **exchange.airflow_env(), "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws)}
            env["TMPDIR"] = tempfile.gettempdir()  # where sqlite would else prefer /var/tmp
            for suffix in suffixes:
                empty = {"s3_bucket": "lake", "s3_key": f"empty{suffix}", "start": "2025-01-01", "end": "2025-01-02"}
                full = {"s3_bucket": "lake", "s3_key": f"full{suffix}", "start": "2026-01-01", "end": "2026-01-02"}
                command = [sys.executable, str(MEASURED), json.dumps(empty), json.dumps(full)]
                told = json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
                added, files, seconds = told["added"] / MIB, told["temporary"] / MIB, told["seconds"]
                print(
                    f"{suffix:10} {told['result']['records']:>9,} records: {added:5.1f} MiB of memory more, "
                    f"{files:6.1f} MiB of temporary files, {seconds:6.1f} s",
                    flush=True,
                )
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, sys.argv[2:] or list(SUFFIXES))
