"""Audit: compares an object's metadata with the exchange's total, one verdict per interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

from airflow_provider_binance_margin.lake.interval import Interval, iso, join, ms, parse
from airflow_provider_binance_margin.lake.object_metadata import Existing, ObjectIdentity

#: "complete": as many records as the exchange states. "missing", "short" and "corrupt": to be loaded again, as is what
#: does not state its account, which is missing since nobody knows whose it is. "foreign":
#: another's object is in the way. "long": more than the exchange states, which it may have forgotten. "claim": loaded
#: from beyond the exchange's memory, or empty and fetched so long after its end that it may have forgotten what there
#: was. "unfinished": with rows in a state that may still change, to be loaded again.
Verdict: TypeAlias = Literal["complete", "missing", "short", "long", "foreign", "corrupt", "claim", "unfinished"]
TO_BE_LOADED: tuple[Verdict, ...] = ("missing", "short", "corrupt", "unfinished")
FAULTS: tuple[Verdict, ...] = (*TO_BE_LOADED, "foreign")
_MOST_LISTED = 100
#: more would be too many for one mapped task; the next audit finds what these leave
MOST_GAPS = 1000


@dataclass(frozen=True)
class Finding:
    """Verdict on one interval."""

    interval: Interval
    key: str
    verdict: Verdict
    records: int | None  # number the object states, None without an object
    total: int  # number the exchange states
    reason: str = ""  # addition that the numbers do not tell
    load_before: int | None = None  # time (ms) from which the exchange forgets the interval, where that is soon
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the operator, that tell its series from others

    def as_json(self) -> dict[str, Any]:
        """For the task's result."""
        return {
            **_gap(self.interval, self.arguments),
            "key": self.key,
            "records": self.records,
            "total": self.total,
            **({"reason": self.reason} if self.reason else {}),
        }


def ranges_of(listed: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Interval, ...]]:
    """Intervals of a verdict's entries in a report, touching ones joined, by what names their series."""
    found: dict[str, list[Interval]] = {}
    for each in listed:
        start, end = (ms(datetime.fromisoformat(each[bound])) for bound in ("start", "end"))
        found.setdefault(series_in_words(each), []).append(Interval(start, end))
    return {series: join(intervals) for series, intervals in found.items()}


def series_in_words(listed: Mapping[str, Any]) -> str:
    """Words that tell the series of a report's entry from others, as ``, dataset interest``; empty for one alone."""
    return "".join(f", {name} {listed[name]}" for name in ("dataset", "isolated_symbol") if listed.get(name))


def _gap(interval: Interval, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"start": iso(interval.start), "end": iso(interval.end), **arguments}


def judge(  # noqa: PLR0911 - one for each verdict
    identity: ObjectIdentity, existing: Existing | None, total: int, *, expect_empty: bool, fresh: float
) -> Verdict:
    """The verdict on one object by what it states about itself.

    :param total: records the exchange states
    :param expect_empty: whether an interval without records has an object
    :param fresh: an empty object fetched later than this (s) after its interval's end proves nothing
    """
    if existing is None:
        return "missing" if total or expect_empty else "complete"
    metadata, records = existing.metadata, existing.records
    if not identity.describes(metadata):
        return "missing" if identity.may_describe(metadata) else "foreign"
    if not existing.is_intact:
        return "corrupt"
    # what the exchange counted twice when the object was proved, it may go on counting twice
    proved = existing.stated("total") if records else 0
    differs = total not in (records, proved or records)
    if differs and records < total:
        return "short"
    if existing.stated("not-final"):
        return "unfinished"
    fetched = _fetched_at(metadata)
    is_late = fetched is None or fetched - identity.interval.end > fresh * 1000
    if metadata.get("proof") == "claim" or (is_late and not records):
        return "claim"
    return "long" if differs else "complete"


def _fetched_at(metadata: Mapping[str, str]) -> int | None:
    try:
        when = parse(metadata.get("fetched-at"))
    except ValueError:
        return None
    return None if when is None else ms(when)


def report(findings: Iterable[Finding]) -> dict[str, Any]:
    """The result of an audit: counts, at most 100 of each verdict, and the intervals to be loaded again.

    :return: ``gaps`` is a list of at most `MOST_GAPS` ``{"start": ..., "end": ...}``, touching ones joined, with the
        arguments that name the series where there are several; ``expiring`` is the first interval of each series that
        the exchange will soon have forgotten, with ``load_before``
    """
    counts: dict[str, int] = dict.fromkeys(get_args(Verdict), 0)
    listed: dict[str, list[dict[str, Any]]] = {verdict: [] for verdict in counts if verdict != "complete"}
    expiring: dict[tuple[tuple[str, Any], ...], Finding] = {}
    gaps: dict[tuple[tuple[str, Any], ...], list[Interval]] = {}
    for finding in findings:
        counts[finding.verdict] += 1
        if finding.verdict != "complete":
            listed[finding.verdict].append(finding.as_json())
        if finding.verdict in TO_BE_LOADED:
            series = tuple(finding.arguments.items())
            gaps.setdefault(series, []).append(finding.interval)
            if finding.load_before is not None and finding.interval <= expiring.get(series, finding).interval:
                expiring[series] = finding
    forgotten = [{**_gap(f.interval, f.arguments), "load_before": iso(f.load_before or 0)} for f in expiring.values()]
    listed_gaps = [_gap(gap, dict(arguments)) for arguments, intervals in gaps.items() for gap in join(intervals)]
    return {
        "checked": sum(counts.values()),
        "counts": counts,
        "gaps": sorted(listed_gaps, key=str)[:MOST_GAPS],
        "expiring": sorted(forgotten, key=str)[:_MOST_LISTED],
        **{verdict: sorted(found, key=str)[:_MOST_LISTED] for verdict, found in listed.items()},
    }
