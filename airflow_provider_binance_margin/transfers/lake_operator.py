"""What every operator needs that works on a lake of objects: which interval, which keys, which connections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.exchange.errors import BinanceThrottledError
from airflow_provider_binance_margin.failures import in_airflow_terms
from airflow_provider_binance_margin.lake.interval import Grain
from airflow_provider_binance_margin.lake.layout import (
    ACCOUNT,
    LayoutError,
    check_template,
    default_key,
    split_url,
    suffix_of,
)
from airflow_provider_binance_margin.lake.resolve import Choice, resolve
from airflow_provider_binance_margin.options import check_windows, seconds
from airflow_provider_binance_margin.retry_policy import default_retry_policy, obeys_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_binance_margin.hooks.binance import BinanceHook
    from airflow_provider_binance_margin.transfers.object_store import ObjectStore

_MOST_WORKERS = 64
_NOT_WORTH_DEFERRING = 5.0


class NotYetError(Exception):
    """The work cannot be done before some time has passed.

    :param seconds: how long
    :param reason: why
    """

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds


class LakeOperator(BaseOperator):
    """What of the exchange is meant, and where its objects are.

    Subclasses name the endpoint and describe the parameters.
    """

    endpoint: ClassVar[Endpoint]

    template_fields: Sequence[str] = (
        "s3_bucket",
        "s3_key",
        "start",
        "end",
        "isolated_symbol",
        "binance_conn_id",
        "aws_conn_id",
    )
    ui_color = "#f3ba2f"

    def __init__(
        self,
        *,
        s3_bucket: str | None = None,
        s3_key: str | None = None,
        start: Any = None,
        end: Any = None,
        grain: Grain | None = None,
        isolated_symbol: str | None = None,
        max_span: timedelta | float = timedelta(days=7),
        max_workers: int = 16,
        s3_extra_args: Mapping[str, Any] | None = None,
        binance_conn_id: str = "binance_default",
        aws_conn_id: str | None = "aws_default",
        verify: bool | str | None = None,
        settle: timedelta | float = 60.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_bucket = s3_bucket
        self.s3_key = s3_key if s3_key is not None else default_key(self.endpoint.name)
        self.start = start
        self.end = end
        self.grain = grain
        self.isolated_symbol = isolated_symbol
        self.max_span = max_span
        self.max_workers = max_workers
        self.s3_extra_args = s3_extra_args
        self.binance_conn_id = binance_conn_id
        self.aws_conn_id = aws_conn_id
        self.verify = verify
        self.settle = settle
        self.deferrable = deferrable
        self._hook: BinanceHook | None = None
        default_retry_policy(self)
        self._check_options()

    def _check_options(self) -> None:
        """Refuse, while the DAG is parsed, what could never work; templates and other tasks' values come later."""
        check_windows(grain=self.grain, settle=self.settle, max_span=self.max_span)
        if not 1 <= self.max_workers <= _MOST_WORKERS:
            raise ValueError(f"max_workers must be from 1 to {_MOST_WORKERS}, not {self.max_workers!r}")
        if isinstance(self.s3_key, str) and not any(mark in self.s3_key for mark in ("{{", "{%", "{#")):
            _check_key(self.s3_key)

    # -- doing it, now or when it can be done ----------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Do the task's work; what has to be waited for is waited for here or, if deferrable, in the triggerer."""
        self.s3_extra_args = self.render_template(self.s3_extra_args, context)  # no template field, which is stored
        try:
            with in_airflow_terms(ban_is_final=not (self.deferrable or obeys_policy(self))):
                result = self.work(context)
        except NotYetError as error:
            self._wait_in_triggerer(error.seconds, str(error))
        except BinanceThrottledError as error:
            if not self.deferrable:
                raise
            self._wait_in_triggerer(error.retry_after, str(error))
        return self.conclude(context, result)

    def work(self, context: Context) -> dict[str, Any]:
        """What the task is there for."""
        raise NotImplementedError

    def conclude(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - for subclasses
        """What follows from the result."""
        return result

    def execute_complete(self, context: Context, event: Any = None) -> Any:  # noqa: ARG002 - it was only a wait
        """Start anew after a wait: nothing rides in what was deferred."""
        return self.execute(context)

    def await_settled(self, hook: BinanceHook, choice: Choice) -> None:
        """Go on when the run's last interval counts as closed."""
        from airflow_provider_binance_margin.transfers.load import unsettled

        settle = seconds(self.settle)
        left = unsettled(hook, choice, settle)
        reason = f"{choice.intervals[-1]} counts as closed {settle:.0f} s after its end"
        if left > _NOT_WORTH_DEFERRING and self.deferrable:
            raise NotYetError(left, reason)
        if left > 0:
            hook.wait(left, reason)

    def _wait_in_triggerer(self, wait: float, reason: str) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self.log.info("Waiting %.0f s in the triggerer: %s", wait, reason)
        moment = datetime.now(UTC) + timedelta(seconds=wait + 1)
        self.defer(trigger=DateTimeTrigger(moment=moment), method_name="execute_complete")
        raise AssertionError("defer raises")

    def on_kill(self) -> None:
        """Cancel what is waiting and queued."""
        if self._hook is not None:
            self._hook.close()

    # -- what is meant: everything here is checked before the first request ----------------------------------------

    def choose(self, context: Context) -> Choice:
        """What the run must load or look at."""
        return resolve(context, start=self.start, end=self.end, grain=self.grain)

    def target(self) -> tuple[str | None, str]:
        """Bucket and key template; no bucket where the AWS connection is to name one."""
        if "://" not in self.s3_key and not self.s3_bucket:
            bucket, key = None, self.s3_key
        else:
            bucket, key = split_url(self.s3_bucket, self.s3_key)
        _check_key(key)
        return bucket, key

    def scope(self) -> str:
        """The isolated symbol, or "account"."""
        symbol = self.isolated_symbol
        if symbol is None:
            return ACCOUNT
        if not isinstance(symbol, str) or not symbol or set(symbol) & set(" /{}%&=?#\t\n"):
            raise LayoutError(f"isolated_symbol must be a pair such as BTCUSDT, or None: {symbol!r} is not")
        return symbol

    def connect(self, bucket: str | None) -> tuple[BinanceHook, ObjectStore]:
        """The exchange and the bucket."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from airflow_provider_binance_margin.hooks.binance import BinanceHook
        from airflow_provider_binance_margin.transfers.object_store import ObjectStore

        hook = self._hook = BinanceHook(self.binance_conn_id)
        hook.max_connections = self.max_workers
        s3 = S3Hook(aws_conn_id=self.aws_conn_id, verify=self.verify)
        bucket = bucket or s3.service_config.get("bucket_name")
        if not bucket:
            raise LayoutError("no bucket: give s3_bucket, or a full s3:// URL as s3_key")
        return hook, ObjectStore(s3, bucket, self.s3_extra_args or {})


def _check_key(key: str) -> None:
    check_template(key)
    if suffix_of(key) == ".parquet" and find_spec("pyarrow") is None:
        raise LayoutError(
            "the key ends in .parquet, which needs an extra: pip install 'airflow-provider-binance-margin[parquet]'"
        )
