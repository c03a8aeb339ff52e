"""One literal of the exchange, as CSV and Parquet hold it."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.lake.fields import (
    csv_cell,
    extra_of,
    python_value,
    snake_case,
    text_value,
    unknown_fields,
)

texts = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('",\r\n \t\\')), max_size=12)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def raw(value):
    return None if value is None else msgspec.Raw(value.encode())


def cell(raw):
    return csv_cell(text_value(raw))


def literal(value, *, escape):
    return msgspec.Raw(json.dumps(value, ensure_ascii=escape).encode())


@given(rows=st.lists(st.lists(texts, min_size=3, max_size=3), max_size=6), escape=st.booleans())
def test_any_text_comes_back_through_csv(rows, escape):
    """Whatever quotes, commas and line breaks it holds, and however JSON had written it."""
    written = "".join(",".join(cell(literal(text, escape=escape)) for text in row) + "\n" for row in rows)

    assert list(csv.reader(io.StringIO(written, newline=""), strict=True)) == rows


@given(value=jsons)
def test_any_nested_value_comes_back_through_csv(value):
    """As the JSON it was."""
    text = json.dumps(value)
    (row,) = csv.reader(io.StringIO(f"x,{cell(msgspec.Raw(text.encode()))},y\n", newline=""), strict=True)

    expected = "" if value is None else value if isinstance(value, str) else text
    assert row == ["x", expected, "y"]


@pytest.mark.parametrize(("given_", "expected"), [(None, ""), ("null", ""), ('""', '""'), ('"null"', "null")])
def test_null_is_no_text(given_, expected):
    """Nothing is an empty cell, an empty text is one in quotes."""
    assert cell(raw(given_)) == expected


@given(fields=st.dictionaries(texts, jsons, max_size=5), known=st.dictionaries(st.sampled_from("abc"), jsons))
def test_unknown_fields_are_an_object_of_their_own(fields, known):
    """By name, each with its own literal; none is lost beside any number of known ones."""
    columns = dict.fromkeys("abc", "string")
    row = {name: literal(value, escape=False) for name, value in {**fields, **known}.items()}
    unknown = {name: value for name, value in fields.items() if name not in columns}

    found = unknown_fields(row, columns)

    if not unknown:
        assert found is None
    else:
        assert json.loads(found) == unknown
        assert list(json.loads(found)) == sorted(unknown)


def test_unknown_numbers_keep_their_digits():
    """Neither a float nor a shorter number is made of them."""
    row = {"n": raw("1.10000000000000000000000000000000000001"), "big": raw("1e400")}

    assert unknown_fields(row, {}) == '{"big":1e400,"n":1.10000000000000000000000000000000000001}'


@pytest.mark.parametrize(
    ("names", "extra"),
    [([], "extra"), (["extra"], "extra_"), (["extra", "extra_"], "extra__"), (["extra_"], "extra")],
    ids=["none", "one", "two", "other"],
)
def test_the_column_for_the_rest_has_a_name_of_its_own(names, extra):
    """Whatever the others are called."""
    assert extra_of(names) == extra


@pytest.mark.parametrize(
    ("name", "snake"),
    [("avgPrice", "avg_price"), ("price", "price"), ("timeInForce", "time_in_force"), ("isIsolated", "is_isolated")],
)
def test_names_in_snake_case(name, snake):
    """As tables have them."""
    assert snake_case(name) == snake


def test_columns_keep_apart_in_snake_case():
    """No two documented fields share a name."""
    assert len({snake_case(name) for name in FORCE_LIQUIDATION.columns}) == len(FORCE_LIQUIDATION.columns)


@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**29), max_value=10**29))
def test_a_decimal_is_exact(value):
    """In a string or as a number, nothing passes through a float."""
    for text in (f'"{value:f}"', f"{value:f}"):
        assert python_value(raw(text), "decimal") == value
        assert isinstance(python_value(raw(text), "decimal"), Decimal)


@example(value=-(2**63) - 1)
@example(value=-(2**63))
@example(value=2**63 - 1)
@example(value=2**63)
@given(value=st.integers(-(2**70), 2**70))
def test_an_integer_has_64_bits_or_is_refused(value):
    """It never wraps around."""
    if -(2**63) <= value < 2**63:
        assert python_value(raw(str(value)), "integer") == value
    else:
        with pytest.raises(ValueError, match="64 bits"):
            python_value(raw(str(value)), "integer")


@pytest.mark.parametrize("kind", ["decimal", "integer", "string", "boolean", "timestamp"])
@pytest.mark.parametrize("value", [None, "null"], ids=["missing", "null"])
def test_nothing_is_nothing_in_any_column(kind, value):
    """No zero and no empty text is made of it."""
    assert python_value(raw(value), kind) is None


@pytest.mark.parametrize("kind", ["decimal", "integer", "string", "boolean", "timestamp"])
@pytest.mark.parametrize("value", ["[]", "{}", "[1]", '{"a":1}', "[" * 100 + "]" * 100])
def test_what_is_no_single_value_is_refused(kind, value):
    """In any column."""
    with pytest.raises(ValueError):
        python_value(raw(value), kind)
