"""Ordered lines to bytes, for the two formats of lines: the same rows are the same bytes."""

from __future__ import annotations

import hashlib
import io
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.lake.written import unpacked, written

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.lake.formats import FORMATS, Written, write_rows

LINES = [b'{"orderId":1}', '{"symbol":"币安人生USDT"}'.encode(), b'{"price":"0.10000000"}']
TEXT = [".jsonl", ".jsonl.gz"]
any_line = st.binary(max_size=30).map(lambda line: line.replace(b"\n", b" "))


@pytest.mark.parametrize("suffix", TEXT)
def test_each_row_is_a_line(suffix):
    """Byte for byte as it came, the last one ended too."""
    result, body = written(iter(LINES), suffix)

    assert unpacked(body, suffix) == b"".join(line + b"\n" for line in LINES)
    assert result == Written(3, hashlib.sha256(b"".join(line + b"\n" for line in LINES)).hexdigest())


@pytest.mark.parametrize("suffix", TEXT)
@given(lines=st.lists(any_line, max_size=20))
def test_same_rows_same_bytes(suffix, lines):
    """However they come, and the digest is that of the plain lines whatever the format."""
    result, body = written(lines, suffix)

    assert (result, body) == written(iter(lines), suffix)
    assert unpacked(body, suffix) == b"".join(line + b"\n" for line in lines)
    assert result.sha256 == hashlib.sha256(unpacked(body, suffix)).hexdigest()
    assert result.records == len(lines)


@pytest.mark.parametrize("suffix", TEXT)
def test_nothing_is_an_object_too(suffix):
    """Empty, and a valid file of its kind."""
    result, body = written([], suffix)

    assert unpacked(body, suffix) == b""
    assert result == Written(0, hashlib.sha256(b"").hexdigest())


@pytest.mark.parametrize("lines", [[], LINES], ids=["empty", "rows"])
def test_gzip_names_neither_file_nor_time(lines, tmp_path):
    """Whatever file it is written to: a name or a time in its header would make equal rows unequal bytes."""
    with tempfile.NamedTemporaryFile(dir=tmp_path, suffix=".jsonl.gz") as file:
        write_rows(lines, ".jsonl.gz", FORCE_LIQUIDATION.columns, file)
        file.seek(0)
        body = file.read()

    assert body == written(lines, ".jsonl.gz")[1]
    assert body[:4] == b"\x1f\x8b\x08\x00"  # gzip, deflate, and no name, comment or extra field
    assert body[4:8] == b"\0\0\0\0"


@pytest.mark.parametrize("suffix", TEXT)
def test_it_writes_where_the_file_stands(suffix):
    """And leaves it open and at its end."""
    file = io.BytesIO(b"before")
    file.seek(0, io.SEEK_END)

    write_rows(LINES, suffix, FORCE_LIQUIDATION.columns, file)

    assert file.tell() == len(file.getvalue())
    assert file.getvalue() == b"before" + written(LINES, suffix)[1]


def test_the_content_type_is_that_of_the_bytes():
    """A client that unpacked gzip by itself would not get what the key's suffix says."""
    assert FORMATS == {
        ".jsonl": "application/x-ndjson",
        ".jsonl.gz": "application/gzip",
        ".csv": "text/csv; charset=utf-8",
        ".csv.gz": "application/gzip",
        ".parquet": "application/vnd.apache.parquet",
    }
