"""What `airflow` on the command line shows of the provider."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from programs import airflow_environment, python
from versions import has

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "list": ["providers", "list", "--output", "json"],
    "get": ["providers", "get", "airflow-provider-binance-margin", "--full", "--output", "json"],
    "hooks": ["providers", "hooks", "--output", "json"],
    "links": ["providers", "links", "--output", "json"],
    "good": ["connections", "test", "binance_default"],
    "ed25519": ["connections", "test", "binance_ed25519"],
    "wrong": ["connections", "test", "binance_wrong"],
    "dangerous": ["connections", "test", "binance_no_margin"],
}


@pytest.fixture(scope="module")
def shown(sandbox_home, tmp_path_factory):
    """What each command prints, and its exit status."""
    from airflow_provider_binance_margin.sandbox import Sandbox

    with Sandbox(days=0, home=sandbox_home) as sandbox:
        wrong = {**sandbox.connection(), "password": "w" * 64}
        environment = airflow_environment(
            tmp_path_factory.mktemp("airflow"),
            AIRFLOW__CORE__TEST_CONNECTION="Enabled",
            **sandbox.airflow_env(),
            AIRFLOW_CONN_BINANCE_WRONG=json.dumps(wrong),
        )
        program = Path(__file__).with_name("airflow_program.py")
        done = python(program, "commands", json.dumps(list(COMMANDS.values())), cwd=ROOT, env=environment)
        *said, answers = done.stdout.splitlines()
        outputs = dict(zip(COMMANDS, json.loads(answers), strict=True))
        outputs["everything"] = {"code": 0, "output": "\n".join(said) + done.stderr}
        outputs["secrets"] = [sandbox.connection()["password"], sandbox.connection()["login"], "w" * 64]
        yield outputs


def answer(shown, name):
    """What a command printed as JSON."""
    text = shown[name]["output"]
    # lines of a log begin with a bracket too, before Airflow 3.1
    begin = min(place for place in map(text.find, ("[{", "[]")) if place >= 0)
    return json.loads(text[begin : text.rindex("]") + 1])


def test_the_provider_is_listed(shown):
    """`airflow providers list` has it, with its version."""
    from airflow_provider_binance_margin import __version__

    found = [p for p in answer(shown, "list") if p["package_name"] == "airflow-provider-binance-margin"]

    assert [__version__] == [p["version"] for p in found]


def test_the_provider_is_described(shown):
    """`airflow providers get` shows its description."""
    assert shown["get"]["code"] == 0
    assert "Binance" in shown["get"]["output"]


def test_the_connection_type_is_known(shown):
    """`airflow providers hooks` names the hook, which could be imported."""
    found = [h for h in answer(shown, "hooks") if h["connection_type"] == "binance"]

    assert [("airflow_provider_binance_margin.hooks.binance.BinanceHook", "Binance")] == [
        (h["class"], h["hook_name"]) for h in found
    ]


def test_the_link_is_known(shown):
    """`airflow providers links` names the operator's link."""
    assert "airflow_provider_binance_margin.transfers.margin_history_to_s3.S3ConsoleLink" in shown["links"]["output"]


def test_nothing_warns_of_the_provider(shown):
    """Discovery finds nothing to complain about."""
    lines = shown["everything"]["output"] + "".join(shown[name]["output"] for name in COMMANDS if name != "dangerous")
    complaints = [line for line in lines.splitlines() if "warning" in line.lower() or "deprecat" in line.lower()]

    assert [] == [line for line in complaints if "binance" in line.lower() or "provider" in line.lower()]


@pytest.mark.parametrize("name", ["good", "ed25519"])
def test_a_good_connection_is_tested_by_command(shown, name):
    """`airflow connections test` says that it works."""
    words = " ".join(shown[name]["output"].split())

    assert shown[name]["code"] == 0, words
    assert words.endswith("Connection success!")


def test_a_wrong_connection_is_tested_by_command(shown):
    """`airflow connections test` says what is wrong, and its status tells it too."""
    words = " ".join(shown["wrong"]["output"].split())

    assert shown["wrong"]["code"] != 0 or not has("airflow.sdk.RetryPolicy")  # before 3.3 it may be 0
    assert "signature is not valid" in words


def test_a_dangerous_key_is_warned_of_by_command(shown):
    """Airflow prints nothing of a connection that works, and switches logs off: the warning is printed all the same."""
    assert shown["dangerous"]["code"] == 0
    assert "Warning: the key may withdraw" in " ".join(shown["dangerous"]["output"].split())


def test_no_command_shows_a_secret(shown):
    """Neither key nor secret is printed."""
    text = "".join(shown[name]["output"] for name in (*COMMANDS, "everything"))

    assert [] == [secret for secret in shown["secrets"] if secret in text]
