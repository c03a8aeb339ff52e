"""The retry policy: fail where trying again cannot help, wait as long as the exchange said, else as configured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from versions import has

if not has("airflow.sdk.ExceptionRetryPolicy"):
    pytest.skip("this Airflow has no retry policies", allow_module_level=True)

from airflow.sdk import DAG, ExceptionRetryPolicy, RetryAction

from airflow_provider_binance_margin.exchange import errors
from airflow_provider_binance_margin.retry_policy import BinanceRetryPolicy, obeys_policy
from airflow_provider_binance_margin.sensors.force_liquidation import ForceLiquidationSensor
from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator

OPTIONS = {
    ForceLiquidationSensor: {"task_id": "wait"},
    ForceLiquidationToS3Operator: {"task_id": "load", "s3_bucket": "lake"},
}


@pytest.fixture(params=OPTIONS, ids=lambda kind: kind.__name__)
def make(request):
    return lambda **options: request.param(**OPTIONS[request.param], **options)


@pytest.mark.parametrize(
    ("error", "action", "delay"),
    [
        (errors.BinanceConfigError("x"), RetryAction.FAIL, None),
        (errors.BinanceCredentialError("x"), RetryAction.FAIL, None),
        (errors.BinanceClockError("x"), RetryAction.DEFAULT, None),
        (errors.BinanceRequestError("x"), RetryAction.FAIL, None),
        (errors.BinanceSpanError("x"), RetryAction.FAIL, None),
        (errors.BinanceThrottledError("x", retry_after=30), RetryAction.RETRY, timedelta(seconds=31)),
        (errors.BinanceBannedError("x", retry_after=7200.5), RetryAction.RETRY, timedelta(seconds=7201.5)),
        (errors.BinanceTransientError("x"), RetryAction.DEFAULT, None),
        (errors.BinanceIncompleteError("x"), RetryAction.DEFAULT, None),
        (RuntimeError("x"), RetryAction.DEFAULT, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_it_decides(error, action, delay):
    """Each kind of failure has its decision; only the exchange's own word sets a delay."""
    decision = BinanceRetryPolicy().evaluate(error, 1, 3)

    assert (action, delay) == (decision.action, decision.retry_delay)


def test_tasks_bring_it_themselves(make):
    """Operator and sensor use it without being told, also where a DAG has default arguments."""
    with DAG("a_dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args={"retries": 3}):
        task = make()

    assert isinstance(task.retry_policy, BinanceRetryPolicy)
    assert obeys_policy(task)


@pytest.mark.parametrize("by", ["argument", "default_args"])
def test_another_is_kept(make, by):
    """A policy that the user names stays, whether for the task or for its DAG."""
    other = ExceptionRetryPolicy(rules=[])
    defaults = {"retry_policy": other} if by == "default_args" else {}
    with DAG("a_dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args=defaults):
        task = make(**({} if defaults else {"retry_policy": other}))

    assert task.retry_policy is other


def test_a_dag_with_it_can_be_stored(make):
    """Airflow can store a DAG whose tasks have the policy, and read it again."""
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("a_dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        task = make()

    stored = DagSerialization.to_dict(dag)
    again = DagSerialization.from_dict(stored)

    assert [task.task_id] == [each.task_id for each in again.tasks]
    assert {} == task.retry_policy.serialize()
    assert isinstance(BinanceRetryPolicy.deserialize({}), BinanceRetryPolicy)
