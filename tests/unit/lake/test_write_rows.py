"""Ordered lines to bytes, for the two formats of lines: the same rows are the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.lake.formats import FORMATS, Written, write_rows

LINES = [b'{"orderId":1}', '{"symbol":"币安人生USDT"}'.encode(), b'{"price":"0.10000000"}']
TEXT = ["jsonl", "jsonl.gz"]
any_line = st.binary(max_size=30).map(lambda line: line.replace(b"\n", b" "))


def written(lines, suffix):
    file = io.BytesIO()
    result = write_rows(lines, f".{suffix}", FORCE_LIQUIDATION.columns, file)
    return result, file.getvalue()


def unpacked(body, suffix):
    return gzip.decompress(body) if suffix.endswith(".gz") else body


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


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000, 1234])
@pytest.mark.parametrize("suffix", TEXT)
def test_any_number_of_rows_arrives_whole(suffix, count):
    """Whatever is written at once."""
    lines = [b'{"orderId":%d}' % i for i in range(count)]

    result, body = written(lines, suffix)

    assert unpacked(body, suffix).splitlines() == lines
    assert result.records == count


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

    assert body == written(lines, "jsonl.gz")[1]
    assert body[:4] == b"\x1f\x8b\x08\x00"  # gzip, deflate, and no name, comment or extra field
    assert body[4:8] == b"\0\0\0\0"


@pytest.mark.parametrize("suffix", TEXT)
def test_it_writes_where_the_file_stands(suffix):
    """And leaves it open and at its end."""
    file = io.BytesIO(b"before")
    file.seek(0, io.SEEK_END)

    write_rows(LINES, f".{suffix}", FORCE_LIQUIDATION.columns, file)

    assert file.tell() == len(file.getvalue())
    assert file.getvalue() == b"before" + written(LINES, suffix)[1]


@pytest.mark.parametrize("suffix", TEXT)
def test_lines_are_not_gathered(suffix):
    """What is written has a bound, however many lines there are."""
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

    written((Line(b'{"orderId":1}') for _ in range(20_000)), suffix)

    assert (alive, most < 2_000) == (0, True)


@pytest.mark.parametrize("suffix", TEXT)
def test_an_error_while_reading_lines_is_not_swallowed(suffix):
    """A half object must not look like a whole one."""

    def lines():
        yield LINES[0]
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        written(lines(), suffix)


def test_the_content_type_is_that_of_the_bytes():
    """A client that unpacked gzip by itself would not get what the key's suffix says."""
    assert [FORMATS[f".{suffix}"].content_type for suffix in TEXT] == ["application/x-ndjson", "application/gzip"]
