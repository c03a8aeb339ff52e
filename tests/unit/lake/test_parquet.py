"""Parquet files: their schema, their bytes, and what happens where pyarrow is not installed."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import python
from pyarrow import parquet
from unit.lake.written import written

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.lake.fields import FieldError

COLUMNS = FORCE_LIQUIDATION.columns
DECIMAL = pa.decimal128(38, 8)
SCHEMA = pa.schema(
    {
        "avg_price": DECIMAL,
        "executed_qty": DECIMAL,
        "order_id": pa.int64(),
        "price": DECIMAL,
        "qty": DECIMAL,
        "side": pa.string(),
        "symbol": pa.string(),
        "time_in_force": pa.string(),
        "is_isolated": pa.bool_(),
        "updated_time": pa.timestamp("ms", tz="UTC"),
        "extra": pa.string(),
    }
)
decimals = st.decimals(allow_nan=False, places=8, min_value=-(10**30) + 1, max_value=10**30 - 1).map(lambda d: f"{d:f}")


def row(number, **changes):
    usual = {"avgPrice": "1.00000000", "executedQty": "2.00000000", "orderId": number, "price": "1.00000000"}
    rest = {"qty": "2.00000000", "side": "SELL", "symbol": "BTCUSDT", "timeInForce": "GTC", "isIsolated": False}
    return json.dumps({**usual, **rest, "updatedTime": 1_768_435_200_000 + number, **changes}).encode()


def body(lines):
    return written(lines, ".parquet")[1]


def opened(lines):
    return parquet.ParquetFile(io.BytesIO(body(lines)))


@pytest.mark.parametrize("count", [0, 1, 20_001])
def test_the_schema_is_one_whatever_the_rows(count):
    """An empty file has it too: a lake whose first day is empty can be queried."""
    file = opened([row(1)] * count)

    assert (file.schema_arrow, file.metadata.num_rows) == (SCHEMA, count)


def test_columns_are_packed_with_zstd():
    """Every one, in every group of rows."""
    metadata = opened([row(1)] * 5_001).metadata

    assert {
        metadata.row_group(group).column(column).compression
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    } == {"ZSTD"}


def test_a_group_of_rows_is_small():
    """So that neither writer nor reader holds a whole file."""
    metadata = opened([row(1)] * 2_501).metadata

    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [2_500, 1]


def test_only_what_repeats_has_a_dictionary():
    """Of numbers, which hardly ever do, one would make the file larger."""
    group = opened([row(each) for each in range(100)]).metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]

    assert {column.path_in_schema for column in columns if column.has_dictionary_page} == {
        "side",
        "symbol",
        "time_in_force",
    }


def test_timestamps_are_milliseconds_in_utc():
    """As the engines of old read them too: neither nanoseconds nor int96."""
    (column,) = [c for c in opened([row(1)]).schema if c.name == "updated_time"]

    assert (column.physical_type, json.loads(column.logical_type.to_json())) == (
        "INT64",
        {
            "Type": "Timestamp",
            "isAdjustedToUTC": True,
            "timeUnit": "milliseconds",
            "is_from_converted_type": False,
            "force_set_converted_type": False,
        },
    )


@settings(max_examples=30)
@given(values=st.lists(st.tuples(decimals, decimals, st.integers(0, 2**63 - 1), st.integers(0, 10**13)), max_size=5))
def test_what_fits_is_exact(values):
    """Any decimal of 30 and 8 digits, any id, any millisecond; and the same rows are the same bytes."""
    lines = [row(i, price=p, qty=q, updatedTime=t) for p, q, i, t in values]
    columns = ["price", "qty", "order_id", "updated_time"]

    read = parquet.read_table(io.BytesIO(body(lines)), columns=columns).to_pylist()

    first = datetime(1970, 1, 1, tzinfo=UTC)
    expected = [(Decimal(p), Decimal(q), i, first + timedelta(milliseconds=t)) for p, q, i, t in values]
    assert [tuple(each[column] for column in columns) for each in read] == expected
    assert body(lines) == body(iter(lines))


@settings(max_examples=50)
@given(digits=st.integers(31, 60), places=st.integers(0, 8))
def test_too_many_digits_are_refused(digits, places):
    """However many of them stand behind the point."""
    with pytest.raises(FieldError, match=r"price .* so Parquet cannot hold it"):
        body([row(1, price="9" * digits + ("." + "1" * places if places else ""))])


@pytest.mark.parametrize("places", range(9, 62))
def test_too_many_places_are_refused(places):
    """None is rounded, however small it is: of one with 47 places pyarrow by itself makes nothing."""
    for number in ("0", "1", "-9" + "0" * 28):
        with pytest.raises(FieldError, match=r"price .* so Parquet cannot hold it"):
            body([row(1, price=f"{number}.{'0' * (places - 1)}1")])


def test_zeros_behind_the_eighth_place_are_none():
    """They are no more digits than there are."""
    read = parquet.read_table(io.BytesIO(body([row(1, price="0.1" + "0" * 30)])))

    assert read["price"].to_pylist() == [Decimal("0.1")]


@pytest.mark.parametrize(
    "number", [0, 499, 500, 2_499, 2_500], ids=["first", "last-of-batch", "next-batch", "last-of-group", "next-group"]
)
def test_the_one_record_that_does_not_fit_is_named(number):
    """Wherever among the others it is."""
    lines = [row(each, **({"qty": "0.000000001"} if each == number else {})) for each in range(2_501)]

    with pytest.raises(
        FieldError, match=rf'qty does not fit .* in the record with orderId {number}, qty "0.000000001"'
    ):
        body(lines)


def test_rows_that_are_refused_together_and_taken_one_by_one_fail_too(monkeypatch):
    """With pyarrow's own error: no record is to blame, and none is left out."""
    take = pa.array

    def refuse_many(values, *kind, **how):
        if len(values) > 1 and kind == (DECIMAL,):
            raise pa.ArrowInvalid("too many")
        return take(values, *kind, **how)

    monkeypatch.setattr(pa, "array", refuse_many)
    with pytest.raises(pa.ArrowInvalid, match="too many"):
        body([row(1), row(2)])


def test_a_value_in_an_error_is_cut():
    """It may be as long as the exchange likes."""
    with pytest.raises(FieldError) as refusal:
        body([row(1, price="x" * 10_000).replace(b"BTCUSDT", "币".encode() * 5_000)])

    assert len(str(refusal.value)) < 600


def test_a_damaged_value_is_found_by_its_pages_checksum():
    """Whatever of it is damaged, even where the damaged bytes can be read as other values."""
    data = body([row(number, price=f"{number**7}.{number:08d}") for number in range(200)])
    group = parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0)

    for chunk in (group.column(place) for place in range(group.num_columns)):
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        for place in range(start + chunk.total_compressed_size - 4, start + chunk.total_compressed_size):
            damaged = bytearray(data)
            damaged[place] ^= 0x01
            with pytest.raises(OSError, match="CRC checksum"):
                parquet.ParquetFile(io.BytesIO(bytes(damaged)), page_checksum_verification=True).read()


REFUSAL = "needs an extra: pip install 'airflow-provider-binance-margin[parquet]'"
WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = None  # as if it were not there: found by nobody, imported by nobody
from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator
from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator
for make in (ForceLiquidationToS3Operator, ForceLiquidationAuditOperator):
    for key in ("x.parquet", "s3://bucket/{scope}/{start}.parquet"):
        try:
            make(task_id="t", s3_bucket=None if "://" in key else "b", s3_key=key)
        except ValueError as error:
            print(error)
    make(task_id="other", s3_bucket="b", s3_key="x.csv.gz")
    templated = make(task_id="templated", s3_bucket="b", s3_key="{{ params.key }}")
    templated.s3_key = "x.parquet"
    try:
        templated.target()
    except ValueError as error:
        print(error)
"""


def test_without_pyarrow_a_parquet_key_is_refused_when_the_dag_is_parsed():
    """With the command that cures it; a template as soon as it is rendered; other formats work."""
    done = python("-c", WITHOUT_PYARROW)

    assert [REFUSAL] * 6 == [line[-len(REFUSAL) :] for line in done.stdout.splitlines() if line.endswith(REFUSAL)]


def test_parsing_a_dag_with_a_parquet_key_does_not_import_pyarrow():
    """It is looked for, not loaded: a scheduler parses DAGs all day."""
    code = (
        "import sys\n"
        "from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator\n"
        "ForceLiquidationToS3Operator(task_id='t', s3_bucket='b', s3_key='x.parquet')\n"
        "sys.exit(7 if 'pyarrow' in sys.modules else 0)"
    )
    python("-c", code)
