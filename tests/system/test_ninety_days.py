"""Ninety days of every dataset, of the account and three pairs, in one task: what the exchange remembers at most."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator

PAIRS = [None, "BTCUSDT", "ETHUSDT", "币安人生USDT"]
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
#: all but the hour that is forgotten while the test runs, and the one that has not ended
BOUNDS = NOW - timedelta(days=90) + timedelta(hours=1), NOW
START, END = (int(bound.timestamp() * 1000) for bound in BOUNDS)
ROWS = {
    "force_liquidation": 230,
    "interest": 2170,
    "borrow": 410,
    "repay": 420,
    "transfer": 260,
    "capital_flow": 5210,
    "liquidation_loan_repayment": 70,
}
SERIES = [(name, pair) for name in DATASETS for pair in (PAIRS if DATASETS[name].pair_param else [None])]


def truth(sandbox, name, pair, start=START, end=END):
    rows, dataset = sandbox.records(start, end, pair, dataset=name), DATASETS[name]
    ordered = sorted(rows, key=lambda row: (row[dataset.time_field], *(row[field] for field in dataset.record_key)))
    return [{field: row[field] for field in dataset.columns if field in row} for row in ordered]


def pages_and_confirmations(sandbox):
    """The fewest requests that bring every row, and those that confirm pages, windows and what is not counted."""
    pages = confirmations = 0
    for name, pair in SERIES:
        dataset, start = DATASETS[name], START
        while start < END:
            end = min(start + dataset.span_ms(None), END)
            number = max(1, -(-len(sandbox.records(start, end, pair, dataset=name)) // dataset.max_size))
            pages += number
            if dataset.is_ledger:
                confirmations += 1
            elif number > 1:
                confirmations += number if end > END - 86_400_000 else 2
            confirmations += end < END
            start = end
    return pages, confirmations


@pytest.mark.slow
def test_ninety_days_of_everything_in_one_task(sandbox, s3, api, run_task, record_property):
    """Every row once and exact, no 429, no request that need not be, and the same bytes when it is run again."""
    api.conns["binance_default"] = {
        **sandbox.connection(),
        "extra": json.dumps({**(sandbox.connection().get("extra") or {}), "weight_share": 0.95}),  # for speed
    }
    api.conns["aws_default"] = s3.connection()
    for place, (name, pair) in enumerate(SERIES):
        scope = {"isolated_symbol": pair} if pair else {}
        step = (END - START) // (ROWS[name] + 1)
        sandbox.add(n=ROWS[name], at=START + place * 1000, step_ms=step, dataset=name, **scope)
        for outside in (START - 1000, END):
            sandbox.add(at=outside, dataset=name, **scope)

    def load(clear_number):
        options = {"task_id": "load", "dataset": list(DATASETS), "isolated_symbol": PAIRS, "s3_bucket": s3.name}
        bounds = dict(zip(("start", "end"), BOUNDS, strict=True))
        task = MarginHistoryToS3Operator(**options, **bounds, s3_key="{dataset}/{scope}.jsonl", settle=0)
        began = time.monotonic()
        done = run_task(task, clear_number=clear_number)
        assert done.state == "success", done.error
        return done.result, time.monotonic() - began

    result, took = load(0)

    objects = s3.objects()
    assert {f"{name}/{pair or 'cross'}.jsonl" for name, pair in SERIES} == set(objects)
    for name, pair in SERIES:
        written = [json.loads(line) for line in objects[f"{name}/{pair or 'cross'}.jsonl"].splitlines()]
        assert written == truth(sandbox, name, pair)
    assert result["records_of"] == {name: ROWS[name] * sum(each == name for each, _ in SERIES) for name in ROWS}
    requests = [entry for entry in sandbox.requests if "sapi" in entry.path]
    assert {entry.status for entry in sandbox.requests} == {200}
    pages, confirmations = pages_and_confirmations(sandbox)
    numbers = {"seconds": round(took), "pages": pages, "confirmations": confirmations, "requests": len(requests)}
    print(numbers)  # noqa: T201 - what the documentation states
    record_property("numbers", numbers)
    assert pages <= len(requests) <= 1.1 * (pages + confirmations)
    assert result["requests"] == len(requests)

    load(1)

    assert objects == s3.objects()
    assert {entry.status for entry in sandbox.requests} == {200}
