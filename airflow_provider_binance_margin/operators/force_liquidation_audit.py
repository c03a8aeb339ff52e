"""Is the lake of forced liquidations complete?"""

from __future__ import annotations

from typing import ClassVar

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.operators.records_audit import RecordsAuditOperator


class ForceLiquidationAuditOperator(RecordsAuditOperator):
    """Walk a range of intervals and hold what the lake's objects state against the exchange's totals.

    Each interval costs one look at its object and one request of one row (several where it is longer than `max_span`).
    The result counts and lists (at most 100 of each) what is ``missing``, ``short`` of records, ``corrupt`` (of another
    size than it states, or, with `verify_content`, of other bytes) or
    ``foreign``; ``long`` objects hold more than the exchange states today, which is normal past the exchange's memory;
    a ``claim`` is an empty object that was fetched long after its interval's end: the exchange may have forgotten.
    ``gaps`` are the intervals to load again, for ``ForceLiquidationToS3Operator.partial(...).expand_kwargs(...)``.

    :param s3_bucket: as it was for loading (templated)
    :param s3_key: as it was for loading (templated)
    :param start: start of the range, inclusive; the run's interval if neither it nor `end` is given (templated)
    :param end: end of the range, exclusive (templated)
    :param grain: the length of one object, as it was for loading
    :param isolated_symbol: as it was for loading (templated)
    :param account: as it was for loading (templated)
    :param on_gap: ``"fail"`` the task when something is missing, short, corrupt or foreign, or only ``"report"`` it
    :param on_empty: as it was for loading: with ``"none"`` or ``"skip"``, an interval without records has no object
    :param verify_content: also read each object and hold its bytes against the checksum in its metadata
    :param fresh: an empty object fetched later than this after its interval's end is a claim; timedelta or seconds
    :param settle: how long after its end an interval counts as closed; timedelta or seconds
    :param max_span: the longest window asked of the exchange at once; timedelta or seconds
    :param max_workers: intervals looked at side by side
    :param s3_extra_args: of these, what a HEAD needs (customer keys, requester pays)
    :param binance_conn_id: the connection to the exchange (templated)
    :param aws_conn_id: the connection to S3; None for boto's own chain (templated)
    :param verify: as for `S3Hook`
    :param deferrable: whether to wait in the triggerer for an interval to settle and for a ban to end
    """

    endpoint: ClassVar[Endpoint] = FORCE_LIQUIDATION
