"""Runs the cases of the matrix side by side, and looks at what each left: outcome, log of requests, secrets."""

from __future__ import annotations

import gc
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from integration.fault_matrix.consumers import CONSUMERS, POKE, POLL, Case
from integration.fault_matrix.faults import BACKOFF, CALLERS, FINAL, Fault

from airflow_provider_binance_margin.sandbox import Sandbox

AT_ONCE = 32
PATH = "/sapi/v1/margin/forceLiquidationRec"
#: ms by which two clocks readings may differ
ROUNDING = 25


@dataclass(frozen=True)
class Cell:
    """One fault met by one consumer."""

    fault: Fault
    consumer: str

    def __str__(self) -> str:
        return f"{self.fault.id}-{self.consumer}"

    @property
    def expected(self) -> str:
        """The word that this consumer has for the outcome."""
        outcome = self.fault.expected(self.consumer)
        if outcome in ("records", "as stated") or self.consumer == "hook":
            return outcome
        if self.consumer == "event":
            return "polls again"
        if outcome in FINAL:
            return "fails"
        return "is retried" if self.consumer == "operator" else "looks again"


@dataclass(frozen=True)
class Found:
    """What a cell came to.

    :param word: the outcome
    :param wrong: what else must not be: early requests, too many of them, a secret in a message
    """

    word: str
    wrong: list = field(default_factory=list)


def run(cells, home, bucket):
    """What each cell came to."""
    os.environ["AIRFLOW_CONN_MATRIX_S3"] = bucket.shown
    # what waits longest goes first
    order = sorted(enumerate(cells), key=lambda item: -item[1].fault.told)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio forgets the socket of a TLS handshake that failed
        with ThreadPoolExecutor(AT_ONCE) as threads:
            results = list(threads.map(lambda item: _run(item, home, bucket), order))
        gc.collect()
    found = {cell: one for (_, cell), one in zip(order, results, strict=True)}
    for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_MATRIX_")]:
        del os.environ[name]
    return found


def _run(item, home, bucket):
    number, cell = item
    with Sandbox(days=0, home=home) as sandbox:
        case = Case(number, cell.fault, sandbox, bucket)
        case.new_process()
        try:
            word, error = CONSUMERS[cell.consumer](case)
        except Exception as unexpected:  # noqa: BLE001 - one case must not end the others
            word, error = f"{type(unexpected).__name__}: {unexpected}", None
        case.new_process()
        case.closed.close()
        key = sandbox.keys["hmac"]
        shown = f"{error!r} {error}"
        log = [entry for entry in sandbox.requests if entry.path == PATH]
    secrets = [name for name in ("signature=", key.api_key, key.secret, "203.0.113.9") if name in shown]
    return Found(word, [*(f"shows {name}" for name in secrets), *_early(cell, log), *_too_many(cell, log)])


def _early(cell, log):
    """Requests that were sent before they might."""
    fault = cell.fault
    if cell.consumer in CALLERS:
        quiet = fault.told or (BACKOFF if fault.backoff else 0)
    elif fault.expected(cell.consumer) in FINAL or not fault.watch_fails:
        quiet = 0
    else:
        quiet = max(fault.told, POLL.get(cell.consumer, POKE))
    told = [(place, entry) for place, entry in enumerate(log) if entry.fault]
    return [
        f"{later.time - entry.time} ms after {entry.fault} instead of {quiet:.2f} s"
        for place, entry in told
        for later in log[place + 1 : place + 2]
        if later.time - entry.time < quiet * 1000 - ROUNDING
    ]


def _too_many(cell, log):
    fault = cell.fault
    if fault.requests is None or (cell.consumer == "event" and fault.outcome in FINAL):
        return []
    return [] if len(log) == fault.requests else [f"{len(log)} requests instead of {fault.requests}"]
