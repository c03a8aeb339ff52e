"""Whole intervals of an endpoint to S3: what every such operator does, whatever the endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from posixpath import commonpath
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from airflow.providers.common.compat.sdk import AirflowSkipException, Asset, BaseOperator, BaseOperatorLink

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.failures import in_airflow_terms
from airflow_provider_binance_margin.lake.interval import GRAINS, Choice, Grain, iso, resolve
from airflow_provider_binance_margin.lake.layout import (
    ACCOUNT,
    LayoutError,
    check_template,
    default_key,
    split_url,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskInstanceKey

    from airflow_provider_binance_margin.hooks.binance import BinanceHook
    from airflow_provider_binance_margin.lake.proof import Run
    from airflow_provider_binance_margin.transfers.loader import OnEmpty
    from airflow_provider_binance_margin.transfers.object_store import ObjectStore

_MOST_WORKERS = 64
_HOUR = 3600.0


class S3ConsoleLink(BaseOperatorLink):
    """Opens what the task wrote in the S3 console."""

    name = "S3 object"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """The address; empty before anything was written."""
        return str(getattr(operator, "console_url", ""))


class RecordsToS3Operator(BaseOperator):
    """Load all records of the run's interval from an endpoint to S3: each once, exact, or the task fails.

    Subclasses name the endpoint; `ForceLiquidationToS3Operator` describes the parameters.
    """

    endpoint: ClassVar[Endpoint]

    template_fields: Sequence[str] = (
        "s3_bucket",
        "s3_key",
        "start",
        "end",
        "isolated_symbol",
        "allow_shrink",
        "binance_conn_id",
        "aws_conn_id",
    )
    operator_extra_links = (S3ConsoleLink(),)
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
        on_empty: OnEmpty = "write",
        allow_shrink: bool | str = False,
        require_total: bool = True,
        settle: timedelta | float = 60.0,
        max_span: timedelta | float = timedelta(days=7),
        replace: bool = True,
        max_workers: int = 16,
        s3_extra_args: Mapping[str, Any] | None = None,
        binance_conn_id: str = "binance_default",
        aws_conn_id: str | None = "aws_default",
        verify: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_bucket = s3_bucket
        self.s3_key = s3_key if s3_key is not None else default_key(self.endpoint.name)
        self.start = start
        self.end = end
        self.grain = grain
        self.isolated_symbol = isolated_symbol
        self.on_empty = on_empty
        self.allow_shrink = allow_shrink
        self.require_total = require_total
        self.settle = settle
        self.max_span = max_span
        self.replace = replace
        self.max_workers = max_workers
        self.s3_extra_args = s3_extra_args
        self.binance_conn_id = binance_conn_id
        self.aws_conn_id = aws_conn_id
        self.verify = verify
        self.console_url = ""
        self._hook: BinanceHook | None = None
        _check_options(self)

    # -- Airflow's side --------------------------------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        """Load the run's interval and return the small result: counts, bounds and at most 100 keys."""
        with in_airflow_terms():
            choice = resolve(context, start=self.start, end=self.end, grain=self.grain)
            bucket, template = self._target()
            scope = self._scope()
            for interval in choice.intervals:
                self.log.info("Loading %s, scope %s, from %s.", interval, scope, choice.source)
            result = self._load(choice, bucket, template, scope, _run_of(context))
        self.log.info("Loaded: %s", {name: value for name, value in result.items() if name != "keys"})
        if not result["records"] and self.on_empty == "skip":
            raise AirflowSkipException(f"There are no records from {result['start']} to {result['end']}.")
        self._tell_outlets(context, result)
        return result

    def on_kill(self) -> None:
        """Cancel what is waiting and queued."""
        if self._hook is not None:
            self._hook.close()

    def _tell_outlets(self, context: Context, result: Mapping[str, Any]) -> None:
        summary = {name: value for name, value in result.items() if name != "keys"}
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = summary

    # -- what is to be done ----------------------------------------------------------------------------------------

    def _target(self) -> tuple[str | None, str]:
        if "://" not in self.s3_key and not self.s3_bucket:
            bucket, key = None, self.s3_key  # the connection may name one
        else:
            bucket, key = split_url(self.s3_bucket, self.s3_key)
        check_template(key)
        return bucket, key

    def _scope(self) -> str:
        symbol = self.isolated_symbol
        if symbol is None:
            return ACCOUNT
        if not isinstance(symbol, str) or not symbol or set(symbol) & set(" /{}%&=?#\t\n"):
            raise LayoutError(f"isolated_symbol must be a pair such as BTCUSDT, or None: {symbol!r} is not")
        return symbol

    # -- doing it --------------------------------------------------------------------------------------------------

    def _load(self, choice: Choice, bucket: str | None, template: str, scope: str, run: Run) -> dict[str, Any]:
        from airflow_provider_binance_margin.exchange.paging import Span
        from airflow_provider_binance_margin.hooks.binance import BinanceHook
        from airflow_provider_binance_margin.transfers.load import OBJECTS_AT_ONCE, Tally, await_settled, jobs_of, pools
        from airflow_provider_binance_margin.transfers.loader import Loader, Rules
        from airflow_provider_binance_margin.transfers.side_by_side import pages_side_by_side, side_by_side

        rules = Rules(run, _seconds(self.settle), self.on_empty, _is_true(self.allow_shrink), self.replace)
        hook = self._hook = BinanceHook(self.binance_conn_id)
        hook.max_connections = self.max_workers
        store = self._store(bucket)
        with pools(hook, self.max_workers) as (calls, objects):
            await_settled(hook, choice, rules.settle)
            reader = hook.reader(
                self.endpoint,
                Span(int(_seconds(self.max_span) * 1000)),
                isolated_symbol=self.isolated_symbol,
                require_total=self.require_total,
                fetch_pages=pages_side_by_side(calls, self.max_workers),
            )
            loader = Loader(hook=hook, endpoint=self.endpoint, reader=reader, store=store, choice=choice, rules=rules)
            tally = Tally(sum(1 for _ in choice.objects()))
            jobs = jobs_of(self.endpoint, choice, template, scope)
            for made in side_by_side(objects, OBJECTS_AT_ONCE, loader.make, jobs):
                tally.add(made)
        self.console_url = _console_url(store.bucket, tally.keys)
        return {
            "start": iso(choice.intervals[0].start),
            "end": iso(choice.intervals[-1].end),
            "source": choice.source,
        } | (tally.result())

    def _store(self, bucket: str | None) -> ObjectStore:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from airflow_provider_binance_margin.transfers.object_store import ObjectStore

        hook = S3Hook(aws_conn_id=self.aws_conn_id, verify=self.verify)
        bucket = bucket or hook.service_config.get("bucket_name")
        if not bucket:
            raise LayoutError("no bucket: give s3_bucket, or a full s3:// URL as s3_key")
        return ObjectStore(hook, bucket, self.s3_extra_args or {})


def _check_options(task: RecordsToS3Operator) -> None:
    """Refuse, while the DAG is parsed, what could never work. Templates and values of other tasks are not known yet."""
    if task.grain is not None and task.grain not in GRAINS:
        raise ValueError(f"grain must be one of {', '.join(GRAINS)} or None, not {task.grain!r}")
    if task.on_empty not in ("write", "none", "skip"):
        raise ValueError(f'on_empty must be "write", "none" or "skip", not {task.on_empty!r}')
    if not 1 <= task.max_workers <= _MOST_WORKERS:
        raise ValueError(f"max_workers must be from 1 to {_MOST_WORKERS}, not {task.max_workers!r}")
    if _seconds(task.settle) < 0:
        raise ValueError("settle must not be negative")
    if _seconds(task.max_span) < _HOUR:
        raise ValueError("max_span must be an hour or more")
    if isinstance(task.s3_key, str) and not any(mark in task.s3_key for mark in ("{{", "{%", "{#")):
        check_template(task.s3_key)


def _run_of(context: Context) -> Run:
    """What identifies this attempt to load; before Airflow 3.3 a run has no number of clears to tell."""
    from airflow_provider_binance_margin.lake.proof import Run

    number = getattr(context.get("dag_run"), "clear_number", None)
    return Run(str(context.get("run_id", "")), number if isinstance(number, int) else None)


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _is_true(value: bool | str) -> bool:  # noqa: FBT001 - a template renders to text
    """An option that may have been rendered from a template."""
    text = str(value).strip().lower()
    if text not in ("true", "false", "1", "0", "none", ""):
        raise LayoutError(f"allow_shrink must be true or false, not {value!r}")
    return text in ("true", "1")


def _console_url(bucket: str, keys: Sequence[str]) -> str:
    """Where the S3 console shows one object, or the folder that holds several."""
    base = "https://console.aws.amazon.com/s3"
    if len(keys) == 1:
        return f"{base}/object/{quote(bucket)}?prefix={quote(keys[0])}"
    folders = [key.rpartition("/")[0] for key in keys]
    folder = commonpath(folders) if folders and all(folders) else ""
    return f"{base}/buckets/{quote(bucket)}" + (f"?prefix={quote(folder)}/" if folder else "")
