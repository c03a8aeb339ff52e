"""Coverage as Airflow keeps it: in the state store of the lake's asset, or as an XCom where there is none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, BaseOperatorLink, conf

from airflow_provider_binance_margin.lake.coverage import SUBJECT, Audit, AuditedDays, CoverageError, merge

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

log = logging.getLogger(__name__)

#: first part of the keys in the state store, and the XCom's key
COVERAGE = "coverage"


class CoverageLink(BaseOperatorLink):
    """Opens the page, for roles to which the menu does not show plugins too."""

    name = "Coverage"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """The address."""
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
    names = [asset.name for asset in assets]
    values = [{**value, "asset": names} for value in audited.values(audit)]
    stores: Any = context.get("asset_state_store")
    if assets and stores is not None:
        try:
            for value in values:
                for asset in assets:
                    _store(stores[asset], value)
        except Exception as error:  # noqa: BLE001 - whatever a state store's backend raises
            log.warning("Coverage kept as an XCom, since the asset's state store refused it: %s", error)
        else:
            return
    if values:
        ti.xcom_push(COVERAGE, values)


def _store(store: Any, value: dict[str, Any]) -> None:
    key = "/".join([COVERAGE, *(str(value[name]) for name in (*SUBJECT, "year"))])
    known = store.get(key)
    try:
        merged = merge(known, value) if known else value
    except CoverageError:
        log.warning("Coverage under %s replaced: what is there was not written by an audit.", key)
        merged = value
    store.set(key, merged | {"asset": value["asset"]})
