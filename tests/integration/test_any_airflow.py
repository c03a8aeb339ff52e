"""What must work on every Airflow 3, through `dag.test()` and the command line, in a database of its own."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from programs import airflow_environment, python

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LAKE = "binance/margin/force_liquidation/account=binance_default/scope=cross/"
DAY = f"{LAKE}dt=2026-01-15/20260115T000000Z_20260116T000000Z.jsonl.gz"
AT = int(datetime(2026, 1, 15, 6, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def environment(sandbox_home, s3_client, s3_url, tmp_path_factory):
    """Airflow with the sandbox and a bucket as its connections."""
    from conftest import Bucket

    from airflow_provider_binance_margin.sandbox import Sandbox

    with Sandbox(days=0, home=sandbox_home) as sandbox:
        sandbox.add(n=120, at=AT)
        sandbox.add(n=3, at=AT, symbol="BTCUSDT", isolated=True)
        bucket = Bucket(s3_client, "any-airflow", s3_url)
        s3_client.create_bucket(Bucket=bucket.name)
        aws = {**bucket.connection(), "extra": json.loads(bucket.connection()["extra"])}
        yield airflow_environment(
            tmp_path_factory.mktemp("airflow"),
            **sandbox.airflow_env(),
            AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
            AIRFLOW__CORE__TEST_CONNECTION="Enabled",
            AIRFLOW_CONN_AWS_DEFAULT=json.dumps(aws),
            AIRFLOW_VAR_BINANCE_LAKE_BUCKET=bucket.name,
        )


def program(environment, *arguments):
    done = python(HERE / "airflow_program.py", *arguments, cwd=ROOT, env=environment)
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_the_essence(environment, s3_client):
    """Operator, mapped operator, audit, hook, and the sensor in each mode do their work."""
    runs = [[str(HERE / "any_airflow" / "dag.py"), "any_airflow", "2026-02-01T00:00:00+00:00", {}]]

    folder = {"AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "any_airflow")}
    done, log = program({**environment, **folder}, "dags", json.dumps(runs))

    run = done["any_airflow"]
    states = {name: state.rpartition(".")[2].lower() for name, state in run["tasks"].items()}
    assert "skipped" == states.pop("empty[-1]")
    assert {"success"} == set(states.values()), (run, log[-5000:])
    assert {120} == {run["results"][f"{mode}[-1]"]["total"] for mode in ("poke", "reschedule", "deferrable")}
    assert [120, 3, 0] == [run["results"][name]["records"] for name in ("load[-1]", "mapped[0]", "mapped[1]")]
    assert 0 == run["results"]["audit[-1]"]["counts"]["missing"]
    assert 1 == run["results"]["audit[-1]"]["checked"]
    assert [120, "BTCUSDT"] == run["results"]["by_hook[-1]"][:2]
    assert "120" == s3_client.head_object(Bucket="any-airflow", Key=DAY)["Metadata"]["records"]
    assert not [line for line in log.splitlines() if "Deprecat" in line and "airflow_provider_binance_margin" in line]


def test_airflow_knows_the_provider(environment):
    """It is listed with its connection type, and a connection can be tested."""
    commands = [
        ["providers", "list", "--output", "json"],
        ["providers", "hooks", "--output", "json"],
        ["connections", "test", "binance_default"],
        ["dags", "list-import-errors", "--output", "json"],
    ]

    (providers, hooks, tested, errors), _ = program(environment, "commands", json.dumps(commands))

    assert "airflow-provider-binance-margin" in providers["output"]
    assert "airflow_provider_binance_margin.hooks.binance.BinanceHook" in hooks["output"]
    assert (0, True) == (tested["code"], "success" in tested["output"]), tested["output"]
    assert "binance" not in errors["output"], errors["output"]


EXAMPLES = sorted((ROOT / "dags").glob("*.py"))
PARSE = """
import json, runpy, sys, traceback
complaints = {}
for file in sys.argv[1:]:
    # what an example imports, it imports itself, whatever another has imported before
    for name in [name for name in sys.modules if name.startswith("airflow_provider_binance_margin")]:
        del sys.modules[name]
    try:
        runpy.run_path(file)
    except Exception:
        complaints[file] = traceback.format_exc()
print(json.dumps(complaints))
"""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """What came of importing each example DAG with every warning of deprecation as an error."""
    warnings = ["-W", "error::DeprecationWarning", "-W", "error::FutureWarning"]
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}
    done = python(*warnings, "-c", PARSE, *EXAMPLES, env=env)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_parse_without_a_warning(complaints, file):
    """Each example DAG can be imported where a warning of deprecation is an error."""
    assert str(file) not in complaints, complaints[str(file)]
