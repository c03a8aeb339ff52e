"""Datasets of the margin account: each one declaration, and nothing else in the package names their endpoints.

Source: https://developers.binance.com/docs/margin_trading, the page named in each declaration.
"""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_binance_margin.exchange.dataset import ColumnType, Dataset
from airflow_provider_binance_margin.exchange.errors import BinanceRequestError

# trade: the page "Get Force Liquidation Record"
FORCE_LIQUIDATION = Dataset(
    name="force_liquidation",
    path="/sapi/v1/margin/forceLiquidationRec",
    columns={
        "avgPrice": "decimal",
        "executedQty": "decimal",
        "orderId": "integer",
        "price": "decimal",
        "qty": "decimal",
        "side": "string",
        "symbol": "string",
        "timeInForce": "string",
        "isIsolated": "boolean",
        "updatedTime": "timestamp",
    },
    time_field="updatedTime",
    record_key=("symbol", "orderId", "isIsolated"),
    max_span=timedelta(days=7),  # not documented: ours
    isolated_field="isIsolated",
)

# borrow-and-repay: the page "Get Interest History"
INTEREST = Dataset(
    name="interest",
    path="/sapi/v1/margin/interestHistory",
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
    optional=("rawAsset", "isolatedSymbol"),
    time_field="interestAccuredTime",
    record_key=("txId",),
    filters=("asset",),
    max_span=timedelta(days=30),
    memory=timedelta(days=90),
)

_BORROW_REPAY_COLUMNS: dict[str, ColumnType] = {
    "type": "string",
    "isolatedSymbol": "string",
    "amount": "decimal",
    "asset": "string",
    "interest": "decimal",
    "principal": "decimal",
    "status": "string",
    "timestamp": "timestamp",
    "txId": "integer",
}

# borrow-and-repay: "Query borrow/repay records in Margin account"; a row does not say which of the two it is
BORROW, REPAY = (
    Dataset(
        name=kind.lower(),
        path="/sapi/v1/margin/borrow-repay",
        weight=10,
        params={"type": kind},
        columns=_BORROW_REPAY_COLUMNS,
        optional=("isolatedSymbol",),
        time_field="timestamp",
        record_key=("txId",),
        filters=("asset",),
        max_span=timedelta(days=7),
        not_final={"status": ("PENDING",)},
    )
    for kind in ("BORROW", "REPAY")
)

# transfer: "Get Cross Margin Transfer History"; times of ten digits are seconds
TRANSFER = Dataset(
    name="transfer",
    path="/sapi/v1/margin/transfer",
    columns={
        "amount": "decimal",
        "asset": "string",
        "status": "string",
        "timestamp": "epoch",
        "txId": "integer",
        "type": "string",
        "transFrom": "string",
        "transTo": "string",
        "fromSymbol": "string",
        "toSymbol": "string",
    },
    optional=("transFrom", "transTo", "fromSymbol", "toSymbol"),
    time_field="timestamp",
    record_key=("txId",),
    filters=("asset", "type"),
    newest_first=False,
    max_span=timedelta(days=30),
    not_final={"status": ("PENDING",)},
)

# account: the page "Query Cross Isolated Margin Capital Flow"
CAPITAL_FLOW = Dataset(
    name="capital_flow",
    path="/sapi/v1/margin/capital-flow",
    weight=100,
    pager="ledger",
    max_size=1000,
    columns={
        "id": "integer",
        "tranId": "integer",
        "timestamp": "timestamp",
        "asset": "string",
        "symbol": "string",
        "type": "string",
        "amount": "decimal",
        "note": "string",
    },
    optional=("symbol", "note"),
    time_field="timestamp",
    record_key=("id",),
    pair_param="symbol",
    filters=("asset", "type"),
    max_span=timedelta(days=7),
    memory=timedelta(days=90),
)

# liquidation-loan: "Query Liquidation Loan Repay History"; of the cross account only
LIQUIDATION_LOAN_REPAYMENT = Dataset(
    name="liquidation_loan_repayment",
    path="/sapi/v1/margin/liquidation-loan/repay-history",
    weight=100,
    weight_kind="UID",
    max_size=50,  # the default; the most is not documented
    columns={
        "repayId": "integer",
        "asset": "string",
        "amount": "decimal",
        "status": "string",
        "createTime": "timestamp",
    },
    time_field="createTime",
    record_key=("repayId",),
    pair_param=None,
    newest_first=False,
    max_span=timedelta(days=90),
    memory=timedelta(days=90),
    not_final={"status": ("PENDING",)},
)

DATASETS = {
    dataset.name: dataset
    for dataset in (FORCE_LIQUIDATION, INTEREST, BORROW, REPAY, TRANSFER, CAPITAL_FLOW, LIQUIDATION_LOAN_REPAYMENT)
}


def dataset_of(name: object) -> Dataset:
    """The dataset of that name; BinanceRequestError, with all names, if there is none."""
    if isinstance(name, str) and name in DATASETS:
        return DATASETS[name]
    raise BinanceRequestError(f"dataset must be one of {', '.join(DATASETS)}, not {ascii(name)[:60]}")
