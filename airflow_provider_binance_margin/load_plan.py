"""Load plan of a run: its intervals, and where they come from. Both go to log and result."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from airflow_provider_binance_margin.lake.interval import (
    Grain,
    Interval,
    IntervalError,
    believable,
    between,
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

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.dataset import Dataset

_MINUTE_MS = 60_000
_KEY_FORMATS: dict[Grain, str] = {"month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}
_KEY_PATTERNS = {
    grain: re.sub("%[mdH]", r"\\d{2}", form.replace("%Y", r"\d{4}")) for grain, form in _KEY_FORMATS.items()
}
_EXPIRING_MS = 14 * 24 * 3_600_000
#: seconds by which an end may lie ahead of the exchange's clock
_AHEAD = 300.0
_SHORTEST_DAY_MS = 23 * 3_600_000

_OR_BOUNDS = "or pass start= and end=, for example from params"


class LoadPlan(NamedTuple):
    """Intervals that a run must load."""

    intervals: tuple[Interval, ...]  # disjoint and ascending
    source: str  # where they come from: "arguments", "partition", "data_interval", "asset_events" or "last_grain"
    grain: Grain | None = None  # the length of one object, None for one object per interval
    zone: str = "UTC"  # that the bounds were given in, for the error that names it

    def objects(self) -> Iterator[Interval]:
        """The interval of each object, ascending."""
        for interval in self.intervals:
            yield from cut(interval, self.grain)


def resolve_plan(
    context: Mapping[str, Any], *, start: Any = None, end: Any = None, grain: Grain | None = None
) -> LoadPlan:
    """Resolve the intervals that a run must load, from Airflow's context where no bounds are given.

    :raises IntervalError: with the cure, when the run has no interval or one that does not fit the grain
    """
    plan = (
        _from_arguments(start, end, grain)
        or _from_partition(context, grain)
        or _from_data_interval(context, grain)
        or _from_asset_events(context, grain)
        or _last_grain(context, grain)
    )
    if plan is None:
        if _of_run(context, "run_type") == "manual" and _bounds(context) is None:
            raise IntervalError(
                "this run has no data interval to load. Give a run by hand a logical date (in the UI or the API: it "
                f"loads the last interval before that), {_OR_BOUNDS}"
            )
        raise IntervalError(
            "this run has no data interval to load. Schedule the DAG with CronDataIntervalTimetable (or a partition "
            f"timetable), pass grain= so that the last whole hour, day or month is taken, {_OR_BOUNDS}. (Airflow 3 "
            "gives bare cron strings an interval of no length, and runs by an asset none.)"
        )
    for interval in plan.intervals:
        _check(interval, plan)
    if plan.source in ("data_interval", "last_grain"):
        _check_logical_date(context, plan)
    return plan


def _from_arguments(start: Any, end: Any, grain: Grain | None) -> LoadPlan | None:
    first, last = parse(start), parse(end)
    if first is None and last is None:
        return None
    if first is None or last is None:
        given, missing = ("start", "end") if last is None else ("end", "start")
        raise IntervalError(f"{given} is given and {missing} is not: give both, or neither to load the run's interval")
    zone = next((_name(d.tzinfo) for d in (first, last) if d.utcoffset()), "UTC")
    return LoadPlan((Interval(ms(first), ms(last)),), "arguments", grain, zone)


def is_partitioned(context: Mapping[str, Any]) -> bool:
    """True for a run that is a partition of its DAG's own timetable."""
    return any(_of_run(context, name) is not None for name in ("partition_key", "partition_date"))


def _of_run(context: Mapping[str, Any], name: str) -> Any:
    return context.get(name) or getattr(context.get("dag_run"), name, None)


def _from_partition(context: Mapping[str, Any], grain: Grain | None) -> LoadPlan | None:
    key, date = _of_run(context, "partition_key"), parse(_of_run(context, "partition_date"))
    if key is None and date is None:
        return None
    form = next((form for form, pattern in _KEY_PATTERNS.items() if re.fullmatch(pattern, str(key))), None)
    named = _date_of_key(str(key), form) if form else None
    date, length = date or named, form or grain
    if date is None or length is None:
        raise IntervalError(
            f"the run's partition {key!r} does not say how long it is: pass grain=, or use a timetable whose "
            "key_format is %Y-%m, %Y-%m-%d or %Y-%m-%dT%H"
        )
    first = ms(date)
    if named and first != ms(named):
        raise IntervalError(
            f"the partition {key!r} starts at {iso(first)}, which is not its start in UTC: give the timetable "
            "timezone=\"UTC\", since the lake's hours, days and months are UTC's"
        )
    # without a form the partition is taken to be one grain; what is no whole grain is refused below
    interval = Interval(first, next_grain(floor(first, length), length))
    return LoadPlan((interval,), "partition", grain, _zone_of_schedule(context))


def partition_key(start: int, grain: Grain) -> str:
    """The asset partition key of the grain that starts here: ``2026-01``, ``2026-01-15`` or ``2026-01-15T07``."""
    return utc(start).strftime(_KEY_FORMATS[grain])


def _date_of_key(key: str, form: Grain) -> datetime:
    try:
        date = datetime.strptime(key, _KEY_FORMATS[form]).replace(tzinfo=UTC)
    except ValueError:
        raise IntervalError(f"the partition key {key!r} is not a date") from None
    return believable(date)


def _bounds(context: Mapping[str, Any]) -> Interval | None:
    return between(context.get("data_interval_start"), context.get("data_interval_end"))


def _from_data_interval(context: Mapping[str, Any], grain: Grain | None) -> LoadPlan | None:
    bounds = _bounds(context)
    if bounds is None or bounds.start == bounds.end:
        return None
    return LoadPlan((bounds,), "data_interval", grain, _zone_of_schedule(context))


def _from_asset_events(context: Mapping[str, Any], grain: Grain | None) -> LoadPlan | None:
    events = context.get("triggering_asset_events")
    if not isinstance(events, Mapping):
        return None
    found = [w for group in events.values() for event in group if (w := _window_in(getattr(event, "extra", None)))]
    if not found:
        return None
    return LoadPlan(join(widen(w, grain) if grain else w for w in found), "asset_events", grain)


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
        window = between(payload.get("start"), payload.get("end"))
    except IntervalError:
        return None
    return window if window and window.start < window.end else None


def _last_grain(context: Mapping[str, Any], grain: Grain | None) -> LoadPlan | None:
    bounds = _bounds(context)
    if bounds is None or grain is None:
        return None
    end = floor(bounds.end, grain)
    return LoadPlan((Interval(floor(end - 1, grain), end),), "last_grain", grain)


def _check(interval: Interval, plan: LoadPlan) -> None:
    if interval.start >= interval.end:
        kind = "is empty" if interval.start == interval.end else "is reversed"
        raise IntervalError(f"the interval {interval} from {plan.source} {kind}: its start must be before its end")
    grain = plan.grain
    if grain and interval != widen(interval, grain):
        reason, cure = "", f"Give the DAG a schedule of whole {grain}s"
        if plan.zone != "UTC":
            reason = f"; its bounds come from the zone {plan.zone}, whose midnight is not UTC's"
            cure = 'Give the timetable timezone="UTC"'
        raise IntervalError(
            f"the interval {interval} from {plan.source} does not consist of whole {grain}s in UTC{reason}. {cure} "
            "(or start and end on UTC's bounds), or leave grain out for one object per run"
        )


def _check_logical_date(context: Mapping[str, Any], plan: LoadPlan) -> None:
    """Refuse the interval of a run that is dated otherwise.

    A run's logical date is where its interval starts (scheduled runs and backfills), lies in it, or is followed back to
    the last interval that had ended by then (the API, `airflow dags test`). But the command line and
    TriggerDagRunOperator date a run as told, and infer its interval from the time at which they are called. Timetables
    of a fixed length (CronTriggerTimetable with an interval, timedelta) then end it at the very call, at no tick.
    """
    date, called = parse(_of_run(context, "logical_date")), parse(_of_run(context, "run_after"))
    if date is None:
        return
    (interval,) = plan.intervals
    # of a date ahead of its own call: one that the next interval would belong to
    latest = 2 * interval.end - interval.start if called and interval.end < ms(called) < ms(date) else None
    is_of_call = called is not None and interval.end == ms(called) and interval.end % _MINUTE_MS
    is_elsewhere = ms(date) != interval.start and abs(ms(date) - interval.end) > _MINUTE_MS
    if ms(date) < interval.start or (latest is not None and ms(date) >= latest) or (is_of_call and is_elsewhere):
        day = iso(ms(date))[:10]
        raise IntervalError(
            f"the run's logical date {iso(ms(date))} and its interval {interval} from {plan.source} do not belong "
            "together: `airflow dags trigger` and TriggerDagRunOperator date a run as told, and Airflow infers its "
            "interval from the time at which they are called. Pass start= and end=, for example from params, or use "
            f"`airflow backfill create --from-date {day} --to-date {day}`"
        )


def _zone_of_schedule(context: Mapping[str, Any]) -> str:
    """The timetable's zone, where it has one: the DAG's, that of its start date, may be another."""
    dag = context.get("dag")
    timetable = getattr(dag, "timetable", None)
    # before Airflow 3.2 a timetable keeps its zone to itself
    own = getattr(timetable, "timezone", None) or getattr(timetable, "_timezone", None)
    return _name(own or getattr(dag, "timezone", None) or "UTC")


def local_midnight(plan: LoadPlan) -> str | None:
    """The zone whose days a plan without a grain loads, where they begin on another day in UTC."""
    start, zone = plan.intervals[0].start, plan.zone
    try:
        local = utc(start).astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):  # such as "+01:00", which no schedule has
        return None
    is_day = plan.grain is None and plan.intervals[-1].end - start >= _SHORTEST_DAY_MS
    return zone if is_day and local.hour == local.minute == 0 and local.date() != utc(start).date() else None


def _name(zone: Any) -> str:
    return str(getattr(zone, "name", zone))


def check_against(now: float, plan: LoadPlan) -> None:
    """Refuse, by an IntervalError, what has not begun or ends too far ahead of the exchange's time (s since 1970)."""
    for interval in plan.intervals:
        if interval.start > now * 1000:
            where, cure = "starts in the future", "nothing can be in it yet"
        elif interval.end > (now + _AHEAD) * 1000:
            where, cure = "ends in the future", "load it after its end, or give an end that has passed"
        else:
            continue
        raise IntervalError(
            f"the interval {interval} from {plan.source} {where} (the exchange's clock says "
            f"{iso(int(now * 1000))}): {cure}"
        )


def check_memory(now: float, plan: LoadPlan, dataset: Dataset) -> None:
    """Refuse, by an IntervalError, what begins before the exchange remembers: its answer proves nothing then.

    :param now: the exchange's time, seconds since 1970
    """
    first = plan.intervals[0]
    if dataset.memory is not None and is_beyond_memory(now, first.start, dataset):
        provable = next_grain(floor(int((now - dataset.memory.total_seconds()) * 1000), "day"), "day")
        raise IntervalError(
            f"the exchange remembers {dataset.name} for {dataset.memory.days} days, and {first} begins before that: it "
            f"can be proved complete from {iso(provable)} on. Begin there, or load what is left as a claim with "
            'beyond_memory="claim"'
        )


def load_before(now: float, start: int, dataset: Dataset) -> int | None:
    """Time (ms) from which the exchange forgets what begins at `start` (ms), where that is to come within two weeks."""
    if dataset.memory is None:
        return None
    forgotten_at = start + int(dataset.memory.total_seconds() * 1000)
    return forgotten_at if 0 < forgotten_at - now * 1000 <= _EXPIRING_MS else None


def is_beyond_memory(now: float, start: int, dataset: Dataset) -> bool:
    """True for a start (ms) before what the exchange remembers, where that is documented."""
    return dataset.memory is not None and start < (now - dataset.memory.total_seconds()) * 1000
