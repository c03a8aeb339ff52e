"""Word of a new record with a real Airflow: in S3 within seconds, and once, also after the triggerer was killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time

import boto3
import pytest
from statsd_server import statsd

from airflow_provider_binance_margin.sandbox import SandboxControl
from local_stack import Stack
from local_stack.airflow_env import CREDENTIALS, REGION

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills by process group")

POLL = 5
RECORDS = "/sapi/v1/margin/forceLiquidationRec"
DAG = f"""
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator
from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationEventTrigger

news = Asset(
    "force_liquidation_news",
    watchers=[AssetWatcher(name="news", trigger=ForceLiquidationEventTrigger(poll_interval={POLL}))],
)
with DAG("live", schedule=[news]):
    ForceLiquidationToS3Operator(
        task_id="load", s3_bucket="lake", s3_key="live/{{start}}_{{end}}.jsonl", settle=0, retries=2, retry_delay=2
    )
"""


class Lake:
    """What the woken runs have written."""

    def __init__(self, url):
        login, password = CREDENTIALS
        self.client = boto3.client(
            "s3", endpoint_url=url, region_name=REGION, aws_access_key_id=login, aws_secret_access_key=password
        )
        self.client.create_bucket(Bucket="lake")

    def holding(self, record):
        """The keys of the objects that hold a record."""
        found = []
        for item in self.client.list_objects_v2(Bucket="lake").get("Contents", []):
            body = self.client.get_object(Bucket="lake", Key=item["Key"])["Body"].read()
            if record["orderId"] in {json.loads(line)["orderId"] for line in body.splitlines()}:
                found.append(item["Key"])
        return found


def until(what, seconds, tend=lambda: None):
    """Wait until there is something, and say how long it took."""
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"nothing within {seconds} s")
        tend()
        time.sleep(0.3)
    return time.monotonic() - began


def test_a_record_is_in_s3_within_seconds_and_once(tmp_path):
    """A record is loaded within the poll interval and 20 s; one that comes while the triggerer is dead, later, once."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "live.py").write_text(DAG)
    with (
        statsd(METRICS_ALLOW_LIST="binance_margin") as (heard, env),
        Stack(tmp_path / "work", dags=tmp_path / "dags", env=env) as stack,
    ):
        lake = Lake(stack.start_s3())
        exchange = SandboxControl(stack.start_sandbox("--no-history"))
        stack.start_airflow()
        airflow = stack.airflow
        airflow.api.wait_dag("live")
        airflow.api.unpause("live")
        until(lambda: airflow.api.api("GET", "assets")["assets"], 90, airflow.tend)
        (asset,) = airflow.api.api("GET", "assets")["assets"]
        # from then on it watches: a triggerer's first look into the state takes long, it starts an API of its own
        until(lambda: airflow.api.api("GET", f"assets/{asset['id']}/state-store")["total_entries"], 120, airflow.tend)

        (first,) = exchange.add(n=1)
        first_took = until(lambda: lake.holding(first), 120, airflow.tend)
        print(f"in S3 after {first_took:.1f} s")  # noqa: T201 - the figure is wanted
        until(lambda: [run["state"] for run in airflow.api.runs("live")] == ["success"], 90)
        time.sleep(POLL + 6)  # what was announced is remembered
        asked = len(exchange.requests)
        counts = [re.match(r".*binance_margin\.requests:(\d+)\|c", sent) for sent in heard()]
        assert (
            asked - 1 <= sum(int(each[1]) for each in counts if each) <= len(exchange.requests)
        )  # one may be on its way

        os.killpg(airflow.components["triggerer"].pid, signal.SIGKILL)
        exchange.clear_log()
        (second,) = exchange.add(n=1)
        time.sleep(2 * POLL)
        assert [] == exchange.requests
        took = until(lambda: lake.holding(second), 150, airflow.tend)
        print(f"after the triggerer was killed: {took:.1f} s more")  # noqa: T201 - see above
        asked = len(exchange.requests)
        time.sleep(4 * POLL + 6)

        assert 1 == len(lake.holding(second))
        assert ["success", "success"] == [run["state"] for run in airflow.api.runs("live")]
        assert [1, 1] == [task["try_number"] for task in airflow.api.tasks("live")]
        assert len(exchange.requests) - asked <= 4 + 2 + 2
        log = airflow.components["triggerer"].output()
        assert "Traceback" not in log, log[-3000:]
        assert "signature=" not in log
