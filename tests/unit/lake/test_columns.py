"""CSV and Parquet: the spelling of values, and the errors for those that do not fit."""

from __future__ import annotations

import io
from decimal import Context

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from unit.lake.written import body

from airflow_provider_binance_margin.lake.fields import FieldError

USUAL = (
    '{"avgPrice":"0.38900000","executedQty":"82.80000000","orderId":%s,"price":"0.10000000","qty":%s,"side":"SELL",'
    '"symbol":%s,"timeInForce":"GTC","isIsolated":false,"updatedTime":1768435200123}'
)
#: shifts a point without rounding
CONTEXT = Context(prec=100)


def line(order_id="7", qty='"1.00000000"', symbol='"BTCUSDT"'):
    return (USUAL % (order_id, qty, symbol)).encode()


def from_parquet(*lines):
    return parquet.read_table(io.BytesIO(body(lines, ".parquet"))).to_pylist()


def test_a_csv_row_is_what_was_sent():
    """Documented columns in documented order, literals untouched."""
    assert body([line("12345678901234567890", symbol='"币安人生USDT"')], ".csv").decode() == (
        "avgPrice,executedQty,orderId,price,qty,side,symbol,timeInForce,isIsolated,updatedTime,extra\n"
        "0.38900000,82.80000000,12345678901234567890,0.10000000,1.00000000,SELL,币安人生USDT,GTC,false,1768435200123,\n"
    )


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


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**29), max_value=10**29),
    st.integers(-40, 40),
    st.sampled_from(["{}{}e{}", '"{}{}E{:+}"', '"{}{}e{:03}"']),
)
def test_a_decimal_comes_back_however_it_is_spelt(value, shift, spelling):
    """The same value with its point elsewhere and an exponent, as JSON and Java's BigDecimal write it."""
    sign, mantissa = ("-" if value.is_signed() else ""), f"{value.copy_abs().scaleb(-shift, CONTEXT):f}"

    assert from_parquet(line(qty=spelling.format(sign, mantissa, shift)))[0]["qty"] == value
