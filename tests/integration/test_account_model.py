"""Operator and audit on an account whose rows enter, leave, move and change between any two requests.

What is written is a state that the account's interval was in while it was read, or the task has failed with an error of
this package; what the answers cannot tell is named, and nothing else is excused. `make test-model` plays 100,000 cases.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
from integration.account_model import UNTOLD, ends, play

from airflow_provider_binance_margin.lake.spool import Spool

BATCHES = 10
CASES = int(os.environ.get("MODEL_CASES", "400"))
SEED = int(os.environ.get("MODEL_SEED", "1"))


@pytest.fixture(autouse=True)
def _in_memory():
    with ends():
        yield


def seeds(batch):
    return range(SEED + batch, SEED + CASES // 2, BATCHES)


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("kind", ["total", "ledger"])
def test_what_is_written_is_a_state_of_the_account_or_an_error(kind, batch):
    tally = Counter()
    for seed in seeds(batch):
        try:
            play(seed, kind, tally)
        except BaseException as error:
            error.add_note(f"To play it again: play({seed}, {kind!r}, Counter())")
            raise
    lines = [f"{len(seeds(batch))} cases of {kind}", *(f"{number:8} {what}" for what, number in sorted(tally.items()))]
    sys.stdout.write("\n".join(["", *lines, ""]))


def count_one_less(spool, rows, add=Spool.add):
    before = spool.distinct
    add(spool, rows)
    spool.distinct -= before <= 4 < spool.distinct


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("fingerprint", property(lambda _: 0, lambda *_: None)),  # any two readings are alike
        ("add", count_one_less),  # a row is not missed
        ("records", lambda spool: spool.distinct),  # records of one window are taken for those of all
    ],
)
def test_the_model_notices_a_reader_that_is_broken(name, broken):
    def play_all():
        for seed in range(1, 1000):
            play(seed, "total", Counter())

    with mock.patch.object(Spool, name, broken, create=True), pytest.raises(AssertionError):
        play_all()


@pytest.mark.parametrize("name", UNTOLD)
def test_what_cannot_be_told_is_in_the_documentation(name):
    page = " ".join((Path(__file__).parents[2] / "docs" / "limits.md").read_text().split())
    assert f"| {name} | {UNTOLD[name]} |" in page
