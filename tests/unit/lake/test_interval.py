"""Intervals, grains and points in time: arithmetic that must be exact to the millisecond."""

from __future__ import annotations

import itertools
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_margin.lake.interval import (
    GRAINS,
    Interval,
    IntervalError,
    cut,
    floor,
    iso,
    join,
    ms,
    next_grain,
    parse,
    utc,
    widen,
)
from airflow_provider_binance_margin.lake.layout import compact

HOUR = 3_600_000
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = 1_483_228_800_000, 4_133_980_799_999  # 2017 to 2100


class Stamp(datetime):
    """A datetime of another library, as pandas has one."""


class Day:
    """What looks like a date and is none, as numpy has one."""

    def __str__(self):
        return "2026-01-15"


ZONES = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]

milliseconds = st.integers(FIRST, LAST)
grains = st.sampled_from(GRAINS)
intervals = st.builds(lambda start, length: Interval(start, start + length), milliseconds, st.integers(1, 400 * DAY))
short = st.builds(lambda start, length: Interval(start, start + length), milliseconds, st.integers(1, 9 * DAY))
small = st.builds(lambda start, length: Interval(start, start + length), st.integers(0, 60), st.integers(1, 9))


def at(year, month=1, day=1, hour=0, *rest):
    return (datetime(year, month, day, hour, *rest, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def length_of(interval):
    return interval.end - interval.start


# -- points in time --------------------------------------------------------------------------------------------------


@given(milliseconds, st.integers(0, 999), st.sampled_from(ZONES))
def test_a_datetime_of_any_zone_and_kind_is_its_millisecond(value, microseconds, zone):
    """What is finer than a millisecond is cut off; the zone and pendulum change nothing."""
    exact = EPOCH + timedelta(milliseconds=value, microseconds=microseconds)

    assert ms(exact) == value
    assert ms(exact.astimezone(ZoneInfo(zone))) == value
    assert ms(pendulum.instance(exact).in_timezone(zone)) == value


@given(milliseconds)
def test_text_and_number_name_the_same_millisecond(value):
    """Each spelling of a bound can be read back to the millisecond."""
    assert ms(utc(value)) == value
    assert ms(parse(iso(value))) == value
    assert ms(datetime.fromisoformat(compact(value))) == value
    assert len(iso(value)) == (20 if value % 1000 == 0 else 24)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(0, "1970-01-01T00:00:00Z", id="epoch"),
        pytest.param(at(2026, 1, 15, 7), "2026-01-15T07:00:00Z", id="whole second"),
        pytest.param(at(2026, 1, 15, 7) + 745, "2026-01-15T07:00:00.745Z", id="milliseconds"),
        pytest.param(at(2026, 1, 15, 7) + 5, "2026-01-15T07:00:00.005Z", id="leading zeros"),
        pytest.param(-1, "1969-12-31T23:59:59.999Z", id="before 1970"),
    ],
)
def test_how_a_bound_is_spelt(value, expected):
    """Milliseconds appear only when there are some."""
    assert iso(value) == expected


def test_an_interval_is_spelt_half_open():
    """So that nobody wonders about its end."""
    assert str(Interval(at(2026), at(2026) + 1)) == "[2026-01-01T00:00:00Z, 2026-01-01T00:00:00.001Z)"


@given(st.lists(st.datetimes(datetime(2017, 1, 1), datetime(2100, 1, 1)), min_size=2, max_size=9, unique=True))  # noqa: DTZ001
def test_adjacent_data_intervals_with_microseconds_stay_adjacent(bounds):
    """Whatever Airflow's bounds, one run's end is the next one's start, and none overlaps."""
    ticks = sorted(bound.replace(tzinfo=UTC) for bound in bounds)
    runs = [Interval(ms(a), ms(b)) for a, b in itertools.pairwise(ticks)]

    assert all(a.end == b.start for a, b in itertools.pairwise(runs))
    assert sum(map(length_of, runs)) == runs[-1].end - runs[0].start
    assert all(run.start <= run.end for run in runs)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        pytest.param(datetime(2026, 1, 15, tzinfo=UTC), at(2026, 1, 15), id="datetime"),
        pytest.param(datetime(2026, 1, 15), at(2026, 1, 15), id="naive is UTC"),  # noqa: DTZ001
        pytest.param(pendulum.datetime(2026, 1, 15), at(2026, 1, 15), id="pendulum"),
        pytest.param(pendulum.naive(2026, 1, 15), at(2026, 1, 15), id="naive pendulum is UTC"),
        pytest.param(pendulum.datetime(2026, 1, 15, tz="Asia/Shanghai"), at(2026, 1, 14, 16), id="Shanghai"),
        pytest.param(pendulum.datetime(2026, 3, 29, 1, tz="Europe/Berlin"), at(2026, 3, 29), id="before summer time"),
        pytest.param(pendulum.datetime(2026, 3, 29, 3, tz="Europe/Berlin"), at(2026, 3, 29, 1), id="in summer time"),
        pytest.param(
            datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")), at(2026, 10, 25, 0, 30), id="first 02:30"
        ),
        pytest.param(
            datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
            at(2026, 10, 25, 1, 30),
            id="second 02:30",
        ),
        pytest.param("2026-01-15T00:00:00Z", at(2026, 1, 15), id="Z"),
        pytest.param("2026-01-15T00:00:00+00:00", at(2026, 1, 15), id="as Jinja renders"),
        pytest.param("2026-01-15 00:00:00+08:00", at(2026, 1, 14, 16), id="with a blank"),
        pytest.param("2026-01-15T00:00:00", at(2026, 1, 15), id="naive text is UTC"),
        pytest.param("2026-01-15", at(2026, 1, 15), id="date only"),
        pytest.param(date(2026, 1, 15), at(2026, 1, 15), id="date"),
        pytest.param(pendulum.date(2026, 1, 15), at(2026, 1, 15), id="date of pendulum"),
        pytest.param(Stamp(2026, 1, 15, 7), at(2026, 1, 15, 7), id="another's datetime"),
        pytest.param("2026-W03-4", at(2026, 1, 15), id="date of a week"),
        pytest.param("20260115", at(2026, 1, 15), id="compact date"),
        pytest.param("20260115T070000Z", at(2026, 1, 15, 7), id="compact"),
        pytest.param(" 2026-01-15T00:00:00Z\n", at(2026, 1, 15), id="white space around"),
        pytest.param("2026-01-15T00:00:00.1239999Z", at(2026, 1, 15) + 123, id="finer than a millisecond"),
        pytest.param("2000-01-01", at(2000), id="first year"),
        pytest.param("2199-12-31", at(2199, 12, 31), id="last year"),
        pytest.param("2024-02-29", at(2024, 2, 29), id="leap day"),
    ],
)
def test_a_bound_as_users_give_it(given_, expected):
    """Datetimes of both kinds and ISO 8601 text; without a zone it is UTC, whatever zone the worker is in."""
    found = parse(given_)

    assert (ms(found), found.utcoffset() is None) == (expected, False)


@pytest.mark.parametrize("nothing", [None, "", "None", "  ", " None "])
def test_a_template_that_rendered_to_nothing_is_nothing(nothing):
    """So a bound may come from a parameter that was not filled in."""
    assert parse(nothing) is None


@pytest.mark.parametrize(
    "garbage",
    [
        "yesterday", "2026-13-01", "2026-02-29", "2026-01-15T25:00", "{{ ds }}", "1768435200000", "null", "٢", "\x00",
        "\ud800", "x" * 9999, 1768435200000, 1.5, True, b"2026-01-15", [], {}, object(),
        timedelta(1), time(1),
    ],
    ids=lambda value: str(value)[:12].encode("unicode_escape").decode(),
)  # fmt: skip
def test_what_is_no_point_in_time_is_refused_in_words(garbage):
    """The error shows the beginning of what was given, and what to give instead."""
    with pytest.raises(IntervalError, match="is not a point in time: give a datetime, a date or ISO") as caught:
        parse(garbage)

    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("value", "kind"), [(Day(), "Day"), (b"2026-01-15", "bytes"), (1768435200000, "int")])
def test_what_reads_like_a_bound_and_is_none_is_named_by_its_type(value, kind):
    """Its text alone would be one that is taken."""
    with pytest.raises(IntervalError, match=rf"\({kind}\) is not a point in time"):
        parse(value)


@pytest.mark.parametrize("year", [1, 1969, 1970, 1999, 2200, 9999])
def test_a_year_that_cannot_be_meant_is_refused(year):
    """Seconds taken for milliseconds, or a typing error, must not load fifty years."""
    with pytest.raises(IntervalError, match=f"the year {year} cannot be meant"):
        parse(datetime(year, 1, 1, tzinfo=UTC))


@given(st.text() | st.integers() | st.floats() | st.none() | st.dates() | st.datetimes(timezones=st.just(timezone.max)))
def test_reading_a_bound_never_fails_otherwise(value):
    """Whatever is given: a point in time, nothing, or the error that says what to do."""
    try:
        found = parse(value)
    except IntervalError:
        return
    assert found is None or found.tzinfo


# -- grains ----------------------------------------------------------------------------------------------------------


@given(milliseconds)
def test_a_grain_starts_where_the_calendar_says(value):
    """Hours, days and months are those of UTC, in leap years too."""
    when = EPOCH + timedelta(milliseconds=value)

    assert floor(value, "hour") == value - value % HOUR == at(when.year, when.month, when.day, when.hour)
    assert floor(value, "day") == value - value % DAY == at(when.year, when.month, when.day)
    assert floor(value, "month") == at(when.year, when.month)


@given(milliseconds)
def test_a_grain_ends_where_the_calendar_says(value):
    """A month has the days the calendar gives it."""
    month = utc(floor(value, "month"))
    days = monthrange(month.year, month.month)[1]

    assert next_grain(floor(value, "hour"), "hour") == floor(value, "hour") + HOUR
    assert next_grain(floor(value, "day"), "day") == floor(value, "day") + DAY
    assert next_grain(floor(value, "month"), "month") == floor(value, "month") + days * DAY


@pytest.mark.parametrize(
    ("year", "end"), [(2023, 28), (2024, 29), (2000, 29), (2100, 28)], ids=["plain", "leap", "fourth", "hundredth"]
)
def test_february_ends_with_its_last_day(year, end):
    """The Gregorian calendar's three rules."""
    assert next_grain(at(year, 2), "month") == at(year, 2, end) + DAY == at(year, 3)


@given(milliseconds, grains)
def test_a_grain_holds_its_milliseconds_and_no_other(value, grain):
    """The next grain starts exactly where one ends."""
    start = floor(value, grain)
    end = next_grain(start, grain)

    assert start <= value < end
    assert floor(end - 1, grain) == start
    assert floor(end, grain) == end


@given(short | intervals, grains)
def test_the_grains_of_an_interval_cover_it_to_the_millisecond(interval, grain):
    """Ascending, disjoint, without a gap, each one a whole grain, and not a millisecond more or less."""
    whole = widen(interval, grain if length_of(interval) < 30 * DAY or grain != "hour" else "day")

    pieces = list(cut(whole, grain))

    assert pieces[0].start == whole.start
    assert pieces[-1].end == whole.end
    assert all(a.end == b.start for a, b in itertools.pairwise(pieces))
    assert all(floor(p.start, grain) == p.start and next_grain(p.start, grain) == p.end for p in pieces)
    assert sum(map(length_of, pieces)) == length_of(whole)


@given(intervals)
def test_without_a_grain_an_interval_is_one_piece(interval):
    """One object a run."""
    assert list(cut(interval, None)) == [interval]


@given(intervals, grains)
def test_widened_is_the_shortest_that_holds_it(interval, grain):
    """A grain less at either side would lose a millisecond; widening it again changes nothing."""
    whole = widen(interval, grain)

    assert whole.start <= interval.start < next_grain(whole.start, grain)
    assert floor(whole.end - 1, grain) < interval.end <= whole.end
    assert floor(whole.start, grain) == whole.start
    assert floor(whole.end, grain) == whole.end
    assert widen(whole, grain) == whole


@given(st.lists(small, max_size=12))
def test_joined_is_the_same_time_once(many):
    """Overlapping and touching ones become one, the rest stays apart, the order of arrival does not matter."""
    joined = join(many)

    assert {at for i in joined for at in range(i.start, i.end)} == {at for i in many for at in range(i.start, i.end)}
    assert all(a.end < b.start for a, b in itertools.pairwise(joined))
    assert join(reversed(many)) == joined == join(joined)


def test_five_years_of_hours_are_cut_lazily():
    """A wide backfill holds one interval at a time."""
    pieces = cut(Interval(at(2021), at(2026)), "hour")

    assert next(pieces) == Interval(at(2021), at(2021) + HOUR)
    assert Fraction(sum(1 for _ in pieces) + 1, 24) == 5 * 365 + 1
