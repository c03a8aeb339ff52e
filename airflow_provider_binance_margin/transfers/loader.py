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
from airflow_provider_binance_margin.exchange.paging import Reader, Reading
from airflow_provider_binance_margin.failures import LakeError
from airflow_provider_binance_margin.lake.formats import FORMATS, write_rows
from airflow_provider_binance_margin.lake.layout import ACCOUNT, suffix_of
from airflow_provider_binance_margin.lake.proof import Run, Subject, proof_metadata, stated_records, whose
from airflow_provider_binance_margin.lake.resolve import Choice, check_against
from airflow_provider_binance_margin.lake.spool import Spool
from airflow_provider_binance_margin.transfers.object_store import Existing, ObjectStore, Payload

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.endpoint import Endpoint
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

log = logging.getLogger(__name__)

OnEmpty: TypeAlias = Literal["write", "none", "skip"]
_IN_MEMORY = 1 << 20
_READINGS = 3
#: seconds by which the exchange's clock may seem to step back, since it is told in whole ones
CLOCK_STEP = 1.0


@dataclass(frozen=True)
class Job:
    """One object to be made."""

    subject: Subject
    key: str


@dataclass(frozen=True)
class Made:
    """What became of a job.

    :param key: its key, None when nothing is under it since there was nothing to write
    :param records: how many the object holds
    :param requests: pages fetched for it
    :param size: bytes under the key
    """

    key: str | None
    records: int
    requests: int = 0
    size: int = 0


@dataclass(frozen=True)
class Rules:
    """What the operator was told about writing."""

    run: Run
    settle: float = 60.0
    on_empty: OnEmpty = "write"
    allow_shrink: bool = False
    replace: bool = True


class Loader:
    """Makes objects of one run. Safe to share between threads.

    :param hook: what is asked
    :param endpoint: of which endpoint
    :param reader: reads its intervals
    :param store: where objects go
    :param choice: what the run loads, for what is checked against the exchange's clock
    :param rules: what the operator was told
    """

    def __init__(
        self,
        *,
        hook: BinanceHook,
        endpoint: Endpoint,
        reader: Reader,
        store: ObjectStore,
        choice: Choice,
        rules: Rules,
    ) -> None:
        self._hook = hook
        self._endpoint = endpoint
        self._reader = reader
        self._store = store
        self._choice = choice
        self._rules = rules
        self._isolated_told = threading.Lock()  # of objects made side by side, the one that takes it tells

    def make(self, job: Job) -> Made:
        """Load one object, unless it is there and done.

        :raises LakeError: when what is under the key must stay
        """
        existing = self._store.head(job.key)
        self._refuse_foreign(job, existing)
        if existing and (not self._rules.replace or self._rules.run.wrote(existing.metadata)):
            return Made(job.key, stated_records(existing.metadata), size=existing.size)
        for _ in range(_READINGS):
            began = time.monotonic()
            with Spool(len(self._endpoint.record_key)) as spool:
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

    def _unsettled(self, job: Job, asked_at: float) -> float:
        """Seconds until the interval counts as closed, seen from when the exchange was first asked for it."""
        check_against(asked_at, self._choice)
        return job.subject.interval.end / 1000 + self._rules.settle - asked_at

    def _write(self, job: Job, spool: Spool, reading: Reading, asked_at: float, existing: Existing | None) -> Made:
        self._tell(job, spool, reading)
        if (
            not reading.records
            and self._rules.on_empty != "write"
            and not (existing and stated_records(existing.metadata))
        ):
            return Made(None, 0, reading.requests)
        suffix = suffix_of(job.key)
        first, last = spool.times()
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            body = cast("IO[bytes]", file)
            written = write_rows(spool.lines(), suffix, self._endpoint.columns, body)
            file.seek(0)
            metadata = proof_metadata(
                job.subject,
                self._rules.run,
                records=written.records,
                total=reading.total,
                proof=reading.proof,
                sha256=written.sha256,
                body_sha256=hashlib.file_digest(file, "sha256").hexdigest(),
                first=first,
                last=last,
                fetched_at=int(asked_at * 1000),
                provider_version=__version__,
            )
            payload = Payload(body, FORMATS[suffix].content_type, metadata)
            size = self._store.put(job.key, payload, lambda now: self._refuse_to_replace(job, now, written.records))
        return Made(job.key, written.records, reading.requests, size)

    def _refuse_foreign(self, job: Job, existing: Existing | None) -> None:
        if existing is not None and not job.subject.describes(existing.metadata):
            raise LakeError(
                f"s3://{self._store.bucket}/{job.key} holds {whose(existing.metadata)} and must not be replaced by "
                f"{whose(job.subject.as_metadata())}: give each interval and scope a key of its own, with {{start}}, "
                "{end} and {scope}"
            )

    def _refuse_to_replace(self, job: Job, existing: Existing | None, records: int) -> None:
        self._refuse_foreign(job, existing)
        known = stated_records(existing.metadata) if existing else 0
        if known > records and not self._rules.allow_shrink:
            raise LakeError(
                f"s3://{self._store.bucket}/{job.key} holds {known} records, and the exchange now answers {records}: "
                "it may not remember that far back any more, so the object stays as it is. Set allow_shrink=True if "
                "the smaller answer is the right one"
            )

    def _tell(self, job: Job, spool: Spool, reading: Reading) -> None:
        """Warn of what is odd about a reading."""
        interval = job.subject.interval
        if reading.outside:
            log.warning("%d rows of %s lie outside of it by their time; they are kept.", reading.outside, interval)
        if reading.conflicts:
            log.warning(
                "%d rows of %s differ from another under the same id; all are kept.", reading.conflicts, interval
            )
        if reading.proof != "total":
            log.warning("%s stays at odds with the exchange's total; two equal readings stand for it.", interval)
        name = self._endpoint.isolated_field
        unfiltered = job.subject.scope == ACCOUNT and name in self._endpoint.record_key
        if (
            unfiltered
            and not self._isolated_told.locked()
            and spool.holds(list(self._endpoint.record_key).index(name), 1)
            and self._isolated_told.acquire(blocking=False)
        ):
            log.warning("The account's answer holds isolated rows too: mapping over isolated pairs is not needed.")
