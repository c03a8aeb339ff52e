"""A page of rows is read literal by literal, or not at all."""

import contextlib
import json
import subprocess
import sys
import tracemalloc
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_provider_binance_margin.exchange import dataset as dataset_module
from airflow_provider_binance_margin.exchange.dataset import Dataset, UnreadableAnswerError
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION, TRANSFER

read = FORCE_LIQUIDATION.read_page
SAMPLE = (
    b'{"avgPrice":"0.00388359","executedQty":"31.39000000","orderId":180015097,"price":"0.00388110","qty":"31.39000000",'
    b'"side":"SELL","symbol":"BNBBTC","timeInForce":"GTC","isIsolated":true,"updatedTime":1558941374745}'
)
FIELDS = list(FORCE_LIQUIDATION.columns)


def page(*rows, total=None):
    return b'{"rows":[%s],"total":%d}' % (b",".join(rows), len(rows) if total is None else total)


def record(row):
    [only] = read(page(row)).records
    return only


def row_of(**literals):
    """A row with its literals as they are given, in the order given."""
    return ("{" + ",".join(f'"{name}":{literal}' for name, literal in literals.items()) + "}").encode()


# -- first pages of several threads -----------------------------------------------------------------------------------

# one thread is stopped wherever it looks up a type, while another reads its first page
AT_ONCE = """
import json, threading, typing
from airflow_provider_binance_margin.exchange.datasets import DATASETS

VALUES = {"string": "A", "decimal": "1", "boolean": True}
alias = type(typing.Annotated[int, 1])
usual = alias.__hash__

def stop(self):
    if threading.current_thread() is not threading.main_thread():
        stopped.set()
        go_on.wait(0.2)
    return usual(self)

alias.__hash__ = stop
for name, dataset in DATASETS.items():
    stopped, go_on = threading.Event(), threading.Event()
    row = {name: VALUES.get(kind, 1_600_000_000_000) for name, kind in dataset.columns.items()}
    line = json.dumps(row, separators=(",", ":")).encode()
    body = b"[%b]" % line if dataset.is_ledger else b'{"rows":[%b],"total":1}' % line
    first = threading.Thread(target=dataset.read_page, args=(body,))
    first.start()
    assert stopped.wait(30)
    assert [each.line for each in dataset.read_page(body).records] == [line]
    go_on.set()
    first.join()
"""


def test_threads_read_their_first_pages_at_once():
    """In a process of its own, which a type that is only half converted would end."""
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -- what is read ----------------------------------------------------------------------------------------------------


def test_the_exchanges_own_sample_is_read():
    """Time and key are taken from it, and it is its own line."""
    key = ("BNBBTC", 180015097, 1)
    assert read(page(SAMPLE)) == ([(1558941374745, key, SAMPLE)], 1)


def test_the_rows_keep_their_order():
    """Newest first, as the exchange sends them."""
    rows = [SAMPLE.replace(b"180015097", str(number).encode()) for number in (3, 1, 2)]
    assert [r.line for r in read(page(*rows)).records] == rows


@pytest.mark.parametrize("frame", [b'{"rows":[%b],"total":7}', b'{"total":7,"rows":[%b]}'])
def test_what_the_exchange_usually_sends_is_not_looked_at_value_by_value(frame, monkeypatch):
    """Rows that are compact, complete and in order are taken as they are: a hundred thousand of them are read a day."""
    monkeypatch.setattr(Dataset, "_unusual", None)
    monkeypatch.setattr(dataset_module, "_STRICT", None)
    none_used = SAMPLE.replace(b"180015097", b"0").replace(b"1558941374745", b"0").replace(b"true", b"false")
    got = read(frame % b",".join([SAMPLE, none_used]))
    assert (got.total, [r.line for r in got.records]) == (7, [SAMPLE, none_used])


@pytest.mark.parametrize(
    "literal",
    [b'"n":1', b'"note":null', b'"s":"\\"symbol\\":1"', b'"more":{"symbol":"X"}'],
    ids=lambda text: text.decode(),
)
def test_a_complete_row_with_one_field_more_is_kept_whole(literal):
    """The unknown field is not lost for what else is as usual."""
    row = SAMPLE[:-1] + b"," + literal + b"}"
    got = record(row)
    assert (json.loads(got.line), got) == (json.loads(row), record(b" " + row))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"rows":[],"total":0}', ([], 0), id="empty"),
        pytest.param(b'{"total":7,"rows":[]}', ([], 7), id="total-first"),
        pytest.param(b' {\r\n\t"rows" : [ ] , "total" : 0 } \n', ([], 0), id="spaces"),
        pytest.param(b'{"rows":[]}', ([], None), id="no-total"),
        pytest.param(b'{"rows":[],"total":null}', ([], None), id="total-null"),
        pytest.param(b'{"rows":[],"total":1000000000}', ([], 1_000_000_000), id="as-many-as-are-believed"),
        pytest.param(b'{"rows":[],"total":0,"current":1,"more":{"rows":[1]}}', ([], 0), id="unknown-beside"),
    ],
)
def test_the_frame_of_a_page_is_read(body, expected):
    """What stands around the rows may be anything but wrong."""
    assert read(body) == expected


LITERALS = {
    "a-30-digit-number": "123456789012345678901234567890",
    "a-4000-digit-number": "9" * 4_000,
    "a-negative-number": "-5",
    "a-float": "0.10",
    "an-exponent": "1e5",
    "a-huge-exponent": "1E+999",
    "a-long-fraction": "1.00000000000000000000000001",
    "minus-zero": "-0.0",
    "null": "null",
    "true": "true",
    "an-empty-text": '""',
    "escapes": r'"a\/b\u0041\n\"\\"',
    "an-escaped-pair": r'"\ud83d\ude00"',
    "chinese": '"币安人生USDT"',
    "an-emoji": '"😀"',
    "line-separators": '"\u2028\u2029\x85\x7f"',
    "nested": '{"z":[1,{"a":1.50}],"a":null}',
    "an-empty-list": "[]",
}


@pytest.mark.parametrize("literal", LITERALS.values(), ids=LITERALS)
@pytest.mark.parametrize("field", ["orderId", "price", "symbol", "updatedTime", "isIsolated", "note"])
def test_every_literal_is_kept_byte_for_byte(field, literal):
    """In a known field or an unknown one, whatever its type should be: nothing becomes a float or another spelling."""
    assert record(row_of(**{field: literal})).line == f'{{"{field}":{literal}}}'.encode()


def test_documented_fields_come_first_in_documented_order_and_unknown_ones_after_by_name():
    """So that a line is the same however the exchange orders its fields."""
    literals = {"zeta": "1", "Alpha": "2", "币": "3", "symbol": '"X"', "avgPrice": '"1"', "beta": "4"}
    assert (
        record(row_of(**literals)).line == '{"avgPrice":"1","symbol":"X","Alpha":2,"beta":4,"zeta":1,"币":3}'.encode()
    )


def test_an_escaped_field_name_is_the_same_name():
    """JSON allows any spelling of a name."""
    assert record(rb'{"s\u0079mbol":"X","\u6b73\n\"":1}').line == '{"symbol":"X","歳\\n\\"":1}'.encode()


@pytest.mark.parametrize("line_break", [b"\n", b"\r"], ids=ascii)
def test_one_line_break_alone_becomes_a_space(line_break):
    """Whichever of the two it is."""
    assert record(b'{"note":[1,%b2]}' % line_break).line == b'{"note":[1, 2]}'


def test_a_row_is_one_line_whatever_line_breaks_it_was_sent_with():
    """White space inside a nested value is all that can hold one; it becomes a space."""
    line = record(b'{\r\n"note" :\n {"a" :\r\n[1,\n2]}\n,\n"symbol":\n"X"\n}').line
    assert (line, json.loads(line)) == (
        b'{"symbol":"X","note":{"a" :  [1, 2]}}',
        {"symbol": "X", "note": {"a": [1, 2]}},
    )


# -- what identifies a row -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["symbol", "orderId", "isIsolated"])
@pytest.mark.parametrize("how", ["absent", "null"])
def test_a_row_that_lacks_a_part_of_its_key_has_none_there(missing, how):
    """It is then known by its whole line; time and the other parts are what there is."""
    fields = json.loads(SAMPLE) | {missing: None}
    if how == "absent":
        del fields[missing]
    got = record(json.dumps(fields).encode())
    key = tuple({"symbol": "BNBBTC", "orderId": 180015097, "isIsolated": 1, missing: None}.values())
    assert (got.time, got.key) == (1558941374745, key)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        pytest.param("7", 7, id="number"),
        pytest.param("0", 0, id="zero"),
        pytest.param('"7"', 7, id="digits-in-a-text"),
        pytest.param(str(2**31), 2**31, id="32-bits"),
        pytest.param(str(2**53 + 1), 2**53 + 1, id="beyond-a-double"),
        pytest.param("2328408217636413776", 2328408217636413776, id="19-digits"),
        pytest.param(str(2**63 - 1), 2**63 - 1, id="64-bits"),
        pytest.param(str(2**63), str(2**63), id="beyond-64-bits"),
        pytest.param("1" * 30, "1" * 30, id="30-digits"),
        pytest.param("-7", "-7", id="negative"),
        pytest.param("-1", "-1", id="least-negative"),
        pytest.param("1e5", "1e5", id="exponent"),
        pytest.param("7.0", "7.0", id="fraction"),
        pytest.param('"x"', "x", id="text"),
        pytest.param('"\\u0037"', 7, id="escaped-digit"),
        pytest.param('"\u0667"', "\u0667", id="arabic-digit"),
        pytest.param("true", "true", id="boolean"),
    ],
)
def test_an_order_id_is_a_number_that_64_bits_hold_or_its_own_text(literal, value):
    """No two ids become one by passing through a float; a blank before the row changes nothing."""
    row = SAMPLE.replace(b"180015097", literal.encode())
    assert [record(row).key, record(b" " + row).key] == [("BNBBTC", value, 1)] * 2


@pytest.mark.parametrize(
    ("literal", "time_ms"),
    [
        pytest.param("1558941374745", 1558941374745, id="ms"),
        pytest.param('"1558941374745"', 1558941374745, id="in-a-text"),
        pytest.param("0", 0, id="zero"),
        pytest.param("99999999999999", 99999999999999, id="year-5138"),
        pytest.param("100000000000000", None, id="later"),
        pytest.param("9223372036854775807", None, id="64-bits"),
        pytest.param("null", None, id="null"),
        pytest.param("-1", None, id="negative"),
        pytest.param("1558941374745.5", None, id="fraction"),
        pytest.param('"yesterday"', None, id="text"),
        pytest.param("9" * 30, None, id="absurd"),
        pytest.param("true", None, id="boolean"),
        pytest.param("[1]", None, id="list"),
    ],
)
def test_a_time_that_is_no_number_of_milliseconds_is_none(literal, time_ms):
    """The row is kept; it is only known to have no time. A blank before the row changes nothing."""
    row = SAMPLE.replace(b"1558941374745", literal.encode())
    for got in (record(row), record(b" " + row)):
        assert (got.time, got.key) == (time_ms, ("BNBBTC", 180015097, 1))


def test_two_accounts_orders_of_one_number_are_two_records():
    """The pair and the kind of account are part of the key; a pair of digits is no number."""
    variants = [SAMPLE, SAMPLE.replace(b"true", b"false"), *(SAMPLE.replace(b"BNBBTC", name) for name in (b"A", b"7"))]
    expected = [("BNBBTC", 180015097, 1), ("BNBBTC", 180015097, 0), ("A", 180015097, 1), ("7", 180015097, 1)]
    for blank in (b"", b" "):
        assert [record(blank + row).key for row in variants] == expected


def test_another_dataset_of_the_same_shape_is_read_by_its_own_data():
    """Which fields make key and time is data."""
    interest = Dataset(
        name="interest",
        path="/p",
        max_span=timedelta(days=1),
        columns={"txId": "integer", "asset": "string", "interest": "decimal", "accuredTime": "timestamp"},
        time_field="accuredTime",
        record_key=("txId",),
    )
    row = b'{"txId":1352286576452864727,"asset":"USDT","interest":"0.02","accuredTime":1672160400000}'
    shuffled = b'{"accuredTime":1672160400000,"asset":"USDT","interest":"0.02","txId":1352286576452864727}'
    expected = (1672160400000, (1352286576452864727,), row)
    assert interest.read_page(page(row, shuffled)).records == [expected, expected]


def test_a_time_of_ten_digits_is_seconds(caplog):
    """Left in the row as the endpoint sends it, and told once."""
    dataset_module._tell_of_seconds.cache_clear()
    rows = [
        b'{"amount":"1","asset":"USDT","status":"CONFIRMED","timestamp":%d,"txId":%d,"type":"ROLL_IN"}' % (time, number)
        for number, time in enumerate((1672160400, 1672160400123, 1672160401))
    ]

    records = TRANSFER.read_page(page(*rows)).records

    assert [1672160400000, 1672160400123, 1672160401000] == [each.time for each in records]
    assert rows == [each.line for each in records]
    assert 1 == caplog.text.count("times in seconds")


# -- the fast way and the slow way -----------------------------------------------------------------------------------

digits = st.integers(0, 10**18 - 1).map(str)
times = st.integers(0, 10**14 - 1).map(str)
plain = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc"])).map(
    lambda text: f'"{text}"'
)
usual = st.fixed_dictionaries(
    {
        name: {"integer": digits, "timestamp": times, "boolean": st.sampled_from(["true", "false"])}.get(kind, plain)
        for name, kind in FORCE_LIQUIDATION.columns.items()
    }
)
space = st.text(" \t\r\n", max_size=2)


@settings(deadline=None, max_examples=60)
@given(literals=usual, order=st.permutations(FIELDS), data=st.data())
def test_a_row_is_the_same_in_any_order_and_spacing_of_its_fields(literals, order, data):
    """A compact row in documented order is taken as it is; any other spelling of it becomes exactly the same record."""
    literals = {name: literals[name] for name in FIELDS}
    compact = record(row_of(**literals))
    parts = [
        "".join(
            (data.draw(space), f'"{name}"', data.draw(space), ":", data.draw(space), literals[name], data.draw(space))
        )
        for name in order
    ]
    spaced = ("{" + ",".join(parts) + "}").encode()
    assert (record(spaced), compact.line) == (compact, row_of(**literals))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.sampled_from(FIELDS) | st.text(st.characters(codec="utf-8"))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(names, values), max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_a_line_says_what_its_row_said(rows, escaped, indent):
    """Any JSON object as a row: one line, the same value, and stores can hold its key."""
    body = json.dumps({"rows": rows, "total": len(rows)}, ensure_ascii=escaped, indent=indent).encode()
    got = read(body).records
    assert [json.loads(r.line) for r in got] == rows
    assert [r for r in got if b"\n" in r.line or b"\r" in r.line] == []
    assert [v for r in got for v in (r.time, *r.key) if isinstance(v, int) and not 0 <= v < 2**63] == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(names, values), max_size=4))
def test_a_line_read_as_a_row_is_itself(rows):
    """What is written is read back to the same record: nothing is lost by doing it twice."""
    once = read(json.dumps({"rows": rows, "total": len(rows)}).encode()).records
    assert read(page(*(r.line for r in once))).records == once


# -- what is not read ------------------------------------------------------------------------------------------------

BAD_VALUES = {
    "invalid-escape": rb'"\q"',
    "invalid-unicode-escape": rb'"\uZZZZ"',
    "lone-surrogate": rb'"\ud800"',
    "raw-line-break": b'"a\nb"',
    "raw-carriage-return": b'"a\rb"',
    "raw-nul": b'"\x00"',
    "invalid-utf-8": b'"\xff"',
    "encoded-surrogate": b'"\xed\xa0\x80"',
    "open-string": b'"abc',
    "leading-zero": b"01",
    "bare-minus": b"-",
    "plus": b"+1",
    "no-fraction": b"1.",
    "no-integer": b".5",
    "no-exponent": b"1e",
    "two-points": b"1.2.3",
    "nan": b"NaN",
    "infinity": b"-Infinity",
    "word": b"tru",
    "python-none": b"None",
    "single-quotes": b"'a'",
    "trailing-comma": b"[1,]",
    "missing-comma": b"[1 2]",
    "number-as-name": b"{1:2}",
    "raw-break-in-a-nested-name": b'{"a\nb":1}',
    "form-feed": b"\x0c1",
    "comment": b"/* */1",
    "nothing": b"",
    "very-deep": b"[" * 50_000 + b"]" * 50_000,
}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
@pytest.mark.parametrize("field", [b"symbol", b"updatedTime", b"note"])
def test_a_value_that_is_no_json_spoils_the_page(field, value):
    """In a field that is looked at or in one that is only passed on."""
    with pytest.raises(UnreadableAnswerError):
        read(page(SAMPLE, b'{"%s":%s}' % (field, value)))


TOO_GREAT = {
    "a-5000-digit-number": b"9" * 5_000,
    "a-negative-5000-digit-number": b"-" + b"9" * 5_000,
    "an-exponent-of-20-digits": b"1e99999999999999999999",
    "a-negative-exponent-of-20-digits": b"1E-99999999999999999999",
    "a-fraction-of-such": b"1.5e+99999999999999999999",
    "an-exponent-that-would-fill-memory": b"1e999999999",
    "nested": b'[{"a":1e99999999999999999999}]',
}


@pytest.mark.parametrize("value", TOO_GREAT.values(), ids=TOO_GREAT)
@pytest.mark.parametrize("field", [b"orderId", b"price", b"updatedTime", b"note"])
def test_a_number_that_no_reader_can_hold_spoils_the_page(field, value):
    """Else a sensor, a task or whoever reads the object would stumble over it."""
    with pytest.raises(UnreadableAnswerError):
        read(page(SAMPLE, b'{"%s":%s}' % (field, value)))


TWICE = {
    "rows": b'{"rows":[%s],"rows":[],"total":1}' % SAMPLE,
    "rows-last": b'{"rows":[],"total":1,"rows":[%s]}' % SAMPLE,
    "rows-escaped": b'{"rows":[%s],"r\\u006fws":[],"total":1}' % SAMPLE,
    "total": b'{"rows":[%s],"total":1,"total":2}' % SAMPLE,
    "the-same-total": b'{"total":1,"rows":[%s],"total":1}' % SAMPLE,
    "a-field-of-a-row": b'{"rows":[{"symbol":"A","symbol":"B"}],"total":1}',
    "the-same-field-of-a-row": b'{"rows":[{"symbol":"A","symbol":"A"}],"total":1}',
    "a-field-of-a-usual-row": page(SAMPLE[:-1] + b',"symbol":"X"}'),
    "a-field-of-the-second-row": page(SAMPLE, SAMPLE[:-1] + b',"orderId" : 2}'),
    "an-escaped-field-of-a-row": page(SAMPLE[:-1] + b',"s\\u0079mbol":"X"}'),
    "an-unknown-field-of-a-row": page(SAMPLE[:-1] + b',"note":1,"note":2}'),
    "a-nested-field": page(SAMPLE[:-1] + b',"note":[{"a":1,"a":2}]}'),
}


@pytest.mark.parametrize("body", TWICE.values(), ids=TWICE)
def test_an_answer_that_says_two_things_under_one_name_is_refused(body):
    """Which of the two holds is not ours to say."""
    with pytest.raises(UnreadableAnswerError):
        read(body)


ODD = b' {"symbol":"B","orderId":2,"isIsolated":false}'


@pytest.mark.parametrize(
    ("rows", "total"),
    [
        pytest.param([SAMPLE], 0, id="one-of-none"),
        pytest.param([ODD], 0, id="an-odd-one-of-none"),
        pytest.param([SAMPLE, ODD], 1, id="two-of-one"),
        pytest.param([SAMPLE, SAMPLE.replace(b"180015097", b"7")], 1, id="two-usual-ones-of-one"),
        pytest.param([b"{}", b'{"a":1}'], 1, id="two-without-a-key-of-one"),
        pytest.param([], -1, id="fewer-than-none"),
        pytest.param([SAMPLE], -1, id="one-of-fewer-than-none"),
        pytest.param([], 10**9 + 1, id="more-than-a-billion"),
        pytest.param([SAMPLE], 2**63, id="more-than-64-bits"),
        pytest.param([ODD], 10**30, id="beyond-belief"),
    ],
)
def test_a_total_that_contradicts_its_rows_is_refused(rows, total):
    """Whichever of the two is wrong, nothing can be told from such an answer."""
    with pytest.raises(UnreadableAnswerError):
        read(page(*rows, total=total))


@pytest.mark.parametrize(
    "second", [SAMPLE, b" " + SAMPLE, SAMPLE.replace(b"SELL", b"BUY")], ids=["again", "spaced", "twin"]
)
def test_a_total_counts_records_by_their_key(second):
    """A row that comes twice, or in two versions, is one record: paging tells them apart."""
    got = read(page(SAMPLE, second, total=1))
    assert (len(got.records), got.total) == (2, 1)


@pytest.mark.parametrize("row", [SAMPLE, ODD], ids=["usual", "odd"])
@pytest.mark.parametrize("size", [1, 2, 99, 100])
def test_more_rows_than_were_asked_for_are_no_answer(row, size):
    """As many are one."""
    rows = [row.replace(b'orderId":', b'orderId":%d' % (number + 1)) for number in range(size + 1)]
    decode = partial(FORCE_LIQUIDATION.read_page, size=size)
    assert len(decode(page(*rows[:size])).records) == size
    with pytest.raises(UnreadableAnswerError):
        decode(page(*rows))


@pytest.mark.parametrize("asked", [None, 0, 100, 101, 5_000])
def test_no_page_is_larger_than_the_largest(asked):
    """Whatever was asked for."""
    decode = partial(FORCE_LIQUIDATION.read_page, size=asked)
    assert len(decode(page(*[SAMPLE] * 100)).records) == 100
    with pytest.raises(UnreadableAnswerError):
        decode(page(*[SAMPLE] * 101))


@pytest.mark.parametrize("row", [b"{}", b"1", b"[]", SAMPLE], ids=["objects", "numbers", "lists", "usual"])
def test_more_rows_than_were_asked_for_are_not_decoded(row):
    """Ten megabytes of them take neither memory nor time."""
    body = page(*[row] * (10_000_000 // (len(row) + 1)))
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableAnswerError):
            FORCE_LIQUIDATION.read_page(body, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(body)  # the body as text is one of them


BAD_BODIES = {
    "empty": b"",
    "white-space": b" \n",
    "html": b"<!DOCTYPE html><html><body>Maintenance</body></html>",
    "text": b"Service Unavailable",
    "null": b"null",
    "list": b"[]",
    "number": b"1",
    "no-rows": b'{"total":0}',
    "rows-null": b'{"rows":null,"total":0}',
    "rows-object": b'{"rows":{},"total":0}',
    "rows-text": b'{"rows":"[]","total":0}',
    "row-null": b'{"rows":[null],"total":1}',
    "row-list": b'{"rows":[[]],"total":1}',
    "row-number": b'{"rows":[1],"total":1}',
    "total-text": b'{"rows":[],"total":"0"}',
    "total-boolean": b'{"rows":[],"total":true}',
    "total-fraction": b'{"rows":[],"total":0.5}',
    "total-endless": b'{"rows":[],"total":' + b"9" * 5_000 + b"}",
    "total-exponent": b'{"rows":[],"total":1e2}',
    "total-object": b'{"rows":[],"total":{}}',
    "an-error": b'{"code":-1000,"msg":"An unknown error occured while processing the request."}',
    "two-bodies": b'{"rows":[],"total":0}{"rows":[],"total":0}',
    "byte-order-mark": b'\xef\xbb\xbf{"rows":[],"total":0}',
    "utf-16": '{"rows":[],"total":0}'.encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "invalid-utf-8-beside": b'{"rows":[],"total":0,"x":"\xff"}',
    "deep": b"[" * 200_000,
    "deep-rows": b'{"rows":' + b"[" * 200_000,
    "deep-beside": b'{"rows":[],"x":' + b'{"a":' * 200_000,
    "zeros": bytes(1_000),
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_is_no_page_is_refused_without_being_quoted(body):
    """The error's text is always the same."""
    with pytest.raises(UnreadableAnswerError, match=r"^the answer is not a page of rows$"):
        read(body)


@pytest.mark.parametrize("row", [SAMPLE, b' {"symbol" : "X", "note":{"a":[1,2]}}'], ids=["usual", "unusual"])
def test_a_page_cut_anywhere_is_refused(row):
    """No shorter page is ever taken for a whole one."""
    body, taken = page(row, row), []
    for end in range(len(body)):
        with contextlib.suppress(UnreadableAnswerError):
            taken.append(read(body[:end]))
    assert taken == []


def refused_or_read(body):
    """Only ever a page or our own error."""
    try:
        return read(body)
    except UnreadableAnswerError:
        return None


@settings(deadline=None, max_examples=150)
@given(st.binary() | st.text().map(str.encode) | values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_refused_with_our_own_error(body):
    """A body that Hypothesis invents is no page, unless it says `rows`."""
    assume(b"rows" not in body)
    assert refused_or_read(body) is None


@settings(deadline=None, max_examples=250)
@given(
    body=st.sampled_from([page(SAMPLE, SAMPLE), page(b'{"note":{"a":[1,"\\u0041"]},"orderId":"7"}', SAMPLE)]),
    place=st.integers(0, 700),
    length=st.integers(0, 30),
    patch=st.binary(max_size=6)
    | st.sampled_from([b'"', b"\\", b"\\ud800", b"{", b"}", b"]", b",", b"null", b"\n", b"1e9", b"-"]),
)
def test_a_mutated_page_is_refused_or_is_still_a_page(body, place, length, patch):
    """Whatever a bad line does to a body: our own error, or rows that are JSON objects on one line each."""
    place %= len(body)
    got = refused_or_read(body[:place] + patch + body[place + length :])
    for r in got.records if got else ():
        assert isinstance(json.loads(r.line), dict)
        assert (b"\n" in r.line, [v for v in r.key if not isinstance(v, int | str | None)]) == (False, [])
        "".join(v for v in r.key if isinstance(v, str)).encode()
