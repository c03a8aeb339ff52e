"""A poll as a task's result and a trigger's event: whatever the newest row holds, JSON that any store takes."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.exchange.counter import Count
from airflow_provider_binance_margin.exchange.dataset import Record
from airflow_provider_binance_margin.triggers.outcome import describe, outcome_of

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
