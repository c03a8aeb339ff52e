"""Progress of a run: counts, the objects that were refused, and the task's result."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from posixpath import commonpath
from typing import Any

from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError
from airflow_provider_binance_margin.failures import LakeError, ObjectStaysError
from airflow_provider_binance_margin.lake.coverage import Subject
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity
from airflow_provider_binance_margin.metrics import send_metric
from airflow_provider_binance_margin.transfers.object_loader import MOST_INCOMPLETE, ObjectResult, Refusal

log = logging.getLogger(__name__)

_MOST_KEYS = 100
_MOST_REFUSED = 10
#: objects that are remembered one by one; of more, only the sums are
_MOST_NAMED = 1000
#: symbols of a dataset that are told one by one
_MOST_SYMBOLS = 50
_SECONDS_BETWEEN_LOGS = 10.0


@dataclass
class Progress:
    """Counts of a run so far, logged every ten seconds."""

    bucket: str
    expected: int  # objects of the whole run
    has_several_series: bool = False  # one of which may fail without the run being given up
    done: int = 0
    objects: int = 0
    records: int = 0
    requests: int = 0
    bytes: int = 0
    named: dict[str, ObjectResult] = field(default_factory=dict)  # by key
    refused: list[Refusal] = field(default_factory=list)
    incomplete: int = 0
    records_of: Counter[str] = field(default_factory=Counter)
    symbols: dict[str, Counter[str]] = field(default_factory=dict)
    ends: dict[Subject, int] = field(default_factory=dict)
    _lines: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _logged_at: float = field(default_factory=time.monotonic)

    def add(self, result: ObjectResult, identity: ObjectIdentity) -> None:
        """Count one object."""
        subject = Subject.of(identity)
        self.done += 1
        self.records += result.records
        self.records_of[identity.dataset] += result.records
        self.requests += result.requests
        if result.refused is not None:
            if self.expected > 1 and len(self.refused) < _MOST_KEYS and result.refused not in self.refused:
                log.error("Object not loaded, continuing with the others: %s", result.refused)
            self.refused.append(result.refused)
            self.incomplete += isinstance(result.refused, BinanceIncompleteError)
            if self.incomplete > MOST_INCOMPLETE and not self.has_several_series:
                self.raise_refused()
        else:
            self.ends[subject] = max(identity.interval.end, self.ends.get(subject, 0))
        if result.key is not None:
            self.objects += 1
            self.bytes += result.size
            if self.expected > 1:  # the last line of a task names the only object
                there = "" if result.requests else ", there already"
                self._lines.append(f"{result.records:,} records{there}: s3://{self.bucket}/{result.key}")
            if len(self.named) < _MOST_NAMED:
                self.named[result.key] = result
            if result.requests:
                tags = subject._asdict()
                send_metric("incr", "objects", 1, tags)
                send_metric("incr", "records", result.records, tags)
                if result.symbols:
                    self.symbols.setdefault(identity.dataset, Counter()).update(result.symbols)
        if (now := time.monotonic()) - self._logged_at >= _SECONDS_BETWEEN_LOGS:
            self._logged_at = now
            self.log_objects()
            rate = self.done / (now - self._began)
            log.info(
                "%d of %d objects, %d records, %.1f objects a second, about %.0f s left.",
                *(self.done, self.expected, self.records, rate, (self.expected - self.done) / rate),
            )

    def send_lags(self, now: float) -> None:
        """Send how far the last loaded interval of each subject ends before the exchange's time (s since 1970)."""
        for subject, end in self.ends.items():
            send_metric("gauge", "lag", now - end / 1000, subject._asdict())

    def log_objects(self) -> None:
        """Log what was loaded since the last time, a line each; Airflow's UI folds the lines of several."""
        lines, self._lines = self._lines, []
        if len(lines) > 1:
            lines = [f"::group::{len(lines):,} objects", *lines, "::endgroup::"]
        for line in lines:
            log.info("%s", line)

    def raise_refused(self) -> None:
        """Fail if objects were refused, each way out once.

        :raises LakeError: naming the first of them
        :raises BinanceIncompleteError: the same, where another try may load some of them
        """
        if not self.refused:
            return
        if self.expected == 1:
            raise self.refused[0]
        stay = sorted({e.seen if isinstance(e, ObjectStaysError) else str(e) for e in self.refused})
        more = f"; and {len(stay) - _MOST_REFUSED} more" if len(stay) > _MOST_REFUSED else ""
        cures = dict.fromkeys(error.cure for error in self.refused if isinstance(error, ObjectStaysError))
        others = "the others are" if self.done == self.expected else "and the run was given up"
        raise (BinanceIncompleteError if self.incomplete else LakeError)(
            f"{len(self.refused)} of {self.expected} objects could not be loaded, {others}. {' '.join(cures)}"
            f" Not loaded: {'; '.join(stay[:_MOST_REFUSED])}{more}"
        )

    def result(self) -> dict[str, Any]:
        """The counts in a task's result."""
        return {
            "records": self.records,
            "objects": self.objects,
            "requests": self.requests,
            "bytes": self.bytes,
            **({"records_of": dict(self.records_of)} if len(self.records_of) > 1 else {}),
            "uri": f"s3://{self.bucket}/{_place_of(list(self.named))}",
            "keys": sorted(self.named)[:_MOST_KEYS],
        }

    def greatest_symbols(self) -> dict[str, dict[str, int]]:
        """Rows written, by dataset and symbol: the fifty greatest, and of more ``other``."""
        found = {}
        for dataset, counts in self.symbols.items():
            ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
            rest = sum(number for _, number in ordered[_MOST_SYMBOLS:])
            found[dataset] = dict(ordered[:_MOST_SYMBOLS]) | ({"other": rest} if rest else {})
        return found


def _place_of(keys: Sequence[str]) -> str:
    """The key of one object, or the folder that holds several; empty without one."""
    if len(keys) == 1:
        return keys[0]
    folders = [key.rpartition("/")[0] for key in keys]
    folder = commonpath(folders) if folders and all(folders) else ""
    return f"{folder}/" if folder else ""
