"""Coverage: what is stored of an audit is what the audit found, day by day."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_margin.lake.audit import Finding, Verdict
from airflow_provider_binance_margin.lake.coverage import (
    CONTINUED,
    DAY_MS,
    LETTERS,
    Audit,
    AuditedDays,
    Coverage,
    CoverageError,
    Day,
    day_number,
    first_of,
    years_of,
)
from airflow_provider_binance_margin.lake.interval import Interval, cut
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity

SUBJECT = {"dataset": "interest", "account": "main", "scope": "币安人生USDT"}
AUDIT = Audit(datetime(2026, 11, 27, 10, tzinfo=UTC), "audit", "manual__1", "look", 3)
LATER = AUDIT._replace(began=datetime(2026, 11, 28, 10, tzinfo=UTC), run_id="manual__2")
FIRST = day_number(date(2025, 12, 30))
IDENTITY = ObjectIdentity(interval=Interval(0, 1), **SUBJECT)
HOUR = DAY_MS // 24


def finding(verdict="complete", records=1, total=None, *, start=0, length=DAY_MS):
    """What was found from so many ms after the first day's start."""
    begins = FIRST * DAY_MS + start
    return Finding(Interval(begins, begins + length), "k", verdict, records, records if total is None else total)


def collected(*findings):
    audited = AuditedDays()
    for each in findings:
        audited.add(IDENTITY, each)
    return read(read_again(audited.years(AUDIT)))


def stored(days, audit=AUDIT):
    return read_again(years_of(days, audit, *SUBJECT.values()))


def read_again(years):
    """The same, by way of the store's JSON."""
    years = list(years)
    again = [Coverage.read(json.loads(json.dumps(year.value))) for year in years]
    assert again == years
    return again


def read(years):
    return {number: day for year in years for number, day in year.by_day().items()}


def test_every_verdict_has_a_letter_of_its_own():
    assert set(get_args(Verdict)) == set(LETTERS)
    assert len(set(LETTERS.values()) | {"e", "+", "."}) == len(LETTERS) + 3


def test_no_finding_is_left_out():
    """Neither the hundred-and-first of a kind, nor a day in another year."""
    found = collected(*(finding("short", n, n + 1, start=n * DAY_MS) for n in range(700)))

    values = stored(found)

    assert [2025, 2026, 2027] == [year.year for year in values]
    assert read(values) == found == {FIRST + n: Day("s", n, n + 1) for n in range(700)}


days = st.dictionaries(
    st.integers(first_of(2023), first_of(2026)),
    st.builds(Day, st.sampled_from("fxsuql"), st.integers(-1, 10**6), st.integers(0, 10**6)).map(
        lambda day: day._replace(total=0) if day.records == CONTINUED else day
    )
    | st.just(Day("e"))
    | st.builds(Day, st.just("m"), st.just(0), st.integers(0, 9))
    | st.integers(1, 10**6).map(lambda n: Day("c", n, n)),
    max_size=60,
)


@given(days)
def test_what_is_stored_is_what_was_found(found):
    """Whatever days of whatever years; each day's audit is known."""
    values = stored(found)

    assert read(values) == found
    assert {n: audit for year in values for n, audit in year.audit_by_day().items()} == dict.fromkeys(found, AUDIT)


@given(days, days)
def test_a_later_audit_replaces_its_days_and_no_others(found, again):
    """Of a year that both know; the others' audits stay with their days."""
    newer = {year.year: year for year in stored(again, LATER)}

    for year in stored(found):
        if year.year in newer:
            later = newer[year.year]
            merged = year.merge(later)
            assert merged.by_day() == year.by_day() | later.by_day()
            assert merged.audit_by_day() == {n: LATER if n in again else AUDIT for n in merged.by_day()}


def test_a_complete_day_without_records_is_empty():
    assert collected(finding("complete", 0), finding("complete", None, 0, start=DAY_MS)).keys() == {FIRST, FIRST + 1}
    assert read(stored(collected(finding("complete", None, 0)))) == {FIRST: Day("e")}


def test_datasets_accounts_and_scopes_are_kept_apart():
    """One task may audit several."""
    audited = AuditedDays()
    for changes in ({}, {"dataset": "transfer"}, {"account": "second"}, {"scope": "cross"}):
        audited.add(replace(IDENTITY, **changes), finding("short", 1, 2))

    found = [year.key[:3] for year in audited.years(AUDIT)]

    assert sorted(found) == sorted(
        tuple({**SUBJECT, **changes}.values())
        for changes in ({}, {"dataset": "transfer"}, {"account": "second"}, {"scope": "cross"})
    )


def test_of_hours_the_gravest_verdict_is_the_days():
    """Their records are added; a day of which not all was audited is none."""
    hours = [finding("complete", 2, start=n * HOUR, length=HOUR) for n in range(47)]
    hours[3] = finding("claim", 0, start=3 * HOUR, length=HOUR)
    hours[5] = finding("missing", None, 7, start=5 * HOUR, length=HOUR)

    assert collected(*hours) == {FIRST: Day("m", 44, 51)}
    assert collected(*hours[::-1]) == {FIRST: Day("m", 44, 51)}


def test_an_object_of_a_month_is_counted_once():
    """On its first day; the others say that they continue it."""
    month = collected(finding("short", 31, 33, start=2 * DAY_MS, length=31 * DAY_MS))

    assert read(stored(month)) == month
    assert [month[FIRST + 2], month[FIRST + 3], len(month)] == [Day("s", 31, 33), Day("s", CONTINUED), 31]


def test_five_years_of_one_lake_are_small():
    """A year fits into a state store's value, whose limit is 64 KB, by hours too."""
    bounds = Interval(first_of(2024) * DAY_MS, first_of(2025) * DAY_MS)
    audited = AuditedDays()
    for n, hour in enumerate(cut(bounds, "hour")):
        audited.add(IDENTITY, Finding(hour, "k", "short" if n % 48 else "complete", 12_345, 12_346))
    (year,) = audited.years(AUDIT)

    assert len(json.dumps(year.value)) < 16_000


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"v": 2},
        {"days": "c400?"},
        {"days": 5},
        {"records": None},
        {"records": []},
        {"year": "x"},
        {"year": 0},
        {"year": 10**30},
        {"days": "c9999999"},
        {"days": "Z365", "records": [1] * 365},
        {"days": "s", "records": [1] * 365},
        {"days": ".999" * 200},
        {"totals": []},
        {"totals": {"0": "1"}},
        {"audits": []},
        {"audits": [[1]]},
        {"audits": [[FIRST, 10**9, [AUDIT.began.isoformat(), "d", "r", "t"]]]},
        {"audits": [[FIRST, first_of(2026), [AUDIT.began.isoformat(), "d", "r", "t"]]]},
        {"audits": [[FIRST, FIRST - 1, [AUDIT.began.isoformat(), "d", "r", "t"]]]},
        {"audits": [[FIRST, FIRST, ["2026-11-27T10:00:00", "d", "r", "t"]]]},
        {"audits": [[FIRST, FIRST, ["then", "d", "r", "t"]]]},
    ],
)
def test_what_is_no_coverage_is_refused(damaged):
    """Somebody may have edited it."""
    (year,) = stored({FIRST: Day("s", 1, 2)})

    with pytest.raises(CoverageError):
        Coverage.read({**year.value, **damaged} if damaged else {})
