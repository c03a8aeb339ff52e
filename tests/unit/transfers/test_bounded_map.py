"""Calls and objects side by side: few under way, and none left behind."""

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.transfers.bounded_map import (
    MOST_OBJECTS_AT_ONCE,
    bounded_map,
    bounded_pages,
    thread_pools,
)

DEPTH = 4


def pages(pool, do, numbers, depth=DEPTH):
    return bounded_pages(pool, depth)(do, numbers)


def jobs(pool, do, numbers, depth=DEPTH):
    return bounded_map(pool, depth, do, numbers)


class Immediate(Executor):
    """Does what it is given at once, and counts it."""

    def __init__(self):
        self.submitted = 0

    def submit(self, do, *arguments):
        self.submitted += 1
        future = Future()
        future.set_result(do(*arguments))
        return future


WAYS = pytest.mark.parametrize("way", [pages, jobs])


@WAYS
def test_all_is_done_once(way):
    with ThreadPoolExecutor(2) as pool:
        assert sorted(way(pool, lambda number: number * number, range(100))) == [
            number * number for number in range(100)
        ]


@WAYS
@pytest.mark.parametrize("end", ["failure", "close"])
def test_what_is_queued_is_cancelled_when_it_is_not_wanted_any_more(way, end):
    """A page has failed, or whoever takes them has seen enough: no request is sent for what was waiting."""
    begun, held, is_first = [], threading.Event(), threading.Event()

    def do(number):
        begun.append(number)
        if not is_first.is_set():
            is_first.set()
            if end == "failure":
                raise OSError("no answer")
            return number
        assert held.wait(30)
        return number

    with ThreadPoolExecutor(2) as pool:
        results = way(pool, do, range(100))
        try:
            if end == "failure":
                with pytest.raises(OSError, match="no answer"):
                    next(results)
            else:
                next(results)
                results.close()
        finally:
            held.set()

    assert len(begun) <= 1 + 2  # the one that ended, and one for each thread


@WAYS
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_so_many_are_under_way_or_wait_to_be_taken(way, depth):
    pool = Immediate()
    ahead = [pool.submitted - taken for taken, _ in enumerate(way(pool, str, range(20), depth))]

    assert max(ahead) == ahead[0] == depth
    assert pool.submitted == len(ahead) == 20


def test_more_are_under_way_the_more_are_done():
    """A run that a ban cuts short has its first objects done, and a long one is not bound by the way to the store."""
    pool = Immediate()
    under_way = [pool.submitted - ended for ended, _ in enumerate(bounded_map(pool, 2, str, range(40), most=5))]

    assert under_way[0] == 2
    assert max(under_way) == 5
    assert pool.submitted == len(under_way) == 40
    assert not any(now > 2 + ended // 2 for ended, now in enumerate(under_way, 1))


@pytest.mark.parametrize("state", ["nothing", "under way", "well"])
def test_pages_go_on_beside_what_has_not_failed(state):
    beside = None if state == "nothing" else Future()
    if state == "well":
        beside.set_result(None)

    assert list(bounded_pages(Immediate(), 2, beside)(str, range(5))) == ["0", "1", "2", "3", "4"]


def test_no_page_is_asked_for_once_what_is_beside_has_failed():
    pool, beside = Immediate(), Future()
    found = bounded_pages(pool, 1, beside)(str, range(5))
    assert next(found) == "0"

    beside.set_exception(OSError("no bucket"))
    with pytest.raises(OSError, match="no bucket"):
        next(found)
    assert pool.submitted == 1


@pytest.mark.parametrize(("which", "threads"), [(0, 3), (1, MOST_OBJECTS_AT_ONCE + 1)], ids=["calls", "objects"])
def test_leaving_the_pools_cancels_what_is_queued_and_waits_for_the_rest(which, threads):
    """Each has as many threads as it may do things at once, and one more for objects, to connect to S3."""
    closed, cancelled, all_begun = threading.Event(), threading.Event(), threading.Barrier(threads + 1)

    def work():
        all_begun.wait(30)
        assert closed.wait(30)
        assert cancelled.wait(30)

    with thread_pools(SimpleNamespace(close=closed.set), 3) as pools:
        under_way = [pools[which].submit(work) for _ in range(threads)]
        queued = pools[which].submit(all_begun.abort)
        queued.add_done_callback(lambda _: cancelled.set())
        all_begun.wait(30)

    assert queued.cancelled()
    assert [each.done() and each.exception() for each in under_way] == [None] * threads
