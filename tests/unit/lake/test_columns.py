"""CSV and Parquet: the same values as the exchange's literals, or an error that names the record."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from unit.lake.written import body, written

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.lake.fields import FieldError, extra_of, python_value

COLUMNS = FORCE_LIQUIDATION.columns
USUAL = (
    '{"avgPrice":"0.38900000","executedQty":"82.80000000","orderId":%s,"price":"0.10000000","qty":%s,"side":"SELL",'
    '"symbol":%s,"timeInForce":"GTC","isIsolated":false,"updatedTime":1768435200123%s}'
)
#: shifts a point without rounding
CONTEXT = Context(prec=100)
Read = Callable[..., list[dict[str, object]]]


def line(order_id="7", qty='"1.00000000"', symbol='"BTCUSDT"', more=""):
    return (USUAL % (order_id, qty, symbol, more)).encode()


def from_csv(*lines, columns=COLUMNS):
    return list(csv.DictReader(io.StringIO(body(lines, ".csv", columns).decode(), newline=""), strict=True))


def from_parquet(*lines, columns=COLUMNS):
    return parquet.read_table(io.BytesIO(body(lines, ".parquet", columns))).to_pylist()


# -- both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_same_rows_same_bytes(suffix):
    """Also of a file without rows, and of more rows than are written at once."""
    many = [line(str(i)) for i in range(1234)]

    assert body(many, suffix) == body(iter(many), suffix)
    assert body([], suffix) == body(iter(()), suffix)
    assert body(many, suffix) != body(many[1:], suffix)


def test_the_packed_csv_is_the_plain_one():
    """With nothing in gzip's header that changes."""
    packed = body([line()], ".csv.gz")

    assert gzip.decompress(packed) == body([line()], ".csv")
    assert packed[:8] == b"\x1f\x8b\x08\x00\0\0\0\0"


def test_the_digest_is_that_of_the_lines_in_every_format():
    """So that objects of two formats can be held against each other."""
    lines = [line(str(i)) for i in range(5)]

    assert len({written(lines, s)[0] for s in (".jsonl", ".csv", ".csv.gz", ".parquet")}) == 1


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1000])
def test_any_number_of_rows_arrives_in_order(count):
    """Whatever is written at once."""
    lines = [line(str(i)) for i in range(count)]

    assert [int(row["orderId"]) for row in from_csv(*lines)] == list(range(count))
    assert [row["order_id"] for row in from_parquet(*lines)] == list(range(count))


@pytest.mark.parametrize("read", [from_csv, from_parquet])
def test_unknown_fields_are_kept_as_json(read: Read):
    """By name, with the exchange's own literals: nothing becomes a float."""
    (row, plain) = read(line(more=',"zeta":1.10,"alpha":{"深":[null,"a\\"b"]}'), line())

    assert row["extra"] == '{"alpha":{"深":[null,"a\\"b"]},"zeta":1.10}'
    assert plain["extra"] in ("", None)


@pytest.mark.parametrize("read", [from_csv, from_parquet])
def test_a_documented_field_called_extra_keeps_its_name(read: Read):
    """What is not documented goes to another column."""
    (row,) = read(b'{"extra":"mine","other":1}', columns={"extra": "string"})

    assert row == {"extra": "mine", "extra_": '{"other":1}'}
    assert extra_of(["extra", "extra_"]) == "extra__"


# -- CSV -------------------------------------------------------------------------------------------------------------


def test_a_csv_row_is_what_was_sent():
    """Documented columns in documented order, literals untouched."""
    assert body([line("12345678901234567890", symbol='"币安人生USDT"')], ".csv").decode() == (
        "avgPrice,executedQty,orderId,price,qty,side,symbol,timeInForce,isIsolated,updatedTime,extra\n"
        "0.38900000,82.80000000,12345678901234567890,0.10000000,1.00000000,SELL,币安人生USDT,GTC,false,1768435200123,\n"
    )


def test_an_empty_csv_has_its_header():
    """Readers find the columns."""
    assert body([], ".csv").decode() == ",".join([*COLUMNS, "extra"]) + "\n"


@pytest.mark.parametrize(
    ("literal", "field"),
    [('""', '""'), ("null", ""), ('"null"', "null"), ('" a "', '" a "'), ('"a,b"', '"a,b"'), ('"a\\nb"', '"a\nb"'),
     ('"a\\rb"', '"a\rb"'), (r'"\""', '""""'), (r'"\u5e01"', "币"), ("1.10", "1.10"), ("1e400", "1e400"),
     ("true", "true"), ("[1, 2]", '"[1, 2]"'), ('{"a":1}', '"{""a"":1}"')],
)  # fmt: skip
def test_how_a_csv_field_is_spelt(literal, field):
    """Null is nothing, an empty text is quoted, and what would break the row is quoted."""
    columns = {"a": "string", "b": "string"}

    assert body([b'{"a":%s,"b":"x"}' % literal.encode()], ".csv", columns).decode() == f"a,b,extra\n{field},x,\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), max_size=5))
def test_any_text_comes_back_from_csv(texts):
    """Read by Python's own module, strictly."""
    lines = [line(symbol=json.dumps(text)) for text in texts]

    assert [row["symbol"] for row in from_csv(*lines)] == texts


def test_a_missing_field_is_empty_in_csv():
    """And the rest stays in its column."""
    (row,) = from_csv(b'{"symbol":"A","updatedTime":5}')

    assert {name: value for name, value in row.items() if value} == {"symbol": "A", "updatedTime": "5"}


# -- Parquet ---------------------------------------------------------------------------------------------------------


def test_a_parquet_row_has_exact_types():
    """Decimals of 8 places, ids of 64 bits, milliseconds in UTC."""
    (row,) = from_parquet(line(str(2**63 - 1), symbol='"币安人生USDT"'))

    assert row == {
        "avg_price": Decimal("0.38900000"),
        "executed_qty": Decimal("82.80000000"),
        "order_id": 2**63 - 1,
        "price": Decimal("0.10000000"),
        "qty": Decimal("1.00000000"),
        "side": "SELL",
        "symbol": "币安人生USDT",
        "time_in_force": "GTC",
        "is_isolated": False,
        "updated_time": datetime(2026, 1, 15, tzinfo=UTC) + timedelta(milliseconds=123),
        "extra": None,
    }


def test_an_empty_parquet_keeps_the_schema():
    """The same as one with rows, so that engines read both as one table."""
    empty, full = (parquet.read_schema(io.BytesIO(body(lines, ".parquet"))) for lines in ([], [line()]))

    assert empty == full
    names = ("avg_price", "order_id", "updated_time", "is_isolated", "symbol")
    assert [str(empty.field(name).type) for name in names] == [
        "decimal128(38, 8)",
        "int64",
        "timestamp[ms, tz=UTC]",
        "bool",
        "string",
    ]


def test_null_and_nothing_are_null_in_parquet():
    """And the other values of the row are there."""
    (row,) = from_parquet(b'{"symbol":"A","orderId":null,"qty":null}')

    assert {name: value for name, value in row.items() if value is not None} == {"symbol": "A"}


@pytest.mark.parametrize(
    ("literal", "value"),
    [('"0"', "0"), ('"-1.5"', "-1.5"), ("1.10", "1.10"), ("0.1234567890", "0.123456789"),
     ('"0.00000001"', "0.00000001"), ('"1E+3"', "1000"), ("12e-9", "0.000000012"), ('"-0.0E-12"', "0"),
     ('"90000000000.00000000"', "90000000000"), ('"' + "9" * 30 + '.99999999"', "9" * 30 + ".99999999")],
)  # fmt: skip
def test_a_number_that_fits_is_exact_or_refused(literal, value):
    """Never rounded."""
    try:
        (row,) = from_parquet(line(qty=literal))
    except FieldError:
        assert len(value.partition(".")[2]) > 8
        return
    assert row["qty"] == Decimal(value)


@pytest.mark.parametrize(
    ("field", "literal", "words"),
    [
        pytest.param("qty", '"0.123456789"', "does not fit decimal128", id="nine places"),
        pytest.param("qty", '"' + "9" * 31 + '"', "does not fit decimal128", id="31 digits before the point"),
        pytest.param("qty", '"' + "9" * 61 + '"', "does not fit decimal128", id="61 digits"),
        pytest.param("qty", '"1e30"', "does not fit decimal128", id="31 digits by an exponent"),
        pytest.param("qty", "-1E-9", "does not fit decimal128", id="nine places by an exponent"),
        pytest.param("qty", "1e999999999", "does not fit decimal128", id="a thousand million digits"),
        pytest.param("qty", '"1e-999999999"', "does not fit decimal128", id="a thousand million places"),
        pytest.param("qty", f'"1e{"9" * 5000}"', "does not fit decimal128", id="endless exponent"),
        pytest.param("qty", '"1e"', "not a plain decimal", id="exponent without digits"),
        pytest.param("qty", '"1e1.5"', "not a plain decimal", id="exponent of a fraction"),
        pytest.param("qty", '"NaN"', "not a plain decimal", id="NaN"),
        pytest.param("qty", '""', "not a plain decimal", id="empty"),
        pytest.param("qty", '" 1"', "not a plain decimal", id="blank"),
        pytest.param("qty", '"\u0661"', "not a plain decimal", id="other digits"),
        pytest.param("qty", "true", "not a plain decimal", id="boolean for a number"),
        pytest.param("qty", '["1"]', "not a plain decimal", id="list"),
        pytest.param("qty", "1" * 5000, "does not fit decimal128", id="endless"),
        pytest.param("orderId", str(2**63), "not a whole number of 64 bits", id="65 bits"),
        pytest.param("orderId", "1.0", "not a whole number", id="a fraction"),
        pytest.param("orderId", '"a"', "not a whole number", id="text for an id"),
        pytest.param("orderId", "false", "not a whole number", id="boolean for an id"),
        pytest.param("symbol", "5", "not a string", id="number for a symbol"),
        pytest.param("symbol", "{}", "not a string", id="object for a symbol"),
        pytest.param("isIsolated", '"true"', "neither true nor false", id="text for a boolean"),
        pytest.param("isIsolated", "1", "neither true nor false", id="number for a boolean"),
        pytest.param("updatedTime", '"soon"', "not a whole number", id="text for a time"),
    ],
)
def test_what_parquet_cannot_hold_fails_and_names_the_record(field, literal, words):
    """With what to use instead; the rows around it are not to blame."""
    row = {"symbol": '"BTCUSDT"', "orderId": "4711", field: literal}
    odd = ("{" + ",".join(f'"{name}":{value}' for name, value in row.items()) + "}").encode()

    with pytest.raises(FieldError, match=words) as caught:
        from_parquet(line(), odd, line())

    assert str(caught.value).startswith(field)
    assert all(part in str(caught.value) for part in ("in the record with", ".jsonl.gz"))
    assert field == "orderId" or "orderId 4711" in str(caught.value)
    assert field == "symbol" or 'symbol "BTCUSDT"' in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_value_nested_without_end_is_refused_too():
    """Not by a crash."""
    with pytest.raises(FieldError, match="symbol is "):
        from_parquet(b'{"symbol":' + b"[" * 900 + b"]" * 900 + b"}")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**29), max_value=10**29))
def test_any_decimal_of_eight_places_comes_back(value):
    """To the last digit."""
    assert from_parquet(line(qty=f'"{value:f}"'))[0]["qty"] == value


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**29), max_value=10**29),
    st.integers(-40, 40),
    st.sampled_from(["{}{}e{}", '"{}{}E{:+}"', '"{}{}e{:03}"']),
)
def test_a_decimal_comes_back_however_it_is_spelt(value, shift, spelling):
    """The same value with its point elsewhere and an exponent, as JSON and Java's BigDecimal write it."""
    sign, mantissa = ("-" if value.is_signed() else ""), f"{value.copy_abs().scaleb(-shift, CONTEXT):f}"

    assert from_parquet(line(qty=spelling.format(sign, mantissa, shift)))[0]["qty"] == value


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_id_of_64_bits_comes_back(value):
    """Also one that a float would round."""
    assert from_parquet(line(str(value)))[0]["order_id"] == value


def test_a_literal_that_is_no_json_is_refused():
    """NaN is Python's, not JSON's."""
    with pytest.raises(ValueError, match="not a plain decimal"):
        python_value(msgspec.Raw(b"NaN"), "decimal")
