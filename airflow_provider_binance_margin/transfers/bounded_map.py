"""Bounded concurrency: calls in one pool, objects in another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_binance_margin.exchange.paging import FetchPages

if TYPE_CHECKING:
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")

#: objects side by side: at first, so that a run cut short by a ban has some of them done; and at most
OBJECTS_AT_ONCE, MOST_OBJECTS_AT_ONCE = 4, 8


@contextmanager
def thread_pools(hook: BinanceHook, max_workers: int) -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
    """A pool for calls and one for objects: with one for both, objects that wait for their pages could fill it.

    Leaving the block cancels what is queued and waits for calls under way.
    """
    calls = ThreadPoolExecutor(max_workers, "binance-call")
    objects = ThreadPoolExecutor(MOST_OBJECTS_AT_ONCE + 1, "s3-object")  # one more to connect to S3 beside the first
    try:
        yield calls, objects
    finally:
        hook.close()
        objects.shutdown(cancel_futures=True)
        calls.shutdown(cancel_futures=True)


def bounded_pages(pool: Executor, depth: int, beside: Future[Any] | None = None) -> FetchPages:
    """Fetch pages in a pool, at most so many of them under way or waiting to be taken, unless `beside` has failed."""

    def fetch_pages(fetch: Callable[[A], T], numbers: Iterable[A]) -> Iterator[T]:
        pending: deque[Future[T]] = deque()
        try:
            for number in numbers:
                if beside and beside.done():
                    beside.result()
                pending.append(pool.submit(fetch, number))
                if len(pending) >= depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    return fetch_pages


def bounded_map(pool: Executor, depth: int, do: Callable[[A], R], tasks: Iterable[A], *, most: int = 0) -> Iterator[R]:
    """Results in the order in which tasks end; the first failure is raised.

    :param depth: tasks under way at most, at first; each time that as many are done it grows by one, up to `most`
    """
    pending: set[Future[R]] = set()
    coming, ended = iter(tasks), 0
    try:
        while True:
            width = max(depth, min(depth + ended // depth, most))
            for task in islice(coming, width - len(pending)):
                pending.add(pool.submit(do, task))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            ended += len(done)
            yield from (future.result() for future in done)
    finally:
        for future in pending:
            future.cancel()
