"""Coverage as Airflow keeps it: in the state store of the lake's asset, or as an XCom where there is none."""

from __future__ import annotations

import logging
from itertools import product
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, BaseOperatorLink, conf
from msgspec.structs import replace

from airflow_provider_binance_margin.lake.coverage import Audit, AuditedDays, Coverage, CoverageError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

log = logging.getLogger(__name__)

#: first part of the keys in the state store, and the XCom's key
COVERAGE = "coverage"


class CoverageLink(BaseOperatorLink):
    """Link to the page, for roles whose menu does not show plugins too."""

    name = "Coverage"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Build the page's URL."""
        return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/binance-margin/page"


def record(context: Context, task: BaseOperator, audited: AuditedDays, place: tuple[str, str]) -> None:
    """Store what an audit found, for the page: each day's verdict stands until the day is audited again.

    Since Airflow 3.3 an asset among the task's inlets has a state store, which holds one value a year, of one writer at
    a time. A store that refuses does not fail the audit: an XCom holds its days.

    :param place: ``s3://`` URL of the objects, a key template, and their grain
    """
    ti = context["ti"]
    assets = [inlet for inlet in task.inlets if isinstance(inlet, Asset)]
    loads = {"start", "end"} <= set(context.get("params") or ())
    map_index = -1 if ti.map_index is None else ti.map_index
    audit = Audit(audited.began, ti.dag_id, ti.run_id, ti.task_id, map_index, loads, *place)
    years = [replace(year, asset=[asset.name for asset in assets]) for year in audited.years(audit)]
    stores: Any = context.get("asset_state_store")
    if assets and stores is not None:
        try:
            for year, asset in product(years, assets):
                _store(stores[asset], year)
        except Exception as error:  # noqa: BLE001 - whatever a state store's backend raises
            log.warning("Coverage kept as an XCom, since the asset's state store refused it: %s", error)
        else:
            return
    if years:
        ti.xcom_push(COVERAGE, [year.value for year in years])


def _store(store: Any, year: Coverage) -> None:
    key = "/".join([COVERAGE, *map(str, year.key)])
    if known := store.get(key):
        try:
            year = Coverage.read(known).merge(year)
        except CoverageError:
            log.warning("Coverage under %s replaced: the stored value was not written by an audit.", key)
    store.set(key, year.value)
