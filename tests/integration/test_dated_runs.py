"""Which interval is loaded by a run that Airflow itself made, in each way that it has."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from programs import airflow_environment, python

from airflow_provider_binance_margin.lake.interval import DAY_MS, IntervalError, ms, utc
from airflow_provider_binance_margin.load_plan import resolve_plan

HERE = Path(__file__).parent
LAST = "the last whole day"
DAGS = ("interval", "bare")
#: before the DAGs' start date
DAY = "2024-12-10"
#: scheduled on an asset, and not at all
NO_BACKFILL = ("asset", "parent_of_bare")
TIMES = ("logical_date", "data_interval_start", "data_interval_end")

#: the beginning of a run's id -> the day that it loads by either timetable, or what it is refused for
WAYS = {
    "scheduled__": (LAST, LAST),
    "backfill__": (DAY, "2024-12-09"),
    "cli-dated": ("do not belong together", "do not belong together"),
    "cli-undated": ("by hand a logical date", "by hand a logical date"),
    "api-dated": ("2026-01-15", "2026-01-15"),
    "api-undated": ("by hand a logical date", "by hand a logical date"),
    "api-interval": ("2026-01-17", "2026-01-17"),
    "manual__": ("2026-01-17", "2026-01-17"),  # by `airflow dags test`
    "operator-dated": ("do not belong together", "do not belong together"),
    "operator-undated": (LAST, LAST),
}


def ways_of(dag):
    yield ["dags", "trigger", dag, "--run-id", "cli-dated", "--logical-date", "2026-01-14T00:00:00+00:00"]
    yield ["dags", "trigger", dag, "--run-id", "cli-undated"]
    yield ["backfill", "create", "--dag-id", dag, "--from-date", DAY, "--to-date", DAY]
    yield {"dag_id": dag, "dag_run_id": "api-dated", "logical_date": "2026-01-16T05:31:00Z"}
    bounds = {"data_interval_start": "2026-01-17T00:00:00Z", "data_interval_end": "2026-01-18T00:00:00Z"}
    # Airflow drops the bounds
    yield {"dag_id": dag, "dag_run_id": "api-undated", "logical_date": None, **bounds}
    yield {"dag_id": dag, "dag_run_id": "api-interval", "logical_date": "2026-01-20T00:00:00Z", **bounds}
    yield ["dags", "test", dag, "2026-01-18T07:00:00+00:00"]
    yield ["dags", "test", f"parent_of_{dag}"]


#: the beginning of the id of a run of a week up to its tick -> days from its date to the end of what it loads
WAYS_OF_FIXED = {"scheduled__": 7, "api-dated": 0, "cli-ahead": None, "operator-undated": 0}


def ways_of_fixed(dag="fixed"):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    yield ["dags", "trigger", dag, "--run-id", "cli-ahead", "--logical-date", tomorrow.isoformat()]
    yield {"dag_id": dag, "dag_run_id": "api-dated", "logical_date": "2026-01-16T05:31:00Z"}
    yield ["dags", "test", f"parent_of_{dag}"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The runs, and when they were made."""
    environment = airflow_environment(
        tmp_path_factory.mktemp("airflow"),
        AIRFLOW__CORE__DAGS_FOLDER=str(HERE / "dated_runs"),
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
        AIRFLOW__API_AUTH__JWT_ISSUER="test",  # 3.0 makes no token without one
    )
    ways = [way for dag in DAGS for way in ways_of(dag)]
    ways += ways_of_fixed()
    ways += [["backfill", "create", "--dag-id", dag, "--from-date", DAY, "--to-date", DAY] for dag in NO_BACKFILL]
    ways.append({"dag_id": "bare", "dag_run_id": "before-start", "logical_date": "2024-06-01T00:00:00Z"})
    ways.append(["scheduler", "--num-runs", "2", "--skip-serve-logs"])
    before = datetime.now(UTC)
    done = python(HERE / "airflow_program.py", "runs", json.dumps(ways), env=environment)
    made = json.loads(done.stdout.splitlines()[-1])
    return SimpleNamespace(**made, before=before, after=datetime.now(UTC))


def context_of(made, dag, way):
    """The context of the one run that was made so."""
    found = [run for run in made.runs if (run["dag_id"], run["run_id"][: len(way)]) == (dag, way)]
    assert len(found) == 1, made.said
    run = {name: None if value == "None" else value for name, value in found[0].items()}
    bounds = {name: datetime.fromisoformat(run[name]) for name in TIMES if run[name]}
    return {"dag_run": SimpleNamespace(**run), **bounds}


@pytest.mark.parametrize("way", WAYS_OF_FIXED)
def test_a_run_of_an_interval_of_fixed_length_loads_its_own_or_is_refused(made, way):
    """Without a grain too: of a run by hand it ends at the date, or at the call that has none."""
    context, days = context_of(made, "fixed", way), WAYS_OF_FIXED[way]
    if days is None:
        with pytest.raises(IntervalError, match="do not belong together"):
            resolve_plan(context)
        return
    (interval,) = resolve_plan(context).intervals
    assert interval.end - interval.start == 7 * DAY_MS
    assert interval.end - ms(context["logical_date"]) == pytest.approx(days * DAY_MS, abs=60_000)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dag", DAGS)
def test_a_run_loads_the_day_it_is_for_or_is_refused(made, dag, way):
    """Never another day than the one that was asked for."""
    context = context_of(made, dag, way)
    expected = WAYS[way][DAGS.index(dag)]

    if " " in expected and expected != LAST:
        with pytest.raises(IntervalError, match=expected):
            resolve_plan(context, grain="day")
        return
    (interval,) = resolve_plan(context, grain="day").intervals
    day = utc(interval.start)
    if expected == LAST:  # of when it was made
        assert made.before - timedelta(days=2) < day <= made.after - timedelta(days=1)
    else:
        assert f"{day:%Y-%m-%d}" == expected


def test_a_timedelta_gives_runs_of_no_length(made):
    """As a bare cron string does."""
    context = context_of(made, "delta", "scheduled__")

    assert context["data_interval_start"] == context["data_interval_end"]


def test_a_dag_without_a_schedule_of_its_own_has_no_backfill(made):
    """Airflow refuses it."""
    assert not [run for run in made.runs if run["dag_id"] in NO_BACKFILL and run["run_id"].startswith("backfill")]


def test_a_run_by_hand_before_the_start_date_has_no_tasks(made):
    """And ends in success."""
    (run,) = (run for run in made.runs if run["run_id"] == "before-start")

    assert (run["state"], run["tasks"]) == ("success", 0)


@pytest.mark.parametrize("dag", DAGS)
def test_a_backfill_may_begin_before_the_start_date(made, dag):
    """Its runs have their tasks."""
    (run,) = (run for run in made.runs if run["dag_id"] == dag and run["run_id"].startswith("backfill__"))

    assert run["logical_date"].startswith(DAY)
    assert run["tasks"] == 1
