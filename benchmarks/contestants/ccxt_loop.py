"""ccxt: its call of this endpoint in a loop, or its own `fetch_my_liquidations(paginate=True)`."""

from __future__ import annotations

import gzip
import os
from typing import Any

import boto3
import ccxt
from measured import SIZE, lines, measured


def by_loop(exchange: ccxt.binance, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The endpoint's own pages, one after the other."""
    rows: list[dict[str, Any]] = []
    current = 1
    while True:
        asked = {"startTime": job["start"], "endTime": job["end"] - 1, "current": current, "size": SIZE}
        answer = exchange.sapi_get_margin_forceliquidationrec(asked)
        rows += answer["rows"]
        if current * SIZE >= int(answer["total"]):
            return rows
        current += 1


def by_itself(exchange: ccxt.binance, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The paging that ccxt brings."""
    exchange.set_markets([])  # load_markets() asks for what the sandbox does not have
    how = {"paginate": True, "until": job["end"] - 1, "type": "spot"}
    return [each["info"] for each in exchange.fetch_my_liquidations(None, job["start"], None, how)]


def work(job: dict[str, Any]) -> None:
    """The whole task."""
    exchange = ccxt.binance({"apiKey": job["api_key"], "secret": job["secret"]})
    exchange.quoteJsonNumbers = False  # else ids and times come back as text
    exchange.urls["api"]["sapi"] = job["url"] + "/sapi/v1"
    rows = (by_loop if os.environ["BENCHMARK_WAY"] == "loop" else by_itself)(exchange, job)
    s3 = boto3.client("s3", endpoint_url=job["s3_url"])
    s3.put_object(Bucket=job["bucket"], Key=job["key"], Body=gzip.compress(lines(rows), 6, mtime=0))


measured(work)
