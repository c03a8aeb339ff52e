"""A poll as a task's result and a trigger's event: the same words and errors in each mode, as JSON for any store."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.exchange import errors
from airflow_provider_binance_margin.exchange.counter import Count
from airflow_provider_binance_margin.exchange.dataset import Record
from airflow_provider_binance_margin.triggers.outcome import describe, error_of, failure_of, outcome_of

TASK = SimpleNamespace(min_records=2, dataset="interest", isolated_symbol="BTCUSDT", binance_conn_id="c")
START, END = 1_768_435_200_000, 1_768_521_600_000
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BinanceError)]
ODD = {
    "a long integer": ("9" * 5000, "9" * 5000),
    "a long negative integer": ("-" + "9" * 5000, "-" + "9" * 5000),
    "more than 64 bits": ("18446744073709551616", "18446744073709551616"),
    "an exponent without end": ("1e99999999999999999999", "1e99999999999999999999"),
    "an exponent of nothing": ("1E-99999999999999999999", "1E-99999999999999999999"),
    "a fraction": ("0.10", "0.10"),
    "an exponent": ("1E+2", "1E+2"),
    "minus nothing": ("-0", 0),
    "an order": ("12345678901", 12345678901),
    "text": ('"0.10"', "0.10"),
    "nothing": ("null", None),
    "a list": ("[1, 1e400]", [1, "1e400"]),
}


def outcome(line):
    task = SimpleNamespace(min_records=1, dataset="force_liquidation", isolated_symbol=None, binance_conn_id="c")
    return outcome_of(Count(1, Record(1, (), line), 2, closed=False), 0, task)


@pytest.mark.parametrize(("literal", "expected"), ODD.values(), ids=ODD)
def test_numbers_stay_what_they_are(literal, expected):
    """What no database holds stays text; nothing is rounded, nothing raised."""
    told = outcome(b'{"price":%b}' % literal.encode())

    assert {"price": expected} == json.loads(json.dumps(told, allow_nan=False))["newest"]


def test_a_row_too_deep_to_read_is_told_as_text():
    """Nesting that Python's own reader gives up on is no error of the sensor's."""
    line = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    assert line.decode() == outcome(line)["newest"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"dataset": "interest", "binance_conn_id": "one", "isolated_symbol": "BTCUSDT"}, "interest, BTCUSDT, one"),
        ({"dataset": "interest", "binance_conn_id": "one", "isolated_symbol": None}, "interest, one"),
        ({"binance_conn_id": "one", "isolated_symbol": None}, "one"),
    ],
    ids=["pair", "account", "of an earlier version"],
)
def test_the_log_names_what_was_asked(asked, words):
    """The answer first, then the window, then dataset, pair and connection."""
    told = describe({"status": "found", "total": 1, "start": "a", "end": "b", **asked}, 1)

    assert f"1 of 1 records in [a, b) ({words})." == told


def look(total, *, closed=False, newest=None):
    return SimpleNamespace(total=total, newest=newest, end=END, closed=closed)


@pytest.mark.parametrize(
    ("total", "closed", "status"),
    [
        (0, False, "waiting"),
        (0, True, "closed"),
        (1, False, "waiting"),
        (1, True, "closed"),
        (2, False, "found"),
        (2, True, "found"),
        (3, False, "found"),
    ],
)
def test_enough_is_as_many_as_were_asked_for(total, closed, status):
    """Whether or not the window has ended."""
    outcome = outcome_of(look(total, closed=closed), START, TASK)

    assert outcome == {
        "status": status,
        "total": total,
        "newest": None,
        "start": "2026-01-15T00:00:00Z",
        "end": "2026-01-16T00:00:00Z",
        "dataset": "interest",
        "isolated_symbol": "BTCUSDT",
        "binance_conn_id": "c",
    }
    said = describe(outcome, 2)
    asked = "interest, BTCUSDT, c"
    assert said.startswith(f"{total} of 2 records in [2026-01-15T00:00:00Z, 2026-01-16T00:00:00Z) ({asked})")
    assert ("the interval has ended, and no more can appear" in said) == (status == "closed")


def test_the_newest_record_keeps_its_digits():
    """A number that a double or 64 bits could not hold is text; other whole numbers stay numbers."""
    line = b'{"price":0.12345678901234567890,"orderId":180015097,"id":12345678901234567890,"qty":"1.00000000"}'

    newest = outcome_of(look(1, newest=SimpleNamespace(line=line)), START, TASK)["newest"]

    whole = {"orderId": 180015097, "id": "12345678901234567890"}
    assert newest == {"price": "0.12345678901234567890", **whole, "qty": "1.00000000"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_comes_through_the_triggerer_as_it_was(kind):
    """Its class, words, code, status and the wait that was asked for, by way of JSON."""
    wait = {"retry_after": 12.5} if issubclass(kind, errors.BinanceThrottledError) else {}
    error = kind("in words", code=-1003, status=418, **wait)

    again = error_of(json.loads(json.dumps(failure_of(error, "c"))))

    assert type(again) is kind
    assert (str(again).removeprefix("connection 'c': "), again.code, again.status) == (str(error), -1003, 418)
    assert getattr(again, "retry_after", None) == wait.get("retry_after")


def test_an_error_of_a_newer_version_is_still_an_error():
    """A triggerer may run another version than the worker."""
    again = error_of({"status": "failed", "kind": "BinanceSomethingNewError", "message": "new"})

    assert (type(again), str(again)) == (errors.BinanceError, "new")
    assert (again.code, again.status) == (None, None)
