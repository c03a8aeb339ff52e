"""DAGs whose runs are made in each way that Airflow has, and what starts them by TriggerDagRunOperator."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

try:
    from airflow.sdk import CronDataIntervalTimetable, CronTriggerTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable
    from airflow.timetables.trigger import CronTriggerTimetable

SCHEDULES = {
    "interval": CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    "bare": "@daily",
    "delta": timedelta(days=1),
    "asset": Asset("lake"),
    "fixed": CronTriggerTimetable("0 0 * * *", timezone="UTC", interval=timedelta(days=7)),
}

for name, schedule in SCHEDULES.items():
    usual = {"start_date": datetime(2025, 1, 1), "catchup": False, "is_paused_upon_creation": False}  # noqa: DTZ001 - as users write it
    with DAG(name, schedule=schedule, **usual):
        EmptyOperator(task_id="nothing")
    with DAG(f"parent_of_{name}", schedule=None):
        TriggerDagRunOperator(
            task_id="dated",
            trigger_dag_id=name,
            trigger_run_id="operator-dated",
            logical_date="2026-01-13T00:00:00+00:00",
        ) >> TriggerDagRunOperator(task_id="undated", trigger_dag_id=name, trigger_run_id="operator-undated")
