"""One run: all its objects, side by side, with word of how far it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError
from airflow_provider_binance_margin.failures import LakeError, ObjectStaysError
from airflow_provider_binance_margin.lake.fields import FieldError
from airflow_provider_binance_margin.lake.layout import LayoutError, render
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity
from airflow_provider_binance_margin.load_plan import LoadPlan
from airflow_provider_binance_margin.transfers.object_loader import ObjectResult, ObjectTask

if TYPE_CHECKING:
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

log = logging.getLogger(__name__)

OBJECTS_AT_ONCE = 4
_MOST_KEYS = 100
_MOST_REFUSED = 10
#: with more windows that do not agree with their totals, the exchange is in trouble, and is left alone
_MOST_INCOMPLETE = 5
#: objects that are remembered one by one; of more, only the sums are
MOST_NAMED = 1000
_PROGRESS_SECONDS = 10.0


def object_tasks(choice: LoadPlan, template: str, **subject: str) -> Iterator[ObjectTask]:
    """The objects of a run, ascending.

    :param subject: what their identities have in common: dataset, account and scope
    :raises LayoutError: at once, when two of them would be written under one key
    """
    seen: set[bytes] = set()  # of checksums: the keys of years of hours would fill megabytes
    for interval in choice.objects():
        key = render(template, ObjectIdentity(interval=interval, **subject))
        checksum = blake2b(key.encode(), digest_size=16).digest()
        if checksum in seen:
            raise LayoutError(
                f"the key {template!r} gives {key!r} to more than one interval, {interval} among them: it must hold "
                "{start}, with a format as fine as the grain"
            )
        seen.add(checksum)
    subjects = (ObjectIdentity(interval=interval, **subject) for interval in choice.objects())
    return (ObjectTask(each, render(template, each)) for each in subjects)


@contextmanager
def pools(hook: BinanceHook, max_workers: int) -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
    """A pool for calls and one for objects: with one for both, objects that wait for their pages could fill it.

    Whatever ends the block ends what is queued; calls under way are waited for.
    """
    calls = ThreadPoolExecutor(max_workers, "binance-call")
    objects = ThreadPoolExecutor(OBJECTS_AT_ONCE, "s3-object")
    try:
        yield calls, objects
    finally:
        hook.close()
        objects.shutdown(cancel_futures=True)
        calls.shutdown(cancel_futures=True)


@dataclass
class Progress:
    """What a run has done so far, told in the log every ten seconds.

    :param bucket: where to
    :param expected: how many objects it is to make
    """

    bucket: str
    expected: int
    done: int = 0
    objects: int = 0
    records: int = 0
    requests: int = 0
    bytes: int = 0
    named: list[ObjectResult] = field(default_factory=list)
    refused: list[ObjectStaysError | FieldError | BinanceIncompleteError] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _told_at: float = field(default_factory=time.monotonic)

    def add(self, made: ObjectResult) -> None:
        """Count one object."""
        self.done += 1
        self.records += made.records
        self.requests += made.requests
        if made.refused is not None:
            self.refused.append(made.refused)
            if self.expected > 1 and len(self.refused) <= _MOST_KEYS:
                log.error("Not loaded, the others are: %s", made.refused)
            if sum(isinstance(error, BinanceIncompleteError) for error in self.refused) > _MOST_INCOMPLETE:
                self.check()
        elif made.key is not None:
            self.objects += 1
            self.bytes += made.size
            if len(self.named) < MOST_NAMED:
                self.named.append(made)
        if time.monotonic() - self._told_at >= _PROGRESS_SECONDS:
            self._told_at = time.monotonic()
            self._tell()

    def _tell(self) -> None:
        rate = self.done / (time.monotonic() - self._began)
        left = (self.expected - self.done) / rate
        log.info(
            "%d of %d objects, %d records, %.1f objects a second, about %.0f s left.",
            *(self.done, self.expected, self.records, rate, left),
        )

    def check(self) -> None:
        """Fail if objects were refused, each way out once.

        :raises LakeError: naming the first of them
        :raises BinanceIncompleteError: the same, where another try may load some of them
        """
        if not self.refused:
            return
        if self.expected == 1:
            raise self.refused[0]
        stay = sorted(e.seen if isinstance(e, ObjectStaysError) else str(e) for e in self.refused)
        more = f"; and {len(stay) - _MOST_REFUSED} more" if len(stay) > _MOST_REFUSED else ""
        cures = dict.fromkeys(error.cure for error in self.refused if isinstance(error, ObjectStaysError))
        others = "the others are" if self.done == self.expected else "and the run was given up"
        may_pass = any(isinstance(error, BinanceIncompleteError) for error in self.refused)
        raise (BinanceIncompleteError if may_pass else LakeError)(
            f"{len(stay)} of {self.expected} objects could not be loaded, {others}. {' '.join(cures)}"
            f" Not loaded: {'; '.join(stay[:_MOST_REFUSED])}{more}"
        )

    def result(self) -> dict[str, Any]:
        """The part of a task's result that is counted."""
        return {
            "records": self.records,
            "objects": self.objects,
            "requests": self.requests,
            "bytes": self.bytes,
            "keys": sorted(made.key for made in self.named if made.key)[:_MOST_KEYS],
        }
