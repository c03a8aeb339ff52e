"""Ordered rows -> bytes, by the key's suffix. Same rows, same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from gzip import GzipFile
from itertools import chain, islice
from typing import Protocol, TypeAlias

import msgspec

from airflow_provider_binance_margin.lake.fields import csv_value, extra_of, unknown_fields


class BinaryFile(Protocol):
    """Binary file that formats write to."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""

    def flush(self) -> object:
        """Hand on what is held back."""


#: documented fields in documented order -> what they hold: decimal, integer, string, boolean, timestamp, epoch or json
Columns: TypeAlias = Mapping[str, str]
#: lines (JSON, without line breaks), so many at once
Batches: TypeAlias = Iterator[list[bytes]]
Write: TypeAlias = Callable[[Batches, Columns, BinaryFile], None]

_LINES_AT_ONCE = 500
_GZIP_LEVEL = 6  # 9 costs half of all CPU for 3 % of size
_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Format:
    """One way to write rows.

    :param content_type: of the object
    :param write: writes batches of lines to a file
    """

    content_type: str
    write: Write


@dataclass(frozen=True)
class Written:
    """Result of a write.

    :param records: number of rows
    :param sha256: of the uncompressed JSON lines with their newlines, whatever the format
    """

    records: int
    sha256: str


def write_rows(lines: Iterable[bytes], suffix: str, columns: Columns, file: BinaryFile) -> Written:
    """Write ordered rows in the format of a suffix.

    :param lines: JSON lines without line breaks
    :param suffix: one of `layout.SUFFIXES`
    :param columns: the documented fields
    :param file: where to; its position is left at the end
    :raises FieldError: when the format cannot hold a value as it is
    """
    digest, records = hashlib.sha256(), 0

    def counted() -> Batches:
        nonlocal records
        left = iter(lines)
        while batch := list(islice(left, _LINES_AT_ONCE)):
            digest.update(b"\n".join(batch) + b"\n")
            records += len(batch)
            yield batch

    FORMATS[suffix].write(counted(), columns, file)
    return Written(records, digest.hexdigest())


def _write_jsonl(batches: Batches, _: Columns, file: BinaryFile) -> None:
    for batch in batches:
        file.write(b"\n".join(batch) + b"\n")


def _write_csv(batches: Batches, columns: Columns, file: BinaryFile) -> None:
    """A header, then the documented columns as sent; what is not documented is JSON in the last one."""
    file.write((",".join([*columns, extra_of(columns)]) + "\n").encode())
    for batch in batches:
        rows = []
        for line in batch:
            row = _ROW.decode(line)
            rows.append(
                ",".join([*(csv_value(row.get(name)) for name in columns), csv_value(unknown_fields(row, columns))])
            )
        file.write(("\n".join(rows) + "\n").encode())


def _write_parquet(batches: Batches, columns: Columns, file: BinaryFile) -> None:
    from airflow_provider_binance_margin.lake.parquet import write_parquet

    write_parquet(map(_ROW.decode, chain.from_iterable(batches)), columns, file)


def _gzipped(write: Write) -> Write:
    """The same, compressed; the header names neither a file nor a time, so that equal rows give equal bytes."""

    def write_gzipped(batches: Batches, columns: Columns, file: BinaryFile) -> None:
        with GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0) as packed:
            write(batches, columns, packed)

    return write_gzipped


FORMATS: dict[str, Format] = {
    ".jsonl": Format("application/x-ndjson", _write_jsonl),
    ".jsonl.gz": Format("application/gzip", _gzipped(_write_jsonl)),
    ".csv": Format("text/csv; charset=utf-8", _write_csv),
    ".csv.gz": Format("application/gzip", _gzipped(_write_csv)),
    ".parquet": Format("application/vnd.apache.parquet", _write_parquet),
}
