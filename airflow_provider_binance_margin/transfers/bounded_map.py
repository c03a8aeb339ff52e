"""Doing many things at once without holding many: calls in one pool, objects in another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import TypeVar

from airflow_provider_binance_margin.exchange.paging import FetchPages

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")


def bounded_pages(pool: Executor, depth: int) -> FetchPages:
    """Fetch pages in a pool, at most so many of them under way or waiting to be taken."""

    def fetch_pages(fetch: Callable[[A], T], numbers: Iterable[A]) -> Iterator[T]:
        pending: deque[Future[T]] = deque()
        try:
            for number in numbers:
                pending.append(pool.submit(fetch, number))
                if len(pending) >= depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    return fetch_pages


def bounded_map(pool: Executor, depth: int, do: Callable[[A], R], jobs: Iterable[A]) -> Iterator[R]:
    """What becomes of each job, in the order they end, at most so many under way; the first failure is raised."""
    pending: set[Future[R]] = set()
    try:
        for job in jobs:
            pending.add(pool.submit(do, job))
            if len(pending) >= depth:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        for future in pending:
            future.cancel()
