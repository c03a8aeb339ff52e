"""Half-open UTC intervals in milliseconds, their grains, and which interval a run must load.

This is the one place that decides what a run loads; the choice and its source go to log and result.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

Grain: TypeAlias = Literal["hour", "day", "month"]
GRAINS: tuple[Grain, ...] = get_args(Grain)

_KEY_FORMS: dict[Grain, str] = {
    "month": r"\d{4}-\d{2}",
    "day": r"\d{4}-\d{2}-\d{2}",
    "hour": r"\d{4}-\d{2}-\d{2}T\d{2}",
}
_KEY_FORMATS: dict[Grain, str] = {"month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}
_YEARS = range(2000, 2200)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: what a template leaves where nothing was given
_NOTHING = ("", "None")

CURE = (
    "Schedule the DAG with CronDataIntervalTimetable (or a partition timetable), pass grain= so that the last whole "
    "hour, day or month is taken, or pass start= and end=, for example from params"
)


class IntervalError(ValueError):
    """A run's interval that cannot be loaded; trying again cannot help."""


class Interval(NamedTuple):
    """A half-open interval.

    :param start: first millisecond in it, since 1970 in UTC
    :param end: first millisecond after it
    """

    start: int
    end: int

    def __str__(self) -> str:
        """As ``[2026-01-15T00:00:00Z, 2026-01-16T00:00:00Z)``."""
        return f"[{iso(self.start)}, {iso(self.end)})"


class Choice(NamedTuple):
    """What a run must load.

    :param intervals: disjoint and ascending
    :param source: where they come from: "arguments", "partition", "data_interval", "asset_events" or "last_grain"
    :param grain: the length of one object, None for one object per interval
    :param zone: the zone that the bounds were given in, for the error that names it
    """

    intervals: tuple[Interval, ...]
    source: str
    grain: Grain | None = None
    zone: str = "UTC"

    def objects(self) -> Iterator[Interval]:
        """The interval of each object, ascending."""
        for interval in self.intervals:
            yield from cut(interval, self.grain)


def ms(when: datetime) -> int:
    """Milliseconds since 1970; what is finer is cut off, for both bounds alike."""
    # by its fields: differences of pendulum's datetimes do not divide, and a float would lose the last millisecond
    there = when.astimezone(UTC)
    return timegm(there.timetuple()) * 1000 + there.microsecond // 1000


def utc(value: int) -> datetime:
    """The datetime of a number of milliseconds."""
    return _EPOCH + timedelta(milliseconds=value)


def iso(value: int) -> str:
    """As ``2026-01-15T07:00:00Z``, with ``.745`` before the ``Z`` when it is not a whole second."""
    return utc(value).replace(tzinfo=None).isoformat(timespec="milliseconds" if value % 1000 else "seconds") + "Z"


def parse(value: Any) -> datetime | None:
    """A bound as users give it: a datetime or ISO 8601 text; without a zone it is UTC; None for nothing.

    :raises IntervalError: for anything else
    """
    if value is None or (isinstance(value, str) and value.strip() in _NOTHING):
        return None
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(value.strip())
    except (ValueError, AttributeError, TypeError):
        raise IntervalError(
            f"{str(value)[:60]!r} is not a point in time: give a datetime or ISO 8601 text such as 2026-01-15T00:00:00Z"
        ) from None
    return _believable(when if when.tzinfo else when.replace(tzinfo=UTC))


def _believable(when: datetime) -> datetime:
    if when.year not in _YEARS:
        raise IntervalError(f"the year {when.year} cannot be meant: there are no records of it")
    return when


def floor(value: int, grain: Grain) -> int:
    """The start of the grain that holds this millisecond."""
    when = utc(value)
    whole = when.replace(minute=0, second=0, microsecond=0)
    if grain != "hour":
        whole = whole.replace(hour=0)
    if grain == "month":
        whole = whole.replace(day=1)
    return ms(whole)


def next_grain(start: int, grain: Grain) -> int:
    """The end of the grain that starts here."""
    longest = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31)}
    return floor(ms(utc(start) + longest[grain]), grain)


def cut(interval: Interval, grain: Grain | None) -> Iterator[Interval]:
    """The grains of an interval that consists of whole ones; the interval itself without a grain."""
    if grain is None:
        yield interval
        return
    start = interval.start
    while start < interval.end:
        end = next_grain(start, grain)
        yield Interval(start, end)
        start = end


def widen(interval: Interval, grain: Grain) -> Interval:
    """The shortest interval of whole grains that holds this one."""
    last = floor(interval.end - 1, grain)
    return Interval(floor(interval.start, grain), next_grain(last, grain))


def join(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same time as disjoint, ascending intervals; those that touch become one."""
    joined: list[Interval] = []
    for interval in sorted(intervals):
        if joined and interval.start <= joined[-1].end:
            joined[-1] = Interval(joined[-1].start, max(joined[-1].end, interval.end))
        else:
            joined.append(interval)
    return tuple(joined)


def partition_key(start: int, grain: Grain) -> str:
    """The asset partition key of the grain that starts here: ``2026-01``, ``2026-01-15`` or ``2026-01-15T07``."""
    return utc(start).strftime(_KEY_FORMATS[grain])


def resolve(context: Mapping[str, Any], *, start: Any = None, end: Any = None, grain: Grain | None = None) -> Choice:
    """Which interval a run must load.

    :param context: Airflow's context, or anything with its keys
    :param start: explicit start, or nothing
    :param end: explicit end, or nothing
    :param grain: the length of one object
    :raises IntervalError: with the cure, when the run has no interval or one that does not fit the grain
    """
    choice = (
        _from_arguments(start, end, grain)
        or _from_partition(context, grain)
        or _from_data_interval(context, grain)
        or _from_asset_events(context, grain)
        or _last_grain(context, grain)
    )
    if choice is None:
        raise IntervalError(
            f"this run has no data interval to load. {CURE}. (Airflow 3 gives bare cron strings an interval of no "
            "length, and runs that were started by hand or by an asset none.)"
        )
    for interval in choice.intervals:
        _check(interval, choice)
    return choice


def _from_arguments(start: Any, end: Any, grain: Grain | None) -> Choice | None:
    first, last = parse(start), parse(end)
    if first is None and last is None:
        return None
    if first is None or last is None:
        given, missing = ("start", "end") if last is None else ("end", "start")
        raise IntervalError(f"{given} is given and {missing} is not: give both, or neither to load the run's interval")
    zone = next((_name(d.tzinfo) for d in (first, last) if d.utcoffset()), "UTC")
    return Choice((Interval(ms(first), ms(last)),), "arguments", grain, zone)


def is_partitioned(context: Mapping[str, Any]) -> bool:
    """Whether the run is a partition of its DAG's own timetable."""
    return any(_of_run(context, name) is not None for name in ("partition_key", "partition_date"))


def _of_run(context: Mapping[str, Any], name: str) -> Any:
    return context.get(name) or getattr(context.get("dag_run"), name, None)


def _from_partition(context: Mapping[str, Any], grain: Grain | None) -> Choice | None:
    key = _of_run(context, "partition_key")
    date = parse(_of_run(context, "partition_date"))
    form = next((g for g, pattern in _KEY_FORMS.items() if isinstance(key, str) and re.fullmatch(pattern, key)), None)
    if key is None and date is None:
        return None
    length = form or grain
    if date is None and form is not None:
        date = _date_of_key(str(key), form)
    if date is None or length is None:
        raise IntervalError(
            f"the run's partition {key!r} does not say how long it is: pass grain=, or use a timetable whose "
            "key_format is %Y-%m, %Y-%m-%d or %Y-%m-%dT%H"
        )
    first = ms(date)
    if form is not None and first != ms(_date_of_key(str(key), form)):
        raise IntervalError(
            f"the partition {key!r} starts at {iso(first)}, which is not its start in UTC: give the timetable "
            "timezone=\"UTC\", since the lake's hours, days and months are UTC's"
        )
    # without a form the partition is taken to be one grain; what is no whole grain is refused below
    interval = Interval(first, next_grain(floor(first, length), length))
    return Choice((interval,), "partition", grain, _zone_of_schedule(context))


def _date_of_key(key: str, form: Grain) -> datetime:
    try:
        date = datetime.strptime(key, _KEY_FORMATS[form]).replace(tzinfo=UTC)
    except ValueError:
        raise IntervalError(f"the partition key {key!r} is not a date") from None
    return _believable(date)


def _bounds(context: Mapping[str, Any]) -> Interval | None:
    first, last = parse(context.get("data_interval_start")), parse(context.get("data_interval_end"))
    return None if first is None or last is None else Interval(ms(first), ms(last))


def _from_data_interval(context: Mapping[str, Any], grain: Grain | None) -> Choice | None:
    bounds = _bounds(context)
    if bounds is None or bounds.start == bounds.end:
        return None
    return Choice((bounds,), "data_interval", grain, _zone_of_schedule(context))


def _from_asset_events(context: Mapping[str, Any], grain: Grain | None) -> Choice | None:
    events = context.get("triggering_asset_events")
    if not isinstance(events, Mapping):
        return None
    found = [w for group in events.values() for event in group if (w := _window_in(getattr(event, "extra", None)))]
    if not found:
        return None
    return Choice(join(widen(w, grain) if grain else w for w in found), "asset_events", grain)


def _window_in(extra: Any) -> Interval | None:
    """The window an event carries: the operator's own in `extra`, a watcher's in ``extra["payload"]``.

    None where it carries none: what another producer means by start and end must not fail the run.
    """
    if not isinstance(extra, Mapping):
        return None
    payload = extra.get("payload") if extra.get("from_trigger") else extra
    if not isinstance(payload, Mapping):
        return None
    try:
        first, last = parse(payload.get("start")), parse(payload.get("end"))
    except IntervalError:
        return None
    return None if first is None or last is None or ms(first) >= ms(last) else Interval(ms(first), ms(last))


def _last_grain(context: Mapping[str, Any], grain: Grain | None) -> Choice | None:
    bounds = _bounds(context)
    if bounds is None or grain is None:
        return None
    end = floor(bounds.end, grain)
    return Choice((Interval(floor(end - 1, grain), end),), "last_grain", grain)


def _check(interval: Interval, choice: Choice) -> None:
    if interval.start >= interval.end:
        kind = "is empty" if interval.start == interval.end else "is reversed"
        raise IntervalError(f"the interval {interval} from {choice.source} {kind}: its start must be before its end")
    grain = choice.grain
    if grain and interval != widen(interval, grain):
        zone = choice.zone
        reason = f"; its bounds come from the zone {zone}, whose midnight is not UTC's" if zone != "UTC" else ""
        raise IntervalError(
            f"the interval {interval} from {choice.source} does not consist of whole {grain}s in UTC{reason}. Give the "
            f'timetable timezone="UTC" (or start and end on UTC\'s bounds), or leave grain out for one object per run'
        )


def _zone_of_schedule(context: Mapping[str, Any]) -> str:
    """The timetable's zone, where it has one: the DAG's, that of its start date, may be another."""
    dag = context.get("dag")
    timetable = getattr(dag, "timetable", None)
    # before Airflow 3.2 a timetable keeps its zone to itself
    own = getattr(timetable, "timezone", None) or getattr(timetable, "_timezone", None)
    return _name(own or getattr(dag, "timezone", None) or "UTC")


def _name(zone: Any) -> str:
    return str(getattr(zone, "name", zone))


def check_against(now: float, choice: Choice, *, ahead: float = 300.0) -> None:
    """Refuse what has not begun, or ends too far ahead.

    :param now: the exchange's time, seconds since 1970
    :param ahead: how many seconds an end may lie ahead of it
    :raises IntervalError: naming both
    """
    for interval in choice.intervals:
        if interval.start > now * 1000:
            raise IntervalError(
                f"the interval {interval} from {choice.source} starts in the future (the exchange's clock says "
                f"{iso(int(now * 1000))}): nothing can be in it yet"
            )
        if interval.end > (now + ahead) * 1000:
            raise IntervalError(
                f"the interval {interval} from {choice.source} ends in the future (the exchange's clock says "
                f"{iso(int(now * 1000))}): load it after its end, or give an end that has passed"
            )
