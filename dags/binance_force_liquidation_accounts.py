"""Several margin accounts, each with all its isolated pairs, by dynamic mapping.

Each account is a connection and has a name, which is part of its keys and of the
identity of its objects: one account's objects are never taken for another's. Without a
name it is the connection's id. The pairs are fetched when the DAG runs. The exchange no
longer lists pairs that were closed, so name those whose past matters.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import (
    ForceLiquidationToS3Operator,
)

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable  # type: ignore[assignment]

BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"
DAYS = "scope={scope}/dt={start:%Y-%m-%d}/{start}_{end}.jsonl.gz"
KEY = "binance/accounts/account={account}/" + DAYS

#: account -> connection, and the pairs that were closed
ACCOUNTS = {"main": ("binance_default", ["ETHUSDT"]), "second": ("binance_rsa", [])}

with DAG(
    "binance_force_liquidation_accounts",
    description="Forced liquidations of several accounts and all their isolated pairs",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 11, 1, tz="UTC"),
    catchup=True,
    max_active_runs=2,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:

    @task
    def scopes(
        account: str,
        binance_conn_id: str,
        closed: list[str],
    ) -> list[dict[str, Any]]:
        """What is to be loaded of one account: itself, and each of its pairs."""
        from airflow_provider_binance_margin.hooks.binance import BinanceHook

        pairs = sorted({*BinanceHook(binance_conn_id).isolated_symbols(), *closed})
        common = {"binance_conn_id": binance_conn_id, "account": account}
        return [{**common, "isolated_symbol": symbol} for symbol in [None, *pairs]]

    for account, (conn_id, closed_pairs) in ACCOUNTS.items():
        loads = ForceLiquidationToS3Operator.partial(
            task_id=f"load_{account}",
            s3_bucket=BUCKET,
            s3_key=KEY,
            grain="day",
            map_index_template="{{ task.isolated_symbol or 'cross' }}",
        )
        listed = scopes.override(task_id=f"scopes_{account}")
        loads.expand_kwargs(listed(account, conn_id, closed_pairs))
