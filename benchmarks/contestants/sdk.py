"""The exchange's own Python SDK, page after page."""

from __future__ import annotations

import gzip
from typing import Any

import boto3
from binance_sdk_margin_trading.margin_trading import ConfigurationRestAPI, MarginTrading
from measured import SIZE, lines, measured


def work(job: dict[str, Any]) -> None:
    """The whole task."""
    config = ConfigurationRestAPI(
        api_key=job["api_key"], api_secret=job["secret"], base_path=job["url"], timeout=10_000
    )
    client = MarginTrading(config_rest_api=config).rest_api
    rows: list[dict[str, Any]] = []
    current = 1
    while True:
        answer = client.get_force_liquidation_record(
            start_time=job["start"], end_time=job["end"] - 1, current=current, size=SIZE
        ).data()
        rows += [row.to_dict() for row in answer.rows]
        if current * SIZE >= answer.total:
            break
        current += 1
    s3 = boto3.client("s3", endpoint_url=job["s3_url"])
    s3.put_object(Bucket=job["bucket"], Key=job["key"], Body=gzip.compress(lines(rows), 6, mtime=0))


measured(work)
