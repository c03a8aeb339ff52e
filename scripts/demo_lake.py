"""What the lake must hold by the sandbox's own records, and what it holds.

It shares no code with the package that it checks but the sandbox's.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import httpx
from botocore.config import Config

from airflow_provider_binance_margin.sandbox.datasets import DATASETS
from local_stack.airflow_env import CREDENTIALS, REGION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_s3 import S3Client

DATASET = "force_liquidation"
CROSS = "cross"
_DAY = timedelta(days=1)

Row = dict[str, Any]
Wanted = dict[tuple[date, str], list[Row]]


@dataclass(frozen=True)
class Stored:
    """One object of the lake."""

    rows: tuple[Row, ...]
    sha256: str
    fetched_at: str


@dataclass(frozen=True)
class Cell:
    """What became of one day of one scope; `found` is None when its object is not there."""

    day: date
    scope: str
    key: str
    wanted: int
    found: int | None
    missing: int
    doubled: int
    foreign: int

    @property
    def right(self) -> bool:
        """Whether the object holds every record once and nothing else."""
        return self.found is not None and not (self.missing or self.doubled or self.foreign)


def s3_client(url: str) -> S3Client:
    """A client of the local S3 server, deaf to the settings of whoever runs this."""
    config = Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 3})
    login, password = CREDENTIALS
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        config=config,
        aws_access_key_id=login,
        aws_secret_access_key=password,
    )
    return client


def wanted_rows(sandbox_url: str, days: Sequence[date], dataset: str = DATASET) -> Wanted:
    """The sandbox's records of these days, cross and isolated, by UTC day and scope."""
    kind = DATASETS[dataset]
    window: dict[str, str | int] = {"startTime": _ms(days[0]), "endTime": _ms(days[-1] + _DAY), "isolatedSymbol": "*"}
    answer = httpx.get(
        f"{sandbox_url}/sandbox/records", params={**window, "dataset": dataset}, timeout=60, trust_env=False
    )
    wanted: Wanted = defaultdict(list)
    for row in answer.raise_for_status().json():
        if row.get("status") not in kind.hidden:
            day = datetime.fromtimestamp(kind.ms(row) / 1000, UTC).date()
            wanted[day, kind.scope(row) or CROSS].append(row)
    return wanted


def stored_objects(s3: S3Client, bucket: str, dataset: str = DATASET) -> dict[str, Stored]:
    """Every object of a dataset by its key."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix_of(dataset))
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key: _read(s3, bucket, key) for key in keys}


def _read(s3: S3Client, bucket: str, key: str) -> Stored:
    answer = s3.get_object(Bucket=bucket, Key=key)
    data = answer["Body"].read()
    rows = tuple(json.loads(line) for line in gzip.decompress(data).splitlines())
    return Stored(rows, hashlib.sha256(data).hexdigest(), answer["Metadata"].get("fetched-at", ""))


def compare(
    days: Sequence[date], scopes: Sequence[str], wanted: Wanted, stored: Mapping[str, Stored], dataset: str = DATASET
) -> list[Cell]:
    """One cell for each day of each scope; an object that nobody asked for has one as well."""
    cells = [
        _cell(day, scope, key_of(day, scope, dataset), wanted.get((day, scope), []), stored)
        for scope in scopes
        for day in days
    ]
    known = {cell.key for cell in cells}
    # the day that ends while this runs is rightly loaded as well
    others = [key for key in stored if key not in known and f"dt={days[-1] + _DAY}/" not in key]
    return cells + [_cell(days[0], "?", key, [], stored) for key in others]


def _cell(day: date, scope: str, key: str, wanted: list[Row], stored: Mapping[str, Stored]) -> Cell:
    want = _count(wanted)
    have = _count(stored[key].rows) if key in stored else Counter()
    return Cell(
        day=day,
        scope=scope,
        key=key,
        wanted=len(wanted),
        found=have.total() if key in stored else None,
        missing=(want - have).total(),
        doubled=sum(number - want[row] for row, number in have.items() if 0 < want[row] < number),
        foreign=sum(number for row, number in have.items() if not want[row]),
    )


def _count(rows: Sequence[Row]) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True) for row in rows)


def at_the_edges(days: Sequence[date], stored: Mapping[str, Stored], dataset: str = DATASET) -> int:
    """How many records lie in the very first or the very last millisecond of a day."""
    edges = {_ms(day) for day in days} | {_ms(day + _DAY) - 1 for day in days}
    return sum(DATASETS[dataset].ms(row) in edges for each in stored.values() for row in each.rows)


def prefix_of(dataset: str = DATASET) -> str:
    """The documented beginning of a dataset's keys."""
    return f"binance/margin/{dataset}/"


def key_of(day: date, scope: str, dataset: str = DATASET) -> str:
    """The documented place of a day's object."""
    name = f"{day:%Y%m%d}T000000Z_{day + _DAY:%Y%m%d}T000000Z.jsonl.gz"
    return f"{prefix_of(dataset)}account=binance_default/scope={scope}/dt={day}/{name}"


def midnight(day: date) -> datetime:
    """The first moment of a UTC day."""
    return datetime.combine(day, time.min, UTC)


def _ms(day: date) -> int:
    return int(midnight(day).timestamp()) * 1000
