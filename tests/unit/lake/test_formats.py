"""Whatever the exchange sends is read back, by others' readers, as it was sent; or it is refused, naming the record."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pyarrow import parquet
from unit.lake.written import body, unpacked, written

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.lake.fields import FieldError
from airflow_provider_binance_margin.lake.formats import FORMATS, Written, write_rows
from airflow_provider_binance_margin.lake.layout import SUFFIXES

COLUMNS = FORCE_LIQUIDATION.columns
TEXTS = [suffix for suffix in SUFFIXES if suffix != ".parquet"]
USUAL = {
    "avgPrice": '"0.29610000"',
    "executedQty": '"31.39000000"',
    "orderId": "180015097",
    "price": '"0.29380000"',
    "qty": '"31.39000000"',
    "side": '"SELL"',
    "symbol": '"BTCUSDT"',
    "timeInForce": '"GTC"',
    "isIsolated": "true",
    "updatedTime": "1558941374745",
}
REFUSED = object()


def line(changes=None, without=()):
    """One row's line, made by the endpoint from the exchange's own literals."""
    row = {name: value for name, value in {**USUAL, **(changes or {})}.items() if name not in without}
    text = ",".join(f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in row.items())
    (record,) = FORCE_LIQUIDATION.read_page(f'{{"total":1,"rows":[{{{text}}}]}}'.encode()).records
    return record.line


def text_of(data, suffix):
    return unpacked(data, suffix).decode()


def read_jsonl(data, suffix):
    """Numbers as their digits: neither ids nor prices pass through a float."""
    return [json.loads(each, parse_float=str, parse_int=str) for each in text_of(data, suffix).splitlines()]


def read_csv(data, suffix):
    header, *rows = csv.reader(io.StringIO(text_of(data, suffix), newline=""), strict=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def read_parquet(data):
    return parquet.read_table(io.BytesIO(data)).to_pylist()


def moment(value):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)


def as_text(literal):
    """What CSV holds of a literal: a string without quotes, nothing for null, else the literal."""
    if literal == "null":
        return ""
    return json.loads(literal) if literal.startswith('"') else literal


#: column, literal, what Parquet holds of it
LITERALS = [
    ("price", '"0.00000931"', Decimal("0.00000931")),
    ("price", '"-5.00000001"', Decimal("-5.00000001")),
    ("price", '"0"', Decimal(0)),
    ("price", '"1.1000000000"', Decimal("1.1")),
    ("price", '"0.123456789"', REFUSED),
    ("price", f'"{"9" * 30}.{"9" * 8}"', Decimal("9" * 30 + "." + "9" * 8)),
    ("price", f'"1{"0" * 30}"', REFUSED),
    ("price", f'"1{"0" * 30}.00000000"', REFUSED),
    ("price", f'"{"1" * 5000}"', REFUSED),
    ("price", f'"0.{"0" * 46}1"', REFUSED),
    ("price", '"0E-8"', Decimal(0)),
    ("price", '"1E-8"', Decimal("0.00000001")),
    ("price", '"1E-9"', REFUSED),
    ("price", '"1e5"', Decimal(100_000)),
    ("price", '"1E+3"', Decimal(1_000)),
    ("price", '"-0"', Decimal(0)),
    ("price", "-0.0", Decimal(0)),
    ("price", f'"0.5{"0" * 60}"', Decimal("0.5")),
    ("price", f'"{"9" * 30}99999999E-8"', Decimal("9" * 30 + "." + "9" * 8)),
    ("price", '"0e999999999"', Decimal(0)),
    ("price", '"1e999999999"', REFUSED),
    ("price", '"1.5E"', REFUSED),
    ("price", '".5"', REFUSED),
    ("price", '"1."', REFUSED),
    ("price", '"NaN"', REFUSED),
    ("price", '"Infinity"', REFUSED),
    ("price", '"1,5"', REFUSED),
    ("price", '" 1.5"', REFUSED),
    ("price", '"+1.5"', REFUSED),
    ("price", '"1_000"', REFUSED),
    ("price", '"\\u0661"', REFUSED),
    ("price", '""', REFUSED),
    ("price", "null", None),
    ("price", "1.50", Decimal("1.50")),
    ("price", "12345678901234567890.12345678", Decimal("12345678901234567890.12345678")),
    ("price", "1e-8", Decimal("0.00000001")),
    ("price", "1.5E+29", Decimal(15) * 10**28),
    ("price", "1.5E+30", REFUSED),
    ("price", "true", REFUSED),
    ("price", '{"a":[1.50,null,"\\""]}', REFUSED),
    ("orderId", "1234567890123456789", 1234567890123456789),
    ("orderId", "9007199254740993", 9007199254740993),
    ("orderId", str(2**63 - 1), 2**63 - 1),
    ("orderId", str(2**63), REFUSED),
    ("orderId", "1" * 30, REFUSED),
    ("orderId", '"180015097"', 180015097),
    ("orderId", "-1", -1),
    ("orderId", "1.0", REFUSED),
    ("orderId", "1e3", REFUSED),
    ("orderId", "null", None),
    ("orderId", "[1]", REFUSED),
    ("symbol", '"币安人生USDT"', "币安人生USDT"),
    ("symbol", '"\\u5e01USDT"', "币USDT"),
    ("symbol", '""', ""),
    ("symbol", "null", None),
    ("symbol", '"null"', "null"),
    ("symbol", '"a\\"b,c"', 'a"b,c'),
    ("symbol", '"a\\nb\\r\\nc\\rd"', "a\nb\r\nc\rd"),
    ("symbol", '"\\""', '"'),
    ("symbol", '" a\\t"', " a\t"),
    ("symbol", '"\\n"', "\n"),
    ("symbol", '"\\u2028\\u0085\\u000b\\u001c"', "\u2028\x85\x0b\x1c"),
    ("symbol", '"\\ud83d\\ude00"', "😀"),
    ("symbol", '"\\\\|\\/"', "\\|/"),
    ("symbol", "5", REFUSED),
    ("symbol", "false", REFUSED),
    ("isIsolated", "false", False),
    ("isIsolated", "null", None),
    ("isIsolated", '"true"', REFUSED),
    ("isIsolated", "1", REFUSED),
    ("updatedTime", "0", moment(0)),
    ("updatedTime", "1558941374999", moment(1558941374999)),
    ("updatedTime", '"1558941374745"', moment(1558941374745)),
    ("updatedTime", "1558941374745.5", REFUSED),
    ("updatedTime", '"2019-05-27T07:16:14Z"', REFUSED),
    ("updatedTime", "null", None),
]
NAMED = [f"{column}-{literal[:40]}".encode("unicode_escape").decode() for column, literal, _ in LITERALS]
SNAKE = {"orderId": "order_id", "isIsolated": "is_isolated", "updatedTime": "updated_time"}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(("column", "literal"), [case[:2] for case in LITERALS], ids=NAMED)
def test_json_lines_hold_every_literal_as_sent(column, literal, suffix):
    """Byte for byte, beside the others."""
    text = text_of(body([line({column: literal})], suffix), suffix)

    assert text == "{" + ",".join(f'"{n}":{v}' for n, v in {**USUAL, column: literal}.items()) + "}\n"
    assert read_jsonl(text.encode(), ".jsonl")[0][column] == json.loads(literal, parse_float=str, parse_int=str)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize(("column", "literal"), [case[:2] for case in LITERALS], ids=NAMED)
def test_csv_holds_every_literal_as_sent(column, literal, suffix):
    """A string without its quotes, anything else as it was written; a strict reader finds one row of all columns."""
    data = body([line(), line({column: literal})], suffix)

    expected = {name: as_text(value) for name, value in USUAL.items()} | {"extra": ""}
    assert read_csv(data, suffix) == [expected, {**expected, column: as_text(literal)}]


@pytest.mark.parametrize(("column", "literal", "value"), LITERALS, ids=NAMED)
def test_parquet_holds_a_value_exactly_or_refuses_it(column, literal, value):
    """Nothing is rounded, cut or guessed; a refusal names the record and the value and says what to do."""
    lines = [line(), line({column: literal})]

    if value is REFUSED:
        with pytest.raises(FieldError, match=r"Use \.jsonl\.gz or \.csv\.gz") as refusal:
            body(lines, ".parquet")
        assert f"{column} {literal[:80]}" in str(refusal.value)
        assert column == "orderId" or "orderId 180015097" in str(refusal.value)
        assert len(str(refusal.value)) < 700
    else:
        rows = read_parquet(body(lines, ".parquet"))
        assert rows[1][SNAKE.get(column, column)] == value
        assert {**rows[1], SNAKE.get(column, column): None} == {**rows[0], SNAKE.get(column, column): None}


@pytest.mark.parametrize("suffix", TEXTS)
@pytest.mark.parametrize("field", list(COLUMNS))
def test_a_missing_field_is_missing(suffix, field):
    """In JSON lines it is not there, in CSV its column is empty; the others stay in their places."""
    data = body([line(without=[field])], suffix)

    if suffix.startswith(".jsonl"):
        assert read_jsonl(data, suffix) == [{n: json.loads(v, parse_int=str) for n, v in USUAL.items() if n != field}]
    else:
        assert read_csv(data, suffix) == [
            {n: "" if n == field else as_text(v) for n, v in USUAL.items()} | {"extra": ""}
        ]


@pytest.mark.parametrize("field", list(COLUMNS))
def test_a_missing_field_is_null_in_parquet(field):
    """As one that is null."""
    missing, null = (read_parquet(body([each], ".parquet")) for each in (line(without=[field]), line({field: "null"})))

    assert missing == null
    assert [name for name, value in missing[0].items() if value is None] == [
        *[
            {"avgPrice": "avg_price", "executedQty": "executed_qty", "timeInForce": "time_in_force", **SNAKE}.get(
                field, field
            )
        ],
        "extra",
    ]


#: unknown fields as sent, and as the JSON text of an object, by name
UNKNOWN = [
    ({"note": "1.50"}, '{"note":1.50}'),
    ({"note": "12345678901234567890.123456789012345678901234567890"}, None),
    ({"note": '"a\\"b,c\\nd\\u0000"'}, None),
    ({"note": "null"}, None),
    ({"note": '""'}, None),
    ({"b": '{"x":[1,{"y":null}],"z":"\\u00e9"}', "a": "[]"}, '{"a":[],"b":{"x":[1,{"y":null}],"z":"\\u00e9"}}'),
    ({"extra": "1"}, None),
    ({"extra_": '"{}"'}, None),
    ({'a b"c': "true"}, '{"a b\\"c":true}'),
    ({"注": '"币"'}, '{"注":"币"}'),
    ({"": "0"}, '{"":0}'),
    ({"orderid": "7", "OrderId": "8"}, '{"OrderId":8,"orderid":7}'),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("fields", "text"), UNKNOWN, ids=[json.dumps(case[0])[:40] for case in UNKNOWN])
def test_an_unknown_field_is_kept(suffix, fields, text):
    """After the known ones in JSON lines, as JSON in a column of its own elsewhere; its digits are those sent."""
    expected = text or "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}"
    data = body([line(), line(fields)], suffix)

    if suffix.startswith(".jsonl"):
        assert text_of(data, suffix).splitlines()[1].endswith(f'"updatedTime":1558941374745,{expected[1:]}')
    else:
        rows = read_parquet(data) if suffix == ".parquet" else read_csv(data, suffix)
        assert [None if suffix == ".parquet" else "", expected] == [row["extra"] for row in rows]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_unknown_field_in_place_of_a_known_one_is_kept(suffix):
    """As many fields as there are columns are not yet the columns."""
    data = body([line({"quantity": '"1.0"'}, without=["qty"])], suffix)

    if suffix.startswith(".jsonl"):
        assert read_jsonl(data, suffix)[0]["quantity"] == "1.0"
    else:
        (row,) = read_parquet(data) if suffix == ".parquet" else read_csv(data, suffix)
        assert (row["qty"] or None, row["extra"]) == (None, '{"quantity":"1.0"}')


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_documented_column_called_extra_keeps_its_name(suffix):
    """The column for unknown fields gives way."""
    columns = {"id": "integer", "extra": "string", "extra_": "string"}
    data = body([b'{"id":1,"extra":"theirs","extra_":"too","more":2}'], suffix, columns)

    (row,) = read_parquet(data) if suffix == ".parquet" else read_csv(data, suffix)
    assert {name: str(value) for name, value in row.items()} == {
        "id": "1",
        "extra": "theirs",
        "extra_": "too",
        "extra__": '{"more":2}',
    }


def test_csv_tells_an_empty_text_from_nothing():
    """By quotes, as SQL engines read them."""
    data = body([line({"symbol": '""', "side": "null"}, without=["timeInForce"])], ".csv").decode()

    assert data.splitlines()[1] == '0.29610000,31.39000000,180015097,0.29380000,31.39000000,,"",,true,1558941374745,'


def test_csv_has_the_documented_columns_under_their_own_names():
    """In documented order, then the one for what is not documented."""
    assert body([], ".csv").decode() == ",".join([*COLUMNS, "extra"]) + "\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_a_valid_file(suffix):
    """Of no rows, which each reader reads."""
    said, data = written([], suffix)

    assert said == Written(0, hashlib.sha256().hexdigest())
    read = {".jsonl": read_jsonl, ".csv": read_csv}.get(suffix.removesuffix(".gz"), lambda data, _: read_parquet(data))
    assert read(data, suffix) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [1, 499, 500, 501, 20_001])
def test_any_number_of_rows_arrives_in_order(suffix, count):
    """Whatever is written at once."""
    lines = [line()[:-1] + b',"n":%d}' % n for n in range(count)]
    data = body(lines, suffix)

    if suffix.startswith(".jsonl"):
        numbers = [row["n"] for row in read_jsonl(data, suffix)]
    else:
        rows = read_parquet(data) if suffix == ".parquet" else read_csv(data, suffix)
        numbers = [json.loads(row["extra"])["n"] for row in rows]
    assert [str(n) for n in range(count)] == [str(n) for n in numbers]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_rows_same_bytes_and_one_digest_for_all_formats(suffix):
    """The digest is that of the plain JSON lines."""
    lines = [line({"orderId": str(n), "note": f'"{n}"'}) for n in range(1234)]
    said, data = written(iter(lines), suffix)

    assert (said, data) == written(lines, suffix)
    assert said.sha256 == hashlib.sha256(b"".join(each + b"\n" for each in lines)).hexdigest()
    assert said.records == 1234


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_while_rows_are_read_is_not_swallowed(suffix):
    """Half an object must not look like a whole one."""

    def lines():
        yield line()
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        body(lines(), suffix)


#: of Parquet two batches
@pytest.mark.parametrize(("suffix", "bound"), [(each, 40_100 if each == ".parquet" else 2_000) for each in SUFFIXES])
def test_rows_are_not_gathered(suffix, bound):
    """What is held at once has a bound, however many there are."""
    alive, most = 0, 0

    class Line(bytes):
        def __new__(cls, *args):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return super().__new__(cls, *args)

        def __del__(self):
            nonlocal alive
            alive -= 1

    plain = line()
    body((Line(plain) for _ in range(41_000)), suffix)

    assert (alive, most <= bound) == (0, True)


@pytest.mark.parametrize("lines", [[], [line()]], ids=["empty", "rows"])
def test_gzip_names_neither_file_nor_time(lines, tmp_path):
    """Whatever file it is written to: a name or a time in its header would make equal rows unequal bytes."""
    with tempfile.NamedTemporaryFile(dir=tmp_path, suffix=".jsonl.gz") as file:
        write_rows(lines, ".jsonl.gz", COLUMNS, file)
        file.seek(0)
        data = file.read()

    assert data == body(lines, ".jsonl.gz")
    assert data[:4] == b"\x1f\x8b\x08\x00"  # gzip, deflate, and no name, comment or extra field
    assert data[4:8] == b"\0\0\0\0"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_it_writes_where_the_file_stands(suffix):
    """And leaves it open and at its end."""
    file = io.BytesIO(b"before")
    file.seek(0, io.SEEK_END)

    write_rows([line()], suffix, COLUMNS, file)

    assert file.tell() == len(file.getvalue())
    assert file.getvalue().startswith(b"before")
    assert suffix == ".parquet" or file.getvalue() == b"before" + body([line()], suffix)


def test_the_content_type_is_that_of_the_bytes():
    """A client that unpacked gzip by itself would not get what the key's suffix says."""
    assert FORMATS == {
        ".jsonl": "application/x-ndjson",
        ".jsonl.gz": "application/gzip",
        ".csv": "text/csv; charset=utf-8",
        ".csv.gz": "application/gzip",
        ".parquet": "application/vnd.apache.parquet",
    }
