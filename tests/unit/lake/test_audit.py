"""Verdicts on objects, and what bytes say against what metadata state."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.lake.written import written

from airflow_provider_binance_margin.lake.audit import FAULTS, TO_BE_LOADED, Finding, content_agrees, judge, report
from airflow_provider_binance_margin.lake.interval import Interval
from airflow_provider_binance_margin.lake.layout import SUFFIXES
from airflow_provider_binance_margin.lake.proof import Run, Subject, proof_metadata

DAY = 86_400_000
FIRST = (datetime(2026, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
SUBJECT = Subject("force_liquidation", Interval(FIRST, FIRST + DAY), "account")


def day(number):
    return Interval(FIRST + number * DAY, FIRST + (number + 1) * DAY)


def row(order_id, **more):
    price = {"avgPrice": "1.00000000", "executedQty": "2.00000000", "orderId": order_id, "price": "1.00000000"}
    rest = {"qty": "2.00000000", "side": "SELL", "symbol": "币安人生USDT", "timeInForce": "GTC", "isIsolated": False}
    return json.dumps({**price, **rest, "updatedTime": FIRST + order_id, **more}, ensure_ascii=False).encode()


LINES = [row(i) for i in range(50)] + [row(50, note='a "quoted"\nnote, of two\r\nlines'), row(51, symbol="a\nb")]


def stored(suffix, lines=LINES, fetched=DAY):
    """An object's bytes and its metadata."""
    said, data = written(lines, suffix)
    metadata = proof_metadata(
        SUBJECT,
        Run("r", 0),
        records=said.records,
        total=said.records,
        proof="total",
        sha256=said.sha256,
        first=None,
        last=None,
        fetched_at=SUBJECT.interval.end + fetched,
        provider_version="1",
    )
    return data, metadata


def judged(metadata, total, *, expect_empty=True):
    return judge(SUBJECT, metadata, total, expect_empty=expect_empty, fresh_ms=7 * DAY)


# -- verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "total", "verdict"),
    [(5, 5, "complete"), (4, 5, "short"), (0, 5, "short"), (6, 5, "long"), (5, 0, "long"), (0, 0, "complete")],
)
def test_an_object_is_held_against_what_the_exchange_states(records, total, verdict):
    """By their numbers."""
    assert judged(stored(".jsonl", LINES[:records])[1], total) == verdict


@pytest.mark.parametrize(
    ("total", "expect_empty", "verdict"),
    [(5, True, "missing"), (5, False, "missing"), (0, True, "missing"), (0, False, "complete")],
)
def test_no_object_is_a_gap_unless_nothing_was_to_be_written(total, expect_empty, verdict):
    """What an interval without records leaves is the user's choice."""
    assert judged(None, total, expect_empty=expect_empty) == verdict


@pytest.mark.parametrize(
    ("after_end", "verdict"),
    [(60_000, "complete"), (7 * DAY, "complete"), (7 * DAY + 1, "claim"), (900 * DAY, "claim")],
)
def test_an_empty_object_fetched_long_after_is_a_claim(after_end, verdict):
    """The exchange may have forgotten by then: that it answered nothing proves nothing."""
    assert judged(stored(".jsonl", [], after_end)[1], 0) == verdict
    assert judged(stored(".jsonl", LINES, after_end)[1], len(LINES)) == "complete"


@pytest.mark.parametrize("other", [{"scope": "BTCUSDT"}, {"interval-end": "2026-01-03T00:00:00Z"}, {"dataset": "x"}])
def test_another_objects_records_count_for_nothing(other):
    """However many there are."""
    assert judged({**stored(".jsonl")[1], **other}, len(LINES)) == "foreign"
    assert judged({}, 0) == "foreign"


@pytest.mark.parametrize("stated", ["", "yesterday", "0001-01-01", "9" * 5000])
def test_unreadable_metadata_break_no_audit(stated):
    """Somebody may have edited them."""
    assert judged({**stored(".jsonl")[1], "fetched-at": stated}, len(LINES)) == "complete"
    assert judged({**stored(".jsonl")[1], "records": stated}, len(LINES)) == "short"


@pytest.mark.parametrize("stated", ["", "yesterday"])
def test_an_empty_object_that_does_not_say_when_it_was_fetched_is_a_claim(stated):
    """It proves even less than one that does."""
    empty = stored(".jsonl", [])[1]

    assert judged({**empty, "fetched-at": stated}, 0) == "claim"
    assert judged({name: value for name, value in empty.items() if name != "fetched-at"}, 0) == "claim"


# -- content ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [LINES, LINES[:1], []], ids=["many", "one", "empty"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_written_agrees_with_what_was_stated(suffix, lines):
    """In each format, with line breaks and quotes within values."""
    body, metadata = stored(suffix, lines)

    assert content_agrees(io.BytesIO(body), suffix, metadata)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_objects_bytes_are_corrupt(suffix):
    """A row less, another row in its place (where lines can be checked), nothing at all, or something else."""
    metadata = stored(suffix)[1]

    assert not content_agrees(io.BytesIO(stored(suffix, LINES[1:])[0]), suffix, metadata)
    assert not content_agrees(io.BytesIO(b""), suffix, metadata)
    assert content_agrees(io.BytesIO(b"<html>nothing here</html>"), suffix, metadata) is False
    if suffix.startswith(".jsonl"):
        assert not content_agrees(io.BytesIO(stored(suffix, [row(99), *LINES[1:]])[0]), suffix, metadata)
        assert not content_agrees(io.BytesIO(stored(suffix, LINES[::-1])[0]), suffix, metadata)


@pytest.mark.parametrize("lines", [LINES, []], ids=["rows", "empty"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_cut_object_is_corrupt(suffix, lines):
    """Wherever it was cut: of an object without rows too, nothing at all must be left to be taken for it."""
    body, metadata = stored(suffix, lines)

    whole = [cut for cut in range(0, len(body), 7) if content_agrees(io.BytesIO(body[:cut]), suffix, metadata)]

    assert whole == []


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv.gz", ".parquet"])
def test_a_damaged_object_is_a_verdict_and_no_crash(suffix):
    """Whichever byte is damaged; of what is under gzip's checksum none goes unnoticed."""
    body, metadata = stored(suffix)
    unnoticed = []
    for place in range(0, len(body), 3 if suffix == ".parquet" else 1):
        damaged = bytearray(body)
        damaged[place] ^= 0x55
        if content_agrees(io.BytesIO(bytes(damaged)), suffix, metadata):
            unnoticed.append(place)

    if suffix != ".parquet":
        assert set(unnoticed) <= set(range(4, 10))  # time, flags and system of gzip's header


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_packed_object_under_a_plain_key_is_corrupt(suffix):
    """And the other way round."""
    body, metadata = stored(suffix)

    assert not content_agrees(io.BytesIO(gzip.compress(body)), suffix, metadata)
    assert not content_agrees(io.BytesIO(body), f"{suffix}.gz", metadata)


@given(st.lists(st.text(st.sampled_from('a",\n\r é'), max_size=6), max_size=6))
def test_csv_rows_are_counted_whatever_they_hold(values):
    """A line break within quotes ends no row."""
    body, metadata = stored(".csv", [row(i, symbol=value) for i, value in enumerate(values)])

    assert content_agrees(io.BytesIO(body), ".csv", metadata)


# -- the report ------------------------------------------------------------------------------------------------------

VERDICTS = ["complete", "missing", "short", "long", "foreign", "corrupt", "claim"]


def found(number, verdict, records=1, total=1):
    return Finding(day(number), f"k{number}", verdict, records, total)


def test_gaps_are_what_loading_again_can_cure_joined():
    """They feed the operator: touching ones are one window; long, foreign and claims are none."""
    verdicts = ["missing", "short", "complete", "corrupt", "long", "foreign", "claim", "missing"]

    result = report(found(number, verdict) for number, verdict in reversed(list(enumerate(verdicts))))

    assert result["gaps"] == [
        {"start": "2026-01-01T00:00:00Z", "end": "2026-01-03T00:00:00Z"},
        {"start": "2026-01-04T00:00:00Z", "end": "2026-01-05T00:00:00Z"},
        {"start": "2026-01-08T00:00:00Z", "end": "2026-01-09T00:00:00Z"},
    ]
    assert result["checked"] == sum(result["counts"].values()) == 8
    assert [item["key"] for item in result["missing"]] == ["k0", "k7"]
    assert set(TO_BE_LOADED) | {"foreign"} == set(FAULTS)


@given(st.lists(st.sampled_from(VERDICTS), max_size=300))
def test_a_report_is_small_and_counts_all(verdicts):
    """At most 100 of each are listed, the earliest; every one is counted."""
    result = report(found(number, verdict) for number, verdict in enumerate(verdicts))

    assert result["counts"] == {verdict: verdicts.count(verdict) for verdict in VERDICTS}
    for verdict in VERDICTS[1:]:
        numbers = [number for number, each in enumerate(verdicts) if each == verdict]
        assert [item["key"] for item in result[verdict]] == [f"k{number}" for number in numbers[:100]]
    assert json.loads(json.dumps(result)) == result


def test_a_report_lists_the_first_hundred_and_a_thousand_gaps():
    """More would be too much for a task's result, and for one mapped task."""
    result = report(found(2 * number, "missing") for number in range(1001))

    assert [item["key"] for item in result["missing"]] == [f"k{2 * number}" for number in range(100)]
    assert (len(result["gaps"]), result["counts"]["missing"]) == (1000, 1001)
    assert set(result) == {"checked", "counts", "gaps", *VERDICTS[1:]}


def test_a_finding_says_both_numbers():
    """So that nobody has to ask again."""
    missing = replace(found(0, "missing"), records=None, total=7)

    assert missing.as_json() == {
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-02T00:00:00Z",
        "key": "k0",
        "records": None,
        "total": 7,
    }
