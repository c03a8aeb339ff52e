"""What every operator needs that works on a lake of objects: which interval, which keys, which connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_binance_margin.exchange.datasets import dataset_of
from airflow_provider_binance_margin.exchange.errors import BinanceThrottledError
from airflow_provider_binance_margin.exchange.scope import scope_of
from airflow_provider_binance_margin.failures import in_airflow_terms
from airflow_provider_binance_margin.lake.interval import Grain, iso
from airflow_provider_binance_margin.lake.layout import (
    DEFAULT_KEY,
    LayoutError,
    check_bucket,
    check_template,
    checked_account,
    split_url,
    suffix_of,
)
from airflow_provider_binance_margin.load_plan import LoadPlan, resolve_plan
from airflow_provider_binance_margin.options import check_dataset, check_windows, is_plain, seconds, seconds_or_none
from airflow_provider_binance_margin.retry_policy import default_retry_policy, obeys_policy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_binance_margin.exchange.dataset import Dataset
    from airflow_provider_binance_margin.exchange.paging import Span
    from airflow_provider_binance_margin.hooks.binance import BinanceHook
    from airflow_provider_binance_margin.transfers.object_store import ObjectStore

_MOST_WORKERS = 64
_NOT_WORTH_DEFERRING = 5.0
#: waits in the triggerer, one after the other, between which nothing was achieved
_MOST_WAITS = 3


class NotYetError(Exception):
    """The work cannot be done before some time has passed.

    :param retry_after: how long, in seconds
    :param reason: why
    """

    def __init__(self, retry_after: float, reason: str) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class LakeOperator(BaseOperator):
    """What of the exchange is meant, and where its objects are; subclasses describe the parameters."""

    template_fields: Sequence[str] = (
        "s3_bucket",
        "s3_key",
        "start",
        "end",
        "dataset",
        "isolated_symbol",
        "filters",
        "account",
        "binance_conn_id",
        "aws_conn_id",
    )
    ui_color = "#f3ba2f"

    def __init__(
        self,
        *,
        dataset: str,
        s3_bucket: str | None = None,
        s3_key: str | None = None,
        start: Any = None,
        end: Any = None,
        grain: Grain | None = None,
        isolated_symbol: str | None = None,
        filters: Mapping[str, str] | None = None,
        account: str | None = None,
        max_span: timedelta | float | None = None,
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
        self.dataset = dataset
        self.s3_bucket = s3_bucket
        self.s3_key = s3_key if s3_key is not None else DEFAULT_KEY
        self.start = start
        self.end = end
        self.grain = grain
        self.isolated_symbol = isolated_symbol
        self.filters = filters
        self.account = account
        self.max_span = max_span
        self.max_workers = max_workers
        self.s3_extra_args = s3_extra_args
        self.binance_conn_id = binance_conn_id
        self.aws_conn_id = aws_conn_id
        self.verify = verify
        self.settle = settle
        self.deferrable = deferrable
        self._hook: BinanceHook | None = None
        self._waits: int | None = None
        default_retry_policy(self)
        check_windows(grain=self.grain, settle=self.settle, max_span=self.max_span)
        if not 1 <= self.max_workers <= _MOST_WORKERS:
            raise ValueError(f"max_workers must be from 1 to {_MOST_WORKERS}, not {self.max_workers!r}")
        # a mapped task is made again where it runs, which checks what it was given, and fails for good
        if not getattr(self, "_BaseOperator__from_mapped", False):
            self._check_fields()

    def _check_fields(self) -> None:
        """Refuse, while the DAG is parsed, what could never work; templates and other tasks' values come later."""
        if isinstance(self.s3_key, str) and is_plain(self.s3_key):
            _check_key(self.s3_key)
        if isinstance(self.s3_bucket, str) and is_plain(self.s3_bucket):
            check_bucket(self.s3_bucket)
        account = self.binance_conn_id if self.account is None else self.account
        if is_plain(account):
            checked_account(account)
        check_dataset(self.dataset, self.isolated_symbol, self.filters)

    # -- doing it, now or when it can be done ----------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Do the task's work; what has to be waited for is waited for here or, if deferrable, in the triggerer."""
        self.s3_extra_args = self.render_template(self.s3_extra_args, context)  # no template field, which is stored
        try:
            with in_airflow_terms(ban_is_final=False):
                result = self.work(context)
        except (NotYetError, BinanceThrottledError) as error:
            waits = 0 if self._waits is None or self.has_progressed() else self._waits + 1
            if not self.deferrable or waits >= _MOST_WAITS:
                with in_airflow_terms(ban_is_final=not obeys_policy(self)):
                    raise
            self._wait_in_triggerer(error.retry_after, str(error), waits)
        return self.conclude(context, result)

    def has_progressed(self) -> bool:
        """Whether this leg has achieved something that the next will not have to do again."""
        return False

    def work(self, context: Context) -> dict[str, Any]:
        """What the task is there for."""
        raise NotImplementedError

    def conclude(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - for subclasses
        """What follows from the result."""
        return result

    def execute_complete(self, context: Context, event: Any = None, waits: int = 0) -> Any:  # noqa: ARG002 - a moment
        """Start anew after a wait: nothing rides in what was deferred but how often that was in vain."""
        self._waits = waits
        return self.execute(context)

    def await_settled(self, hook: BinanceHook, choice: LoadPlan) -> None:
        """Go on when the run's last interval counts as closed."""
        settle = seconds(self.settle)
        left = hook.unsettled(choice, settle)
        reason = f"{choice.intervals[-1]} counts as closed {settle:.0f} s after its end"
        if left > _NOT_WORTH_DEFERRING and self.deferrable:
            raise NotYetError(left, reason)
        if left > 0:
            hook.wait(left, reason)

    def _wait_in_triggerer(self, wait: float, reason: str, waits: int) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self.log.info("Waiting %.0f s in the triggerer: %s", wait, reason)
        moment = datetime.now(UTC) + timedelta(seconds=wait + 1)
        kwargs = {"waits": waits} if waits else None
        self.defer(trigger=DateTimeTrigger(moment=moment), method_name="execute_complete", kwargs=kwargs)
        raise AssertionError("defer raises")

    def on_kill(self) -> None:
        """Cancel what is waiting and queued."""
        if self._hook is not None:
            self._hook.close()

    # -- what is meant: everything here is checked before the first request ----------------------------------------

    def plan(self, context: Context) -> LoadPlan:
        """What the run must load or look at."""
        return resolve_plan(context, start=self.start, end=self.end, grain=self.grain)

    def target(self) -> tuple[str | None, str]:
        """Bucket and key template; no bucket where the AWS connection is to name one."""
        if "://" not in self.s3_key and not self.s3_bucket:
            bucket, key = None, self.s3_key
        else:
            bucket, key = split_url(self.s3_bucket, self.s3_key)
        _check_key(key)
        return bucket, key

    @property
    def known_dataset(self) -> Dataset:
        """The dataset that is named."""
        return dataset_of(self.dataset)

    def span(self) -> Span:
        """The longest window to be asked for."""
        from airflow_provider_binance_margin.exchange.paging import Span

        return Span(self.known_dataset.span_ms(seconds_or_none(self.max_span)))

    def identity(self) -> dict[str, str]:
        """What the identities of all the task's objects have in common."""
        account = checked_account(self.binance_conn_id if self.account is None else self.account)
        scope = str(scope_of(self.known_dataset, self.isolated_symbol, self.filters))
        return {"dataset": self.known_dataset.name, "account": account, "scope": scope}

    def summary(self, choice: LoadPlan, bucket: str) -> dict[str, Any]:
        """What the result says of the task itself."""
        bounds = {"start": iso(choice.intervals[0].start), "end": iso(choice.intervals[-1].end)}
        return {**bounds, "source": choice.source, **self.identity(), "bucket": bucket}

    def connect(self, bucket: str | None) -> tuple[BinanceHook, ObjectStore]:
        """The exchange, and the bucket, which is there."""
        from airflow_provider_binance_margin.hooks.binance import BinanceHook
        from airflow_provider_binance_margin.transfers.object_store import open_store

        hook = self._hook = BinanceHook(self.binance_conn_id)
        hook.max_connections = self.max_workers
        return hook, open_store(bucket, self.s3_extra_args, aws_conn_id=self.aws_conn_id, verify=self.verify)


def _check_key(key: str) -> None:
    check_template(key)
    if suffix_of(key) == ".parquet" and find_spec("pyarrow") is None:
        raise LayoutError(
            "the key ends in .parquet, which needs an extra: pip install 'airflow-provider-binance-margin[parquet]'"
        )
