"""Which interval a run must load: each source, their order, and what is refused."""

from __future__ import annotations

import enum
import itertools
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_margin.lake.interval import GRAINS, Interval, IntervalError, floor, iso, next_grain
from airflow_provider_binance_margin.load_plan import (
    LoadPlan,
    check_against,
    is_partitioned,
    local_midnight,
    partition_key,
    resolve_plan,
)


class Manual(enum.StrEnum):
    """As Airflow has run types."""

    MANUAL = "manual"


HOUR = 3_600_000
DAY = 24 * HOUR
UTC_TIMETABLE = 'timezone="UTC"'


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(*fields):
    return (datetime(*fields, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def span(first, last):
    """An interval from two ISO texts."""
    bounds = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last)]
    return Interval(*((bound - EPOCH) // timedelta(milliseconds=1) for bound in bounds))


def scheduled(start, end, **more):
    """A context of a run with a data interval, as pendulum datetimes, which is what Airflow passes."""
    bounds = [
        pendulum.instance(bound) if isinstance(bound, datetime) else pendulum.parse(bound) for bound in (start, end)
    ]
    return {"data_interval_start": bounds[0], "data_interval_end": bounds[1], **more}


def event(**extra):
    return SimpleNamespace(extra=extra)


def watched(**payload):
    return event(from_trigger=True, payload=payload)


def woken(*events, **more):
    return {"triggering_asset_events": {"an asset": list(events)}, **more}


JAN_15 = span("2026-01-15", "2026-01-16")
A_DAY = scheduled("2026-01-15", "2026-01-16")
NO_LENGTH = scheduled("2026-01-16", "2026-01-16")
PARTITION = {"partition_key": "2026-02-01", "partition_date": pendulum.datetime(2026, 2, 1)}
EVENT = event(start="2026-03-01T00:00:00Z", end="2026-03-02T00:00:00Z")
EXPLICIT = {"start": "2026-04-01", "end": "2026-04-02"}


# -- the order of the sources ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "explicit", "source", "first"),
    [
        pytest.param({**woken(EVENT), **A_DAY, **PARTITION}, EXPLICIT, "arguments", "2026-04-01", id="explicit first"),
        pytest.param({**woken(EVENT), **A_DAY, **PARTITION}, {}, "partition", "2026-02-01", id="then the partition"),
        pytest.param({**woken(EVENT), **A_DAY}, {}, "data_interval", "2026-01-15", id="then the data interval"),
        pytest.param({**woken(EVENT), **NO_LENGTH}, {}, "asset_events", "2026-03-01", id="then events"),
        pytest.param(NO_LENGTH, {}, "last_grain", "2026-01-15", id="then the last whole grain"),
        pytest.param(A_DAY, {"start": "", "end": None}, "data_interval", "2026-01-15", id="nothing given is nothing"),
        pytest.param({**A_DAY, "partition_key": None, "partition_date": None, **woken()}, {}, "data_interval",
                     "2026-01-15", id="as an unpartitioned run of Airflow 3.3"),
    ],
)  # fmt: skip
def test_the_first_source_that_says_something_decides(context, explicit, source, first):
    """And the choice names it."""
    choice = resolve_plan(context, grain="day", **explicit)

    assert (choice.source, iso(choice.intervals[0].start)[:10]) == (source, first)
    assert len(list(choice.objects())) == 1


@pytest.mark.parametrize(
    "context",
    [
        pytest.param({}, id="by hand"),
        pytest.param({"data_interval_start": None, "data_interval_end": None}, id="nulls"),
        pytest.param({"data_interval_end": pendulum.datetime(2026, 1, 15)}, id="half an interval"),
        pytest.param({"dag_run": SimpleNamespace(partition_key=None, partition_date=None)}, id="no partition"),
        pytest.param({"dag_run": SimpleNamespace(run_after=pendulum.datetime(2026, 1, 15))}, id="run_after is none"),
        pytest.param({"logical_date": pendulum.datetime(2026, 1, 15)}, id="a logical date is none"),
        pytest.param(woken(), id="no events"),
        pytest.param(woken(event(rows=5)), id="another's event"),
    ],
)
@pytest.mark.parametrize("grain", [None, "day"])
def test_a_run_without_an_interval_is_told_the_cure(context, grain):
    """Every way out is named: a timetable, grain=, start= and end=."""
    with pytest.raises(IntervalError, match="no data interval to load") as caught:
        resolve_plan(context, grain=grain)

    assert all(
        cure in str(caught.value) for cure in ("CronDataIntervalTimetable", "grain=", "start=", "end=", "params")
    )


def test_an_interval_of_no_length_without_a_grain_is_told_the_cure():
    """It is what a bare "@daily" gives on Airflow 3."""
    with pytest.raises(IntervalError, match="bare cron strings an interval of no length"):
        resolve_plan(NO_LENGTH)


@pytest.mark.parametrize("run_type", ["manual", Manual("manual")], ids=["text", "enumeration"])
def test_a_run_by_hand_is_told_to_be_dated(run_type):
    """It may have the best of timetables: without a logical date Airflow gives it no interval."""
    with pytest.raises(IntervalError, match=r"by hand a logical date .* start= and end=") as caught:
        resolve_plan({"dag_run": SimpleNamespace(run_type=run_type, logical_date=None)}, grain="day")
    assert not [each for each in ("Timetable", "grain") if each in str(caught.value)]  # which it has


@pytest.mark.parametrize(
    ("zone", "start", "days", "grain", "warned"),
    [
        ("Europe/Berlin", (2026, 1, 15), 1, None, True),
        ("Europe/Berlin", (2026, 3, 29), 1, None, True),  # of 23 hours
        ("Asia/Shanghai", (2026, 1, 1), 31, None, True),
        ("Europe/Berlin", (2026, 1, 15, 1), 1, None, False),  # UTC's day
        ("Europe/Berlin", (2026, 1, 15), 1 / 24, None, False),
        ("America/New_York", (2026, 1, 15), 1, None, False),  # filed under its own date
        ("UTC", (2026, 1, 15), 1, None, False),
        ("Asia/Shanghai", (2026, 1, 15, 8), 1, "day", False),
    ],
)
def test_a_zones_days_are_told_from_utcs(zone, start, days, grain, warned):
    """A day of Berlin begins the evening before in UTC, whose date stands in the key."""
    first = pendulum.datetime(*start, tz=zone)
    last = first.add(days=days) if days >= 1 else first.add(hours=1)
    dag = SimpleNamespace(timetable=SimpleNamespace(timezone=SimpleNamespace(name=zone)))
    context = {"data_interval_start": first, "data_interval_end": last, "dag": dag}

    assert (zone if warned else None) == local_midnight(resolve_plan(context, grain=grain))


# -- explicit bounds -------------------------------------------------------------------------------------------------

SHANGHAI, BERLIN = "Asia/Shanghai", "Europe/Berlin"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        pytest.param("2026-01-15", "2026-01-16", JAN_15, id="dates"),
        pytest.param("2026-01-15T00:00:00Z", datetime(2026, 1, 16, tzinfo=UTC), JAN_15, id="mixed"),
        pytest.param("2026-01-15T08:00:00+08:00", "2026-01-16T08:00:00+08:00", JAN_15, id="offset"),
        pytest.param(pendulum.datetime(2026, 1, 15, 8, tz=SHANGHAI), pendulum.datetime(2026, 1, 16, 8, tz=SHANGHAI),
                     JAN_15, id="pendulum of a zone"),
        pytest.param(pendulum.datetime(2026, 3, 29, tz=BERLIN), pendulum.datetime(2026, 3, 30, tz=BERLIN),
                     span("2026-03-28T23:00", "2026-03-29T22:00"), id="a day of 23 hours"),
        pytest.param(pendulum.datetime(2026, 10, 25, tz=BERLIN), pendulum.datetime(2026, 10, 26, tz=BERLIN),
                     span("2026-10-24T22:00", "2026-10-25T23:00"), id="a day of 25 hours"),
        pytest.param("2026-01-15T00:00:00.000999", "2026-01-15T00:00:00.001",
                     span("2026-01-15", "2026-01-15T00:00:00.001"), id="one millisecond"),
        pytest.param("2017-07-14", "2026-01-01", span("2017-07-14", "2026-01-01"), id="years"),
    ],
)  # fmt: skip
def test_explicit_bounds_mean_what_they_say(start, end, expected):
    """In whatever form and zone they come, without a grain any bounds will do."""
    assert resolve_plan({}, start=start, end=end).intervals == (expected,)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        pytest.param({"start": "2026-01-15"}, "start is given and end is not", id="start alone"),
        pytest.param({"end": "2026-01-15"}, "end is given and start is not", id="end alone"),
        pytest.param(
            {"start": "2026-01-15", "end": "None"}, "start is given and end is not", id="end rendered to None"
        ),
        pytest.param({"start": "2026-01-16", "end": "2026-01-15"}, "from arguments is reversed", id="reversed"),
        pytest.param({"start": "2026-01-16", "end": "2026-01-16"}, "from arguments is empty", id="empty"),
        pytest.param({"start": "2026-01-16", "end": "2026-01-16T00:00:00.0009"}, "is empty", id="under a millisecond"),
        pytest.param({"start": "soon", "end": "2026-01-16"}, "'soon' is not a point in time", id="garbage"),
        pytest.param({"start": "1970-01-01", "end": "2026-01-16"}, "the year 1970 cannot be meant", id="year"),
    ],
)
@pytest.mark.parametrize("grain", [None, "day"])
def test_bounds_that_cannot_be_meant_are_refused(bounds, words, grain):
    """Even where the run has an interval of its own: half a wish is no wish."""
    with pytest.raises(IntervalError, match=words):
        resolve_plan(A_DAY, **bounds, grain=grain)


# -- partitions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "grain", "expected", "objects"),
    [
        pytest.param("2026-02", None, span("2026-02-01", "2026-03-01"), 1, id="month, no grain"),
        pytest.param("2026-02", "month", span("2026-02-01", "2026-03-01"), 1, id="month"),
        pytest.param("2024-02", "day", span("2024-02-01", "2024-03-01"), 29, id="leap month of days"),
        pytest.param("2026-01-15", None, JAN_15, 1, id="day, no grain"),
        pytest.param("2026-01-15", "hour", JAN_15, 24, id="day of hours"),
        pytest.param("2026-12-31T23", "hour", span("2026-12-31T23:00", "2027-01-01"), 1, id="hour"),
    ],
)
@pytest.mark.parametrize("place", ["context", "dag_run", "with its date"])
def test_a_partition_key_says_its_length(key, grain, expected, objects, place):
    """In the three forms, wherever Airflow puts it, with its date or without."""
    date = pendulum.instance(datetime.fromtimestamp(expected.start / 1000, UTC))
    context = {
        "context": {"partition_key": key},
        "dag_run": {"dag_run": SimpleNamespace(partition_key=key, partition_date=None)},
        "with its date": {"partition_key": key, "partition_date": date},
    }[place]

    choice = resolve_plan(context, grain=grain)

    assert (choice.intervals, choice.source) == ((expected,), "partition")
    assert len(list(choice.objects())) == objects


@pytest.mark.parametrize("key", [None, "eu|2026-W03", "15.01.2026"])
@pytest.mark.parametrize("date", [pendulum.datetime(2026, 1, 15), pendulum.datetime(2026, 1, 15, 8, tz=SHANGHAI)])
def test_a_partition_date_and_a_grain_do_without_the_key(key, date):
    """A key of the user's own form is left alone."""
    context = {"dag_run": SimpleNamespace(partition_key=key, partition_date=date)}

    assert resolve_plan(context, grain="day").intervals == (JAN_15,)


@pytest.mark.parametrize(
    ("partition", "grain", "words"),
    [
        pytest.param({"partition_key": "2026-13"}, "month", "'2026-13' is not a date", id="month 13"),
        pytest.param({"partition_key": "2026-02-29"}, "day", "is not a date", id="no leap year"),
        pytest.param({"partition_key": "2026-01-15T24"}, "hour", "is not a date", id="hour 24"),
        pytest.param({"partition_key": "0000-01"}, None, "is not a date", id="year 0"),
        pytest.param({"partition_key": "9999-12"}, None, "year 9999 cannot be meant", id="year 9999"),
        pytest.param({"partition_key": "0001-01-01"}, "day", "year 1 cannot be meant", id="year 1"),
        pytest.param({"partition_key": "eu"}, "day", "does not say how long it is: pass grain=", id="key alone"),
        pytest.param({"partition_key": "eu"}, None, "key_format is %Y-%m, %Y-%m-%d or %Y-%m-%dT%H", id="cure"),
        pytest.param({"partition_key": 20260115}, "day", "does not say how long", id="a number"),
        pytest.param({"partition_date": pendulum.datetime(2026, 1, 15)}, None, "pass grain=", id="date alone"),
        pytest.param({"partition_key": "2026-01-15T07"}, "day", "whole days in UTC", id="shorter than the grain"),
        pytest.param({"partition_key": "2026-01-15"}, "month", "whole months in UTC", id="a day for a month"),
        pytest.param({"partition_key": "2026-01-15", "partition_date": pendulum.datetime(2026, 1, 15, tz=SHANGHAI)},
                     "day", UTC_TIMETABLE, id="key of another zone"),
        pytest.param({"partition_key": "2026-01-15", "partition_date": pendulum.datetime(2026, 1, 16)},
                     "day", "starts at 2026-01-16T00:00:00Z, which is not its start", id="date of another day"),
        pytest.param({"partition_key": "eu", "partition_date": pendulum.datetime(2026, 1, 15, tz=SHANGHAI)},
                     "day", "whole days in UTC", id="date of another zone"),
    ],
)  # fmt: skip
def test_a_partition_that_is_no_whole_grain_is_refused(partition, grain, words):
    """With the cure in the message, and although there is a data interval beside it."""
    with pytest.raises(IntervalError) as caught:
        resolve_plan({**partition, **A_DAY}, grain=grain)

    assert words in str(caught.value)


@given(
    st.text(max_size=20) | st.from_regex(r"\d{4}-\d\d(-\d\d(T\d\d)?)?", fullmatch=True), st.sampled_from([None, "day"])
)
def test_no_partition_key_breaks_anything(key, grain):
    """An interval, or the error that says what to do."""
    try:
        choice = resolve_plan({"partition_key": key}, grain=grain)
    except IntervalError:
        return
    assert choice.source == "partition"


@pytest.mark.parametrize("name", ["partition_key", "partition_date"])
@pytest.mark.parametrize("value", ["2026-01-15", None])
def test_a_run_is_partitioned_when_its_key_or_its_date_is_known(name, value):
    """Wherever Airflow puts them; a run of no partition has both as nulls, or not at all."""
    others = {"partition_key": None, "partition_date": None}
    places = [{**others, name: value}, {"dag_run": SimpleNamespace(**{**others, name: value})}]

    assert [is_partitioned(context) for context in places] == [value is not None] * 2
    assert not is_partitioned({"dag_run": SimpleNamespace()})
    assert not is_partitioned({})


# -- data intervals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grain", [None, "hour", "day"])
def test_a_data_interval_is_loaded_as_it_is(grain):
    """Pendulum's datetimes of another zone are the same instants."""
    moved = scheduled(A_DAY["data_interval_start"].in_tz(SHANGHAI), A_DAY["data_interval_end"].in_tz(BERLIN))

    assert resolve_plan(A_DAY, grain=grain).intervals == resolve_plan(moved, grain=grain).intervals == (JAN_15,)


# -- a run's logical date ----------------------------------------------------------------------------------------------

NOW = "2026-01-17T12:00:05"
WEEKDAYS = ("2026-01-15", "2026-01-16")  # Thursday's interval, by "0 0 * * 1-5" the last one until Monday
FEBRUARY = ("2026-02-01", "2026-03-01")
OF_CALL = ("2026-01-16T12:00:05", NOW)  # by CronTriggerTimetable("0 0 * * *", interval=timedelta(days=1)), called now
OF_CALL_WEEK = ("2026-01-10T12:00:05", NOW)


def dated(date, start, end, run_after=NOW, place="context"):
    run = {} if run_after is None else {"run_after": pendulum.parse(run_after)}
    if place == "dag_run":
        return {**scheduled(start, end), "dag_run": SimpleNamespace(logical_date=pendulum.parse(date), **run)}
    return {**scheduled(start, end), "dag_run": SimpleNamespace(**run), "logical_date": pendulum.parse(date)}


@pytest.mark.parametrize("grain", [None, "hour"])
@pytest.mark.parametrize(
    ("date", "start", "end", "run_after"),
    [
        pytest.param("2026-01-15", *WEEKDAYS, "2026-01-16", id="scheduled or backfilled"),
        pytest.param("2026-01-15", *WEEKDAYS, None, id="on an Airflow that tells no run_after"),
        pytest.param("2026-01-15T01:00+01:00", *WEEKDAYS, "2026-01-16", id="dated in another zone"),
        pytest.param("2026-01-16", *WEEKDAYS, NOW, id="API, on a bound"),
        pytest.param("2026-01-16T05:31:07.123", *WEEKDAYS, NOW, id="API, after a bound"),
        pytest.param("2026-01-18T23:00", *WEEKDAYS, "2026-02-01", id="API, irregular timetable"),
        pytest.param("2026-03-31T12:00", *FEBRUARY, "2026-04-20", id="API, months of two lengths"),
        pytest.param("2026-03-31T12:00", *FEBRUARY, "2026-03-01", id="tasks test, months of two lengths"),
        pytest.param("2026-01-18T23:00", *WEEKDAYS, "2026-01-16", id="tasks test, irregular timetable"),
        pytest.param("2026-01-16T23:59", *WEEKDAYS, "2026-01-16T12:00", id="API, later today"),
        pytest.param("2026-01-20", *WEEKDAYS, "2026-02-01", id="API, with an interval of its own"),
        pytest.param("2026-01-15T12:00", *WEEKDAYS, "2026-01-16T12:00", id="command line, in the interval"),
        pytest.param("2026-01-16T12:00:05", *WEEKDAYS, "2026-01-16T12:00:05", id="TriggerDagRunOperator, undated"),
        pytest.param("2026-01-16", "2026-01-09", "2026-01-16", "2026-01-16", id="of fixed length, dags test"),
        pytest.param("2026-01-09", "2026-01-09", "2026-01-16", "2026-01-16", id="of fixed length, backfilled"),
    ],
)
@pytest.mark.parametrize("place", ["context", "dag_run"])
def test_an_interval_that_fits_the_logical_date_is_loaded(date, start, end, run_after, grain, place):
    """In each way in which Airflow makes the one of the other."""
    choice = resolve_plan(dated(date, start, end, run_after, place), grain=grain)

    assert (choice.intervals, choice.source) == ((span(start, end),), "data_interval")


@pytest.mark.parametrize(
    ("date", "run_after"),
    [
        pytest.param(NOW, NOW, id="TriggerDagRunOperator, undated"),
        pytest.param("2026-01-17T12:00:04.2", NOW, id="dated a moment before the call"),
        pytest.param("2026-01-17T12:00:09", NOW, id="dated by a clock that is ahead"),
        pytest.param(OF_CALL[0], NOW, id="scheduled"),
        pytest.param(NOW, "2026-01-19T07:00:01", id="API"),
    ],
)
def test_an_interval_of_fixed_length_ends_at_the_date_or_begins_there(date, run_after):
    """As CronTriggerTimetable and timedelta infer it, for whoever loads without a grain."""
    assert resolve_plan(dated(date, *OF_CALL, run_after)).intervals == (span(*OF_CALL),)


@pytest.mark.parametrize(
    ("date", "start", "end"),
    [
        pytest.param("2026-01-15T00:00", "2026-01-16", "2026-01-17", id="the day before"),
        pytest.param("2026-01-15T23:59:59.999", "2026-01-16", "2026-01-17", id="a millisecond before"),
        pytest.param("2025-12-01", "2026-01-16", "2026-01-17", id="long before"),
        pytest.param("2026-01-18", "2026-01-16", "2026-01-17", id="tomorrow"),
        pytest.param("2026-12-01", "2026-01-16", "2026-01-17", id="long ahead"),
        pytest.param("2025-12-31", "2026-01-17T11:00", "2026-01-17T12:00", id="an hour's"),
        pytest.param("2025-11-30", "2025-12-01", "2026-01-01", id="a month's"),
        pytest.param("2026-01-15", NOW, NOW, id="of no length"),
        pytest.param("2026-01-18", NOW, NOW, id="of no length, tomorrow"),
        pytest.param("2026-01-18", *OF_CALL, id="of fixed length, tomorrow"),
        pytest.param("2026-01-17T13:00", *OF_CALL, id="of fixed length, in an hour"),
        pytest.param("2026-12-01", *OF_CALL, id="of fixed length, long ahead"),
        pytest.param("2026-01-17", *OF_CALL, id="of fixed length, in it"),
        pytest.param("2026-01-15", *OF_CALL, id="of fixed length, before it"),
        pytest.param("2026-01-19", *OF_CALL_WEEK, id="longer than the schedule's, ahead"),
        pytest.param("2026-01-12", *OF_CALL_WEEK, id="longer than the schedule's, in it"),
    ],
)
@pytest.mark.parametrize("place", ["context", "dag_run"])
def test_an_interval_of_the_call_is_not_taken_for_the_dates(date, start, end, place):
    """As of `airflow dags trigger --logical-date` and TriggerDagRunOperator: another day would be loaded, green."""
    grain = "day" if start == end else None
    with pytest.raises(IntervalError, match="do not belong together") as caught:
        resolve_plan(dated(date, start, end, place=place), grain=grain)

    named = (iso(span(date, date).start), "[2026-01-1" if start != "2025-12-01" else "[2025-12-01", "start= and end=")
    assert all(part in str(caught.value) for part in (*named, f"--from-date {date[:10]} --to-date {date[:10]}"))
    explicit = resolve_plan(dated(date, start, end, place=place), start="2026-01-15", end="2026-01-16", grain=grain)
    assert explicit.intervals == (JAN_15,)


@pytest.mark.parametrize("date", ["2026-01-17T00:00", "2026-01-17T12:00:00", "2026-01-16T08:00"])
def test_a_tick_of_no_length_may_be_a_while_after_its_date(date):
    """What is loaded is the grain before the tick, which is the date's too."""
    assert resolve_plan(dated(date, NOW, NOW), grain="day").intervals == (span("2026-01-16", "2026-01-17"),)


def test_a_partition_and_events_do_not_ask_for_the_logical_date():
    """They say by themselves what is to be loaded."""
    date = dated("2025-01-01", NOW, NOW)

    assert resolve_plan({**date, **PARTITION}, grain="day").source == "partition"
    assert resolve_plan({**date, **woken(EVENT)}, grain="day").source == "asset_events"


# -- ticks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tick", "grain", "expected"),
    [
        pytest.param("2026-01-16", "day", JAN_15, id="daily"),
        pytest.param("2026-01-16T05:31:07.123456", "day", JAN_15, id="at any time of the day"),
        pytest.param("2026-01-15T23:59:59.999999", "day", span("2026-01-14", "2026-01-15"), id="just before midnight"),
        pytest.param("2026-01-01", "month", span("2025-12-01", "2026-01-01"), id="monthly"),
        pytest.param("2026-03-31T12:00", "month", span("2026-02-01", "2026-03-01"), id="from the 31st"),
        pytest.param("2026-01-15", "hour", span("2026-01-14T23:00", "2026-01-15"), id="hourly over midnight"),
        pytest.param("2026-01-16T07:59+08:00", "day", span("2026-01-14", "2026-01-15"), id="another zone's day"),
    ],
)
def test_an_interval_of_no_length_stands_for_the_last_whole_grain(tick, grain, expected):
    """The last one that ended at or before it."""
    choice = resolve_plan(scheduled(tick, tick), grain=grain)

    assert (choice.intervals, choice.source) == ((expected,), "last_grain")


def test_an_interval_of_microseconds_has_no_length():
    """Records have milliseconds: nothing could be in it."""
    assert resolve_plan(scheduled("2026-01-16T00:00:00.000100", "2026-01-16T00:00:00.000900"), grain="day") == LoadPlan(
        (JAN_15,), "last_grain", "day"
    )


@pytest.mark.parametrize("grain", [None, "day"])
def test_a_reversed_data_interval_is_refused(grain):
    """It is never taken for an empty one."""
    with pytest.raises(IntervalError, match="from data_interval is reversed"):
        resolve_plan(scheduled("2026-01-16", "2026-01-15"), grain=grain)


# -- grains that do not fit ------------------------------------------------------------------------------------------


def dag(timetable_zone, start_zone="UTC"):
    """A real DAG whose timetable, as so often, is of another zone than its start date."""
    from airflow.sdk import DAG
    from versions import CronDataIntervalTimetable

    schedule = CronDataIntervalTimetable("0 0 * * *", timezone=timetable_zone)
    return DAG("a_dag", schedule=schedule, start_date=pendulum.datetime(2026, 1, 1, tz=start_zone))


@pytest.mark.parametrize(
    ("zone", "day"),
    [(SHANGHAI, (2026, 1, 15)), (BERLIN, (2026, 3, 29)), (BERLIN, (2026, 10, 25)), (BERLIN, (2026, 7, 1)),
     ("America/New_York", (2026, 3, 8)), ("Asia/Kathmandu", (2026, 1, 15))],
    ids=["Shanghai", "Berlin, 23 hours", "Berlin, 25 hours", "Berlin, summer", "New York", "a quarter of an hour"],
)  # fmt: skip
@pytest.mark.parametrize("origin", ["timetable", "start date", "pendulum arguments", "zoneinfo arguments"])
def test_a_zones_midnight_is_not_utcs(zone, day, origin):
    """The error names the zone that the bounds come from, and the cure."""
    first = pendulum.datetime(*day, tz=zone)
    last = first.add(days=1)
    explicit = {}
    context = scheduled(first.in_tz("UTC"), last.in_tz("UTC"), dag=dag(zone))
    if origin == "start date":
        context["dag"] = SimpleNamespace(timezone=pendulum.timezone(zone), timetable=None)
    elif origin == "pendulum arguments":
        context, explicit = {}, {"start": first, "end": last}
    elif origin == "zoneinfo arguments":
        start = datetime(*day, tzinfo=ZoneInfo(zone))
        context, explicit = {}, {"start": start, "end": start + timedelta(days=1)}

    with pytest.raises(IntervalError, match="does not consist of whole days in UTC") as caught:
        resolve_plan(context, grain="day", **explicit)

    assert f"from the zone {zone}, whose midnight is not UTC's" in str(caught.value)
    assert UTC_TIMETABLE in str(caught.value)
    assert "or leave grain out" in str(caught.value)


def test_the_timetables_zone_counts_and_not_the_start_dates():
    """A DAG whose start date is local but whose timetable is UTC's is not blamed for its zone."""
    with pytest.raises(IntervalError) as caught:
        resolve_plan(scheduled("2026-01-15T05:31", "2026-01-16T05:31", dag=dag("UTC", BERLIN)), grain="day")

    assert "zone" not in str(caught.value).replace("timezone=", "")


def test_without_a_dag_no_zone_is_blamed():
    """A context may be made by hand."""
    with pytest.raises(IntervalError, match=r"whole days in UTC\. Give"):
        resolve_plan(scheduled("2026-01-15T05:31", "2026-01-16T05:31"), grain="day")


def test_explicit_bounds_do_not_come_from_the_dags_zone():
    """What the user wrote in UTC is not blamed on the DAG."""
    with pytest.raises(IntervalError) as caught:
        resolve_plan({"dag": dag(BERLIN)}, start="2026-01-15T05:31Z", end="2026-01-16T05:31Z", grain="day")

    assert BERLIN not in str(caught.value)


@pytest.mark.parametrize(
    ("bound", "name"),
    [("2026-01-15T00:00:00+08:00", "UTC+08:00"), (pendulum.parse("2026-01-15T00:00:00+08:00"), "+08:00")],
    ids=["text", "pendulum"],
)
def test_a_fixed_offset_is_named_in_words(bound, name):
    """And not by the name of a Python class."""
    with pytest.raises(IntervalError, match=r"from the zone \S*\+08:00, whose") as caught:
        resolve_plan({}, start=bound, end="2026-01-17", grain="day")

    assert f" {name}," in str(caught.value)


def test_a_zone_whose_midnight_is_utcs_hour_may_be_cut_to_hours():
    """Shanghai's day consists of whole UTC hours; Kathmandu's does not."""
    days = [
        (pendulum.datetime(2026, 1, 15, tz=z), pendulum.datetime(2026, 1, 16, tz=z))
        for z in (SHANGHAI, "Asia/Kathmandu")
    ]

    assert len(list(resolve_plan({}, start=days[0][0], end=days[0][1], grain="hour").objects())) == 24
    with pytest.raises(IntervalError, match="whole hours in UTC; its bounds come from the zone Asia/Kathmandu"):
        resolve_plan({}, start=days[1][0], end=days[1][1], grain="hour")


@pytest.mark.parametrize(
    ("start", "end", "grain"),
    [("2026-01-15T00:00:00.001", "2026-01-16", "hour"), ("2026-01-15", "2026-01-15T23:59:59.999", "day"),
     ("2026-01-02", "2026-02-01", "month"), ("2026-01-01", "2026-01-31", "month")],
    ids=["a millisecond late", "a millisecond early", "not from the first", "not to the last"],
)  # fmt: skip
def test_what_is_not_whole_by_a_millisecond_is_refused(start, end, grain):
    """Nothing is rounded: an object must hold exactly what its key says."""
    with pytest.raises(IntervalError, match=f"whole {grain}s in UTC. Give"):
        resolve_plan({}, start=start, end=end, grain=grain)


# -- asset events ----------------------------------------------------------------------------------------------------


def test_each_window_is_loaded_once_in_order():
    """Touching and overlapping ones become one, disjoint ones stay apart, whatever the order of events and assets."""
    context = {
        "triggering_asset_events": {
            "a": [event(start="2026-03-05", end="2026-03-06"), event(start="2026-03-01", end="2026-03-02")],
            "b": [watched(start="2026-03-02", end="2026-03-03", total=3), event(start="2026-03-01", end="2026-03-02")],
            "c": [],
        }
    }

    assert resolve_plan(context) == LoadPlan(
        (span("2026-03-01", "2026-03-03"), span("2026-03-05", "2026-03-06")), "asset_events"
    )


@pytest.mark.parametrize(
    ("grain", "expected"),
    [
        (None, ("2026-03-01T07:20:00.001", "2026-03-01T08:00:00.001")),
        ("hour", ("2026-03-01T07:00", "2026-03-01T09:00")),
        ("day", ("2026-03-01", "2026-03-02")),
        ("month", ("2026-03-01", "2026-04-01")),
    ],
)
def test_a_watchers_window_is_widened_to_whole_grains(grain, expected):
    """By as little as possible, so that every object is a whole grain."""
    context = woken(watched(start="2026-03-01T07:20:00.001Z", end="2026-03-01T08:00:00.001Z"))

    assert resolve_plan(context, grain=grain).intervals == (span(*expected),)


def test_windows_that_meet_by_widening_are_loaded_once():
    """Two records of one day are one object."""
    context = woken(
        watched(start="2026-03-01T07:00Z", end="2026-03-01T08:00Z"),
        watched(start="2026-03-01T22:00Z", end="2026-03-02T01:00Z"),
    )

    assert list(resolve_plan(context, grain="day").objects()) == [
        span("2026-03-01", "2026-03-02"),
        span("2026-03-02", "2026-03-03"),
    ]


FOREIGN = [
    pytest.param(event(rows=5), id="no window"),
    pytest.param(event(start="2026-03-01"), id="half a window"),
    pytest.param(event(end="2026-03-01"), id="the other half"),
    pytest.param(event(start=None, end=None), id="nulls"),
    pytest.param(event(start="", end=""), id="empty"),
    pytest.param(event(start="monday", end="tuesday"), id="another meaning"),
    pytest.param(event(start="2026-03-01", end="tuesday"), id="half another meaning"),
    pytest.param(event(start=0, end=500), id="row numbers"),
    pytest.param(event(start="0001-01-01", end="9999-12-31"), id="always"),
    pytest.param(event(start={"at": 1}, end=[2]), id="objects"),
    pytest.param(event(start="2026-03-02", end="2026-03-01"), id="reversed"),
    pytest.param(event(start="2026-03-01", end="2026-03-01"), id="no length"),
    pytest.param(event(start="2026-03-01T00:00:00.0001", end="2026-03-01T00:00:00.0002"), id="under a millisecond"),
    pytest.param(event(from_trigger=True), id="no payload"),
    pytest.param(event(from_trigger=True, payload=None), id="empty payload"),
    pytest.param(event(from_trigger=True, payload="2026-03-01"), id="text payload"),
    pytest.param(event(from_trigger=True, payload=[1]), id="list payload"),
    pytest.param(event(from_trigger=True, payload={"bucket": "b"}), id="another's payload"),
    pytest.param(event(from_trigger=True, start="2026-03-01", end="2026-03-02"), id="beside the payload"),
    pytest.param(SimpleNamespace(extra=None), id="extra is null"),
    pytest.param(SimpleNamespace(extra="x"), id="extra is text"),
    pytest.param(SimpleNamespace(), id="no extra"),
]


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("grain", [None, "day"])
def test_another_event_is_passed_over(foreign, grain):
    """It neither fails the run nor hides our own event beside it."""
    assert resolve_plan(woken(foreign, EVENT, foreign), grain=grain).intervals == (span("2026-03-01", "2026-03-02"),)


@pytest.mark.parametrize("foreign", FOREIGN)
def test_events_that_say_nothing_leave_the_choice_to_the_next_source(foreign):
    """A time-or-asset schedule woken by another asset loads its last grain; any other run is told the cure."""
    assert resolve_plan({**woken(foreign), **NO_LENGTH}, grain="day").source == "last_grain"
    with pytest.raises(IntervalError, match="no data interval to load"):
        resolve_plan(woken(foreign))


@pytest.mark.parametrize("events", [None, {}, [], "x", 5, {"a": []}], ids=repr)
def test_a_run_that_no_event_has_woken_goes_on(events):
    """Whatever stands in the context for none."""
    assert resolve_plan({"triggering_asset_events": events, **NO_LENGTH}, grain="day").source == "last_grain"


def test_airflows_own_accessor_of_events_is_understood():
    """With an asset and an alias that lead to the same event."""
    from airflow.sdk.api.datamodels._generated import AssetEventDagRunReference
    from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
    from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

    def real(extra, *aliases):
        return AssetEventDagRunReferenceResult.from_asset_event_dag_run_reference(
            AssetEventDagRunReference(
                asset={"name": "lake", "uri": "s3://lake/", "extra": {}},
                extra=extra,
                source_task_id="load",
                source_dag_id="a_dag",
                source_run_id="r",
                source_map_index=-1,
                source_aliases=[{"name": alias} for alias in aliases],
                timestamp=datetime(2026, 3, 2, tzinfo=UTC),
            )
        )

    accessor = TriggeringAssetEventsAccessor.build(
        [
            real({"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z", "records": 5}, "alias"),
            real({"from_trigger": True, "payload": {"start": "2026-03-04T00:00:00Z", "end": "2026-03-05T00:00:00Z"}}),
            real({}),
        ]
    )

    choice = resolve_plan(
        {"triggering_asset_events": accessor, "partition_key": None, "partition_date": None}, grain="day"
    )

    assert choice.intervals == (span("2026-03-01", "2026-03-02"), span("2026-03-04", "2026-03-05"))


# -- against the exchange's clock ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "words"),
    [
        pytest.param(at(2026, 1, 16) / 1000, None, id="at its end"),
        pytest.param(at(2026, 1, 16) / 1000 - 300, None, id="five minutes before its end"),
        pytest.param(at(2026, 1, 16) / 1000 - 300.001, "ends in the future", id="a millisecond more"),
        pytest.param(at(2026, 1, 15) / 1000, "ends in the future", id="at its start"),
        pytest.param(at(2026, 1, 15) / 1000 - 0.001, "starts in the future", id="a millisecond before its start"),
    ],
)
def test_what_has_not_happened_yet_is_refused(now, words):
    """By the exchange's clock, which the error names, with the interval."""
    choice = LoadPlan((span("2025-01-15", "2025-01-16"), JAN_15), "data_interval")
    if words is None:
        check_against(now, choice)
        return

    with pytest.raises(IntervalError, match=words) as caught:
        check_against(now, choice)

    assert str(JAN_15) in str(caught.value)
    assert iso(int(now * 1000)) in str(caught.value)


# -- all together ----------------------------------------------------------------------------------------------------


@given(
    st.datetimes(datetime(2017, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.timedeltas(timedelta(0), timedelta(days=40)),
    st.sampled_from([None, "hour", "day", "month"]),
    st.sampled_from(["UTC", SHANGHAI, BERLIN]),
)
def test_what_is_chosen_is_what_airflow_said(start, length, grain, zone):
    """The interval itself to the millisecond, the last whole grain before one of no length, or an error."""
    end = start + length
    context = scheduled(pendulum.instance(start).in_tz(zone), pendulum.instance(end).in_tz(zone))
    try:
        choice = resolve_plan(context, grain=grain)
    except IntervalError:
        return
    pieces = list(choice.objects())

    if choice.source == "data_interval":
        bounds = [(bound - EPOCH) // timedelta(milliseconds=1) for bound in (start, end)]
        assert [pieces[0].start, pieces[-1].end] == bounds
    else:
        assert (choice.source, len(pieces)) == ("last_grain", 1)
        assert pieces[0].end <= int(end.timestamp() * 1000) < pieces[0].end + 31 * DAY
    assert all(a.end == b.start for a, b in itertools.pairwise(pieces))


# -- what follows from the choice ------------------------------------------------------------------------------------


@given(st.integers(1_483_228_800_000, 4_133_980_799_999), st.sampled_from(GRAINS))
def test_a_partition_key_names_its_grain(value, grain):
    """It reads as ISO 8601, sorts as time does, and is as long as its grain says."""
    start = floor(value, grain)
    key = partition_key(start, grain)

    assert len(key) == {"month": 7, "day": 10, "hour": 13}[grain]
    assert iso(start).startswith(key)
    assert key < partition_key(next_grain(start, grain), grain)


@pytest.mark.parametrize(
    ("grain", "expected"), [("month", "2026-01"), ("day", "2026-01-15"), ("hour", "2026-01-15T07")], ids=GRAINS[::-1]
)
def test_the_three_forms_of_a_partition_key(grain, expected):
    """They are what Airflow's timetables are told as key_format."""
    assert partition_key(at(2026, 1, 15, 7), grain) == expected


def test_the_objects_of_a_choice_are_those_of_its_intervals_in_turn():
    """Disjoint intervals are cut one by one: what lies between them is not loaded."""
    first, second = Interval(at(2026, 1, 1), at(2026, 1, 3)), Interval(at(2026, 1, 9), at(2026, 1, 10))

    assert list(LoadPlan((first, second), "asset_events", "day").objects()) == [
        Interval(at(2026, 1, 1), at(2026, 1, 2)),
        Interval(at(2026, 1, 2), at(2026, 1, 3)),
        second,
    ]
    assert list(LoadPlan((first, second), "asset_events").objects()) == [first, second]
