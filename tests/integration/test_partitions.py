"""What downstream DAGs are told: one partition key per grain, where asked for, and nothing where there is nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from unittest.mock import MagicMock

import pytest
from airflow.sdk import Asset, AssetAlias
from versions import PARTITIONS

LAKE = Asset(name="liquidations", uri="s3://lake/liquidations")
OTHER = Asset(name="others", uri="s3://lake/others")
INTERVAL = datetime(2026, 1, 14, tzinfo=UTC), datetime(2026, 1, 16, tzinfo=UTC)
MONTHS = datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
HOURS = datetime(2026, 1, 14, 22, tzinfo=UTC), datetime(2026, 1, 15, 1, tzinfo=UTC)


def told(done):
    """The events of each asset as Airflow was told them: name -> (partition keys, extra)."""
    events = {}
    for event in (done.final or {}).get("outlet_events") or []:
        keys, _ = events.get(event["dest_asset_key"]["name"], ([], None))
        found = event.get("partition_keys") or ([event["partition_key"]] if event.get("partition_key") else [])
        events[event["dest_asset_key"]["name"]] = (keys + list(found), event["extra"])
    return {name: (sorted(keys), extra) for name, (keys, extra) in events.items()}  # Airflow keeps them in a set


@PARTITIONS
@pytest.mark.parametrize(
    ("grain", "interval", "keys"),
    [
        ("day", INTERVAL, ["2026-01-14", "2026-01-15"]),
        ("month", MONTHS, ["2025-12", "2026-01"]),
        ("hour", HOURS, ["2026-01-14T22", "2026-01-14T23", "2026-01-15T00"]),
    ],
    ids=["day", "month", "hour"],
)
def test_each_grain_is_a_partition(operator, run_task, sandbox, grain, interval, keys):
    """Of every asset among the outlets, with the run's summary; without records too."""
    sandbox.add(n=3, at=int(interval[0].timestamp() * 1000))

    done = run_task(operator(grain=grain, outlets=[LAKE, OTHER], emit_partitions=True), interval=interval)

    summary = {name: value for name, value in done.result.items() if name != "keys"}
    summary |= {"symbols": {"force_liquidation": {"BTCUSDT": 3}}}
    assert told(done) == {"liquidations": (keys, summary), "others": (keys, summary)}


def test_without_being_asked_no_key_is_told(operator, run_task):
    """Events with keys would not wake the DAGs that are scheduled plainly on the asset."""
    done = run_task(operator(grain="day", outlets=[LAKE]), interval=INTERVAL)

    ((name, (keys, extra)),) = told(done).items()
    assert (name, keys, extra["objects"]) == ("liquidations", [], 2)


def test_a_partitioned_runs_own_key_stands(operator, run_task):
    """None is added: Airflow gives the event the run's key by itself."""
    done = run_task(
        operator(grain="hour", outlets=[LAKE], emit_partitions=True),
        partition_key="2026-01-15",
        partition_date=datetime(2026, 1, 15, tzinfo=UTC),
    )

    assert (done.result["objects"], told(done)["liquidations"][0]) == (24, [])


def test_a_run_that_skips_tells_nothing(operator, run_task):
    """There is nothing new in any partition."""
    done = run_task(operator(grain="day", outlets=[LAKE], emit_partitions=True, on_empty="skip"), interval=INTERVAL)

    assert ("skipped", {}) == (done.state, told(done))


@PARTITIONS
def test_a_failed_run_tells_nothing_and_its_retry_everything(operator, run_task, sandbox, s3):
    """The grains of the first attempt too, which the second does not load again."""
    task = {"grain": "day", "outlets": [LAKE], "emit_partitions": True, "max_workers": 1}
    for each in INTERVAL:
        sandbox.add(n=1, at=int(each.timestamp() * 1000))
    sandbox.fault("error", code=-1002, status=401, skip=1)
    first = run_task(operator(**task), interval=INTERVAL, retries=3)
    there = len(s3.keys())

    second = run_task(operator(**task), interval=INTERVAL, retries=3, try_number=2)

    assert (first.state != "success", told(first), there) == (True, {}, 1)
    assert (second.state, second.result["requests"]) == ("success", 1), second.error
    assert told(second)["liquidations"][0] == ["2026-01-14", "2026-01-15"]


@PARTITIONS
def test_an_alias_among_the_outlets_is_left_alone(operator, run_task):
    """It has no partitions; what it stands for is another task's to say."""
    task = operator(grain="day", outlets=[AssetAlias("some"), LAKE], emit_partitions=True)

    done = run_task(task, interval=INTERVAL)

    assert done.state == "success", done.error
    assert {name: keys for name, (keys, _) in told(done).items()} == {"liquidations": ["2026-01-14", "2026-01-15"]}


@PARTITIONS
def test_disjoint_windows_are_partitions_one_by_one(operator, run_task):
    """What lies between them is not told."""
    extras = [{"start": f"2026-01-{day}T05:00:00Z", "end": f"2026-01-{day}T06:00:00Z"} for day in (10, 13)]
    source = dict.fromkeys(("source_task_id", "source_dag_id", "source_run_id", "source_map_index"))
    events = [
        {
            "asset": {"name": "seen", "uri": "seen", "extra": {}},
            "extra": extra,
            **source,
            "source_aliases": [],
            "timestamp": "2026-01-20T00:00:00Z",
        }
        for extra in extras
    ]

    done = run_task(operator(grain="day", outlets=[LAKE], emit_partitions=True), events=events)

    assert told(done)["liquidations"][0] == ["2026-01-10", "2026-01-13"]


class OutletEvent:
    """What Airflow before 3.3 offers for an outlet: no partitions."""

    def __init__(self):
        self.extra = {}


def test_an_airflow_without_partitions_is_told_the_summary(operator, api, monkeypatch):
    """The same operator works there and says nothing of partitions."""
    for name in ("binance_default", "aws_default"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(api.conns[name]))
    event = OutletEvent()
    events = MagicMock()
    events.__getitem__.side_effect = lambda asset: {LAKE.name: event}[asset.name]  # 3.0's assets are no keys
    task = operator(grain="day", outlets=[LAKE], emit_partitions=True, start="2026-01-14", end="2026-01-16")

    result = task.execute({"run_id": "r", "outlet_events": events})

    assert (result["objects"], event.extra["objects"], vars(event).keys()) == (2, 2, {"extra"})


def test_partitions_need_a_grain(operator):
    """Else nothing says how long one is; refused when the DAG is parsed."""
    with pytest.raises(ValueError, match="emit_partitions needs a grain"):
        operator(outlets=[LAKE], emit_partitions=True)
