"""What the page is told: the audits' days, what was loaded since, and only what its reader may see."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest
from versions import has, needs

from airflow_provider_binance_margin.lake.coverage import (
    LETTERS,
    Audit,
    Coverage,
    Day,
    Key,
    date_of,
    day_number,
    years_of,
)

COOKIES = needs("airflow.api_fastapi.auth.managers.base_auth_manager.COOKIE_NAME_JWT_TOKEN")
STORE = has("airflow.models.asset_state_store")
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
AUDIT = Audit(datetime(2026, 11, 27, 2, tzinfo=UTC), "audits", "run", "audit", -1)._replace(
    loads=True, place="s3://lake/{start:%Y-%m-%d}.csv", grain="day"
)
LAKE = {"dataset": "interest", "account": "main", "scope": "cross"}
DAY = timedelta(days=1)
PAIR = "币安人生USDT"


@pytest.fixture(scope="module")
def tables():
    """Airflow's tables, in memory."""
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    import_all_models()
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(tables):
    from sqlalchemy.orm import Session

    with tables.connect() as connection, connection.begin() as transaction:
        with Session(bind=connection) as session:
            yield session
        transaction.rollback()


@pytest.fixture
def lake(session):
    """An Airflow that knows an asset, and two DAGs."""
    from airflow.models.asset import AssetModel
    from airflow.models.dag import DagModel

    asset = AssetModel(name="lake", uri="s3://lake/", group="asset")
    session.add(asset)
    session.flush()
    for dag_id, paused in (("audits", False), ("secret", True)):
        _insert(session, DagModel, dag_id=dag_id, is_paused=paused)
    return Lake(session, asset.id)


def _insert(session, model, **values):
    """A row by its table, with a one for whatever else some version needs."""
    needed = [column for column in model.__table__.columns if not column.nullable and column.default is None]
    ones = {
        each.name: "b" if each.type.python_type is str else each.type.python_type(1)
        for each in needed
        if each.name not in values
    }
    session.execute(model.__table__.insert().values({**ones, **values}))


class Lake:
    """What tasks have told an Airflow."""

    def __init__(self, session, asset):
        self.session, self.asset, self.runs = session, asset, 0

    def store(self, days, audit=AUDIT, **subject):
        for year in years_of(days, audit, *{**LAKE, **subject}.values()):
            self.put(year.value | {"asset": ["lake"]})

    def put(self, value, key=None):
        """As a state store has it; an XCom where there is none."""
        if not STORE:
            return self.push("coverage", [value])
        from airflow.models.asset_state_store import AssetStateStoreModel

        names = ("dataset", "account", "scope", "year")
        key = key or "/".join(["coverage", *(str(value[name]) for name in names)])
        row = AssetStateStoreModel(asset_id=self.asset, key=key, value=json.dumps(value))
        self.session.merge(row)
        self.session.flush()
        return None

    def push(self, key, value, dag_id="audits", when=NOW):
        from airflow.models.xcom import XComModel

        self.runs += 1
        row = {"dag_run_id": self.runs, "task_id": "t", "map_index": -1, "key": key, "dag_id": dag_id}
        _insert(self.session, XComModel, **row, run_id=str(self.runs), value=value, timestamp=when)

    def report(self, result, dag_id="audits", operator="LiquidationReportOperator", when=NOW):
        """What a task returned."""
        from airflow.models.taskinstance import TaskInstance

        self.push("return_value", result, dag_id, when)
        row = {"dag_id": dag_id, "run_id": str(self.runs), "task_id": "t", "map_index": -1, "operator": operator}
        _insert(self.session, TaskInstance, **row, executor_config={}, dag_version_id=None)

    def tell(self, first, days, when=NOW, dag_id="audits", **more):
        """An event as a load sends it."""
        from airflow.models.asset import AssetEvent

        bounds = {"start": f"{first}T00:00:00Z", "end": f"{first + days * DAY}T00:00:00Z"}
        source = {"source_dag_id": dag_id, "source_run_id": "load", "source_task_id": "load", "source_map_index": 2}
        event = AssetEvent(asset_id=self.asset, extra={**LAKE, **bounds, **more}, timestamp=when, **source)
        self.session.add(event)
        self.session.flush()

    def page(self, readable=("audits",)):
        from airflow_provider_binance_margin.plugins.coverage_data import page_data

        return page_data(self.session, set(readable), NOW)

    def days(self, **more):
        return days_of(self.page(**more))

    def day(self, day, readable=("audits",), **subject):
        from airflow_provider_binance_margin.plugins.coverage_data import day_data

        return day_data(self.session, set(readable), Key(*{**LAKE, **subject}.values(), day.year), day)


def days_of(page):
    """The page's days by date, as its script reads them."""
    years = msgspec.convert([{"audits": [], **value} for value in page["lakes"]], list[Coverage])
    return {str(date_of(n)): day for year in years for n, day in year.by_day().items()}


def number(text):
    return day_number(date.fromisoformat(text))


def test_an_airflow_without_audits_has_an_empty_page(lake):
    page = lake.page()

    assert (page["lakes"], page["hidden"], page["elsewhere"], page["dags"]) == ([], 0, 0, {})
    assert page["store"] == STORE


def test_the_page_has_what_was_stored(lake):
    """Over years; with the time of the last audit, and what its DAG can do."""
    days = {number("2025-12-31"): Day("c", 5, 5), number("2026-01-01"): Day("m", 0, 7)}
    lake.store(days)

    page = lake.page()

    assert days_of(page) == {"2025-12-31": Day("c", 5, 5), "2026-01-01": Day("m", 0, 7)}
    assert {(value["audited"], value["dag"]) for value in page["lakes"]} == {("2026-11-27T02:00:00Z", "audits")}
    assert page["dags"] == {"audits": {"paused": False, "loads": True}}


def test_datasets_come_in_their_own_order(lake):
    """And the cross account before pairs."""
    for dataset, scope in (("transfer", "cross"), ("interest", "BTCUSDT"), ("unheard", "cross"), ("interest", "cross")):
        lake.store({number("2026-01-01"): Day("e")}, dataset=dataset, scope=scope)

    found = [(value["dataset"], value["scope"]) for value in lake.page()["lakes"]]

    assert found == [("interest", "cross"), ("interest", "BTCUSDT"), ("transfer", "cross"), ("unheard", "cross")]


@pytest.mark.parametrize("letter", ["m", "s", "x", "u"])
def test_what_was_loaded_since_is_laid_over(lake, letter):
    """As far as it was not proved before, or after an audit found it open again."""
    found = {number(f"2026-01-0{n}"): Day(letter, 0, 1) for n in (1, 2, 4, 5)} | {number("2026-01-03"): Day("c", 3, 3)}
    lake.store(found)
    lake.tell(date(2026, 1, 2), 3)
    lake.tell(date(2026, 1, 5), 1, when=NOW - DAY)
    lake.tell(date(2026, 1, 1), 1, scope="BTCUSDT")
    lake.tell(date(2026, 1, 1), 1, dag_id="secret")

    page = lake.page()
    cross = {day: found.letter for day, found in days_of({"lakes": page["lakes"][:1]}).items()}

    assert cross == dict(zip([f"2026-01-0{n}" for n in range(1, 6)], [letter, "+", "c", "+", letter], strict=True))


@pytest.mark.parametrize(
    "extra",
    [{}, {"start": 5}, {"start": "x"}, {"dataset": None}, {"end": "2020-01-01T00:00:00Z"}, {"scope": ["cross"]}],
)
def test_events_of_others_are_no_harm(lake, extra):
    """Whatever other tasks write into an asset's events."""
    lake.store({number("2026-01-01"): Day("m", 0, 1)})
    lake.tell(date(2026, 1, 1), 1, **extra)

    assert lake.days()["2026-01-01"].letter == ("+" if extra in ({}, {"scope": ["cross"]}) else "m")


def test_a_year_that_was_loaded_and_never_audited_is_there(lake):
    """Of a lake whose asset an audit has named."""
    lake.store({number("2026-01-01"): Day("c", 1, 1)})
    lake.tell(date(2025, 12, 31), 1)

    assert {"2025-12-31": Day("+"), "2026-01-01": Day("c", 1, 1)} == lake.days()


def test_xcoms_are_laid_over_each_other(lake):
    """Where there is no state store: the newest on top, whatever the order of their rows."""
    later = AUDIT._replace(began=AUDIT.began + timedelta(hours=1), run_id="later")
    days = {number(f"2026-01-0{n}"): Day("m") for n in (1, 2)}
    lake.push("coverage", [y.value for y in years_of({number("2026-01-02"): Day("c", 9, 9)}, later, *LAKE.values())])
    lake.push("coverage", [year.value for year in years_of(days, AUDIT, *LAKE.values())])

    assert {"2026-01-01": Day("m"), "2026-01-02": Day("c", 9, 9)} == lake.days()
    assert [lake.day(date(2026, 1, n))["audit"]["run_id"] for n in (1, 2)] == ["run", "later"]


def test_a_reader_sees_what_its_dags_have_told(lake):
    """The rest is counted, not named."""
    lake.store({number("2026-01-01"): Day("e")}, AUDIT._replace(dag_id="secret"), scope="BTCUSDT")
    lake.store({number("2026-01-01"): Day("e")})
    event = {"scope": "x", "level": "certain", "first_time": "2026-01-01T00:00:00Z"}
    lake.report({"account": "main", "events": [event]}, dag_id="secret")

    page, nothing = lake.page(), lake.page(readable=())

    assert (["cross"], 1, []) == ([value["scope"] for value in page["lakes"]], page["hidden"], page["liquidations"])
    assert ([], 2, {}) == (nothing["lakes"], nothing["hidden"], nothing["dags"])
    assert "secret" not in json.dumps([page, nothing])
    assert lake.day(date(2026, 1, 1), scope="BTCUSDT") is lake.day(date(2026, 1, 1), readable=()) is None


def test_many_entries_of_others_hide_nothing(lake, monkeypatch):
    """As many of the newest as are read at most may be of DAGs that this user does not see."""
    from airflow_provider_binance_margin.plugins import coverage_data

    for limit in ("_MOST_EVENTS", "_MOST_XCOMS"):
        monkeypatch.setattr(coverage_data, limit, 3)
    event = {"scope": "x", "level": "certain", "first_time": "2026-01-01T00:00:00Z"}
    lake.store({number("2026-01-01"): Day("m", 0, 1)})
    lake.tell(date(2026, 1, 1), 1)
    lake.report({"account": "main", "events": [event]})
    for minute in range(4):
        lake.tell(date(2026, 1, 1), 1, when=NOW + timedelta(minutes=minute), dag_id="secret")
        lake.report({"account": "main", "events": [event]}, dag_id="secret", when=NOW + timedelta(minutes=minute))

    assert (lake.days()["2026-01-01"].letter, len(lake.page()["liquidations"])) == ("+", 1)
    assert ["load"] == [load["run_id"] for load in lake.day(date(2026, 1, 1))["loads"]]


@pytest.mark.skipif(not STORE, reason="this Airflow has no state store")
@pytest.mark.parametrize("value", [{"__airflow_state_ref__": "s3://x"}, "text", None, [1]])
def test_what_a_backend_keeps_elsewhere_is_told(lake, value):
    """The row holds no coverage then."""
    lake.put(value, "coverage/interest/main/cross/2026")

    assert (lake.page()["elsewhere"], lake.page()["lakes"]) == (1, [])


@pytest.mark.parametrize(
    "damage",
    [{"days": "?"}, {"year": None}, {"audits": []}, {"audits": [[20454, 20454, ["then", "audits", "r", "t"]]]}],
)
def test_a_value_that_was_edited_is_left_out(lake, damage):
    """The others are shown."""
    (year,) = years_of({number("2026-01-01"): Day("e")}, AUDIT, *LAKE.values())
    value = year.value
    lake.put(value | damage, "coverage/interest/main/cross/2026") if STORE else lake.push("coverage", [value | damage])
    lake.store({number("2025-01-01"): Day("e")})

    assert {"2025-01-01": Day("e")} == lake.days()


def test_a_day_leads_to_its_object_run_and_log(lake):
    """The loads of the day, the newest first, and the audit."""
    lake.store({number("2026-01-02"): Day("s", 1, 2)})
    lake.tell(date(2026, 1, 1), 2, when=NOW - DAY)
    lake.tell(date(2026, 1, 2), 1)
    lake.tell(date(2026, 1, 3), 1)

    found = lake.day(date(2026, 1, 2))

    assert found["objects"] == ["s3://lake/2026-01-02.csv"]
    assert found["audit"]["run_id"] == "run"
    told = [
        (load["dag_id"], load["run_id"], load["task_id"], load["map_index"], load["when"]) for load in found["loads"]
    ]
    assert told == [("audits", "load", "load", 2, f"2026-11-{day}T12:00:00Z") for day in (27, 26)]


@pytest.mark.parametrize(("grain", "objects"), [("hour", 24), ("month", 1), ("", 1)])
def test_a_days_objects_have_their_keys(lake, grain, objects):
    """Of whatever grain; the template where each run has its own."""
    lake.store({number("2026-01-02"): Day("e")}, AUDIT._replace(grain=grain, place="s3://lake/{scope}/{start}.csv"))

    found = lake.day(date(2026, 1, 2))["objects"]

    first = {"hour": "cross/20260102T000000Z.csv", "month": "cross/20260101T000000Z.csv", "": "{scope}/{start}.csv"}[
        grain
    ]
    assert (len(found), found[0]) == (objects, f"s3://lake/{first}")


def test_reports_are_on_the_calendar(lake):
    """Account, scope, day and level of what the report's tasks have returned; what is none is left out."""
    event = {"scope": PAIR, "level": "takeover", "fees": "1", "first_time": "2026-01-15T07:00:00Z"}
    lake.report({"account": "main", "events": [event, {**event, "first_time": "2026-01-16T00:00:00Z"}], "none": 3})
    lake.report({"account": "main", "events": [{**event, "scope": "x"}]}, dag_id="secret")
    lake.report({"account": "main", "events": [{**event, "scope": "y"}]}, operator="PythonOperator")
    for none in ("text", {}, {"events": [5]}, {"account": "main", "events": [{"first_time": "x"}]}):
        lake.report(none)

    assert [("main", PAIR, f"2026-01-{day}", "takeover") for day in (15, 16)] == lake.page()["liquidations"]


def test_five_years_of_everything_are_small(lake):
    """Seven datasets of four scopes, with records on every day, many of them short."""
    first = day_number(date(2022, 1, 1))
    days = {
        n: Day("s", 100 + n % 9, 200) if n % 50 == 0 else Day("c", n % 900, n % 900) for n in range(first, first + 1826)
    }
    for dataset in range(7):
        for scope in ("cross", "BTCUSDT", "ETHUSDT", "币安人生USDT"):
            lake.store(days, dataset=f"dataset_{dataset}", scope=scope)

    page = lake.page()

    assert len(page["lakes"]) == 140
    assert len(json.dumps(page, separators=(",", ":"), ensure_ascii=False).encode()) < 300_000


# -- the audit, the page and S3 ---------------------------------------------------------------------------------------

KEY = "{start:%Y-%m-%d}.jsonl.gz"
START = datetime(2026, 1, 1, tzinfo=UTC)


def ms(day, after=0):
    return int((START + day * DAY).timestamp() * 1000) + after


def restate(s3, name, **metadata):
    """The same bytes, of which something else is stated; None leaves an entry out."""
    stated = {key: value for key, value in {**s3.metadata(name), **metadata}.items() if value is not None}
    s3.put(name, s3.get(name), **stated)


def spoil(s3, name, how):
    s3.put(name, bytes(how(bytearray(s3.get(name)))), **s3.metadata(name))


DAMAGE = {
    "nothing": restate,
    "lost": lambda s3, name: s3.client.delete_object(Bucket=s3.name, Key=name),
    "cut": lambda s3, name: spoil(s3, name, lambda body: body[:-5]),
    "a bit": lambda s3, name: spoil(s3, name, lambda body: body[:-1] + bytes([body[-1] ^ 1])),
    "a stranger's": lambda s3, name: s3.put(name, b"hello"),
    "another scope's": lambda s3, name: restate(s3, name, scope="BTCUSDT"),
    "another account's": lambda s3, name: restate(s3, name, account="another"),
    "nobody's": lambda s3, name: restate(s3, name, account=None),
    "a claim": lambda s3, name: restate(s3, name, proof="claim"),
    "not final": lambda s3, name: restate(s3, name, **{"not-final": "1"}),
}


def verdict_of(s3, sandbox, day):  # noqa: PLR0911 - one for each verdict
    """What lies in S3, held against the exchange, without a line of the package's."""
    name, exchange = f"{START + day * DAY:%Y-%m-%d}.jsonl.gz", sandbox.count(ms(day), ms(day + 1))
    if name not in s3:
        return "missing"
    body, metadata = s3.get(name), s3.metadata(name)
    own = {
        "dataset": "force_liquidation",
        "scope": "cross",
        "interval-start": f"{START + day * DAY:%Y-%m-%dT00:00:00Z}",
    }
    if not own.items() <= metadata.items() or metadata.get("account", "binance_default") != "binance_default":
        return "foreign"
    if "account" not in metadata:
        return "missing"
    if hashlib.sha256(body).hexdigest() != metadata["body-sha256"]:
        return "corrupt"
    records = len(gzip.decompress(body).splitlines())
    if records < exchange:
        return "short"
    if metadata.get("not-final"):
        return "unfinished"
    if metadata["proof"] == "claim":
        return "claim"
    return "long" if records > exchange else "complete"


def test_page_audit_and_store_agree_on_every_damage(lake, operator, connect, run_task, sandbox, s3, api):
    """A lake that is damaged in each way the audit knows: all three say the same of every day."""
    from airflow.sdk import Asset

    from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator

    late, forgotten, empty = (len(DAMAGE) + n for n in range(3))
    days = empty + 1
    for day in range(empty):
        sandbox.add(n=day + 2, at=ms(day), step_ms=1000)
    options = {"s3_bucket": s3.name, "s3_key": KEY, "grain": "day"}
    interval = (START, START + days * DAY)
    assert run_task(operator(**options), interval=interval).state == "success"
    for day, damage in enumerate(DAMAGE.values()):
        damage(s3, f"{START + day * DAY:%Y-%m-%d}.jsonl.gz")
    sandbox.add(n=1, at=ms(late, 90_000))
    kept = [
        row for row in sandbox.records(ms(0), ms(days)) if not ms(forgotten) <= row["updatedTime"] < ms(forgotten, 1500)
    ]
    sandbox.clear()
    sandbox.load(kept)

    more = {"verify_content": True, "fresh": 10_000 * DAY, "on_gap": "report", "inlets": [Asset("lake")]}
    done = run_task(ForceLiquidationAuditOperator(task_id="audit", **options, **more), interval=interval)
    assert done.state == "success", done.error
    stored = list(api.asset_state.values()) or done.xcom["coverage"]
    for value in stored:
        lake.put(value)

    dates = [str((START + day * DAY).date()) for day in range(days)]
    verdicts = {letter: verdict for verdict, letter in LETTERS.items()} | {"e": "complete"}
    page = {day: verdicts[found.letter] for day, found in lake.days(readable=["a_dag"]).items()}
    listed = {found["start"][:10]: verdict for verdict in LETTERS for found in done.result.get(verdict, ())}
    audit = {day: listed.get(day, "complete") for day in dates}
    store = {day: verdict_of(s3, sandbox, n) for n, day in enumerate(dates)}

    assert page == audit == store
    assert set(page.values()) == set(LETTERS)
    counted = {verdict: list(page.values()).count(verdict) for verdict in LETTERS}
    assert counted == done.result["counts"]


# -- the application --------------------------------------------------------------------------------------------------


class Rights:
    """An auth manager, as far as it is asked."""

    def __init__(self, *, assets=True, dags=("audits",), trigger=()):
        self.assets, self.dags, self.trigger = assets, dags, trigger

    def is_authorized_asset(self, *, method, **_):
        return self.assets and method == "GET"

    def get_authorized_dag_ids(self, **_):
        return set(self.dags)

    def is_authorized_dag(self, *, method, access_entity, details, **_):
        return (method, access_entity.value) == ("POST", "RUN") and details.id in self.trigger


@pytest.fixture
def client(session, monkeypatch):
    """Calls of a user with rights; of nobody in particular without."""
    from contextlib import contextmanager

    from airflow.api_fastapi.core_api import security
    from fastapi.testclient import TestClient

    from airflow_provider_binance_margin.plugins import coverage_app

    @contextmanager
    def same_session():
        yield session

    def client(rights=None):
        app = coverage_app.create_app()
        app.dependency_overrides.clear()
        if rights:
            for name in ("get_user", "get_user_with_exception_handling"):
                if hasattr(security, name):
                    app.dependency_overrides[getattr(security, name)] = lambda: SimpleNamespace(name="somebody")
            for module in (security, coverage_app):
                monkeypatch.setattr(module, "get_auth_manager", lambda: rights)
        monkeypatch.setattr(coverage_app, "create_session", same_session)
        return TestClient(app)

    yield client
    coverage_app.create_app().dependency_overrides.clear()


DATA = ("page", "coverage", "day?dataset=interest&account=main&scope=cross&day=2026-01-01")


@COOKIES
@pytest.mark.parametrize("path", DATA)
def test_nobody_in_particular_sees_nothing(client, lake, path):
    """A plugin's application is open to anybody unless it says otherwise."""
    lake.store({number("2026-01-01"): Day("e")})

    answer = client().get(f"/{path}")

    assert (answer.status_code, "main" in answer.text) == (401, False)


@pytest.mark.parametrize("path", DATA)
def test_a_user_without_the_right_sees_nothing(client, lake, path):
    lake.store({number("2026-01-01"): Day("e")})

    assert client(Rights(assets=False)).get(f"/{path}").status_code == 403


@pytest.mark.parametrize(("trigger", "may"), [((), False), (("secret",), False), (("audits",), True)])
def test_whoever_may_start_runs_may_load(client, lake, trigger, may):
    """The page asks Airflow for what its API will allow."""
    lake.store({number("2026-01-01"): Day("m")})

    answer = client(Rights(trigger=trigger)).get("/coverage")

    assert answer.json()["dags"] == {"audits": {"paused": False, "loads": True, "may_load": may}}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 200),
        ({"day": "2026-01-02"}, 404),
        ({"day": "x"}, 422),
        ({"scope": "<script>"}, 404),
        ({"scope": "s" * 300}, 422),
    ],
)
def test_days_are_asked_for_one_by_one(client, lake, query, status):
    lake.store({number("2026-01-01"): Day("m")})

    answer = client(Rights()).get("/day", params={**LAKE, "day": "2026-01-01", **query})

    assert answer.status_code == status
    assert "<script>" not in answer.text or answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["page", "page.js", "page.css", "icon.svg", "coverage"])
def test_answers_forbid_whatever_is_not_their_own(client, lake, path):
    """No inline script, no other host, no framing by others, no guessing of types."""
    answer = client(Rights()).get(f"/{path}")
    assert answer.headers["cache-control"] == ("no-cache" if "." in path else "no-store")
    policy = answer.headers["content-security-policy"]

    assert answer.status_code == 200
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
