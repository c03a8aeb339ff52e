"""Report daily on the last three days, and alert on liquidations and takeovers.

It reads what ``binance_margin_history`` has loaded, and sends no request to the
exchange. Days are reported on again, since objects that were loaded late, or the day
after, may change the result. Needs ``pip install
'airflow-provider-binance-margin[report]'`` on the worker.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, BaseNotifier, task

from airflow_provider_binance_margin.operators.liquidation_report import (
    LiquidationReportOperator,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"


class LogNotifier(BaseNotifier):
    """Writes to the task's log; use the notifier of your pager, Slack or mail."""

    template_fields = ("message",)

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def notify(self, context: Context) -> None:  # noqa: ARG002 - Airflow's signature
        """Send the message."""
        logging.getLogger(__name__).warning(self.message)


with DAG(
    "binance_liquidation_report",
    description="Liquidations of a margin account, takeovers included, and an alert",
    schedule="0 2 * * *",  # some time after the day has been loaded
    start_date=pendulum.datetime(2026, 11, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    report = LiquidationReportOperator(
        task_id="report",
        s3_bucket=BUCKET,
        start="{{ macros.ds_add(dag_run.run_after | ds, -3) }}",
        end="{{ dag_run.run_after | ds }}",
        # the cross account; list the isolated pairs that are loaded: [None, "BTCUSDT"]
        isolated_symbol=None,
    )

    @task.short_circuit
    def is_liquidated(summary: dict[str, Any]) -> bool:
        """Whether there is something to be told; what follows is skipped if not."""
        return bool(summary["certain"] or summary["takeover"])

    @task(
        on_success_callback=LogNotifier(
            "Liquidated: {{ ti.xcom_pull(task_ids='alert') | join('; ') }}",
        ),
    )
    def alert(summary: dict[str, Any]) -> list[str]:
        """The events as lines of text, which the notifier sends."""
        events = [event for event in summary["events"] if event["level"] != "candidate"]
        found = [(each["level"], each["scope"], each["first_time"]) for each in events]
        return [f"{level} in {scope} from {time}" for level, scope, time in found]

    # Airflow hands over the values
    is_liquidated(report.output) >> alert(report.output)  # type: ignore[arg-type]
