"""Sensor of forced liquidations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.sensors.records import RecordsSensor

if TYPE_CHECKING:
    from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationTrigger


class ForceLiquidationSensor(RecordsSensor):
    """Wait until forced liquidations of the account have appeared in a window.

    The window is the run's interval (chosen as by `ForceLiquidationToS3Operator`), `start` to `end`, or with `start`
    alone from there on. Each poke is one request of one row. A window that has ended and settled with too few records
    ends the wait at once, by `on_empty`. What may pass (network, 5xx, 429, a ban) is logged and tried again, a ban not
    before its end; what cannot (a rejected key) fails the task without retries, under `soft_fail` and `never_fail` too.
    Poke, reschedule and deferrable behave alike. Returns ``{"total", "newest", "start", "end", "binance_conn_id",
    "isolated_symbol"}``: the exchange's total and the newest row of what was asked.

    :param start: start of the window, inclusive: datetime or ISO 8601, UTC if no zone is named (templated)
    :param end: its end, exclusive (templated)
    :param grain: for runs with an interval of no length: the last whole hour, day or month is watched
    :param isolated_symbol: the pair of one isolated margin account, e.g. ``BTCUSDT`` (templated)
    :param min_records: how many records must have appeared
    :param on_empty: what a closed window with too few records means: ``"skip"``, ``"fail"`` or ``"pass"``
    :param settle: how long after its end, by the exchange's clock, a window counts as closed; timedelta or seconds
    :param max_span: the longest window asked of the exchange at once; timedelta or seconds
    :param binance_conn_id: the connection to the exchange (templated)
    :param deferrable: whether to wait in the triggerer; Airflow's ``[operators] default_deferrable`` if not given
    """

    endpoint: ClassVar[Endpoint] = FORCE_LIQUIDATION

    def _trigger(self, **options: Any) -> ForceLiquidationTrigger:
        from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationTrigger

        return ForceLiquidationTrigger(**options)
