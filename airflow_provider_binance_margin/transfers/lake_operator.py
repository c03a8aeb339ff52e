"""What every operator needs that works on a lake of objects: which interval, which keys, which connections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.lake.interval import GRAINS, Choice, Grain, resolve
from airflow_provider_binance_margin.lake.layout import (
    ACCOUNT,
    LayoutError,
    check_template,
    default_key,
    split_url,
    suffix_of,
)
from airflow_provider_binance_margin.lake.parquet import parquet_is_installed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_binance_margin.hooks.binance import BinanceHook
    from airflow_provider_binance_margin.transfers.object_store import ObjectStore

_MOST_WORKERS = 64
_HOUR = 3600.0


class LakeOperator(BaseOperator):
    """The parameters that say what of the exchange is meant and where its objects are; see the operators' own pages."""

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
        self._hook: BinanceHook | None = None
        self._check_options()

    def _check_options(self) -> None:
        """Refuse, while the DAG is parsed, what could never work; templates and other tasks' values come later."""
        if self.grain is not None and self.grain not in GRAINS:
            raise ValueError(f"grain must be one of {', '.join(GRAINS)} or None, not {self.grain!r}")
        if not 1 <= self.max_workers <= _MOST_WORKERS:
            raise ValueError(f"max_workers must be from 1 to {_MOST_WORKERS}, not {self.max_workers!r}")
        if seconds(self.max_span) < _HOUR:
            raise ValueError("max_span must be an hour or more")
        if isinstance(self.s3_key, str) and not any(mark in self.s3_key for mark in ("{{", "{%", "{#")):
            _check_key(self.s3_key)

    def on_kill(self) -> None:
        """Cancel what is waiting and queued."""
        if self._hook is not None:
            self._hook.close()

    # -- what is meant: everything here is checked before the first request ----------------------------------------

    def _choice(self, context: Context) -> Choice:
        return resolve(context, start=self.start, end=self.end, grain=self.grain)

    def _target(self) -> tuple[str | None, str]:
        """Bucket and key template; no bucket where the AWS connection is to name one."""
        if "://" not in self.s3_key and not self.s3_bucket:
            bucket, key = None, self.s3_key
        else:
            bucket, key = split_url(self.s3_bucket, self.s3_key)
        _check_key(key)
        return bucket, key

    def _scope(self) -> str:
        symbol = self.isolated_symbol
        if symbol is None:
            return ACCOUNT
        if not isinstance(symbol, str) or not symbol or set(symbol) & set(" /{}%&=?#\t\n"):
            raise LayoutError(f"isolated_symbol must be a pair such as BTCUSDT, or None: {symbol!r} is not")
        return symbol

    def _connect(self, bucket: str | None) -> tuple[BinanceHook, ObjectStore]:
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
    if suffix_of(key) == ".parquet" and not parquet_is_installed():
        raise LayoutError(
            "the key ends in .parquet, which needs an extra: pip install 'airflow-provider-binance-margin[parquet]'"
        )


def seconds(value: timedelta | float) -> float:
    """A length of time, given either way."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)
