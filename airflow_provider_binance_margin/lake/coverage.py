"""Coverage of a lake: an audit's findings as one verdict a day, a year of them in a value of a few kilobytes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, product
from re import findall
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from airflow_provider_binance_margin.lake.audit import TO_BE_LOADED, Finding, Verdict
from airflow_provider_binance_margin.lake.interval import DAY_MS
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity

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
_EPOCH = date(1970, 1, 1)


class CoverageError(ValueError):
    """Stored value that is no coverage."""


class Day(NamedTuple):
    """Verdict on one UTC day."""

    letter: str  # one of `LETTERS`, or `EMPTY` (complete, without records), `LOADED` (since the audit), `UNSEEN`
    records: int = 0  # stated by the day's objects, or `CONTINUED`
    total: int = 0  # stated by the exchange


class Audit(NamedTuple):
    """One audit of days: which task of which run."""

    began: Annotated[datetime, msgspec.Meta(tz=True)]
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    loads: bool = False  # whether a run of its DAG takes a window (``start`` and ``end`` among its params)
    place: str = ""  # ``s3://`` URL of the objects, a key template
    grain: str = ""  # the length of one object; empty for one a run


class Span(NamedTuple):
    """Run of days by number, and their last audit."""

    first: int
    last: int
    audit: Audit


class Subject(NamedTuple):
    """Whose records, of what."""

    dataset: str
    account: str
    scope: str

    @classmethod
    def of(cls, identity: ObjectIdentity) -> Subject:
        """Subject of an object."""
        return cls(identity.dataset, identity.account, identity.scope)


class Key(NamedTuple):
    """A year of a subject."""

    dataset: str
    account: str
    scope: str
    year: int


class Load(NamedTuple):
    """Loaded interval (ms), and when it was loaded."""

    start: int
    end: int
    when: datetime


def day_number(day: date) -> int:
    """Days since 1970."""
    return (day - _EPOCH).days


def first_of(year: int) -> int:
    """Number of a year's first day."""
    return day_number(date(year, 1, 1))


def date_of(number: int) -> date:
    """Date of a day by its number."""
    return _EPOCH + timedelta(days=number)


class Coverage(msgspec.Struct, frozen=True):
    """Verdicts on the days of one year of one subject, in the form that is stored."""

    dataset: str
    account: str
    scope: str
    year: Annotated[int, msgspec.Meta(ge=1, lt=9999)]
    days: Annotated[
        str, msgspec.Meta(pattern=r"^([a-z.+]\d{0,3})*\Z", max_length=366)
    ]  # letters, each with its repeats
    records: list[int]  # of each day whose letter has a number
    totals: dict[str, int]  # where they differ from the records; the year's first day is "0"
    audits: list[Span]
    v: Literal[1] = 1
    asset: list[str] = []

    def __post_init__(self) -> None:
        """Check that each day has its letter and its number, and each audit days of this year."""
        first, end, letters = first_of(self.year), first_of(self.year + 1), self.letters
        stated = end - first - sum(map(letters.count, _NUMBERLESS))
        is_of_year = all(first <= span.first <= span.last < end for span in self.audits)
        if len(letters) != end - first or len(self.records) != stated or not is_of_year:
            raise ValueError("its days are not those of one year")

    @classmethod
    def of(cls, key: Key, days: Mapping[int, Day], audits: Mapping[int, Audit]) -> Coverage:
        """Make a year's coverage of verdicts and audits by day number, whatever other years these have."""
        numbers = range(first_of(key.year), first_of(key.year + 1))
        shown = [_shown(days.get(n, Day(UNSEEN))) for n in numbers]
        letters = ((letter, sum(1 for _ in run)) for letter, run in groupby(day.letter for day in shown))
        audited = enumerate(n for n in numbers if n in audits)
        spans = [list(run) for _, run in groupby(audited, key=lambda each: (each[1] - each[0], audits[each[1]]))]
        return cls(
            *key,
            days="".join(letter + (str(number) if number > 1 else "") for letter, number in letters),
            records=[day.records for day in shown if day.letter not in _NUMBERLESS],
            totals={
                str(n): day.total
                for n, day in enumerate(shown)
                if day.letter != UNSEEN and day.records not in (CONTINUED, day.total)
            },
            audits=[Span(run[0][1], run[-1][1], audits[run[0][1]]) for run in spans],
        )

    @classmethod
    def read(cls, value: object) -> Coverage:
        """Check a stored value; CoverageError unless an audit stored it."""
        try:
            coverage = msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise CoverageError(f"no coverage: {error}") from None
        if not coverage.audits:
            raise CoverageError("no coverage: it has no audit")
        return coverage

    @property
    def value(self) -> dict[str, Any]:
        """JSON to be stored."""
        return dict(msgspec.json.decode(msgspec.json.encode(self)))

    @property
    def key(self) -> Key:
        """Subject and year."""
        return Key(self.dataset, self.account, self.scope, self.year)

    @property
    def letters(self) -> str:
        """Letter of each day, at a tenth of the cost of `by_day`."""
        return "".join(letter * int(number or 1) for letter, number in findall(r"(\D)(\d*)", self.days))

    @property
    def last_audit(self) -> Audit | None:
        """Audit that began last; None for days that were only loaded."""
        return max((audit for _, _, audit in self.audits), default=None)

    def by_day(self) -> dict[int, Day]:
        """Verdicts by day number, of the days audited or loaded."""
        base, records, days = first_of(self.year), iter(self.records), {}
        for n, letter in enumerate(self.letters):
            count = 0 if letter in _NUMBERLESS else next(records)
            if letter != UNSEEN:
                days[base + n] = Day(letter, count, self.totals.get(str(n), max(count, 0)))
        return days

    def audit_by_day(self) -> dict[int, Audit]:
        """Last audits by day number."""
        return {n: audit for first, last, audit in self.audits for n in range(first, last + 1)}

    def merge(self, newer: Coverage) -> Coverage:
        """Lay another of the same subject and year over this one."""
        days, audits = self.by_day() | newer.by_day(), self.audit_by_day() | newer.audit_by_day()
        return replace(Coverage.of(newer.key, days, audits), asset=newer.asset)

    def lay_loads(self, loads: Iterable[Load]) -> Coverage:
        """Mark the days loaded since their audit, where that did not prove them."""
        days, audits, base = self.by_day(), self.audit_by_day(), first_of(self.year)
        for load in loads:
            first, last = max(-(-load.start // DAY_MS), base), min(load.end // DAY_MS, first_of(self.year + 1))
            for number in range(first, last):
                is_open = number not in days or days[number].letter in _CURABLE
                if is_open and (number not in audits or load.when >= audits[number].began):
                    days[number] = Day(LOADED)
        return Coverage.of(self.key, days, audits)


def _shown(day: Day) -> Day:
    return Day(EMPTY) if day.letter == "c" and not day.records else day


def years_of(days: Mapping[int, Day], audit: Audit, dataset: str, account: str, scope: str) -> list[Coverage]:
    """Coverage of one subject's days, a year each."""
    audits, years = dict.fromkeys(days, audit), sorted({date_of(number).year for number in days})
    return [Coverage.of(Key(dataset, account, scope, year), days, audits) for year in years]


class AuditedDays:
    """Days of an audit, noted finding by finding, from any thread; bounded by days, whatever the grain."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC)
        self._lock = threading.Lock()
        self._days: dict[Subject, dict[int, Day]] = {}
        self._covered: Counter[tuple[Subject, int]] = Counter()
        self._verdicts: Counter[tuple[Subject, Verdict]] = Counter()

    def add(self, identity: ObjectIdentity, finding: Finding) -> None:
        """Note what was found for one interval, on each day that it touches."""
        subject, (start, end) = Subject.of(identity), finding.interval
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
        """Number of intervals by subject and verdict; of each verdict, also of none."""
        for subject, verdict in product(self._days, LETTERS):
            yield subject._asdict(), verdict, self._verdicts[subject, verdict]

    def years(self, audit: Audit) -> Iterator[Coverage]:
        """Coverage, a year of a subject each, of the days that were audited whole."""
        for subject, days in sorted(self._days.items()):
            whole = {number: days[number] for number in days if self._covered[subject, number] == DAY_MS}
            yield from years_of(whole, audit, *subject)


def _together(one: Day, other: Day) -> Day:
    letter = min(one.letter, other.letter, key=_GRAVEST.index)
    numbers = [max(day.records, 0) for day in (one, other)]
    is_continued = {one.records, other.records} == {CONTINUED}
    return Day(letter, CONTINUED if is_continued else sum(numbers), one.total + other.total)
