"""One object: read its interval, prove it complete, write it whole. Wires `exchange` to `lake` to the store."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from airflow_provider_binance_margin.exchange.errors import (
    BinanceConfigError,
    BinanceIncompleteError,
    BinanceRequestError,
)
from airflow_provider_binance_margin.exchange.paging import Reader, Reading
from airflow_provider_binance_margin.failures import LakeError, ObjectStaysError
from airflow_provider_binance_margin.lake.fields import FieldError
from airflow_provider_binance_margin.lake.object_metadata import CROSS, Existing, Run, whose
from airflow_provider_binance_margin.lake.spool import Spool, temporary_storage
from airflow_provider_binance_margin.load_plan import LoadPlan, is_beyond_memory
from airflow_provider_binance_margin.transfers.object_store import Body, ObjectStore, write_body
from airflow_provider_binance_margin.transfers.object_tasks import ObjectTask
from airflow_provider_binance_margin.transfers.series import Series, concerns_one_series

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.dataset import Dataset
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

log = logging.getLogger(__name__)

OnEmpty: TypeAlias = Literal["write", "none", "skip"]
#: errors of one object, which keep no others away
Refusal: TypeAlias = LakeError | FieldError | BinanceIncompleteError
#: with more windows that do not agree with their totals, the exchange is in trouble, and is left alone
MOST_INCOMPLETE = 5
_FORGOTTEN = "The exchange may not remember that far back any more, so what is there stays as it is: "


@dataclass(frozen=True)
class ObjectResult:
    """Outcome of one task."""

    key: str | None  # None when nothing is under it since there was nothing to write
    records: int  # in the object
    requests: int = 0  # pages fetched for it
    size: int = 0  # bytes under the key
    refused: Refusal | None = None  # the reason why it was not written, though others of its run may be
    symbols: Mapping[str, int] = field(default_factory=dict)  # rows written by symbol, or by scope where none is named


@dataclass(frozen=True, kw_only=True)
class ObjectLoader:
    """Loader of one run's objects. Safe to share between threads."""

    hook: BinanceHook
    readers: Mapping[Series, Reader]
    store: ObjectStore
    plan: LoadPlan
    run: Run
    settle: float
    on_empty: OnEmpty
    allow_shrink: bool
    replace: bool
    rejected: dict[Series, Refusal]  # of several series: those not asked for any more
    _incomplete: Counter[Series] = field(default_factory=Counter)
    _isolated_told: threading.Lock = field(default_factory=threading.Lock)  # the first of several takes it, and tells

    def load(self, task: ObjectTask) -> ObjectResult:
        """Load one object, unless it is there and done, or must stay as it is."""
        try:
            is_new = False
            # before S3 is connected to, only what may be done already waits for it: the put looks in any case
            if self.store.is_connected or self.run.may_have_written or not self.replace:
                existing = self._look(task)
                if existing and self._is_done(task, existing):
                    return ObjectResult(task.key, existing.records, size=existing.size)
                is_new = existing is None
            if task.series not in self.rejected:
                with (
                    ExitStack() as drafts,
                    self.hook.read_settled(
                        self.readers[task.series],
                        task.series.dataset,
                        task.identity.interval,
                        settle=self.settle,
                        plan=self.plan,
                        stuck=LakeError,
                        draft=lambda spool, end: (
                            self._draft(task, spool, drafts) if end == task.identity.interval.end else None
                        ),
                    ) as (spool, reading, asked_at),
                ):
                    return self._write(task, spool, reading, asked_at, drafts, is_new=is_new)
        except (BinanceConfigError, BinanceRequestError) as error:
            if len(self.readers) == 1 or not concerns_one_series(error):
                raise
            self.rejected.setdefault(task.series, LakeError(f"{task.series}: {error}"))
        except ObjectStaysError as error:
            return ObjectResult(None, 0, refused=error)
        except (FieldError, BinanceIncompleteError) as error:
            if len(self.readers) == 1:
                return ObjectResult(None, 0, refused=error)
            named = type(error)(f"{task.series}, {task.identity.interval}: {error}")
            self._incomplete[task.series] += isinstance(error, BinanceIncompleteError)
            if self._incomplete[task.series] > MOST_INCOMPLETE:
                self.rejected.setdefault(task.series, named)
            return ObjectResult(None, 0, refused=named)
        return ObjectResult(None, 0, refused=self.rejected[task.series])

    def _look(self, task: ObjectTask) -> Existing | None:
        existing = self.store.head(task.key)
        self._refuse_foreign(task, existing)
        return existing

    def _is_done(self, task: ObjectTask, existing: Existing) -> bool:
        trusted = not self.replace or self.run.wrote(existing.metadata)
        return trusted and task.identity.describes(existing.metadata) and existing.is_intact

    def _draft(self, task: ObjectTask, spool: Spool, drafts: ExitStack) -> tuple[Body, Counter[str]]:
        """Write the object's bytes, and count its symbols; those of rows that were not confirmed are thrown away."""
        drafts.close()
        symbols = Counter[str]()
        lines = _tallied(spool.lines(), task.identity.scope, symbols)
        return drafts.enter_context(write_body(task.key, lines, task.series.dataset.columns)), symbols

    def _write(
        self, task: ObjectTask, spool: Spool, reading: Reading, asked_at: float, drafts: ExitStack, *, is_new: bool
    ) -> ObjectResult:
        self._warn(task, spool, reading)
        if not reading.records and self.on_empty != "write":
            existing = self._look(task)
            if not existing or (existing.is_intact and not existing.records):
                return ObjectResult(None, 0, reading.requests)
        dataset = task.series.dataset
        first, last = spool.times()
        is_claim = is_beyond_memory(asked_at, task.identity.interval.start, dataset)
        body, symbols = spool.draft or self._draft(task, spool, drafts)
        size = self.store.put(
            task.key,
            body,
            lambda now: self._refuse_to_replace(task, now, reading.records, body.written.records),
            is_new=is_new,
            identity=task.identity,
            run=self.run,
            records=reading.records,
            total=reading.total,
            proof="claim" if is_claim else reading.proof,
            first=first,
            last=last,
            fetched_at=int(asked_at * 1000),
            not_final=_not_final(dataset, spool),
        )
        return ObjectResult(task.key, reading.records, reading.requests, size, symbols=symbols)

    def _url(self, task: ObjectTask) -> str:
        return f"s3://{self.store.bucket}/{task.key}"

    def _refuse_foreign(self, task: ObjectTask, existing: Existing | None) -> None:
        if existing is None or task.identity.may_describe(existing.metadata):
            return
        if differing := task.identity.differs_in(existing.metadata):
            fields = dict.fromkeys(f"{{{name.removeprefix('interval-')}}}" for name in differing)
            cure = f"hold {' and '.join(fields)}, or name" if "interval-start" in existing.metadata else "name"
            raise ObjectStaysError(
                f"{self._url(task)} holds {whose(existing.metadata)} and must not be replaced by "
                f"{whose(task.identity.as_metadata())}",
                f"Let s3_key {cure} another place.",
            )

    def _refuse_to_replace(self, task: ObjectTask, existing: Existing | None, records: int, rows: int) -> None:
        self._refuse_foreign(task, existing)
        if existing is None:
            return
        known = existing.records
        seen = f"{self._url(task)} holds {known} records, and the exchange now answers {records}"
        if not task.identity.describes(existing.metadata):
            if known > rows:
                raise ObjectStaysError(
                    f"{seen}, while it does not state its account",
                    "It may be another account's, so it stays as it is: let s3_key hold {account}, or name another "
                    "place.",
                )
            log.warning(
                "%s does not state its account (written by an early version) and is loaded again.",
                self._url(task),
            )
        elif known > records and not self.allow_shrink:
            if existing.is_intact:
                raise ObjectStaysError(
                    seen,
                    f"{_FORGOTTEN}set replace=False to keep it and count it as done. Set allow_shrink=True only if the "
                    "smaller answer is known to be the right one.",
                )
            raise ObjectStaysError(
                f"{self._url(task)} is damaged: it has {existing.size} bytes instead of "
                f"{existing.metadata['body-size']}, and held {known} records, while the exchange now answers {records}",
                f"{_FORGOTTEN}restore an earlier version of the object, or move it away to load what the exchange "
                "still answers.",
            )

    def _warn(self, task: ObjectTask, spool: Spool, reading: Reading) -> None:
        interval = task.identity.interval
        if reading.outside:
            log.warning("%d rows of %s lie outside of it by their time; they are kept.", reading.outside, interval)
        if reading.conflicts:
            log.warning(
                "%d rows of %s differ from another under the same id; all are kept.", reading.conflicts, interval
            )
        if reading.proof == "pages":
            log.warning("%s stays at odds with the exchange's total; two equal readings stand for it.", interval)
        name = task.series.dataset.isolated_field
        if (
            name is not None
            and task.identity.scope == CROSS
            and not self._isolated_told.locked()
            and spool.holds(list(task.series.dataset.record_key).index(name), 1)
            and self._isolated_told.acquire(blocking=False)
        ):
            log.warning(
                "The answer without a pair holds isolated rows too; they are kept. Rows of a closed pair may appear "
                "under its own filter alone: go on loading each pair too, and count each record once when querying."
            )


class _Named(msgspec.Struct, rename={"isolated": "isolatedSymbol"}):
    symbol: Any = None
    isolated: Any = None


_NAMED = msgspec.json.Decoder(_Named)


def _tallied(lines: Iterable[bytes], scope: str, symbols: Counter[str]) -> Iterator[bytes]:
    """The lines, while their symbols are counted."""
    for line in lines:
        try:
            row = _NAMED.decode(line)
            symbol = row.symbol or row.isolated
        except msgspec.MsgspecError:  # text that is none: it is written as it came
            symbol = None
        symbols[symbol if isinstance(symbol, str) and symbol else scope] += 1
        yield line


def _not_final(dataset: Dataset, spool: Spool) -> int | None:
    if not dataset.not_final:
        return None
    with temporary_storage():
        return sum(not dataset.is_final(line) for line in spool.lines())
