"""Hours that roll up into a day, with a real Airflow: one daily run, after the last hour, and each record once."""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from versions import needs

from airflow_provider_binance_margin.sandbox import SandboxControl
from demo_lake import s3_client
from local_stack import Backfill, Stack

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="kills by process group"),
    needs("airflow.sdk.CronPartitionTimetable", "airflow.sdk.RollupMapper"),
]

EXAMPLE = Path(__file__).resolve().parents[2] / "dags" / "binance_force_liquidation_partitions.py"
HOURLY, DAILY = "binance_force_liquidation_hourly", "binance_force_liquidation_day_of_hours"
BUCKET = "lake"
DAY = datetime(2026, 1, 15, tzinfo=UTC)
KEYS = [f"{DAY + timedelta(hours=number):%Y-%m-%dT%H}" for number in range(24)]
COMMAND = re.compile(r"--from-date ([-\d]+) --to-date ([-\dT:]+)")
SETTINGS = {"AIRFLOW_VAR_BINANCE_LAKE_BUCKET": BUCKET}
#: how long a scheduler that is wrong is given to show it: its loop takes about a second
LOOPS = 5


def example(folder):
    """The example as of that day, ended before its last hour; what a user would change who cannot wait for a retry."""
    text = EXAMPLE.read_text()
    for written, instead in {
        "datetime(2026, 11, 1, 1, ": "datetime(2026, 1, 15, 1, ",
        "catchup=True": 'catchup=True, end_date=pendulum.datetime(2026, 1, 15, 23, tz="UTC")',
        "timedelta(minutes=1)": "timedelta(seconds=2)",
    }.items():
        assert text.count(written) == 1, written
        text = text.replace(written, instead)
    folder.mkdir()
    (folder / EXAMPLE.name).write_text(text)
    return folder


def ms(when):
    return int(when.timestamp()) * 1000


def lines(rows):
    return Counter(json.dumps(row, sort_keys=True) for row in rows)


class Lake:
    """What the runs have written."""

    def __init__(self, url):
        self.client = s3_client(url)
        self.client.create_bucket(Bucket=BUCKET)

    def objects(self, prefix):
        """Each object under a prefix: its key and its rows."""
        found = {}
        for item in self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []):
            body = self.client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
            found[item["Key"]] = [json.loads(line) for line in gzip.decompress(body).splitlines()]
        return found


class Runs:
    """The runs of the two DAGs, as the API tells of them."""

    def __init__(self, airflow):
        self.airflow = airflow

    def hours(self):
        """The partitions that are loaded."""
        runs = self.airflow.api.runs(HOURLY)
        failed = [run for run in runs if run["state"] == "failed"]
        assert not failed, self.airflow.api.first_failure(HOURLY)
        return sorted(run["partition_key"] for run in runs if run["state"] == "success")

    def days(self):
        """The daily runs."""
        return self.airflow.api.runs(DAILY)

    def documented(self):
        """How many hours of each day the example's backfill would load, when none is there."""
        order = dict(zip(("from_date", "to_date"), COMMAND.search(EXAMPLE.read_text()).groups(), strict=True))
        found = self.airflow.api.api("POST", "backfills/dry_run", {"dag_id": HOURLY, **order})["backfills"]
        return Counter(each["partition_key"].partition("T")[0] for each in found)

    def clear(self, key):
        """Load an hour again, to the end."""
        before = self.airflow.api.runs(HOURLY)
        (run,) = (each["dag_run_id"] for each in before if each["partition_key"] == key)
        order = {"dry_run": False, "only_failed": False, "reset_dag_runs": True, "dag_run_id": run}
        self.airflow.api.api("POST", f"dags/{HOURLY}/clearTaskInstances", order)
        ended = max(each["end_date"] for each in before)
        self.until(lambda: any((each["end_date"] or "") > ended for each in self.airflow.api.runs(HOURLY)), 120)

    def until(self, what, seconds):
        """Wait until something holds, and say how long it took."""
        began = time.monotonic()
        while not what():
            if time.monotonic() - began > seconds:
                raise AssertionError(f"not within {seconds} s: hours {self.hours()}, days {self.days()}")
            self.airflow.tend()
            time.sleep(0.3)
        return time.monotonic() - began


def test_a_day_runs_once_after_its_last_hour(tmp_path):
    """23 hours by the schedule are no day, the 24th by a backfill makes it one, and an hour again makes no other."""
    with Stack(tmp_path / "work", dags=example(tmp_path / "dags"), env=SETTINGS) as stack:
        airflow = stack.airflow
        migration = airflow.begin_migration()
        lake = Lake(stack.start_s3())
        exchange = SandboxControl(stack.start_sandbox("--start", f"{DAY - timedelta(days=1):%Y-%m-%d}", "--days", "3"))
        start, end = ms(DAY), ms(DAY + timedelta(days=1))
        for at in (start - 1, start, end - 1, end):
            exchange.add(n=1, at=at)
        airflow.end_migration(migration)
        airflow.start()
        airflow.api.wait_dag(DAILY)
        runs = Runs(airflow)
        assert runs.documented() == {"2026-01-15": 24, "2026-01-16": 24}
        airflow.api.unpause(DAILY)
        airflow.api.unpause(HOURLY)

        took = runs.until(lambda: runs.hours() == KEYS[:-1], 120)
        print(f"23 hours by the schedule: {took:.1f} s")  # noqa: T201 - the figure is wanted
        time.sleep(LOOPS)
        assert (runs.days(), lake.objects("binance/daily/")) == ([], {})

        last = DAY + timedelta(hours=23)
        Backfill(airflow.api, HOURLY, last, last).start()
        took = runs.until(lambda: [run["state"] for run in runs.days()] == ["success"], 120)
        print(f"the last one and the day: {took:.1f} s more")  # noqa: T201 - see above
        (day,) = runs.days()
        assert runs.hours() == KEYS
        assert (day["partition_key"], day["run_type"]) == ("2026-01-15", "asset_triggered")
        (task,) = airflow.api.tasks(DAILY)
        assert task["start_date"] > max(each["end_date"] for each in airflow.api.tasks(HOURLY))
        events = airflow.api.api("GET", f"dags/{DAILY}/dagRuns/{day['dag_run_id']}/upstreamAssetEvents")
        assert sorted(event["partition_key"] for event in events["asset_events"]) == KEYS

        wanted = lines(exchange.records(start, end))
        stored = lake.objects("binance/daily/")
        assert list(stored) == ["binance/daily/scope=cross/dt=2026-01-15/20260115T000000Z_20260116T000000Z.jsonl.gz"]
        assert [lines(rows) for rows in stored.values()] == [wanted]
        assert wanted.total() == len(wanted) > 2
        hours = lake.objects("binance/hourly/")
        assert len(hours) == len(KEYS)
        assert lines(row for rows in hours.values() for row in rows) == wanted

        runs.clear(KEYS[7])
        time.sleep(LOOPS)
        assert [each["dag_run_id"] for each in runs.days()] == [day["dag_run_id"]]
