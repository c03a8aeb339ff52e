"""Application behind the page. It writes nothing, and each answer with data asks for Airflow's rights first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_asset
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from airflow_provider_binance_margin.lake.coverage import Key
from airflow_provider_binance_margin.plugins.coverage_data import day_data, page_data

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_FILES = Path(__file__).parent / "page"
_HEADERS = {
    # nothing from elsewhere, no inline script or style, framed by Airflow's UI alone
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_Name = Annotated[str, Query(max_length=250)]


@cache
def create_app() -> FastAPI:
    """Create the application, one a process."""
    app = FastAPI(title="Binance margin", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_harden)
    rights = [Depends(requires_access_asset("GET"))]
    app.get("/page", dependencies=rights)(lambda: FileResponse(_FILES / "page.html"))
    app.get("/coverage", dependencies=rights)(_coverage)
    app.get("/day", dependencies=rights)(_day)
    for file in _FILES.iterdir():
        if file.suffix != ".html":
            app.get(f"/{file.name}")(_static(file))
    return app


async def _harden(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _static(file: Path) -> Callable[[], Response]:
    return lambda: FileResponse(file, headers={"Cache-Control": "no-cache"})


def _coverage(user: GetUserDep) -> Response:
    with _readable(user) as (session, readable):
        data = page_data(session, readable, datetime.now(UTC))
        for dag_id, dag in data["dags"].items():
            dag["may_load"] = _may_trigger(session, user, dag_id)
    return JSONResponse(data)


def _day(user: GetUserDep, dataset: _Name, account: _Name, scope: _Name, day: date) -> Response:
    with _readable(user) as (session, readable):
        data = day_data(session, readable, Key(dataset, account, scope, day.year), day)
    if data is None:
        raise HTTPException(404, "Nothing is known of this day")
    return JSONResponse(data)


@contextmanager
def _readable(user: Any) -> Iterator[tuple[Session, set[str]]]:
    """Open a session; yield it with the ids of the DAGs that the user may read."""
    with create_session() as session:
        yield session, set(get_auth_manager().get_authorized_dag_ids(user=user, session=session))


def _may_trigger(session: Session, user: Any, dag_id: str) -> bool:
    """Check the right to start a run as the public API does; DAGs have teams since Airflow 3.2."""
    named = hasattr(DagModel, "get_team_name")
    team = {"team_name": DagModel.get_team_name(dag_id, session=session)} if named else {}
    return get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id, **team), user=user
    )
