"""Bytes of one object -> its rows, by the key's suffix: the reverse of `formats`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from gzip import GzipFile
from typing import IO, Any

import msgspec

from airflow_provider_binance_margin.lake.interval import ms

_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS_AT_ONCE = 500


def read_rows(file: IO[bytes], suffix: str, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Read the rows of an object: documented field -> what JSON can hold of it, without the fields that a row lacks.

    Values of JSON lines are their literals, those of CSV text, as are decimals of Parquet; times are ms.
    """
    if suffix == ".parquet":
        yield from _parquet(file, columns)
        return
    plain = GzipFile(fileobj=file, mode="rb") if suffix.endswith(".gz") else file
    if suffix.startswith(".jsonl"):
        for line in plain:
            row = _ROW.decode(line)
            yield {name: row[name] for name in columns if name in row}
    else:
        for record in csv.DictReader(io.TextIOWrapper(plain, encoding="utf-8", newline="")):
            yield {name: record[name] for name in columns if record.get(name)}


def _parquet(file: IO[bytes], columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    for batch in parquet.ParquetFile(file).iter_batches(_ROWS_AT_ONCE):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row = zip(columns, values, strict=False)  # what is not documented is in a column more
            yield {name: _as_json(value) for name, value in row if value is not None}


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return ms(value)
    return f"{value:f}" if isinstance(value, Decimal) else value
