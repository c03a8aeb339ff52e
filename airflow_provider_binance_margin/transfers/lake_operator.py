"""Base of the operators that work on a lake of objects: interval, keys, connections and waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import Asset, BaseOperator, conf

from airflow_provider_binance_margin.exchange.errors import BinanceThrottledError
from airflow_provider_binance_margin.exchange.paging import Reader, Span
from airflow_provider_binance_margin.failures import KNOWN_ERRORS, task_error
from airflow_provider_binance_margin.lake.interval import Grain, iso
from airflow_provider_binance_margin.lake.layout import (
    DEFAULT_KEY,
    LayoutError,
    check_bucket,
    check_template,
    checked_account,
    suffix_of,
    target_of,
)
from airflow_provider_binance_margin.load_plan import LoadPlan, resolve_plan
from airflow_provider_binance_margin.options import check_windows, is_plain, name_map_index, seconds, seconds_or_none
from airflow_provider_binance_margin.retry_policy import default_retry_policy, obeys_policy
from airflow_provider_binance_margin.transfers.series import Series, SeriesList, check_series, series_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_binance_margin.hooks.binance import BinanceHook
    from airflow_provider_binance_margin.transfers.object_loader import OnEmpty
    from airflow_provider_binance_margin.transfers.object_store import ObjectStore

_MOST_WORKERS = 64
_NOT_WORTH_DEFERRING = 5.0
#: waits in the triggerer, one after the other, between which nothing was achieved
_MOST_WAITS = 3


class NotYetError(Exception):
    """The work cannot be done before some seconds have passed."""

    def __init__(self, retry_after: float, reason: str) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class BaseLakeOperator(BaseOperator):
    """Base of all operators of a lake: where its objects are, whose, and which of them.

    :param s3_bucket: the bucket; the AWS connection's own if neither this nor a full URL is given (templated)
    :param s3_key: the key, or a full ``s3://`` URL. ``{start}``, ``{end}`` (each may have a strftime format),
        ``{scope}``, ``{account}`` and ``{dataset}`` are filled; the suffix is the format: ``.jsonl``, ``.jsonl.gz``,
        ``.csv``, ``.csv.gz`` or ``.parquet`` (templated)
    :param start: explicit start of the interval, inclusive: datetime, date or ISO 8601, UTC without a zone (templated)
    :param end: explicit end, exclusive (templated)
    :param grain: the length of one object, in UTC: ``"hour"``, ``"day"`` or ``"month"``; None for one object per run
    :param isolated_symbol: the pair of one isolated margin account, e.g. ``BTCUSDT``, or a list of pairs in which None
        is the cross account; a dataset without pairs is then taken once (templated)
    :param account: the account's name, part of each object's identity; the connection's id if not given (templated)
    :param max_workers: requests in flight at most; four to eight objects are made side by side
    :param s3_extra_args: handed to S3 with each put: encryption, ACL, storage class; what a HEAD needs of them with
        each HEAD. Templates in it are rendered where the task runs, and stored nowhere: the way for a customer key,
        which ``partial`` would put into the database
    :param aws_conn_id: the connection to S3; None for boto's own chain (templated)
    :param verify: as for `S3Hook`
    """

    template_fields: Sequence[str] = (
        "s3_bucket",
        "s3_key",
        "start",
        "end",
        "isolated_symbol",
        "account",
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
        isolated_symbol: str | Sequence[str | None] | None = None,
        account: str | None = None,
        max_workers: int = 16,
        s3_extra_args: Mapping[str, Any] | None = None,
        aws_conn_id: str | None = "aws_default",
        verify: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_bucket = s3_bucket
        self.s3_key = s3_key if s3_key is not None else DEFAULT_KEY
        self.start = start
        self.end = end
        self.grain = grain
        self.isolated_symbol = isolated_symbol
        self.account = account
        self.max_workers = max_workers
        self.s3_extra_args = s3_extra_args
        self.aws_conn_id = aws_conn_id
        self.verify = verify
        if not 1 <= max_workers <= _MOST_WORKERS:
            raise ValueError(f"max_workers must be from 1 to {_MOST_WORKERS}, not {max_workers!r}")

    def check_place(self, *keys: Any) -> None:
        """Reject an invalid bucket or key when the DAG is parsed; templates are validated when rendered."""
        for key in keys:
            if isinstance(key, str) and is_plain(key):
                check_key(key)
        if isinstance(self.s3_bucket, str) and is_plain(self.s3_bucket):
            check_bucket(self.s3_bucket)

    def open_store(self, bucket: str | None) -> ObjectStore:
        """The store of a bucket, None for the connection's own; nothing is sent yet."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from airflow_provider_binance_margin.transfers.object_store import ObjectStore

        s3 = S3Hook(aws_conn_id=self.aws_conn_id, verify=self.verify)
        named = s3.service_config.get("bucket_name")  # looks the connection up, here rather than in a thread
        bucket = bucket or named
        if not bucket:
            raise LayoutError("no bucket: give s3_bucket, or a full s3:// URL as s3_key")
        return ObjectStore(s3, bucket, self.s3_extra_args or {})

    def tell_outlets(self, context: Context, extra: dict[str, Any]) -> list[Any]:
        """Add the result to the outlets' asset events and return these events."""
        events = [context["outlet_events"][outlet] for outlet in self.outlets if isinstance(outlet, Asset)]
        for event in events:
            event.extra = extra
        return events


class LakeOperator(BaseLakeOperator):
    """Base of the operators that load the lake's objects or audit them.

    Beside the parameters of `BaseLakeOperator`:

    :param dataset: the dataset's name, one of `exchange.datasets.DATASETS`, or a list of names (templated)
    :param filters: the endpoint's own further filters, e.g. ``{"asset": "BTC"}``; a part of the scope (templated)
    :param max_span: the longest window asked of the exchange at once, the dataset's own if not given or longer;
        timedelta or seconds
    :param binance_conn_id: the connection to the exchange (templated)
    :param on_empty: ``"write"`` an object without rows, write ``"none"``, or ``"skip"`` the task when the run is empty
    :param settle: how long after its end, by the exchange's clock, an interval counts as closed; timedelta or seconds
    :param deferrable: whether to wait in the triggerer for an interval to settle and for a ban to end; Airflow's
        ``[operators] default_deferrable`` if not given
    """

    template_fields: Sequence[str] = (*BaseLakeOperator.template_fields, "dataset", "filters", "binance_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"filters": "json"}

    def __init__(
        self,
        *,
        dataset: str | Sequence[str],
        filters: Mapping[str, str] | None = None,
        max_span: timedelta | float | None = None,
        binance_conn_id: str = "binance_default",
        on_empty: OnEmpty = "write",
        settle: timedelta | float = 60.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.filters = filters
        self.max_span = max_span
        self.binance_conn_id = binance_conn_id
        self.on_empty = on_empty
        self.settle = settle
        self.deferrable = deferrable
        self._hook: BinanceHook | None = None
        self._waits: int | None = None
        default_retry_policy(self)
        check_windows(grain=self.grain, settle=self.settle, max_span=self.max_span)
        if self.on_empty not in ("write", "none", "skip"):
            raise ValueError(f'on_empty must be "write", "none" or "skip", not {self.on_empty!r}')
        # a mapped task is made again where it runs, which checks what it was given, and fails for good
        if not getattr(self, "_BaseOperator__from_mapped", False):
            self._check_fields()

    def _check_fields(self) -> None:
        """Refuse, while the DAG is parsed, what could never work; templates and other tasks' values come later."""
        series = check_series(self.dataset, self.isolated_symbol, self.filters)
        self.check_place(self.s3_key)
        if isinstance(self.s3_key, str) and is_plain(self.s3_key):
            series.check_key(self.s3_key)
        account = self.binance_conn_id if self.account is None else self.account
        if is_plain(account):
            checked_account(account)

    # -- running and waiting ---------------------------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Do the task's work; wait for what has to be waited for here or, if deferrable, in the triggerer."""
        name_map_index(context)
        self.s3_extra_args = self.render_template(self.s3_extra_args, context)  # no template field, which is stored
        try:
            result = self.work(context)
        except (NotYetError, BinanceThrottledError) as error:
            waits = 0 if self._waits is None or self.has_progressed() else self._waits + 1
            if not self.deferrable or waits >= _MOST_WAITS:
                raise task_error(error, ban_is_final=not obeys_policy(self)) from None
            self._wait_in_triggerer(error.retry_after, str(error), waits)
        except KNOWN_ERRORS as error:
            raise task_error(error) from None
        return self.conclude(context, result)

    def has_progressed(self) -> bool:
        """True when this leg has achieved something that the next will not have to do again."""
        return False

    def work(self, context: Context) -> dict[str, Any]:
        """Do the task's work and return its result."""
        raise NotImplementedError

    def conclude(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        """Act on the result and return it."""
        raise NotImplementedError

    def execute_complete(self, context: Context, event: Any = None, waits: int = 0) -> Any:  # noqa: ARG002 - a moment
        """Restart after a deferral: the only state carried over is the number of waits without progress."""
        self._waits = waits
        return self.execute(context)

    def await_settled(self, hook: BinanceHook, plan: LoadPlan) -> None:
        """Return once the run's last interval counts as closed."""
        settle = seconds(self.settle)
        left = hook.unsettled(plan, settle)
        reason = f"{plan.intervals[-1]} counts as closed {settle:.0f} s after its end"
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

    # -- checked before the first request --------------------------------------------------------------------------

    def plan(self, context: Context) -> LoadPlan:
        """The intervals to load or to audit."""
        return resolve_plan(context, start=self.start, end=self.end, grain=self.grain)

    def target(self) -> tuple[str | None, str]:
        """Bucket and key template; no bucket where the AWS connection is to name one."""
        bucket, key = target_of(self.s3_bucket, self.s3_key)
        check_key(key)
        self.series().check_key(key)
        return bucket, key

    def series(self) -> SeriesList:
        """The datasets and scopes that are named."""
        return series_of(self.dataset, self.isolated_symbol, self.filters)

    def known_account(self) -> str:
        """The account's name."""
        return checked_account(self.binance_conn_id if self.account is None else self.account)

    def readers(self, hook: BinanceHook, series: SeriesList, **options: Any) -> dict[Series, Reader]:
        """A reader for each series; those of one dataset share what the exchange takes as its longest window."""
        longest = seconds_or_none(self.max_span)
        spans = {each.dataset.name: Span(each.dataset.span_ms(longest)) for each in series}
        return {each: hook.reader(each.dataset, each.scope, spans[each.dataset.name], **options) for each in series}

    def summary(self, plan: LoadPlan, bucket: str) -> dict[str, Any]:
        """The part of the result that is known beforehand."""
        bounds = {"start": iso(plan.intervals[0].start), "end": iso(plan.intervals[-1].end)}
        account = {"account": self.known_account()}
        return {**bounds, "source": plan.source, **self.series().summary(), **account, "bucket": bucket}

    def connect(self, bucket: str | None) -> tuple[BinanceHook, ObjectStore]:
        """The exchange and the bucket, neither of which is asked for anything yet."""
        from airflow_provider_binance_margin.hooks.binance import BinanceHook

        hook = self._hook = BinanceHook(self.binance_conn_id)
        hook.max_connections = self.max_workers
        return hook, self.open_store(bucket)


def check_key(key: str) -> None:
    """Refuse, by a LayoutError, a key that could never be filled, or not without a package that is missing."""
    check_template(key)
    if suffix_of(key) == ".parquet" and find_spec("pyarrow") is None:
        raise LayoutError(
            "the key ends in .parquet, which needs an extra: pip install 'airflow-provider-binance-margin[parquet]'"
        )
