"""What `write_rows` makes of lines, in memory."""

import gzip
import io

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.lake.formats import write_rows


def written(lines, suffix, columns=FORCE_LIQUIDATION.columns):
    """What it says of them, and the bytes."""
    file = io.BytesIO()
    return write_rows(lines, suffix, columns, file), file.getvalue()


def body(lines, suffix, columns=FORCE_LIQUIDATION.columns):
    """The bytes alone."""
    return written(lines, suffix, columns)[1]


def unpacked(data, suffix):
    """What a packed file holds."""
    return gzip.decompress(data) if suffix.endswith(".gz") else data
