"""Retry policy that goes by the exchange's answers, for Airflow 3.3 and newer."""

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
    """Fail at once on a final error, retry a throttled call when the exchange allows it, leave the rest to `retries`.

    It is the default of the package's operators and sensors; tasks that call the hook can be given it:
    ``@task(retries=5, retry_policy=BinanceRetryPolicy())``.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide about one failure."""
        if isinstance(exception, (BinanceConfigError, BinanceRequestError)):
            return RetryDecision.fail("a retry cannot help")
        if isinstance(exception, BinanceThrottledError):
            return RetryDecision.retry(timedelta(seconds=exception.retry_after + 1), "the exchange says when")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Return no options: there are none."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> BinanceRetryPolicy:  # noqa: ARG003 - Airflow's signature
        """Make the policy again."""
        return cls()


def default_retry_policy(task: Any) -> None:
    """Set the policy of a task that has none, where Airflow has policies."""
    if RetryPolicy is not object and getattr(task, "retry_policy", False) is None:
        task.retry_policy = BinanceRetryPolicy()


def obeys_policy(task: Any) -> bool:
    """True if a retry policy decides about the task's failures."""
    return getattr(task, "retry_policy", None) is not None
