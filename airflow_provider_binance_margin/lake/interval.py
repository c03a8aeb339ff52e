"""Half-open UTC intervals in milliseconds, and their grains."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

Grain: TypeAlias = Literal["hour", "day", "month"]
GRAINS: tuple[Grain, ...] = get_args(Grain)

_YEARS = range(2000, 2200)
DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: what the start of a grain has beside a whole hour
_FIRST: dict[Grain, dict[str, Any]] = {"hour": {}, "day": {"hour": 0}, "month": {"hour": 0, "day": 1}}
#: what a template leaves where nothing was given
_NOTHING = ("", "None")


class IntervalError(ValueError):
    """A run's interval that cannot be loaded; trying again cannot help."""


class Interval(NamedTuple):
    """A half-open interval."""

    start: int  # first millisecond in it, since 1970 in UTC
    end: int  # first millisecond after it

    def __str__(self) -> str:
        """As ``[2026-01-15T00:00:00Z, 2026-01-16T00:00:00Z)``."""
        return f"[{iso(self.start)}, {iso(self.end)})"

    def overlaps(self, other: Interval) -> bool:
        """True when they have a moment in common."""
        return self.start < other.end and other.start < self.end

    def days(self) -> range:
        """Numbers (since 1970) of the UTC days that it touches."""
        return range(self.start // DAY_MS, -(-self.end // DAY_MS))


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
    """A bound as users give it: a datetime, a date (its midnight) or ISO 8601 text; without a zone it is UTC.

    None for nothing, and an IntervalError for anything else.
    """
    if value is None or (isinstance(value, str) and value.strip() in _NOTHING):
        return None
    try:
        when = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    except ValueError:
        when = None
    if isinstance(when, date) and not isinstance(when, datetime):
        when = datetime.combine(when, time())
    if not isinstance(when, datetime):
        kind = "" if isinstance(value, str) else f" ({type(value).__name__})"
        raise IntervalError(
            f"{str(value)[:60]!r}{kind} is not a point in time: give a datetime, a date or ISO 8601 text "
            "such as 2026-01-15T00:00:00Z"
        )
    return believable(when if when.tzinfo else when.replace(tzinfo=UTC))


def between(start: Any, end: Any) -> Interval | None:
    """The interval between two bounds as users give them (see `parse`), which may be reversed; None without both."""
    first, last = parse(start), parse(end)
    return None if first is None or last is None else Interval(ms(first), ms(last))


def believable(when: datetime) -> datetime:
    """The same, unless its year cannot be meant: an IntervalError then."""
    if when.year not in _YEARS:
        raise IntervalError(f"the year {when.year} cannot be meant: there are no records of it")
    return when


def floor(value: int, grain: Grain) -> int:
    """The start of the grain that holds this millisecond."""
    return ms(utc(value).replace(minute=0, second=0, microsecond=0, **_FIRST[grain]))


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
