"""Coverage of a lake: an audit's findings as one verdict a day, a year of them in a value of a few kilobytes."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, product
from typing import Any, NamedTuple, TypeAlias

from airflow_provider_binance_margin.lake.audit import TO_BE_LOADED, Finding, Verdict
from airflow_provider_binance_margin.lake.interval import DAY_MS, ms
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity

VERSION = 1
#: a day's letter by its verdict, the gravest first: of a day of several objects the gravest stands
LETTERS: dict[Verdict, str] = {
    "foreign": "f",
    "corrupt": "x",
    "missing": "m",
    "short": "s",
    "unfinished": "u",
    "claim": "q",
    "long": "l",
    "complete": "c",
}
EMPTY, LOADED, UNSEEN = "e", "+", "."
_GRAVEST = "".join(LETTERS.values())
#: days with these letters state no number of records
_NUMBERLESS = EMPTY + UNSEEN + LOADED
_CURABLE = UNSEEN + "".join(LETTERS[verdict] for verdict in TO_BE_LOADED)
#: the number of records of a day whose object begins with an earlier day, which states it
CONTINUED = -1
_RUN = re.compile(r"([a-z.+])(\d*)")
_EPOCH = date(1970, 1, 1)


class CoverageError(ValueError):
    """A stored value that is no coverage."""


class Day(NamedTuple):
    """Verdict on one UTC day."""

    letter: str  # one of `LETTERS`, or `EMPTY` (complete, without records), `LOADED` (since the audit), `UNSEEN`
    records: int = 0  # stated by the day's objects, or `CONTINUED`
    total: int = 0  # stated by the exchange


class Audit(NamedTuple):
    """One audit of days: which task of which run."""

    began: str  # when, as ISO 8601
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    loads: bool = False  # whether a run of its DAG takes a window (``start`` and ``end`` among its params)
    place: str = ""  # ``s3://`` URL of the objects, a key template
    grain: str = ""  # the length of one object; empty for one a run


Span: TypeAlias = tuple[int, int, Audit]
#: what one value is about, but for the year
Subject: TypeAlias = tuple[str, str, str]
SUBJECT = ("dataset", "account", "scope")


def subject_of(identity: ObjectIdentity) -> Subject:
    """Subject of an object's identity."""
    return identity.dataset, identity.account, identity.scope


def names_of(subject: Subject) -> dict[str, str]:
    """Parts of a subject under their names."""
    return dict(zip(SUBJECT, subject, strict=True))


def day_number(day: date) -> int:
    """Days since 1970."""
    return (day - _EPOCH).days


def first_of(year: int) -> int:
    """The number of a year's first day."""
    return day_number(date(year, 1, 1))


def date_of(number: int) -> date:
    """The date of a day by its number."""
    return _EPOCH + timedelta(days=number)


class AuditedDays:
    """Days of an audit, noted finding by finding, from any thread; bounded by days, whatever the grain."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._lock = threading.Lock()
        self._days: dict[Subject, dict[int, Day]] = {}
        self._covered: Counter[tuple[Subject, int]] = Counter()
        self._verdicts: Counter[tuple[Subject, Verdict]] = Counter()

    def add(self, identity: ObjectIdentity, finding: Finding) -> None:
        """Note what was found for one interval, on each day that it touches."""
        subject, (start, end) = subject_of(identity), finding.interval
        letter, first = LETTERS[finding.verdict], start // DAY_MS
        with self._lock:
            days = self._days.setdefault(subject, {})
            self._verdicts[subject, finding.verdict] += 1
            for number in finding.interval.days():
                stated = number == first
                found = Day(letter, finding.records or 0, finding.total) if stated else Day(letter, CONTINUED)
                days[number] = _together(days[number], found) if number in days else found
                self._covered[subject, number] += min(end, (number + 1) * DAY_MS) - max(start, number * DAY_MS)

    def counts(self) -> Iterator[tuple[dict[str, str], Verdict, int]]:
        """Number of intervals by subject, under its names, and verdict; of each verdict, also of none."""
        for subject, verdict in product(self._days, LETTERS):
            yield names_of(subject), verdict, self._verdicts[subject, verdict]

    def values(self, audit: Audit) -> Iterator[dict[str, Any]]:
        """The values to be stored, one a year and subject, of the days that were audited whole."""
        for subject, days in sorted(self._days.items()):
            whole = {number: days[number] for number in days if self._covered[subject, number] == DAY_MS}
            yield from years_of(whole, audit, **names_of(subject))


def _together(one: Day, other: Day) -> Day:
    letter = min(one.letter, other.letter, key=_GRAVEST.index)
    numbers = [max(day.records, 0) for day in (one, other)]
    is_continued = {one.records, other.records} == {CONTINUED}
    return Day(letter, CONTINUED if is_continued else sum(numbers), one.total + other.total)


def years_of(days: Mapping[int, Day], audit: Audit, **subject: str) -> list[dict[str, Any]]:
    """The values to be stored, one a year; `subject` by the names of `SUBJECT`."""
    years = groupby(sorted(days), key=lambda number: date_of(number).year)
    of_year = ((year, {number: days[number] for number in numbers}) for year, numbers in years)
    return [encode(subject, year, found, _spans(found, audit)) for year, found in of_year]


def _spans(numbers: Iterable[int], audit: Audit) -> list[Span]:
    """Runs of consecutive days, numbers of the first and the last, with their audit."""
    runs = [list(run) for _, run in groupby(enumerate(sorted(numbers)), key=lambda each: each[1] - each[0])]
    return [(run[0][1], run[-1][1], audit) for run in runs]


def encode(subject: Mapping[str, Any], year: int, days: Mapping[int, Day], spans: Iterable[Span]) -> dict[str, Any]:
    """The value to be stored of one year; `subject` by the names of `SUBJECT`."""
    base = first_of(year)
    length = first_of(year + 1) - base
    shown = [_shown(days.get(base + n, Day(UNSEEN))) for n in range(length)]
    runs = ((letter, sum(1 for _ in run)) for letter, run in groupby(day.letter for day in shown))
    return {
        "v": VERSION,
        **{name: str(subject[name]) for name in SUBJECT},
        "year": year,
        "days": "".join(letter + (str(number) if number > 1 else "") for letter, number in runs),
        "records": [day.records for day in shown if day.letter not in _NUMBERLESS],
        "totals": {
            str(n): day.total
            for n, day in enumerate(shown)
            if day.letter != UNSEEN and day.records not in (CONTINUED, day.total)
        },
        "audits": [[first - base, last - base, *audit] for first, last, audit in sorted(spans)],
    }


def _shown(day: Day) -> Day:
    return Day(EMPTY) if day.letter == "c" and not day.records else day


def letters_of(value: Mapping[str, Any]) -> str:
    """The letter of each day of a stored value, which is checked, at a tenth of the cost of `decode`.

    :raises CoverageError: for anything that `years_of` did not make
    """
    try:
        runs = [(letter, int(number or 1)) for letter, number in _RUN.findall(value["days"])]
        length = first_of(value["year"] + 1) - first_of(value["year"])
        letters = "".join(letter * number for letter, number in runs if number <= length)
        numbers = [*value["records"], *value["totals"].values()]
        is_whole = value["v"] == VERSION and _RUN.sub("", value["days"]) == "" and len(letters) == length
        stated = length - sum(map(letters.count, _NUMBERLESS))
        is_whole = is_whole and len(value["records"]) == stated and all(type(number) is int for number in numbers)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise CoverageError(f"no coverage: {type(error).__name__}") from None
    if not is_whole:
        raise CoverageError("no coverage of a version that is known")
    return letters


def decode(value: Mapping[str, Any]) -> dict[int, Day]:
    """Verdicts by day number of a stored value, without the days not audited; CoverageError as `letters_of`."""
    letters, records, totals = letters_of(value), iter(value["records"]), value["totals"]
    base, days = first_of(value["year"]), {}
    for n, letter in enumerate(letters):
        count = 0 if letter in _NUMBERLESS else next(records)
        if letter != UNSEEN:
            days[base + n] = Day(letter, count, totals.get(str(n), max(count, 0)))
    return days


def audits_of(value: Mapping[str, Any]) -> list[Span]:
    """Each run of days (numbers of the first and the last) and their last audit; CoverageError as `letters_of`."""
    try:
        base = first_of(value["year"])
        return [(base + first, base + last, Audit(*audit)) for first, last, *audit in value["audits"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CoverageError(f"no coverage: {type(error).__name__}") from None


class Load(NamedTuple):
    """Interval that was loaded, and when (ms)."""

    start: int
    end: int
    when: int


def lay_loads(value: Mapping[str, Any], loads: Iterable[Load]) -> dict[str, Any]:
    """The value with the days loaded since their audit, where that did not prove them; CoverageError if it is none."""
    days, spans, base = decode(value), audits_of(value), first_of(value["year"])
    audited = {n: began_ms(audit) for first, last, audit in spans for n in range(first, last + 1)}
    for load in loads:
        first, last = max(-(-load.start // DAY_MS), base), min(load.end // DAY_MS, first_of(value["year"] + 1))
        for number in range(first, last):
            is_open = number not in days or days[number].letter in _CURABLE
            if is_open and load.when >= audited.get(number, 0):
                days[number] = Day(LOADED)
    return encode(value, value["year"], days, spans)


def began_ms(audit: Audit) -> int:
    """Beginning of an audit, in ms; CoverageError when it does not say."""
    try:
        return ms(datetime.fromisoformat(audit.began))
    except (TypeError, ValueError):
        raise CoverageError("no coverage: the audit does not say when it began") from None


def merge(known: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """One value of two of the same subject and year: days of the newer stand; CoverageError when either is none."""
    spans = audits_of(newer)
    taken = {number for first, last, _ in spans for number in range(first, last + 1)}
    for first, last, audit in audits_of(known):
        spans += _spans(set(range(first, last + 1)) - taken, audit)
    return encode(newer, newer["year"], decode(known) | decode(newer), spans)
