"""The probe tells apart exchanges that differ in what is not documented, and shows nothing of the account."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import python

from airflow_provider_binance_margin.probe import MOST_REQUESTS, main

DAY = 86_400_000
HOUR = 3_600_000


@pytest.fixture
def probe(sandbox, monkeypatch, capsys):
    """Runs the probe against the sandbox; its table as a dictionary."""

    def run(key="hmac", **settings):
        sandbox.settings.change(**settings)
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_DEFAULT", json.dumps(sandbox.connection(key)))
        monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
        status = main(["--pause", "0"])
        run.out, run.err = capsys.readouterr()
        assert len(sandbox.requests) <= MOST_REQUESTS
        assert status == 0, run.err
        lines = [line.strip("| ").split(" | ") for line in run.out.splitlines() if line.startswith("| ")]
        return dict(lines[1:])

    return run


def test_what_the_sandbox_answers(probe, sandbox):
    """An exchange with inclusive bounds, without limits, that keeps isolated records apart: the page on limits."""
    for days in (3, 20, 400, 700):
        sandbox.add(n=2, at=sandbox.now_ms() - days * DAY - HOUR)
    sandbox.add(n=1, at=sandbox.now_ms() - 5 * DAY, symbol="BTCUSDT", isolated=True)

    assert probe() == {
        "is a read-only key enough?": "yes: this key may do nothing else",
        "how long may a window be?": "1000 days are accepted, the longest tried",
        "how far back does it remember?": "the oldest record found is 700 days old; looked 3000 days back",
        "is startTime inclusive?": "yes",
        "is endTime inclusive?": "yes",
        "is updatedTime the field that is filtered?": "yes: a window of its two milliseconds holds a record",
        "what does a page beyond the last hold?": "no rows; far beyond: no rows",
        "what does size=101 come to?": "refused with code -1102",
        "does an unfiltered call hold isolated records?": "no",
        "what does a call without a window hold?": "as many records as seven days",
    }
    page = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    table = "".join(line for line in probe.out.splitlines(keepends=True) if line.startswith("|"))
    assert f"<!-- probe -->\n```text\n{table}```\n" in page


@pytest.mark.parametrize("days", [1, 7, 30, 31, 90, 91, 400])
def test_the_longest_span_is_found_to_the_day(probe, sandbox, days):
    """Whatever it is, with the code of the refusal."""
    sandbox.add(n=1, at=sandbox.now_ms() - HOUR)

    said = probe(max_span_ms=days * DAY)["how long may a window be?"]

    assert said.startswith(f"{days} days are accepted; "), said
    assert f"{days + 1} days are refused with code -1127" in said or days == 400


def test_what_is_forgotten_is_not_seen(probe, sandbox):
    """An exchange that remembers 40 days shows no older record."""
    for days in range(1, 100, 3):
        sandbox.add(n=1, at=sandbox.now_ms() - days * DAY + HOUR)

    found = probe(retention_ms=40 * DAY)

    assert found["how far back does it remember?"] == "the oldest record found is 39 days old; looked 3000 days back"


@pytest.mark.parametrize(("unfiltered", "answer"), [("all", "yes"), ("cross", "no")])
def test_what_an_unfiltered_call_holds(probe, sandbox, unfiltered, answer):
    """With isolated records alone too."""
    sandbox.add(n=1, at=sandbox.now_ms() - 5 * DAY, symbol="BTCUSDT", isolated=True)

    assert answer == probe(unfiltered=unfiltered)["does an unfiltered call hold isolated records?"]


def test_another_default_window_is_noticed(probe, sandbox):
    """A call without a window is held against one of seven days."""
    sandbox.add(n=1, at=sandbox.now_ms() - 5 * DAY)

    said = probe(default_window_ms=DAY)["what does a call without a window hold?"]

    assert said == "another number than seven days"


def test_a_key_that_is_not_enough(probe, sandbox):
    """A key that the exchange accepts and refuses for this endpoint ends the probe with that finding."""
    sandbox.fault("error", code=-2015, status=401, times=None, path="/sapi/v1/margin/forceLiquidationRec")

    assert probe() == {"is a read-only key enough?": "no answer: code -2015"}


def test_an_account_without_records_is_told_so(probe):
    """What could not be tried is not claimed."""
    found = probe()

    assert found["is startTime inclusive?"].startswith("not told")
    assert found["how far back does it remember?"].startswith("no record was found")


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("start", [False, True])
def test_a_bound_that_is_exclusive_is_noticed(probe, sandbox, start, end):
    """Each by itself, both, and neither."""
    sandbox.add(n=1, at=sandbox.now_ms() - 5 * DAY)

    found = probe(start_exclusive=start, end_exclusive=end)

    told = {False: "yes", True: "no"}
    assert (told[start], told[end]) == (found["is startTime inclusive?"], found["is endTime inclusive?"])
    assert found["is updatedTime the field that is filtered?"].startswith("yes")


def test_it_shows_nothing_of_the_account(probe, sandbox):
    """No key, signature, amount, pair, identifier or time of a record."""
    records = sandbox.add(n=3, at=sandbox.now_ms() - 5 * DAY)
    connection = sandbox.connection()

    probe()

    shown = probe.out + probe.err
    values = {str(value) for record in records for name, value in record.items() if name not in ("side", "isIsolated")}
    for secret in (connection["login"], connection["password"], "signature", *values):
        assert secret not in shown


def test_the_command(sandbox, tmp_path):
    """As its owner runs it; a key that is rejected is told of in words."""
    sandbox.add(n=1, at=sandbox.now_ms() - HOUR)
    command = ["-m", "airflow_provider_binance_margin.probe", "--conn-id", "mine", "--pause", "0"]
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW_CONN_MINE": json.dumps(sandbox.connection())}

    assert "| is startTime inclusive? | yes |" in python(*command, env=env).stdout

    bad = {**sandbox.connection(), "password": "wrong"}
    env["AIRFLOW_CONN_MINE"] = json.dumps(bad)
    done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 1
    assert "the signature is not valid" in done.stderr
    assert "|" not in done.stdout
