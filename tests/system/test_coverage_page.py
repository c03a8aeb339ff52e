"""The page of the lake's coverage in Airflow's UI, in a real browser: read, its gap found, and loaded by its button.

`PICTURES=docs/img` keeps the pictures of the documentation, which are taken on the way.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from versions import needs

from airflow_provider_binance_margin.lake.coverage import Audit, Day, day_number, years_of
from airflow_provider_binance_margin.sandbox import SandboxControl
from demo_lake import s3_client
from invented_coverage import remember
from local_stack import Stack
from local_stack.browser import Browser, browser_programs

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="drives Debian's Chromium"),
    pytest.mark.skipif(
        not all(browser_programs()), reason="no chromium or no chromedriver: Debian's chromium and chromium-driver"
    ),
    needs("airflow.api_fastapi.auth.managers.base_auth_manager.COOKIE_NAME_JWT_TOKEN"),
]

STORE = needs("airflow.models.asset_state_store")
BUCKET = "lake"
DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FIRST, DAYS = TODAY - 10 * DAY, 9
LOST, SHORT = FIRST + 3 * DAY, FIRST + 5 * DAY
USERS = ("admin", "viewer")
PAIR = "币安人生USDT"
SETTINGS = {
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{user}" for user in USERS),
    "AIRFLOW_VAR_FIRST": f"{FIRST:%Y-%m-%d}",
    "AIRFLOW_VAR_LAST": f"{FIRST + DAYS * DAY:%Y-%m-%d}",
}
DAG = """
import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, Param, task
from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator
from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator

LAKE = Asset("lake")
params = {name: Param(None, type=["null", "string"]) for name in ("start", "end")}

# looks at all days; loads what is missing where a window is given
with DAG("lake_audit", schedule=None, start_date=pendulum.datetime(2026, 1, 1), params=params) as dag:
    audit = ForceLiquidationAuditOperator(
        task_id="audit", s3_bucket="lake", grain="day", on_gap="report", inlets=[LAKE], fresh=10**9,
        start="{{ params.start or var.value.first }}", end="{{ params.end or var.value.last }}",
    )

    @task
    def gaps(report, params=None):
        return report["gaps"] if params["start"] else []

    ForceLiquidationToS3Operator.partial(
        task_id="load", s3_bucket="lake", grain="day", outlets=[LAKE]
    ).expand_kwargs(gaps(audit.output))
"""
ROWS = "return [...document.querySelectorAll('#runs tr')].map(row => [...row.cells].map(cell => cell.textContent))"
GAPS = "return [...document.querySelectorAll('#gap-rows td:first-child')].map(cell => cell.textContent.trim())"
FRAME = "//iframe"
PRESS = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'KEY', bubbles: true}))"


def iso(when):
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


def settled(browser):
    """What the button says when its run has ended."""
    for _ in range(600):
        said = browser.script("return document.querySelector('#load-says').textContent")
        if not said.startswith(("Asking", "Loading")):
            return said
        time.sleep(0.2)
    raise AssertionError(said)


class Lived:
    """An Airflow whose lake has a gap, and its users."""

    def __init__(self, stack):
        self.stack, self.url, self.api = stack, stack.airflow.url, stack.airflow.api
        file = stack.workdir / "airflow" / "simple_auth_manager_passwords.json.generated"
        self.tokens = {user: self.token(user, word) for user, word in json.loads(file.read_text()).items()}
        self.api._client.headers["Authorization"] = f"Bearer {self.tokens['admin']}"
        self.s3 = s3_client(stack.s3_url)

    def token(self, user, password):
        answer = httpx.post(f"{self.url}/auth/token", json={"username": user, "password": password}, trust_env=False)
        return answer.json()["access_token"]

    def run(self, **window):
        """A run of the audit's DAG, to its end."""
        run = self.api.trigger("lake_audit", window)
        for _ in range(400):
            state = self.api.api("GET", f"dags/lake_audit/dagRuns/{quote(run)}")["state"]
            if state in ("success", "failed"):
                assert state == "success", self.api.first_failure("lake_audit")
                return run
            time.sleep(0.3)
        raise AssertionError("the run does not end")

    def get(self, path, user=None):
        headers = {"Authorization": f"Bearer {self.tokens[user]}"} if user else {}
        return httpx.get(f"{self.url}/binance-margin/{path}", headers=headers, trust_env=False, timeout=30)

    def days(self):
        return {key["Key"].split("dt=")[1][:10] for key in self.s3.list_objects_v2(Bucket=BUCKET)["Contents"]}


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    home = tmp_path_factory.mktemp("page")
    (home / "dags").mkdir()
    (home / "dags" / "lake_audit.py").write_text(DAG)
    with Stack(home / "work", dags=home / "dags", env=SETTINGS) as stack:
        stack.start_s3()
        s3_client(stack.s3_url).create_bucket(Bucket=BUCKET)
        exchange = SandboxControl(stack.start_sandbox("--no-history"))
        for day in range(DAYS):
            for n in range(day % 3 * 2):
                exchange.add(n=1, at=int((FIRST + day * DAY).timestamp() * 1000) + n)
        stack.start_airflow()
        lived = Lived(stack)
        lived.api.wait_dag("lake_audit")
        lived.api.unpause("lake_audit")
        lived.run(start=iso(FIRST), end=iso(FIRST + DAYS * DAY))
        lived.run()
        key = next(
            each["Key"]
            for each in lived.s3.list_objects_v2(Bucket=BUCKET)["Contents"]
            if f"{LOST:%Y-%m-%d}/" in each["Key"]
        )
        lived.s3.delete_object(Bucket=BUCKET, Key=key)
        exchange.add(n=1, at=int(SHORT.timestamp() * 1000) + 5000)
        lived.run()
        yield lived


@pytest.fixture
def pictures(tmp_path):
    return Path(os.environ.get("PICTURES", tmp_path))


@pytest.fixture
def visit(lived):
    """Opens the page as a user does: by the menu."""
    with Browser(lived.stack.processes, width=1440, height=1000) as browser:

        def visit(user, scheme="light"):
            browser.emulate(1440, 1000, scheme)
            browser.cookie(lived.url, "_token", lived.tokens[user])
            browser.frame("")
            browser.open(lived.url)
            browser.click("//button[normalize-space()='Browse']")
            browser.click(
                "//*[@role='menuitem'][normalize-space()='Binance margin']|//a[normalize-space()='Binance margin']"
            )
            browser.frame(FRAME)
            browser.until("return document.querySelector('#calendar svg') != null")
            return browser

        yield visit


@pytest.mark.parametrize("path", ["page", "coverage", "day?dataset=force_liquidation&account=a&scope=b&day=2026-01-01"])
def test_nobody_in_particular_sees_nothing(lived, path):
    assert (lived.get(path).status_code, lived.get("page.js").status_code) == (401, 200)


def test_a_viewer_reads_and_cannot_load(visit, lived):
    """The calendar, its gaps, why the button is off, a day's run and log; by pointer and by keyboard."""
    browser = visit("viewer", "dark")

    assert browser.until(GAPS) == [f"{LOST:%Y-%m-%d}Missing, 1 day", f"{SHORT:%Y-%m-%d}Short, 1 day"]
    assert "start no runs of DAG lake_audit" in browser.until("return document.querySelector('#load-says').textContent")
    assert browser.script("return document.querySelector('#load').disabled")
    assert browser.script("return getComputedStyle(document.body).color") == "rgb(244, 244, 245)"

    browser.script("document.querySelector('#calendar svg').focus()")
    for key in ("End", "Home", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp"):
        browser.script(PRESS.replace("KEY", key))
    told = browser.script("return document.querySelector('#tip').textContent")
    assert told == f"{(FIRST + (DAYS - 1) * DAY).year}-01-01\nNot looked at"
    browser.click(f"//*[@data-day='{LOST:%Y-%m-%d}']")
    told = browser.until("return document.querySelector('#day code') && document.querySelector('#day').innerText")
    assert f"dt={LOST:%Y-%m-%d}" in told
    assert "There is no object" in told
    assert {"Loaded", "Audited"} <= set(told.split("\n"))

    answer = httpx.post(
        f"{lived.url}/api/v2/dags/lake_audit/dagRuns",
        json={"logical_date": None},
        headers={"Authorization": f"Bearer {lived.tokens['viewer']}"},
        trust_env=False,
    )
    assert answer.status_code == 403

    browser.click("//*[@id='day']//a[contains(@href, '/runs/')][not(contains(@href, '/tasks/'))]")
    browser.frame("")
    assert browser.until("return location.pathname.startsWith('/dags/lake_audit/runs/')")


def test_an_admin_loads_what_is_missing(visit, lived):
    """Found in the calendar and by the table; after the button it is filled, in S3 too, without a reload."""
    browser = visit("admin")
    assert [f"{LOST:%Y-%m-%d}", f"{LOST:%Y-%m-%d}", "Missing"] in [row[:3] for row in browser.until(ROWS)]
    assert f"{LOST:%Y-%m-%d}" not in lived.days()
    browser.script("window.same = true")

    browser.click("//button[normalize-space()='Load what is missing']")

    assert settled(browser).startswith("Done: nothing is missing")
    assert browser.script("return window.same")
    assert browser.script(GAPS) == []
    loaded = [row[:3] for row in browser.script(ROWS) if row[2] == "Loaded since"]
    assert [f"{LOST:%Y-%m-%d}", f"{SHORT:%Y-%m-%d}"] == sorted(row[0] for row in loaded)
    assert f"{LOST:%Y-%m-%d}" in lived.days()

    lived.run()
    browser = visit("admin")
    assert {"Proved", "Proved empty", "Not looked at"} == {row[2] for row in browser.until(ROWS)[1:]}


@STORE
def test_pictures(lived, visit, pictures):
    """Both schemes, on a desk and on a phone: nothing is wider than the screen, and no text is cut off."""
    remember(lived.api, "lake_audit", "lake")
    assert len(lived.get("coverage", "admin").content) < 300_000  # not gzipped
    for scheme in ("light", "dark"):
        browser = visit("admin", scheme)
        for width, height in ((1440, 1000), (390, 844)):
            browser.emulate(width, height, scheme)
            browser.frame("")
            browser.open(f"{lived.url}/binance-margin/page?dataset=interest&scope={PAIR}&year={TODAY.year - 1}")
            assert browser.until("return document.querySelectorAll('#calendar figure').length") == 1
            assert browser.script("return document.querySelector('#choice').scope.value") == PAIR
            assert browser.script("return document.documentElement.scrollWidth <= innerWidth")
            browser.open(f"{lived.url}/binance-margin/page")
            browser.until("return document.querySelectorAll('#calendar figure').length == 5")
            browser.picture(pictures / f"page-{scheme}-{width}.png")


@STORE
def test_what_was_edited_is_text(lived, visit):
    """Names of a stored value are shown, and nothing of them is run."""
    asset = next(each["id"] for each in lived.api.api("GET", "assets")["assets"] if each["name"] == "lake")
    evil = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    audit = Audit(TODAY.replace(hour=2, minute=0, second=0, microsecond=0), "lake_audit", evil, evil)._replace(
        place=evil, grain="day"
    )
    (year,) = years_of({day_number(TODAY.date()): Day("m", 0, 1)}, audit, evil, evil, evil)
    key = quote("/".join(["coverage", evil, evil, evil, str(TODAY.year)]), safe="")
    lived.api.api("PUT", f"assets/{asset}/state-store/{key}", {"value": year.value})
    try:
        browser = visit("admin")
        browser.open(f"{lived.url}/binance-margin/page?dataset={quote(evil)}")
        browser.click(f"//*[@data-day='{TODAY:%Y-%m-%d}']")
        browser.until("return document.querySelector('#day code') != null")
        shown = browser.script(
            "return document.querySelector('#choice').dataset_.value".replace("dataset_", "elements.dataset")
        )
        assert (shown, browser.script("return window.ran ?? null")) == (evil, None)
    finally:
        lived.api.api("DELETE", f"assets/{asset}/state-store/{key}")
