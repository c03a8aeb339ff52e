"""The example DAGs do what they say: against sandbox and S3 server, in an Airflow with a database of its own."""

from __future__ import annotations

import importlib.util
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from programs import airflow_environment, python
from versions import PARTITIONS

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.plugins.coverage_page import BinanceMarginPlugin

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
PREFIX = "binance/margin/force_liquidation/"
HOUR = 3_600_000
#: a Monday; the day before it is the interval of daily DAGs
NOON = "2026-11-16T12:00:00+00:00"
#: some datasets are remembered for 90 days
TODAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
RUNS = {
    "binance_force_liquidation_daily": {},
    "binance_force_liquidation_backfill": {},
    "binance_force_liquidation_accounts": {},
    "binance_force_liquidation_by_hand": {"start": "2026-11-10T00:00:00Z", "end": "2026-11-11T00:00:00Z"},
    "binance_force_liquidation_sensor": {},
    "binance_force_liquidation_query": {},
    "binance_force_liquidation_audit": {},
    "binance_margin_history": {},
    "binance_margin_history_backfill": {"days": 6},
    "binance_margin_history_audit": {
        "start": (TODAY - timedelta(days=7, hours=12)).isoformat(),
        "end": (TODAY - timedelta(hours=12)).isoformat(),
    },
    "binance_liquidation_report": {},
}
DATES = {
    "binance_margin_history": (TODAY - timedelta(days=1)).isoformat(),
    **dict.fromkeys([each for each in RUNS if each.startswith("binance_margin_history_")], TODAY.isoformat()),
    "binance_liquidation_report": TODAY.isoformat(),
}
#: the report of the days before those of its other run
QUIET = (TODAY - timedelta(days=3)).isoformat()
#: these need what `dag.test()` has not, events or partitions: they are run by the task runner below
BY_TASK = {
    "binance_force_liquidation_live",
    "binance_force_liquidation_hourly",
    "binance_force_liquidation_day_of_hours",
}


def at(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dags_of(file):
    from airflow.sdk import DAG

    module = load(file)
    # a DAG that is bound to no name is found by its tasks, as Airflow finds it by its context
    found = [each for each in vars(module).values() if isinstance(each, DAG)]
    return {dag.dag_id: dag for dag in found}


def write_readme_dag(file):
    """Write the README's DAG as it stands there; before Airflow 3.2, with the import that its comment names."""
    import airflow.sdk

    [code] = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    [before] = re.findall(r"^# before Airflow 3.2: (from .*)$", code, re.MULTILINE)
    assert "import DAG, CronDataIntervalTimetable\n" in code
    if not hasattr(airflow.sdk, "CronDataIntervalTimetable"):
        code = code.replace(", CronDataIntervalTimetable\n", f"\n{before}\n")
    file.write_text(code)


def example_environment(home, **more):
    folder = {"AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"), "AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    return airflow_environment(home, **{**folder, **more})


def program(environment, *arguments):
    done = python(Path(__file__).with_name("airflow_program.py"), *arguments, cwd=ROOT, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def lake(sandbox_home, s3_client, s3_url, tmp_path_factory):
    """All example DAGs that `dag.test()` can run, run one after another into one bucket; and what came of it."""
    from conftest import Bucket

    from airflow_provider_binance_margin.sandbox import Sandbox
    from airflow_provider_binance_margin.sandbox.stories import tell

    with Sandbox(days=0, home=sandbox_home) as sandbox:
        for day in (10, 15):
            sandbox.add(n=120, at=at(2026, 11, day))
            sandbox.add(n=1, at=at(2026, 11, day + 1) - 1)
        sandbox.add(n=7, at=at(2026, 10, 3))
        sandbox.add(n=3, at=at(2026, 11, 15, 8), symbol="BTCUSDT", isolated=True)
        first = int(TODAY.timestamp()) // 86_400 - 2
        seed = next(
            seed for seed in range(99) if not next(tell(seed, ["takeover"], first, 1, at(2099, 1, 1))).story.scope
        )
        sandbox.tell(["takeover"], seed=seed, first_day=first, days=1)
        bucket = Bucket(s3_client, "example-dags", s3_url)
        s3_client.create_bucket(Bucket=bucket.name)
        aws = {**bucket.connection(), "extra": json.loads(bucket.connection()["extra"])}
        environment = example_environment(
            tmp_path_factory.mktemp("airflow"),
            **sandbox.airflow_env(),
            AIRFLOW_CONN_AWS_DEFAULT=json.dumps(aws),
            AIRFLOW_VAR_BINANCE_LAKE_BUCKET=bucket.name,
        )
        files = {dag_id: str(file) for file in FILES for dag_id in dags_of(file)}
        runs = [[files[dag_id], dag_id, DATES.get(dag_id, NOON), conf] for dag_id, conf in RUNS.items()]
        bucket.done = program(environment, "dags", json.dumps([run for run in runs if run[1] not in DATES]))
        runs.append([files["binance_liquidation_report"], "binance_liquidation_report", QUIET, {}, QUIET])
        environment["AIRFLOW_HOME"] = str(tmp_path_factory.mktemp("airflow"))
        bucket.done |= program(environment, "dags", json.dumps([run for run in runs if run[1] in DATES]))
        bucket.sandbox, bucket.environment = sandbox, environment
        yield bucket


def test_every_example_is_run_by_a_test():
    """A new example DAG cannot be forgotten here."""
    found = {dag_id for file in FILES for dag_id in dag_ids(file)}

    assert {*RUNS, *BY_TASK} == found


def dag_ids(file):
    return re.findall(r'DAG\(\s*"([a-z_]+)"', file.read_text())


@pytest.mark.parametrize("dag_id", RUNS)
def test_an_example_runs(lake, dag_id):
    """Its run succeeds, and so does each of its tasks (or is skipped, where there was nothing to do)."""
    done = lake.done[dag_id]

    assert done["state"] == "success", done
    assert set(done["tasks"].values()) <= {"success", "skipped"}, done


@pytest.mark.slow
def test_the_readmes_dag_passes_the_documented_test(lake, tmp_path):
    """Seven datasets and a report with a takeover, as whoever follows the page finds it: README, conftest and test."""
    (tmp_path / "dags").mkdir()
    write_readme_dag(tmp_path / "dags" / "binance_margin.py")
    page = (ROOT / "docs" / "sandbox.md").read_text()
    for name, code in re.findall(r"<!-- test: (\S+) -->\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(code)
    environment = {**lake.environment, "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags")}
    options = ["-q", "-p", "no:cacheprovider", "-o", "pythonpath=dags"]

    done = python("-m", "pytest", *options, ".", cwd=tmp_path, env=environment)

    assert "1 passed" in done.stdout


def test_the_daily_example_loads_the_account_and_its_pairs(lake, rows):
    """One object for the account and one for each pair, with the records of the day."""
    day = "dt=2026-11-15/20261115T000000Z_20261116T000000Z.jsonl.gz"
    bounds = at(2026, 11, 15), at(2026, 11, 16)

    assert lake.sandbox.records(*bounds) == rows(lake.get(f"{PREFIX}account=binance_default/scope=cross/{day}"))
    assert lake.sandbox.records(*bounds, "BTCUSDT") == rows(
        lake.get(f"{PREFIX}account=binance_default/scope=BTCUSDT/{day}")
    )
    assert rows(lake.get(f"{PREFIX}account=binance_default/scope=ETHUSDT/{day}")) == []


def test_the_backfill_example_loads_a_month_of_days(lake):
    """31 objects for October, under the daily DAG's keys."""
    days = [key for key in lake if key.startswith(f"{PREFIX}account=binance_default/scope=cross/dt=2026-10-")]

    assert 31 == len(days)
    assert (
        "7"
        == lake.metadata(
            f"{PREFIX}account=binance_default/scope=cross/dt=2026-10-03/20261003T000000Z_20261004T000000Z.jsonl.gz"
        )["records"]
    )


def test_the_example_by_hand_loads_the_window_of_its_form(lake):
    """The window asked for is loaded as days."""
    assert (
        "121"
        == lake.metadata(
            f"{PREFIX}account=binance_default/scope=cross/dt=2026-11-10/20261110T000000Z_20261111T000000Z.jsonl.gz"
        )["records"]
    )


def test_the_accounts_example_keeps_accounts_apart(lake):
    """Each account has a prefix of its own, with all its pairs."""
    keys = lake.keys()

    for account in ("main", "second"):
        scopes = {key.split("/")[3] for key in keys if key.startswith(f"binance/accounts/account={account}/")}
        assert {"scope=cross", "scope=BTCUSDT", "scope=ETHUSDT"} <= scopes


def test_the_audit_example_loads_what_was_missing(lake):
    """The days of its 90 that no other example had loaded are there afterwards."""
    days = {key.split("/")[5] for key in lake if key.startswith(f"{PREFIX}account=binance_default/scope=cross/dt=")}

    assert {"dt=2026-08-18", "dt=2026-11-15"} <= days
    assert len([day for day in days if "dt=2026-08-18" <= day < "dt=2026-11-16"]) == 90


def test_the_history_examples_leave_no_day_out(lake):
    """The backfill loads six days of all datasets, the audit the one before them; what is there is loaded once."""
    days = {f"dt={TODAY - timedelta(days=back):%Y-%m-%d}" for back in range(1, 8)}

    for dataset in DATASETS:
        prefix = f"binance/margin/{dataset}/account=binance_default/scope=cross/"
        assert days <= {key.split("/")[5] for key in lake if key.startswith(prefix)}
    assert len(lake.done["binance_margin_history_audit"]["results"]) == len(DATASETS) + 2


def test_the_report_example_finds_the_takeover_and_alerts(lake):
    """Of the days that are whole, one has a takeover, and the others nothing."""
    done = lake.done["binance_liquidation_report"]

    report = done["results"]["report[-1]"]
    assert (report["takeover"], report["certain"], report["cannot_tell"], report["none"]) == (1, 0, 0, 2)
    [line] = done["results"]["alert[-1]"]
    assert line == f"takeover in {report['events'][0]['scope']} from {report['events'][0]['first_time']}"
    assert done["tasks"]["alert[-1]"] == "success"
    assert done["said"] == [f"Liquidated: {line}"]


def test_the_report_example_does_not_alert_of_quiet_days(lake):
    """Days that are whole and without a liquidation: no task after the report, and no word of its notifier."""
    done = lake.done[f"binance_liquidation_report {QUIET}"]

    report = done["results"]["report[-1]"]
    assert (report["none"], report["cannot_tell"], report["events"]) == (3, 0, [])
    assert (done["tasks"]["alert[-1]"], done["said"]) == ("skipped", [])


# What `dag.test()` cannot run


def task_of(dag_id, task_id):
    """A task of an example, by its DAG's name."""
    from airflow.sdk import DAG

    made = []
    original = DAG.__init__
    for file in FILES:
        if dag_id not in dag_ids(file):
            continue
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DAG, "__init__", lambda self, *a, **k: (original(self, *a, **k), made.append(self))[0])
            load(file)
        (dag,) = [each for each in made if each.dag_id == dag_id]
        return dag.get_task(task_id)
    raise LookupError(dag_id)


@pytest.fixture
def bucket_variable(connect, s3, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_BINANCE_LAKE_BUCKET", s3.name)


@PARTITIONS
def test_the_hourly_example_loads_its_partition(bucket_variable, run_task, sandbox, s3, rows):
    """A partition of an hour is loaded as that hour."""
    sandbox.add(n=5, at=at(2026, 11, 15, 7))

    done = run_task(
        task_of("binance_force_liquidation_hourly", "hour"),
        partition_key="2026-11-15T07",
        partition_date=datetime(2026, 11, 15, 7, tzinfo=UTC),
        run_id="p",
    )

    assert done.state == "success", done.error
    assert ["binance/hourly/scope=cross/dt=2026-11-15/hour=07/20261115T070000Z_20261115T080000Z.jsonl.gz"] == s3.keys()


@PARTITIONS
def test_the_rolled_up_example_loads_its_day(bucket_variable, run_task, s3):
    """A day that follows from 24 hours is loaded as a day."""
    done = run_task(
        task_of("binance_force_liquidation_day_of_hours", "day"),
        partition_key="2026-11-15",
        run_id="asset_triggered__1",
    )

    assert done.state == "success", done.error
    assert ["binance/daily/scope=cross/dt=2026-11-15/20261115T000000Z_20261116T000000Z.jsonl.gz"] == s3.keys()


def test_the_live_example_loads_the_window_of_its_event(bucket_variable, run_task, sandbox, s3, rows):
    """What the watcher saw is loaded as it is, into a prefix of its own."""
    sandbox.add(n=2, at=at(2026, 11, 15, 7))
    source = dict.fromkeys(("source_task_id", "source_dag_id", "source_run_id", "source_map_index"))
    payload = {"start": "2026-11-15T06:00:00Z", "end": "2026-11-15T07:00:00.002Z", "total": 2}
    event = {
        "asset": {"name": "binance_force_liquidation_live", "uri": "binance_force_liquidation_live", "extra": {}},
        "extra": {"from_trigger": True, "payload": payload},
        **source,
        "source_aliases": [],
        "timestamp": "2026-11-15T07:01:00Z",
    }

    done = run_task(task_of("binance_force_liquidation_live", "load"), events=[event], run_id="asset_triggered__1")

    assert done.state == "success", done.error
    (key,) = s3.keys()
    assert key == "binance/live/scope=cross/20261115T060000Z_20261115T070000.002Z.jsonl.gz"
    assert sandbox.records() == rows(s3.get(key))


# Parsing


SCRIPT = """
import importlib.util, json, socket, sys
from importlib.abc import MetaPathFinder

OPTIONAL = {"pyarrow", "duckdb", "polars", "moto", "boto3", "requests", "openlineage"}

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(name)

def no_network(*_, **__):
    raise OSError("no network while a DAG is parsed")

import airflow.sdk, airflow.providers.common.compat.sdk
for name in [n for n in sys.modules if n.split(".")[0] in OPTIONAL]:
    del sys.modules[name]
sys.meta_path.insert(0, Missing())
socket.socket.connect = socket.getaddrinfo = no_network
for file in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("example", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print("parsed")
"""


def test_examples_parse_with_no_network_and_no_optional_package(tmp_path):
    """Parsing an example needs nothing but Airflow and this package, connects to nothing and warns of nothing."""
    done = python("-W", "error", "-c", SCRIPT, *FILES, env=example_environment(tmp_path))

    assert "parsed" in done.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_says_what_it_shows(file):
    """Each example explains itself, and shows its words in Airflow's UI."""
    module = load(file)

    assert module.__doc__.strip()
    assert "doc_md=__doc__" in file.read_text()
    (page,) = BinanceMarginPlugin.external_views
    assert {f"/plugin/{page['url_route']}"} >= set(re.findall(r"\]\((.*?)\)", module.__doc__))
    assert ("Audit" in file.read_text()) <= ("/plugin/" in module.__doc__)
