"""Coverage as the page shows it: what audits stored, with the loads since then, of the DAGs that a user may read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from itertools import islice, product
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import airflow
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dag import DagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import and_, select

from airflow_provider_binance_margin.coverage import COVERAGE
from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.lake.coverage import (
    Audit,
    Coverage,
    CoverageError,
    Key,
    Load,
    Subject,
    date_of,
    day_number,
)
from airflow_provider_binance_margin.lake.interval import DAY_MS, GRAINS, Interval, between, cut, iso, ms, parse, widen
from airflow_provider_binance_margin.lake.layout import LayoutError, render
from airflow_provider_binance_margin.lake.object_metadata import CROSS, ObjectIdentity

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

try:
    from airflow.models.asset_state_store import AssetStateStoreModel
except ImportError:  # before Airflow 3.3
    AssetStateStoreModel = None  # type: ignore[assignment,misc]

log = logging.getLogger(__name__)

#: XComs and events that are read at most, the newest of them
_MOST_XCOMS, _MOST_EVENTS, _MOST_LOADS = 500, 5000, 5
#: the operator whose results hold liquidations
_REPORT = "LiquidationReportOperator"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Years(NamedTuple):
    """Coverage by key, and how many values are hidden from this user, or kept elsewhere by a state store's backend."""

    by_key: dict[Key, Coverage]
    hidden: int = 0
    elsewhere: int = 0


def page_data(session: Session, readable: set[str], now: datetime) -> dict[str, Any]:
    """Data of the page, but for the details of a day, from the DAGs with the ids in `readable`."""
    years = _years(session, readable)
    lakes = _with_loads(session, years.by_key, readable)
    audits = [audit for year in years.by_key.values() if (audit := year.last_audit) and audit.dag_id in readable]
    loads = {audit.dag_id: audit.loads for audit in audits}
    paused = select(DagModel.dag_id, DagModel.is_paused).where(DagModel.dag_id.in_(loads)).order_by(DagModel.dag_id)
    return {
        "airflow": airflow.__version__,
        "store": AssetStateStoreModel is not None,
        "today": str(now.astimezone(UTC).date()),
        "hidden": years.hidden,
        "elsewhere": years.elsewhere,
        "dags": {dag: {"paused": bool(is_paused), "loads": loads[dag]} for dag, is_paused in session.execute(paused)},
        "lakes": [_shown(lakes[key]) for key in sorted(lakes, key=_place)],
        "liquidations": sorted(_liquidations(session, readable)),
    }


def _place(key: Key) -> tuple[int, str, bool, Key]:
    """Sort key: datasets in their own order, the cross account before pairs."""
    known = list(DATASETS)
    return known.index(key.dataset) if key.dataset in known else len(known), key.account, key.scope != CROSS, key


def _shown(year: Coverage) -> dict[str, Any]:
    audit, hidden = year.last_audit, ("v", "audits", "asset")
    shown = {name: part for name, part in year.value.items() if name not in hidden}
    return shown | ({"audited": iso(ms(audit.began)), "dag": audit.dag_id} if audit else {})


def day_data(session: Session, readable: set[str], key: Key, day: date) -> dict[str, Any] | None:
    """Audit, objects and loads of one day; None for a day that is not known to this user."""
    year, number = _years(session, readable, only=key).by_key.get(key), day_number(day)
    audit = year.audit_by_day().get(number) if year else None
    bounds = Interval(number * DAY_MS, (number + 1) * DAY_MS)
    events = (
        event
        for event in _events(session, year.asset if year else (), readable)
        if any(subject == key[:3] and loaded.overlaps(bounds) for subject, loaded in _loaded(event.extra))
    )
    loads = [
        _link(event.source_dag_id, event.source_run_id, event.source_task_id, event.source_map_index, event.timestamp)
        for event in islice(events, _MOST_LOADS)
    ]
    if audit is None and not loads:
        return None
    return {
        "audit": _link(*audit[1:5], audit.began) if audit and audit.dag_id in readable else None,
        "objects": _objects(audit, key, bounds) if audit else [],
        "loads": loads,
    }


def _link(dag_id: str, run_id: str, task_id: str, map_index: int | None, when: datetime) -> dict[str, Any]:
    index = -1 if map_index is None else map_index
    return {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": index, "when": iso(ms(when))}


def _objects(audit: Audit, key: Key, day: Interval) -> list[str]:
    """URLs of a day's objects; the key template where their intervals are not known."""
    grain: Any = audit.grain
    if grain not in GRAINS:
        return [audit.place]
    prefix, _, template = audit.place.removeprefix("s3://").partition("/")
    try:
        intervals = cut(widen(day, grain), grain)
        identities = (ObjectIdentity(key.dataset, interval, key.scope, key.account) for interval in intervals)
        return [f"s3://{prefix}/{render(template, identity)}" for identity in identities]
    except LayoutError:
        return [audit.place]


# -- audits ------------------------------------------------------------------------------------------------------------


def _years(session: Session, readable: set[str], only: Key | None = None) -> Years:
    """Audits of each year laid over each other, the newest on top."""
    found, hidden, elsewhere = [], 0, 0
    for value in _stored(session, only):
        if not isinstance(value, dict) or "days" not in value:
            elsewhere += 1
            continue
        try:
            found.append(Coverage.read(value))
        except CoverageError as error:
            log.warning("Coverage left out: %s", error)
    by_key: dict[Key, Coverage] = {}
    for year in sorted(found, key=attrgetter("last_audit")):
        if only not in (None, year.key):
            continue
        if readable.isdisjoint(span.audit.dag_id for span in year.audits):
            hidden += 1
        else:
            by_key[year.key] = by_key[year.key].merge(year) if year.key in by_key else year
    return Years(by_key, hidden, elsewhere)


def _stored(session: Session, only: Key | None) -> Iterator[Any]:
    if AssetStateStoreModel is not None:
        prefix = "/".join([COVERAGE, *map(str, only or ("",))])
        query = select(AssetStateStoreModel.value).where(AssetStateStoreModel.key.startswith(prefix, autoescape=True))
        yield from (json.loads(text) for text in session.scalars(query))
    xcoms = select(XComModel.value).where(XComModel.key == COVERAGE)
    for row in session.execute(xcoms.order_by(XComModel.timestamp.desc()).limit(_MOST_XCOMS)):
        values = XComModel.deserialize_value(row)
        yield from values if isinstance(values, list) else ()


# -- loads -------------------------------------------------------------------------------------------------------------


def _with_loads(session: Session, years: dict[Key, Coverage], readable: set[str]) -> dict[Key, Coverage]:
    """The same years, and others of their lakes, with what was loaded since their audits."""
    if not years:
        return years
    names = {name for year in years.values() for name in year.asset}
    began = min(audit.began for year in years.values() if (audit := year.last_audit))
    loads: dict[Key, list[Load]] = {}
    for event in _events(session, names, readable, began):
        for subject, (start, end) in _loaded(event.extra):
            for number in range(date_of(start // DAY_MS).year, date_of((end - 1) // DAY_MS).year + 1):
                loads.setdefault(Key(*subject, number), []).append(Load(start, end, event.timestamp))
    return years | {key: (years.get(key) or Coverage.of(key, {}, {})).lay_loads(found) for key, found in loads.items()}


def _events(session: Session, names: Iterable[str], readable: set[str], since: datetime = _NEVER) -> Iterable[Any]:
    """Events of assets, by readable DAGs, the newest first."""
    source = (
        AssetEvent.source_dag_id,
        AssetEvent.source_run_id,
        AssetEvent.source_task_id,
        AssetEvent.source_map_index,
    )
    assets = select(AssetModel.id).where(AssetModel.name.in_(sorted(names)))
    query = select(AssetEvent.extra, AssetEvent.timestamp, *source).where(
        AssetEvent.asset_id.in_(assets), AssetEvent.source_dag_id.in_(readable), AssetEvent.timestamp >= since
    )
    return session.execute(query.order_by(AssetEvent.timestamp.desc()).limit(_MOST_EVENTS))


def _loaded(extra: Any) -> Iterator[tuple[Subject, Interval]]:
    """Subjects and interval that an event names; none for another's event."""
    try:
        bounds = between(extra["start"], extra["end"])
        names = [extra[part] for part in Subject._fields]
        named = [[name] if isinstance(name, str) else list(map(str, name)) for name in names]
        if bounds and bounds.start < bounds.end:
            yield from ((Subject(*subject), bounds) for subject in product(*named))
    except (KeyError, TypeError, ValueError):
        return


# -- liquidations -----------------------------------------------------------------------------------------------------


def _liquidations(session: Session, readable: set[str]) -> set[tuple[str, str, str, str]]:
    """Account, scope, day and level of each event in the results of reports."""
    ours = [
        getattr(XComModel, name) == getattr(TaskInstance, name) for name in ("dag_id", "run_id", "task_id", "map_index")
    ]
    query = select(XComModel.value).join(TaskInstance, and_(*ours))
    query = query.where(
        XComModel.key == "return_value", TaskInstance.operator == _REPORT, XComModel.dag_id.in_(readable)
    )
    found = set()
    for row in session.execute(query.order_by(XComModel.timestamp.desc()).limit(_MOST_XCOMS)):
        result = XComModel.deserialize_value(row)
        try:
            for event in result.get("events", ()):
                day = iso(ms(parse(event["first_time"]) or _NEVER))[:10]
                found.add((str(result["account"]), str(event["scope"]), day, str(event["level"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("Report left out: %s", type(error).__name__)
    return found
