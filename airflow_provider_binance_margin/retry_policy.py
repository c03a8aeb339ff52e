"""A retry policy that does what the exchange says. Retry policies are Airflow 3.3's; before, there is none to use."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.exchange.errors import (
    BinanceConfigError,
    BinanceRequestError,
    BinanceThrottledError,
)

if TYPE_CHECKING:
    from airflow.sdk import RetryDecision, RetryPolicy
else:
    try:
        from airflow.sdk import RetryDecision, RetryPolicy
    except ImportError:  # before Airflow 3.3
        RetryDecision, RetryPolicy = None, object


class BinanceRetryPolicy(RetryPolicy):
    """Fail at once where trying again cannot help, retry when the exchange said so, and else as the task is configured.

    The package's operators and sensors use it by themselves unless they are given another; tasks that call the hook can
    be given it: ``@task(retries=5, retry_policy=BinanceRetryPolicy())``.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        """The decision for one failure."""
        if isinstance(exception, (BinanceConfigError, BinanceRequestError)):
            return RetryDecision.fail("trying again cannot help")
        if isinstance(exception, BinanceThrottledError):
            return RetryDecision.retry(timedelta(seconds=exception.retry_after + 1), "the exchange said when")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """It has no options."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> BinanceRetryPolicy:  # noqa: ARG003 - Airflow's signature
        """The policy again."""
        return cls()


def default_retry_policy(task: Any) -> None:
    """Give a task the policy, where Airflow has policies and the task has none."""
    if RetryPolicy is not object and getattr(task, "retry_policy", False) is None:
        task.retry_policy = BinanceRetryPolicy()


def obeys_policy(task: Any) -> bool:
    """Whether a retry policy decides about the task's failures."""
    return getattr(task, "retry_policy", None) is not None
