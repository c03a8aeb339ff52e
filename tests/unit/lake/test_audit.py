"""Verdicts on objects, by what their metadata state."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_margin.lake.audit import FAULTS, TO_BE_LOADED, Finding, judge, report
from airflow_provider_binance_margin.lake.interval import Interval
from airflow_provider_binance_margin.lake.object_metadata import Existing, ObjectIdentity, Run, object_metadata

DAY = 86_400_000
FIRST = (datetime(2026, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
SUBJECT = ObjectIdentity("force_liquidation", Interval(FIRST, FIRST + DAY), "cross", "main")


def day(number):
    return Interval(FIRST + number * DAY, FIRST + (number + 1) * DAY)


SIZE = 471


def proof(records=50, fetched=DAY, rows=None, total=None):
    """An object's metadata."""
    return object_metadata(
        SUBJECT,
        Run("r", 0),
        records=records,
        rows=records if rows is None else rows,
        total=records if total is None else total,
        proof="total",
        sha256="ab" * 32,
        body_sha256="cd" * 32,
        body_size=SIZE,
        first=None,
        last=None,
        fetched_at=SUBJECT.interval.end + fetched,
        provider_version="1",
    )


def judged(metadata, total, *, size=SIZE, expect_empty=True):
    existing = None if metadata is None else Existing("", size, metadata)
    return judge(SUBJECT, existing, total, expect_empty=expect_empty, fresh=7 * DAY / 1000)


# -- verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "total", "verdict"),
    [(5, 5, "complete"), (4, 5, "short"), (0, 5, "short"), (6, 5, "long"), (5, 0, "long"), (0, 0, "complete")],
)
def test_an_object_is_held_against_what_the_exchange_states(records, total, verdict):
    """By their numbers."""
    assert judged(proof(records), total) == verdict


@pytest.mark.parametrize(
    ("total", "expect_empty", "verdict"),
    [(5, True, "missing"), (5, False, "missing"), (0, True, "missing"), (0, False, "complete")],
)
def test_no_object_is_a_gap_unless_nothing_was_to_be_written(total, expect_empty, verdict):
    """What an interval without records leaves is the user's choice."""
    assert judged(None, total, expect_empty=expect_empty) == verdict


@pytest.mark.parametrize(
    ("after_end", "verdict"),
    [(60_000, "complete"), (7 * DAY, "complete"), (7 * DAY + 1, "claim"), (900 * DAY, "claim")],
)
def test_an_empty_object_fetched_long_after_is_a_claim(after_end, verdict):
    """The exchange may have forgotten by then: that it answered nothing proves nothing."""
    assert judged(proof(0, after_end), 0) == verdict
    assert judged(proof(50, after_end), 50) == "complete"


@pytest.mark.parametrize(
    ("records", "rows", "stated", "total", "verdict"),
    [
        (10, 11, 10, 10, "complete"),
        (10, 11, 10, 11, "short"),
        (10, 11, 10, 9, "long"),
        (1, 1, 2, 2, "complete"),
        (1, 1, 2, 1, "complete"),
        (1, 1, 2, 3, "short"),
        (1, 1, 2, 0, "long"),
        (5, 5, 0, 0, "long"),
        (0, 0, 0, 1, "short"),
    ],
)
def test_records_count_and_not_rows(records, rows, stated, total, verdict):
    """A twin row does not make an object long; what was counted twice when it was proved may go on being so."""
    assert judged(proof(records, rows=rows, total=stated), total) == verdict


@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1, 10 * SIZE])
@pytest.mark.parametrize("total", [49, 50, 51])
def test_another_size_is_corrupt_whatever_it_states(size, total):
    """Which every HEAD shows; one that does not state its size is believed."""
    assert judged(proof(), total, size=size) == "corrupt"
    unsized = {name: value for name, value in proof().items() if name != "body-size"}
    assert judged(unsized, 50, size=size) == "complete"


@pytest.mark.parametrize("scope", ["account", "cross"])
@pytest.mark.parametrize("total", [0, 49, 50, 51])
def test_what_does_not_state_its_account_is_missing(scope, total):
    """It was written before accounts were told apart: loading it again is what cures it."""
    old = {name: value for name, value in proof().items() if name != "account"}

    assert judged({**old, "scope": scope}, total) == "missing"
    assert judged({**old, "scope": scope}, total, size=1) == "missing"
    assert judged({**old, "scope": "BTCUSDT"}, total) == "foreign"


@pytest.mark.parametrize(
    "other",
    [
        {"scope": "BTCUSDT"},
        {"interval-end": "2026-01-03T00:00:00Z"},
        {"dataset": "x"},
        {"account": "b"},
        {"account": ""},
    ],
)
def test_another_objects_records_count_for_nothing(other):
    """However many there are."""
    assert judged({**proof(), **other}, 50) == "foreign"
    assert judged({}, 0) == "foreign"


@pytest.mark.parametrize("stated", ["", "yesterday", "0001-01-01", "9" * 5000])
def test_unreadable_metadata_break_no_audit(stated):
    """Somebody may have edited them."""
    assert judged({**proof(), "fetched-at": stated}, 50) == "complete"
    assert judged({**proof(), "records": stated}, 50) == "short"


@pytest.mark.parametrize("stated", ["", "yesterday"])
def test_an_empty_object_that_does_not_say_when_it_was_fetched_is_a_claim(stated):
    """It proves even less than one that does."""
    empty = proof(0)

    assert judged({**empty, "fetched-at": stated}, 0) == "claim"
    assert judged({name: value for name, value in empty.items() if name != "fetched-at"}, 0) == "claim"


# -- the report ------------------------------------------------------------------------------------------------------

VERDICTS = ["complete", "missing", "short", "long", "foreign", "corrupt", "claim", "unfinished"]


def found(number, verdict, records=1, total=1):
    return Finding(day(number), f"k{number}", verdict, records, total)


def test_gaps_are_what_loading_again_can_cure_joined():
    """They feed the operator: touching ones are one window; long, foreign and claims are none."""
    verdicts = ["missing", "short", "complete", "corrupt", "long", "foreign", "claim", "missing"]

    result = report(found(number, verdict) for number, verdict in reversed(list(enumerate(verdicts))))

    assert result["gaps"] == [
        {"start": "2026-01-01T00:00:00Z", "end": "2026-01-03T00:00:00Z"},
        {"start": "2026-01-04T00:00:00Z", "end": "2026-01-05T00:00:00Z"},
        {"start": "2026-01-08T00:00:00Z", "end": "2026-01-09T00:00:00Z"},
    ]
    assert result["checked"] == sum(result["counts"].values()) == 8
    assert [item["key"] for item in result["missing"]] == ["k0", "k7"]
    assert set(TO_BE_LOADED) | {"foreign"} == set(FAULTS)


@given(st.lists(st.sampled_from(VERDICTS), max_size=300))
def test_a_report_is_small_and_counts_all(verdicts):
    """At most 100 of each are listed, the earliest; every one is counted."""
    result = report(found(number, verdict) for number, verdict in enumerate(verdicts))

    assert result["counts"] == {verdict: verdicts.count(verdict) for verdict in VERDICTS}
    for verdict in VERDICTS[1:]:
        numbers = [number for number, each in enumerate(verdicts) if each == verdict]
        assert [item["key"] for item in result[verdict]] == [f"k{number}" for number in numbers[:100]]
    assert json.loads(json.dumps(result)) == result


def test_a_report_lists_the_first_hundred_and_a_thousand_gaps():
    """More would be too much for a task's result, and for one mapped task."""
    result = report(found(2 * number, "missing") for number in range(1001))

    assert [item["key"] for item in result["missing"]] == [f"k{2 * number}" for number in range(100)]
    assert (len(result["gaps"]), result["counts"]["missing"]) == (1000, 1001)
    assert set(result) == {"checked", "counts", "gaps", "expiring", *VERDICTS[1:]}


def test_a_finding_says_both_numbers():
    """So that nobody has to ask again."""
    missing = replace(found(0, "missing"), records=None, total=7)

    assert replace(missing, reason="why").as_json() == {**missing.as_json(), "reason": "why"}

    assert missing.as_json() == {
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-02T00:00:00Z",
        "key": "k0",
        "records": None,
        "total": 7,
    }
