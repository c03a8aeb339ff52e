"""What an object states about itself in its metadata, and when it may be replaced."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from airflow_provider_binance_margin.lake.interval import Interval, iso

_NUMBER = re.compile("[0-9]{1,18}")
# S3 takes 2 KB of metadata in all, of which the rest needs less than a half
_LONGEST_ID = 500


@dataclass(frozen=True)
class Subject:
    """What an object is about: two objects are one and the same exactly if this is equal.

    :param dataset: the endpoint's name
    :param interval: what it covers
    :param scope: the isolated symbol, or "account"
    """

    dataset: str
    interval: Interval
    scope: str

    def as_metadata(self) -> dict[str, str]:
        """As S3 metadata."""
        return {
            "dataset": self.dataset,
            "interval-start": iso(self.interval.start),
            "interval-end": iso(self.interval.end),
            "scope": _ascii(self.scope),
        }

    def describes(self, metadata: Mapping[str, str]) -> bool:
        """Whether an object with this metadata is about the same."""
        return all(metadata.get(name) == value for name, value in self.as_metadata().items())


@dataclass(frozen=True)
class Run:
    """Which attempt to load something wrote an object.

    :param run_id: the DAG run's
    :param clear_number: how often the run was cleared, where Airflow says so
    :param dag_id: the DAG's: runs of two DAGs may have one id
    """

    run_id: str
    clear_number: int | None
    dag_id: str = ""

    def as_metadata(self) -> dict[str, str]:
        """As S3 metadata."""
        number = "" if self.clear_number is None else str(self.clear_number)
        return {"dag-id": _short(self.dag_id), "run-id": _short(self.run_id), "clear-number": number}

    def wrote(self, metadata: Mapping[str, str]) -> bool:
        """Whether an object with this metadata was written by this very run since it was last cleared."""
        return self.clear_number is not None and all(
            metadata.get(name) == value for name, value in self.as_metadata().items()
        )


def proof_metadata(
    subject: Subject,
    run: Run,
    *,
    records: int,
    total: int,
    proof: str,
    sha256: str,
    body_sha256: str,
    first: int | None,
    last: int | None,
    fetched_at: int,
    provider_version: str,
) -> dict[str, str]:
    """The metadata of an object: ASCII, what is not is percent-encoded; times as ISO 8601 in UTC.

    :param total: what the exchange stated
    :param proof: "total" when records and total agree, "pages" when two equal readings stand for it
    :param sha256: of the uncompressed JSON lines with their newlines
    :param body_sha256: of the object's own bytes
    :param first: the earliest record's time in ms
    :param last: the latest record's time in ms
    :param fetched_at: ms, by the exchange's clock
    """
    return {
        **subject.as_metadata(),
        **run.as_metadata(),
        "records": str(records),
        "total": str(total),
        "proof": proof,
        "records-sha256": sha256,
        "body-sha256": body_sha256,
        "first-updated-time": "" if first is None else iso(first),
        "last-updated-time": "" if last is None else iso(last),
        "fetched-at": iso(fetched_at),
        "provider-version": provider_version,
    }


def stated_records(metadata: Mapping[str, str]) -> int:
    """How many records an object says it holds; 0 where it does not say."""
    number = metadata.get("records", "")
    return int(number) if _NUMBER.fullmatch(number) else 0


def whose(metadata: Mapping[str, str]) -> str:
    """An object's subject in words, for errors."""
    if "interval-start" not in metadata:
        return "something this package did not write"
    start, end, scope = (metadata.get(name, "?") for name in ("interval-start", "interval-end", "scope"))
    return f"{metadata.get('dataset', '?')} [{start}, {end}) of scope {unquote(scope)}"


def _short(text: str) -> str:
    """An id as ASCII, or its checksum where S3's 2 KB of metadata would not hold it beside the rest."""
    encoded = _ascii(text)
    return encoded if len(encoded) <= _LONGEST_ID else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _ascii(text: str) -> str:
    """Text that an HTTP header can carry: printable ASCII, the rest (blanks too, which may be lost) percent-encoded."""
    return quote(text, safe="!#$&'()*+,/:;=?@[]^_`{|}~\"<>")
