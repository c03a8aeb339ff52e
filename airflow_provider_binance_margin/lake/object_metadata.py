"""Identity and proof of an object, in its metadata."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from airflow_provider_binance_margin.lake.interval import Interval, iso

#: the scope of a call without an isolated pair; no pair is called so, since pairs are in upper case
CROSS = "cross"
_NUMBER = re.compile("[0-9]{1,18}")
# S3 takes 2 KB of metadata in all, of which the rest needs about a half
_LONGEST_ID = 250
# how the scope of such a call was stated before accounts were told apart
_CROSS_BEFORE = "account"


@dataclass(frozen=True)
class Existing:
    """An object that is there."""

    etag: str  # its version, for a conditional put
    size: int
    metadata: Mapping[str, str]  # names in lower case

    @property
    def records(self) -> int:
        """Number of distinct records it states; 0 where it states none."""
        return self.stated("records") or 0

    @property
    def is_intact(self) -> bool:
        """True for as many bytes as it states, or where it states none."""
        return self.stated("body-size") in (None, self.size)

    def stated(self, name: str) -> int | None:
        """A number that it states about itself; None where it does not."""
        number = self.metadata.get(name, "")
        return int(number) if _NUMBER.fullmatch(number) else None


@dataclass(frozen=True)
class ObjectIdentity:
    """Identity of an object: two objects are one and the same exactly if this is equal."""

    dataset: str
    interval: Interval
    scope: str  # the isolated symbol, or `CROSS`, then the filters
    account: str  # the user's name of the exchange's account

    def as_metadata(self) -> dict[str, str]:
        """As S3 metadata."""
        return {
            "dataset": self.dataset,
            "interval-start": iso(self.interval.start),
            "interval-end": iso(self.interval.end),
            "scope": _ascii(self.scope),
            "account": _ascii(self.account),
        }

    def describes(self, metadata: Mapping[str, str]) -> bool:
        """True for the metadata of an object of this identity."""
        return not self.differs_in(metadata)

    def may_describe(self, metadata: Mapping[str, str]) -> bool:
        """True for metadata that state no account, and this identity but for that."""
        scope = metadata.get("scope", "")
        stated = {**metadata, "scope": CROSS if scope == _CROSS_BEFORE else scope}
        return "account" not in metadata and self.differs_in(stated) == ["account"]

    def differs_in(self, metadata: Mapping[str, str]) -> list[str]:
        """Name the entries of this identity that an object with this metadata states otherwise, or not at all."""
        return [name for name, value in self.as_metadata().items() if metadata.get(name) != value]


@dataclass(frozen=True)
class Run:
    """Identity of a task run: all tries of one task since it was last cleared."""

    run_id: str
    clear_number: int | None  # how often the run was cleared, where Airflow says so
    dag_id: str = ""
    task_id: str = ""
    map_index: int = -1
    started: str = ""  # when the run started: one that is made again has its id, and another start
    max_tries: int = 0  # grows when the task is cleared without its run
    is_first_try: bool = False  # nothing can have been written yet

    @property
    def is_known(self) -> bool:
        """True when its objects can be told from all others."""
        return self.clear_number is not None and bool(self.started)

    def as_metadata(self) -> dict[str, str]:
        """As S3 metadata: names to be read, and one checksum over all that tells this run from others."""
        names = (self.dag_id, self.run_id, self.task_id, self.map_index, self.started, self.max_tries)
        return {
            "dag-id": _short(self.dag_id),
            "run-id": _short(self.run_id),
            "clear-number": "" if self.clear_number is None else str(self.clear_number),
            "attempt": hashlib.sha256(json.dumps([*names, self.clear_number]).encode()).hexdigest(),
        }

    @property
    def may_have_written(self) -> bool:
        """True when an earlier try may have written objects, which can be told from others'."""
        return self.is_known and not self.is_first_try

    def wrote(self, metadata: Mapping[str, str]) -> bool:
        """True for the metadata of an object that an earlier try of this very run and task wrote."""
        return self.may_have_written and metadata.get("attempt") == self.as_metadata()["attempt"]


def object_metadata(
    identity: ObjectIdentity,
    run: Run,
    *,
    records: int,
    rows: int,
    total: int,
    proof: str,
    sha256: str,
    body_sha256: str,
    body_size: int,
    first: int | None,
    last: int | None,
    fetched_at: int | None,
    not_final: int | None = None,
    provider_version: str,
) -> dict[str, str]:
    """The metadata of an object: ASCII, what is not is percent-encoded; times as ISO 8601 in UTC.

    :param records: distinct ones, by their key
    :param rows: lines; more than the records where rows differ under one key
    :param total: what the exchange stated
    :param proof: "total" when records and total agree, "pages" when two equal readings stand for it, "exhausted" where
        no total is stated and all was read, "claim" for what the exchange may have forgotten in part, "derived" for
        what was made of other objects, all of them proved
    :param sha256: of the uncompressed JSON lines with their newlines
    :param body_sha256: of the object's own bytes, `body_size` in number
    :param first: the earliest record's time in ms, as `last` is the latest's
    :param fetched_at: ms, by the exchange's clock; None where it was not asked
    :param not_final: rows in a state that may still change; None where a dataset has no such states
    """
    return {
        **identity.as_metadata(),
        **run.as_metadata(),
        "records": str(records),
        "rows": str(rows),
        "total": str(total),
        "proof": proof,
        "records-sha256": sha256,
        "body-sha256": body_sha256,
        "body-size": str(body_size),
        "first-updated-time": "" if first is None else iso(first),
        "last-updated-time": "" if last is None else iso(last),
        "fetched-at": "" if fetched_at is None else iso(fetched_at),
        **({} if not_final is None else {"not-final": str(not_final)}),
        "provider-version": provider_version,
    }


def whose(metadata: Mapping[str, str]) -> str:
    """An object's identity in words, for errors."""
    if "interval-start" not in metadata:
        return "something this package did not write"
    names = ("dataset", "interval-start", "interval-end", "scope", "account")
    dataset, start, end, scope, account = (unquote(metadata.get(name, "?")) for name in names)
    return f"{dataset} [{start}, {end}) of scope {scope}, account {account}"


def _short(text: str) -> str:
    """An id as ASCII, or its checksum where S3's 2 KB of metadata would not hold it beside the rest."""
    encoded = _ascii(text)
    return encoded if len(encoded) <= _LONGEST_ID else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _ascii(text: str) -> str:
    """Text that an HTTP header can carry: printable ASCII, the rest (blanks too, which may be lost) percent-encoded."""
    return quote(text, safe="!#$&'()*+,/:;=?@[]^_`{|}~\"<>")
