"""Another endpoint is its data and its thin classes: interest history, made here, is loaded like the one there is."""

from __future__ import annotations

import json
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.transfers.records_to_s3 import RecordsToS3Operator

INTEREST_HISTORY = Endpoint(
    name="interest_history",
    path="/sapi/v1/margin/interestHistory",
    weight=1,
    max_size=100,
    columns={
        "txId": "integer",
        "interestAccuredTime": "timestamp",
        "asset": "string",
        "rawAsset": "string",
        "principal": "decimal",
        "interest": "decimal",
        "interestRate": "decimal",
        "type": "string",
        "isolatedSymbol": "string",
    },
    time_field="interestAccuredTime",
    record_key=("txId",),
)


class InterestHistoryToS3Operator(RecordsToS3Operator):
    """Load the account's interest of the run's interval to S3."""

    endpoint: ClassVar[Endpoint] = INTEREST_HISTORY


def test_interest_history_is_loaded(connect, run_task, serve, s3, rows, day):
    """250 rows on three pages, by the exchange's own name and path, each once and oldest first."""
    there = [
        {"txId": n, "interestAccuredTime": day.ms[0] + n, "asset": "BNB", "interest": "0.02414667", "type": "ON_BORROW"}
        for n in range(250)
    ]

    def answer(handler):
        asked = {name: value for name, [value] in parse_qs(urlsplit(handler.path).query).items()}
        assert handler.path.startswith("/sapi/v1/margin/interestHistory?")
        last = 250 - 100 * (int(asked["current"]) - 1)
        page = {"rows": there[max(last - 100, 0) : last][::-1], "total": 250}
        return 200, {"Date": "Sun, 01 Feb 2026 00:00:00 GMT"}, json.dumps(page).encode()

    connect(host=serve(answer))
    done = run_task(InterestHistoryToS3Operator(task_id="load", s3_bucket=s3.name, s3_key=None), interval=day.interval)

    key = day.key.replace("force_liquidation", "interest_history")
    assert (done.state, done.result["records"], s3.keys()) == ("success", 250, [key])
    assert rows(s3.get(key)) == there
