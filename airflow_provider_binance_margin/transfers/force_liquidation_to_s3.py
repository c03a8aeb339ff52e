"""``GET /sapi/v1/margin/forceLiquidationRec`` to S3."""

from __future__ import annotations

from typing import ClassVar

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.transfers.records_to_s3 import RecordsToS3Operator


class ForceLiquidationToS3Operator(RecordsToS3Operator):
    """Load the account's forced liquidations of the run's interval to S3: every record once, exact, or the task fails.

    One object is written per run, or per `grain`. It appears whole or not at all, holds the same bytes whenever the
    same interval is loaded, and states in its metadata what it holds and what the exchange said there was. An object is
    never replaced by one with fewer records, nor by one of another dataset, account, scope or interval. One that must
    stay keeps no others away: they are loaded, then the task fails.

    Which interval: `start` and `end`; else the run's partition; else its data interval; else the windows of the asset
    events that triggered it; else, with a `grain`, the last whole grain. A run with none of these fails at once.

    An account with isolated pairs needs one mapped task per pair beside the one without ``isolated_symbol``.

    :param s3_bucket: the bucket; the AWS connection's own if neither this nor a full URL is given (templated)
    :param s3_key: the key, or a full ``s3://`` URL. ``{start}``, ``{end}`` (each may have a strftime format),
        ``{scope}``, ``{account}`` and ``{dataset}`` are filled; the suffix is the format: ``.jsonl``, ``.jsonl.gz``,
        ``.csv``, ``.csv.gz`` or ``.parquet`` (templated)
    :param start: explicit start of the interval, inclusive: datetime or ISO 8601, UTC if no zone is named (templated)
    :param end: explicit end, exclusive (templated)
    :param grain: the length of one object, in UTC: ``"hour"``, ``"day"`` or ``"month"``; None for one object per run
    :param isolated_symbol: the pair of one isolated margin account, e.g. ``BTCUSDT`` (templated)
    :param account: the account's name, part of each object's identity; the connection's id if not given (templated)
    :param on_empty: ``"write"`` an object without rows, write ``"none"``, or ``"skip"`` the task when the run is empty
    :param allow_shrink: whether an object may be replaced by one with fewer records (templated)
    :param require_total: whether only an answer that agrees with the exchange's own total is accepted; if not, two
        equal readings up to an empty page are, and the metadata say ``proof: pages``
    :param settle: how long after its end, by the exchange's clock, an interval counts as closed; timedelta or seconds
    :param max_span: the longest window asked of the exchange at once; longer ones are cut; timedelta or seconds
    :param replace: False leaves an existing object of the same identity alone and counts it as done
    :param max_workers: calls in flight at most; objects are finished four side by side
    :param emit_partitions: whether the outlets' events carry one partition key per grain (``2026-01``, ``2026-01-15``,
        ``2026-01-15T07``; Airflow 3.3). Such events do not wake DAGs that are scheduled plainly on the asset
    :param s3_extra_args: handed to S3 with each put: encryption, ACL, storage class. Templates in it are rendered where
        the task runs, and stored nowhere: the way for a customer key, which ``partial`` would put into the database
    :param binance_conn_id: the connection to the exchange (templated)
    :param aws_conn_id: the connection to S3; None for boto's own chain (templated)
    :param verify: as for `S3Hook`
    :param deferrable: whether to wait in the triggerer for an interval to settle and for a ban to end; Airflow's
        ``[operators] default_deferrable`` if not given
    """

    endpoint: ClassVar[Endpoint] = FORCE_LIQUIDATION
