"""Triggers of forced liquidations."""

from __future__ import annotations

from typing import ClassVar

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.triggers.records import RecordsTrigger
from airflow_provider_binance_margin.triggers.records_event import RecordsEventTrigger


class ForceLiquidationTrigger(RecordsTrigger):
    """Fires when forced liquidations have appeared in a window: what `ForceLiquidationSensor` defers to."""

    endpoint: ClassVar[Endpoint] = FORCE_LIQUIDATION


class ForceLiquidationEventTrigger(RecordsEventTrigger):
    """For an `AssetWatcher`: wakes a DAG within one poll of a new forced liquidation.

    Its event carries the half-open window to load, which `ForceLiquidationToS3Operator` takes as its interval (with
    ``settle=0`` and no grain, into a prefix of its own), and the number of records in it. Every record is announced at
    least once: windows reach an hour back before the record announced last, so that late-comers and records of one
    millisecond are not lost. What was announced is kept in the asset's state (Airflow 3.3), so that a restart of the
    triggerer neither repeats nor misses; what appeared meanwhile is caught up. A first start announces nothing old,
    unless `since` asks for it.

    :param binance_conn_id: the connection
    :param isolated_symbol: the pair of one isolated margin account
    :param poll_interval: seconds between polls; one request of one row each, shared by all triggers of the same
        connection and pair
    :param since: announce what has appeared since then, at the first start: datetime or ISO 8601 text
    :param name: tells triggers apart that watch for several assets with the same options: give each its own
    :param max_span: seconds; the longest window asked of the exchange at once
    """

    endpoint: ClassVar[Endpoint] = FORCE_LIQUIDATION
