"""Ordered rows -> bytes, by the key's suffix. Same rows, same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from gzip import GzipFile
from itertools import islice
from typing import IO, Any, TypeAlias

import msgspec

from airflow_provider_binance_margin.lake.fields import (
    PRECISION,
    SCALE,
    FieldError,
    Row,
    csv_cell,
    extra_of,
    python_value,
    snake_case,
    text_value,
    unknown_fields,
)

#: documented fields in documented order -> what they hold: decimal, integer, string, boolean, timestamp, epoch or json
Columns: TypeAlias = Mapping[str, str]
#: lines (JSON, without line breaks), so many at once
Batches: TypeAlias = Iterator[list[bytes]]

#: rows that are Python's objects at one time, which take ten times what Arrow takes for them
_LINES_AT_ONCE = 500
#: of a group of Parquet: larger ones take more memory; twice as many rows make the file a fiftieth smaller
_ROWS_OF_A_GROUP = 2_500
#: types of the columns that tell which record it is
_TELLING = ("integer", "string", "timestamp", "epoch")
_GZIP_LEVEL = 6  # 9 costs half of all CPU for 3 % of size
_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])

#: suffix -> content type
FORMATS = {
    ".jsonl": "application/x-ndjson",
    ".jsonl.gz": "application/gzip",
    ".csv": "text/csv; charset=utf-8",
    ".csv.gz": "application/gzip",
    ".parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class Written:
    """Result of a write."""

    records: int
    sha256: str  # of the uncompressed JSON lines with their newlines, whatever the format


def write_rows(lines: Iterable[bytes], suffix: str, columns: Columns, file: IO[bytes]) -> Written:
    """Write ordered rows (JSON lines without line breaks) in the format of a suffix, and leave the file at its end.

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

    # a header with neither a file's name nor a time, so that equal rows give equal bytes
    with GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) if suffix.endswith(".gz") else nullcontext(file) as target:
        _WRITERS[suffix.removesuffix(".gz")](counted(), columns, target)
    return Written(records, digest.hexdigest())


def _write_jsonl(batches: Batches, _: Columns, file: Any) -> None:
    for batch in batches:
        file.write(b"\n".join(batch) + b"\n")


def _write_csv(batches: Batches, columns: Columns, file: Any) -> None:
    """A header, then the documented columns as sent; what is not documented is JSON in the last one."""
    file.write((",".join([*columns, extra_of(columns)]) + "\n").encode())
    for batch in batches:
        for row in map(_ROW.decode, batch):
            values = [*(text_value(row.get(name)) for name in columns), unknown_fields(row, columns)]
            file.write((",".join(map(csv_cell, values)) + "\n").encode())


def _write_parquet(lines: Batches, columns: Columns, file: Any) -> None:
    """Exact types, or an error that names the record; a file without rows keeps the schema."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        "decimal": pa.decimal128(PRECISION, SCALE),
        "integer": pa.int64(),
        "string": pa.string(),
        "boolean": pa.bool_(),
        "timestamp": pa.timestamp("ms", tz="UTC"),
        "epoch": pa.timestamp("ms", tz="UTC"),
        "json": pa.string(),
    }
    names = [snake_case(name) for name in columns]
    schema = pa.schema(
        [*zip(names, (types[kind] for kind in columns.values()), strict=True), (extra_of(names), pa.string())]
    )
    # numbers hardly ever repeat: a dictionary of them takes memory and makes the file larger by more than a third
    repeated = [name for name, kind in zip(names, columns.values(), strict=True) if kind == "string"]
    options = {"compression": "zstd", "use_dictionary": repeated, "write_page_checksum": True}
    batches = (_record_batch(list(map(_ROW.decode, batch)), columns, schema) for batch in lines)
    with parquet.ParquetWriter(file, schema, **options) as writer:
        while group := list(islice(batches, _ROWS_OF_A_GROUP // _LINES_AT_ONCE)):
            writer.write_table(pa.Table.from_batches(group, schema).combine_chunks(memory_pool=pa.system_memory_pool()))


def _record_batch(rows: list[Row], columns: Columns, schema: Any) -> Any:
    import pyarrow as pa

    pool = pa.system_memory_pool()  # Arrow's own would keep several times what is in use at one time
    arrays = [
        pa.array([_value(row, name, columns) for row in rows], schema.field(place).type, memory_pool=pool)
        for place, name in enumerate(columns)
    ]
    extras = pa.array([unknown_fields(row, columns) for row in rows], pa.string())
    return pa.record_batch([*arrays, extras], schema=schema)


def _value(row: Row, name: str, columns: Columns) -> Any:
    try:
        return python_value(row.get(name), columns[name])
    except ValueError as error:
        shown = [key for key, kind in columns.items() if key == name or kind in _TELLING]
        record = ", ".join(f"{key} {bytes(row[key])[:80].decode(errors='replace')}" for key in shown if key in row)
        raise FieldError(
            f"{name} {error}, so Parquet cannot hold it, in the record with {record}. Use .jsonl.gz or .csv.gz, which "
            "hold whatever the exchange sends"
        ) from None


_WRITERS = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}
