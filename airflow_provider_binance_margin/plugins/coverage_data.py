"""Coverage as the page shows it: what audits stored, with the loads since then, of the DAGs that a user may read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from itertools import product
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
    SUBJECT,
    Audit,
    CoverageError,
    Load,
    audits_of,
    began_ms,
    date_of,
    day_number,
    encode,
    lay_loads,
    letters_of,
    merge,
)
from airflow_provider_binance_margin.lake.interval import (
    DAY_MS,
    GRAINS,
    Interval,
    between,
    cut,
    iso,
    ms,
    parse,
    utc,
    widen,
)
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


class Key(NamedTuple):
    """One value: a lake's year."""

    dataset: str
    account: str
    scope: str
    year: int


class Values(NamedTuple):
    """Valid values by key, and what was left out: hidden from this user, kept elsewhere by a state store's backend."""

    by_key: dict[Key, dict[str, Any]]
    hidden: int = 0
    elsewhere: int = 0


def page_data(session: Session, readable: set[str], now: datetime) -> dict[str, Any]:
    """All that the page draws but a day's details, of the DAGs with the ids in `readable`."""
    values = _values(session, readable)
    lakes = _with_loads(session, values.by_key, readable)
    dags = {
        audit.dag_id: audit.loads for _, audit in map(_last_audit, values.by_key.values()) if audit.dag_id in readable
    }
    paused = dict(session.execute(select(DagModel.dag_id, DagModel.is_paused).where(DagModel.dag_id.in_(dags))).all())
    return {
        "airflow": airflow.__version__,
        "store": AssetStateStoreModel is not None,
        "today": str(now.astimezone(UTC).date()),
        "hidden": values.hidden,
        "elsewhere": values.elsewhere,
        "dags": {dag: {"paused": bool(paused[dag]), "loads": dags[dag]} for dag in sorted(paused)},
        "lakes": [_shown(lakes[key]) for key in sorted(lakes, key=_place)],
        "liquidations": sorted(_liquidations(session, readable)),
    }


def _place(key: Key) -> tuple[int, str, bool, Key]:
    """Datasets in their own order, the cross account before pairs."""
    known = list(DATASETS)
    return known.index(key.dataset) if key.dataset in known else len(known), key.account, key.scope != CROSS, key


def day_data(session: Session, readable: set[str], key: Key, day: date) -> dict[str, Any] | None:
    """A day's audit, objects and loads; None for a day that is not known to this user."""
    value = _values(session, readable, only=key).by_key.get(key)
    number = day_number(day)
    audit = next((a for first, last, a in audits_of(value) if first <= number <= last), None) if value else None
    bounds = Interval(number * DAY_MS, (number + 1) * DAY_MS)
    events = (
        event
        for event in _events(session, _assets(value or {}), readable)
        if any(told[:3] == key[:3] and told[3].overlaps(bounds) for told in _told(event.extra))
    )
    loads = [
        _link(event.source_dag_id, event.source_run_id, event.source_task_id, event.source_map_index)
        | {"when": iso(ms(event.timestamp))}
        for event, _ in zip(events, range(_MOST_LOADS), strict=False)
    ]
    if audit is None and not loads:
        return None
    return {
        "audit": audit and _link(*audit[1:5]) | {"when": audit.began} if audit and audit.dag_id in readable else None,
        "objects": _objects(audit, key, bounds) if audit else [],
        "loads": loads,
    }


def _link(dag_id: str | None, run_id: str | None, task_id: str | None, map_index: int | None) -> dict[str, Any]:
    return {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": -1 if map_index is None else map_index}


def _objects(audit: Audit, key: Key, day: Interval) -> list[str]:
    """URLs of a day's objects; the template where nobody knows their intervals."""
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


# -- values -----------------------------------------------------------------------------------------------------------


def _values(session: Session, readable: set[str], only: Key | None = None) -> Values:
    """Each year's audits laid over each other, the newest on top."""
    found, hidden, elsewhere = [], 0, 0
    for value in _stored(session, only):
        if not isinstance(value, dict) or "days" not in value:
            elsewhere += 1
            continue
        try:
            dataset, account, scope = (str(value[name]) for name in SUBJECT)
            key = Key(dataset, account, scope, int(value["year"]))
            began, _ = _last_audit(value)
            letters_of(value)
            if only in (None, key):
                found.append((began, key, value))
        except (CoverageError, KeyError, TypeError, ValueError) as error:
            log.warning("Coverage left out: %s", error)
    by_key: dict[Key, dict[str, Any]] = {}
    for _, key, value in sorted(found, key=lambda each: each[0]):
        if readable.isdisjoint(audit.dag_id for _, _, audit in audits_of(value)):
            hidden += 1
        else:
            by_key[key] = merge(by_key[key], value) | {"asset": value.get("asset")} if key in by_key else value
    return Values(by_key, hidden, elsewhere)


def _stored(session: Session, only: Key | None) -> Iterator[Any]:
    if AssetStateStoreModel is not None:
        prefix = "/".join([COVERAGE, *map(str, only or ("",))])
        query = select(AssetStateStoreModel.value).where(AssetStateStoreModel.key.startswith(prefix, autoescape=True))
        yield from (json.loads(text) for text in session.scalars(query))
    xcoms = select(XComModel.value).where(XComModel.key == COVERAGE)
    for row in session.execute(xcoms.order_by(XComModel.timestamp.desc()).limit(_MOST_XCOMS)):
        values = XComModel.deserialize_value(row)
        yield from values if isinstance(values, list) else ()


def _last_audit(value: Mapping[str, Any]) -> tuple[int, Audit]:
    audits = [audit for _, _, audit in audits_of(value)]
    if not audits:
        raise CoverageError("no coverage: it has no audit")
    return max((began_ms(audit), audit) for audit in audits)


def _shown(value: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value[name] for name in (*SUBJECT, "year", "days", "records", "totals")}
    if not value["audits"]:
        return shown
    began, audit = _last_audit(value)
    return shown | {"audited": iso(began), "dag": audit.dag_id}


# -- events -----------------------------------------------------------------------------------------------------------


def _with_loads(session: Session, values: dict[Key, dict[str, Any]], readable: set[str]) -> dict[Key, dict[str, Any]]:
    """The values, with what was loaded since."""
    if not values:
        return values
    names = {name for value in values.values() for name in _assets(value)}
    began = min(_last_audit(value)[0] for value in values.values())
    loads: dict[Key, list[Load]] = {}
    for event in _events(session, names, readable, utc(began)):
        for key, load in _loads(event.extra, ms(event.timestamp)):
            loads.setdefault(key, []).append(load)
    laid = {
        key: lay_loads(values.get(key) or encode(key._asdict(), key.year, {}, ()), found)
        for key, found in loads.items()
    }
    return values | laid


def _assets(value: Mapping[str, Any]) -> list[str]:
    names = value.get("asset")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _events(session: Session, names: Iterable[str], readable: set[str], since: datetime | None = None) -> Iterable[Any]:
    """Events of assets, by readable DAGs, the newest first."""
    columns = (
        *(AssetEvent.extra, AssetEvent.timestamp, AssetEvent.source_dag_id, AssetEvent.source_run_id),
        *(AssetEvent.source_task_id, AssetEvent.source_map_index),
    )
    assets = select(AssetModel.id).where(AssetModel.name.in_(sorted(names)))
    query = select(*columns).where(AssetEvent.asset_id.in_(assets))
    if since is not None:
        query = query.where(AssetEvent.timestamp >= since)
    rows = session.execute(query.order_by(AssetEvent.timestamp.desc()).limit(_MOST_EVENTS))
    return (row for row in rows if row.source_dag_id in readable)


def _loads(extra: Any, when: int) -> Iterator[tuple[Key, Load]]:
    """Loads that an event tells of, a year at a time; none for another's event."""
    for dataset, account, scope, bounds in _told(extra):
        days = bounds.days()
        for year in range(date_of(days[0]).year, date_of(days[-1]).year + 1):
            yield Key(dataset, account, scope, year), Load(bounds.start, bounds.end, when)


def _told(extra: Any) -> Iterator[tuple[str, str, str, Interval]]:
    """Datasets, accounts, scopes and the interval that an event names."""
    try:
        bounds = between(extra["start"], extra["end"])
        named = [[name] if isinstance(name, str) else list(map(str, name)) for name in (extra[n] for n in SUBJECT)]
        if bounds and bounds.start < bounds.end:
            for dataset, account, scope in product(*named):
                yield dataset, account, scope, bounds
    except (KeyError, TypeError, ValueError):
        return


# -- liquidations -----------------------------------------------------------------------------------------------------


def _liquidations(session: Session, readable: set[str]) -> set[tuple[str, str, str, str]]:
    """Account, scope, day and level of each event in the results of reports."""
    ours = [
        getattr(XComModel, name) == getattr(TaskInstance, name) for name in ("dag_id", "run_id", "task_id", "map_index")
    ]
    query = select(XComModel.value, XComModel.dag_id).join(TaskInstance, and_(*ours))
    query = query.where(XComModel.key == "return_value", TaskInstance.operator == _REPORT)
    found = set()
    for row in session.execute(query.order_by(XComModel.timestamp.desc()).limit(_MOST_XCOMS)):
        result = XComModel.deserialize_value(row) if row.dag_id in readable else {}
        try:
            for event in result.get("events", ()):
                day = iso(ms(parse(event["first_time"]) or _NEVER))[:10]
                found.add((str(result["account"]), str(event["scope"]), day, str(event["level"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("Report left out: %s", type(error).__name__)
    return found
