"""One object: read its interval, prove it complete, write it whole. Wires `exchange` to `lake` to the store."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Literal, TypeAlias, cast

from airflow_provider_binance_margin import __version__
from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError
from airflow_provider_binance_margin.exchange.paging import Reader, Reading
from airflow_provider_binance_margin.exchange.settling import CLOCK_STEP, seconds_until_settled
from airflow_provider_binance_margin.failures import LakeError, ObjectStaysError
from airflow_provider_binance_margin.lake.fields import FieldError
from airflow_provider_binance_margin.lake.formats import FORMATS, write_rows
from airflow_provider_binance_margin.lake.layout import CROSS, suffix_of
from airflow_provider_binance_margin.lake.object_metadata import (
    ObjectIdentity,
    Run,
    is_intact,
    object_metadata,
    stated_records,
    whose,
)
from airflow_provider_binance_margin.lake.spool import Spool, temporary_storage
from airflow_provider_binance_margin.load_plan import LoadPlan, check_against, is_beyond_memory
from airflow_provider_binance_margin.transfers.object_store import Existing, ObjectStore, Payload

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.dataset import Dataset
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

log = logging.getLogger(__name__)

OnEmpty: TypeAlias = Literal["write", "none", "skip"]
_IN_MEMORY = 1 << 20
_READINGS = 3
#: entry of an identity -> what of a key tells it apart
_FIELDS = {
    "dataset": "{dataset}",
    "interval-start": "{start}",
    "interval-end": "{end}",
    "scope": "{scope}",
    "account": "{account}",
}


@dataclass(frozen=True)
class ObjectTask:
    """One object to be made."""

    subject: ObjectIdentity
    key: str


@dataclass(frozen=True)
class ObjectResult:
    """What became of a job.

    :param key: its key, None when nothing is under it since there was nothing to write
    :param records: how many the object holds
    :param requests: pages fetched for it
    :param size: bytes under the key
    :param refused: why it was not made, though others of its run may be
    """

    key: str | None
    records: int
    requests: int = 0
    size: int = 0
    refused: ObjectStaysError | FieldError | BinanceIncompleteError | None = None


@dataclass(frozen=True)
class WriteOptions:
    """What the operator was told about writing."""

    run: Run
    settle: float = 60.0
    on_empty: OnEmpty = "write"
    allow_shrink: bool = False
    replace: bool = True


class ObjectLoader:
    """Makes objects of one run. Safe to share between threads.

    :param hook: what is asked
    :param dataset: of which dataset
    :param reader: reads its intervals
    :param store: where objects go
    :param choice: what the run loads, for what is checked against the exchange's clock
    :param rules: what the operator was told
    """

    def __init__(
        self,
        *,
        hook: BinanceHook,
        dataset: Dataset,
        reader: Reader,
        store: ObjectStore,
        choice: LoadPlan,
        rules: WriteOptions,
    ) -> None:
        self._hook = hook
        self._dataset = dataset
        self._reader = reader
        self._store = store
        self._choice = choice
        self._rules = rules
        self._isolated_told = threading.Lock()  # of objects made side by side, the one that takes it tells

    def make(self, job: ObjectTask) -> ObjectResult:
        """Load one object, unless it is there and done, or must stay as it is."""
        try:
            return self._make(job)
        except (ObjectStaysError, FieldError, BinanceIncompleteError) as error:
            return ObjectResult(None, 0, refused=error)

    def _make(self, job: ObjectTask) -> ObjectResult:
        existing = self._store.head(job.key)
        self._refuse_foreign(job, existing)
        if existing and self._is_done(job, existing):
            return ObjectResult(job.key, stated_records(existing.metadata), size=existing.size)
        for _ in range(_READINGS):
            began = time.monotonic()
            with Spool(len(self._dataset.record_key)) as spool:
                reading = self._reader.read(job.subject.interval.start, job.subject.interval.end, spool)
                asked_at = self._hook.exchange_time(began)
                left = self._unsettled(job, asked_at)
                if left <= 0:
                    return self._write(job, spool, reading, asked_at, existing)
            self._hook.wait(
                left + CLOCK_STEP, "the interval settles (by the exchange's clock, which this machine's is ahead of)"
            )
        raise LakeError(
            f"the interval {job.subject.interval} never counts as closed: the exchange's clock stands still"
        )

    def _is_done(self, job: ObjectTask, existing: Existing) -> bool:
        if not job.subject.describes(existing.metadata):
            log.warning(
                "s3://%s/%s does not state its account, so it is loaded again: it was written before accounts were "
                "told apart.",
                *(self._store.bucket, job.key),
            )
            return False
        trusted = not self._rules.replace or self._rules.run.wrote(existing.metadata)
        return trusted and is_intact(existing.metadata, existing.size)

    def _unsettled(self, job: ObjectTask, asked_at: float) -> float:
        """Seconds until the interval counts as closed, seen from when the exchange was first asked for it."""
        check_against(asked_at, self._choice)
        return seconds_until_settled(job.subject.interval.end, self._rules.settle, asked_at)

    def _write(
        self, job: ObjectTask, spool: Spool, reading: Reading, asked_at: float, existing: Existing | None
    ) -> ObjectResult:
        self._tell(job, spool, reading)
        if not reading.records and self._rules.on_empty != "write" and not (existing and _is_at_stake(existing)):
            return ObjectResult(None, 0, reading.requests)
        suffix = suffix_of(job.key)
        first, last = spool.times()
        is_claim = is_beyond_memory(asked_at, job.subject.interval.start, self._dataset)
        with temporary_storage(), SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            body = cast("IO[bytes]", file)
            written = write_rows(spool.lines(), suffix, self._dataset.columns, body)
            records, size = reading.records, file.tell()
            file.seek(0)
            metadata = object_metadata(
                job.subject,
                self._rules.run,
                records=records,
                rows=written.records,
                total=reading.total,
                proof="claim" if is_claim else reading.proof,
                sha256=written.sha256,
                body_sha256=hashlib.file_digest(file, "sha256").hexdigest(),
                body_size=size,
                first=first,
                last=last,
                fetched_at=int(asked_at * 1000),
                not_final=self._not_final(spool),
                provider_version=__version__,
            )
            payload = Payload(body, FORMATS[suffix].content_type, metadata)
            self._store.put(job.key, payload, lambda now: self._refuse_to_replace(job, now, records, written.records))
        return ObjectResult(job.key, records, reading.requests, size)

    def _not_final(self, spool: Spool) -> int | None:
        if not self._dataset.not_final:
            return None
        return sum(not self._dataset.is_final(line) for line in spool.lines())

    def _refuse_foreign(self, job: ObjectTask, existing: Existing | None) -> None:
        if existing is None or job.subject.may_describe(existing.metadata):
            return
        if differing := job.subject.differs_in(existing.metadata):
            ours = "interval-start" in existing.metadata
            raise ObjectStaysError(
                f"s3://{self._store.bucket}/{job.key} holds {whose(existing.metadata)} and must not be replaced by "
                f"{whose(job.subject.as_metadata())}",
                f"Let s3_key hold {' and '.join(dict.fromkeys(_FIELDS[name] for name in differing))}, or name another "
                "place."
                if ours
                else "Let s3_key name another place.",
            )

    def _refuse_to_replace(self, job: ObjectTask, existing: Existing | None, records: int, rows: int) -> None:
        self._refuse_foreign(job, existing)
        known = stated_records(existing.metadata) if existing else 0
        seen = f"s3://{self._store.bucket}/{job.key} holds {known} records, and the exchange now answers {records}"
        if existing and not job.subject.describes(existing.metadata):
            if known > rows:
                raise ObjectStaysError(
                    f"{seen}, while it does not state its account",
                    "It may be another account's, so it stays as it is: let s3_key hold {account}, or name another "
                    "place.",
                )
        elif known > records and not self._rules.allow_shrink:
            if existing and not is_intact(existing.metadata, existing.size):
                raise ObjectStaysError(
                    f"s3://{self._store.bucket}/{job.key} is damaged: it has {existing.size} bytes instead of "
                    f"{existing.metadata['body-size']}, and held {known} records, while the exchange now answers "
                    f"{records}",
                    "The exchange may not remember that far back any more, so what is there stays as it is: restore an "
                    "earlier version of the object, or move it away to load what the exchange still answers.",
                )
            raise ObjectStaysError(
                seen,
                "The exchange may not remember that far back any more, so what is there stays as it is: set "
                "replace=False to keep it and count it as done. Set allow_shrink=True only if the smaller answer is "
                "known to be the right one.",
            )

    def _tell(self, job: ObjectTask, spool: Spool, reading: Reading) -> None:
        """Warn of what is odd about a reading."""
        interval = job.subject.interval
        if reading.outside:
            log.warning("%d rows of %s lie outside of it by their time; they are kept.", reading.outside, interval)
        if reading.conflicts:
            log.warning(
                "%d rows of %s differ from another under the same id; all are kept.", reading.conflicts, interval
            )
        if reading.proof == "pages":
            log.warning("%s stays at odds with the exchange's total; two equal readings stand for it.", interval)
        name = self._dataset.isolated_field
        if (
            name is not None
            and job.subject.scope == CROSS
            and not self._isolated_told.locked()
            and spool.holds(list(self._dataset.record_key).index(name), 1)
            and self._isolated_told.acquire(blocking=False)
        ):
            log.warning(
                "The answer without a pair holds isolated rows too; they are kept. Rows of a closed pair may appear "
                "under its own filter alone: go on loading each pair too, and count each record once when querying."
            )


def _is_at_stake(existing: Existing) -> bool:
    """Whether an object must be replaced, or must not be, even by one without records."""
    return bool(stated_records(existing.metadata)) or not is_intact(existing.metadata, existing.size)
