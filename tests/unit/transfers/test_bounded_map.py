"""Calls and objects side by side: few under way, and none left behind."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_binance_margin.transfers.bounded_map import bounded_map, bounded_pages

DEPTH = 4


def pages(pool, do, numbers):
    return bounded_pages(pool, DEPTH)(do, numbers)


def jobs(pool, do, numbers):
    return bounded_map(pool, DEPTH, do, numbers)


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
