"""Where contestants meet: one sandbox, one S3 server, and one process for each run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from environments import HERE, python
from records import DAY, START, chunks, verdict

from airflow_provider_binance_margin.sandbox.client import SandboxControl
from local_stack.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
BUCKET, KEY = "benchmark", "out.jsonl.gz"
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret-key", "AWS_DEFAULT_REGION": "us-east-1"}
LIMIT = 1_000_000
FEW = 1_000


@dataclass(frozen=True)
class Contestant:
    """One way to do the task.

    :param name: as the tables show it
    :param file: the program, in `contestants`
    :param environment: what it runs in
    :param way: which of the program's ways
    :param threads: how many calls at once
    :param moves_records: False where it only puts nothing to S3
    """

    name: str
    file: str
    environment: str
    way: str = ""
    threads: int = 1
    moves_records: bool = True


class Arena:
    """The two servers, and what is asked of them."""

    def __init__(self, home: Path, url: str, s3_url: str) -> None:
        self._home = home
        self._s3_url = s3_url
        self._url = url
        self.exchange = SandboxControl(url)
        self._s3 = boto3.client(
            "s3",
            endpoint_url=s3_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test-secret-key",  # noqa: S106 - of a server on this machine
        )
        self._s3.create_bucket(Bucket=BUCKET)
        keys = json.loads(next((home / "keys").glob("*hmac*")).read_text())
        self._key = {"api_key": keys["api_key"], "secret": keys["secret"]}
        self._holds: int | None = None

    def prepare(self, records: int, latency_ms: int) -> None:
        """Let the exchange hold so many records, know of no request and answer after so long."""
        if self._holds != records or records > FEW:  # anew, too, when used weight could slow down whoever heeds it
            self.exchange.reset()
            for chunk in chunks(records):
                self.exchange.load(chunk)
            self._holds = records
        self.exchange.settings(limit=LIMIT, latency=latency_ms / 1000)
        self.exchange.clear_log()

    def run(self, contestant: Contestant, records: int) -> dict[str, Any]:
        """One run; what it took and whether it was right."""
        self._s3.delete_object(Bucket=BUCKET, Key=KEY)
        (result,) = self.together(contestant, {})
        del result["result"]
        if contestant.moves_records:
            result |= self._asked()
            result["verdict"] = verdict(self._s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read(), records)
        return result

    def together(self, contestant: Contestant, *options: dict[str, Any]) -> list[dict[str, Any]]:
        """Runs side by side, one for each of the options, each in a process of its own; what each took."""
        with ExitStack() as ending:
            runs = [ending.enter_context(self._begun(contestant, each, n)) for n, each in enumerate(options)]
            return [run() for run in runs]

    @contextmanager
    def _begun(self, contestant: Contestant, options: dict[str, Any], number: int) -> Iterator[Callable[[], Any]]:
        """One run that has begun, which does not outlive the block; a call waits for its end."""
        told, log = self._home / f"told-{number}.json", self._home / f"contestant-{number}.log"
        told.unlink(missing_ok=True)
        job = {
            **self._key,
            "url": self._url,
            "s3_url": self._s3_url,
            "bucket": BUCKET,
            "key": KEY,
            "start": START,
            "end": START + DAY,
            "start_iso": _iso(START),
            "end_iso": _iso(START + DAY),
            "threads": contestant.threads,
            "told": str(told),
            "options": options,
        }
        command = [python(contestant.environment), str(HERE / "contestants" / contestant.file)]
        environment = {**self.environment(), "BENCHMARK_JOB": json.dumps(job), "BENCHMARK_WAY": contestant.way}
        with log.open("wb") as out:
            began = time.perf_counter()
            child = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self._home
            )

        def finish() -> dict[str, Any]:
            _, status, usage = os.wait4(child.pid, 0)
            whole = time.perf_counter() - began
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                raise RuntimeError(f"{contestant.name} failed\n{log.read_text(errors='replace')[-3000:]}")
            cpu = usage.ru_utime + usage.ru_stime
            return {**json.loads(told.read_text()), "whole_wall": whole, "whole_cpu": cpu, "load": os.getloadavg()[0]}

        try:
            yield finish
        finally:
            if child.returncode is None:
                child.kill()
                child.wait()

    def _asked(self) -> dict[str, int]:
        entries = self.exchange.requests
        return {
            "requests": sum(entry.path == RECORDS for entry in entries),
            "other_requests": sum(entry.path != RECORDS for entry in entries),
            "connections": len({entry.connection for entry in entries}),
        }

    def environment(self) -> dict[str, str]:
        """What names both servers to Airflow and to boto3, and nothing else of this machine."""
        aws = {
            "conn_type": "aws",
            "login": AWS["AWS_ACCESS_KEY_ID"],
            "password": AWS["AWS_SECRET_ACCESS_KEY"],
            "extra": {"endpoint_url": self._s3_url, "region_name": "us-east-1"},
        }
        binance = {
            "conn_type": "binance",
            "host": self._url,
            "login": self._key["api_key"],
            "password": self._key["secret"],
        }
        return {
            **AWS,
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._home),
            "AIRFLOW_HOME": str(self._home / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONPATH": str(HERE.parent),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
            "AIRFLOW_CONN_BINANCE_DEFAULT": json.dumps(binance),
            "AIRFLOW_CONN_BINANCE_HTTP": json.dumps({**binance, "conn_type": "http"}),
        }


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


@contextmanager
def arena() -> Iterator[Arena]:
    """Both servers, as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, Processes(Path(folder) / "logs") as processes:
        home, told = Path(folder), Path(folder) / "url"
        environment = {**os.environ, "NO_PROXY": "*", "PYTHONPATH": str(HERE.parent)}
        package = "airflow_provider_binance_margin.sandbox"
        options = ["--port", "0", "--url-file", str(told), "--home", str(home / "keys"), "--no-history"]
        exchange = processes.start("sandbox", [sys.executable, "-m", package, *options], env=environment)
        port = _free_port()
        serve = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        s3 = processes.start("s3", serve, env=environment)
        exchange.until(told.exists, 60)
        s3.until(lambda: _listens(port), 60)
        yield Arena(home, told.read_text(), f"http://127.0.0.1:{port}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
