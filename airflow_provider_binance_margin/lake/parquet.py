"""Rows -> Parquet: exact types, or an error that names the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_binance_margin.lake.fields import (
    PRECISION,
    SCALE,
    FieldError,
    extra_of,
    python_value,
    snake_case,
    unknown_fields,
)

if TYPE_CHECKING:
    from airflow_provider_binance_margin.lake.fields import Row

#: larger ones take more memory; twice as many rows make the file a fiftieth smaller
_ROWS_OF_A_GROUP = 2_500
#: rows that are Python's objects at one time, which take ten times what Arrow takes for them
_ROWS_AT_ONCE = 500


def write_parquet(rows: Iterator[Row], columns: Mapping[str, str], file: Any) -> None:
    """Write ordered rows as one Parquet file; one without rows keeps the schema.

    :param rows: field -> JSON literal
    :param columns: documented field -> type
    :param file: a binary file
    :raises FieldError: naming the record whose value the schema cannot hold
    """
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
    batches = _batches(rows, columns, schema)
    with parquet.ParquetWriter(file, schema, **options) as writer:
        while group := list(islice(batches, _ROWS_OF_A_GROUP // _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_batches(group, schema).combine_chunks(memory_pool=pa.system_memory_pool()))


def _batches(rows: Iterator[Row], columns: Mapping[str, str], schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        arrays = [_array(batch, name, schema.field(place).type, columns) for place, name in enumerate(columns)]
        extras = [
            None if raw is None else msgspec.json.decode(raw) for raw in (unknown_fields(r, columns) for r in batch)
        ]
        yield pa.record_batch([*arrays, pa.array(extras, pa.string())], schema=schema)


def _array(batch: Sequence[Row], name: str, arrow_type: Any, columns: Mapping[str, str]) -> Any:
    import pyarrow as pa

    # Arrow's own pool would keep several times what is in use at one time
    values = [_value(row, name, columns) for row in batch]
    return pa.array(values, arrow_type, memory_pool=pa.system_memory_pool())


def _value(row: Row, name: str, columns: Mapping[str, str]) -> Any:
    try:
        return python_value(row.get(name), columns[name])
    except RecursionError:
        raise _misfit(row, name, "is nested too deep", columns) from None
    except ValueError as error:
        raise _misfit(row, name, str(error), columns) from None


def _misfit(row: Row, name: str, what: str, columns: Mapping[str, str]) -> FieldError:
    shown = [key for key, kind in columns.items() if key == name or kind in ("integer", "string", "timestamp", "epoch")]
    record = ", ".join(f"{key} {bytes(row[key])[:80].decode(errors='replace')}" for key in shown if key in row)
    return FieldError(
        f"{name} {what}, so Parquet cannot hold it, in the record with {record}. Use .jsonl.gz or .csv.gz, which hold "
        "whatever the exchange sends"
    )
