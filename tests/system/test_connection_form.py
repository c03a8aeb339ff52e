"""The connection form in Airflow's UI, in a real browser: typed in, saved, tested, and the secret is not shown again.

`PICTURES=docs/img` keeps the pictures of the documentation, which are taken on the way.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from airflow_provider_binance_margin.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from local_stack import Stack
from local_stack.browser import ENTER, Browser, BrowserError, browser_programs

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="drives Debian's Chromium"),
    pytest.mark.skipif(
        not all(browser_programs()), reason="no chromium or no chromedriver: Debian's chromium and chromium-driver"
    ),
]

DIALOG = "//*[@role='dialog']"
#: has the page remember what it notifies of from now on: a notification stays for two seconds only
LISTEN = """
const toasts = () => [...document.querySelectorAll('[data-scope=toast][data-part=root]')];
const old = toasts(), told = window.told = [];
new MutationObserver(() => toasts().filter(each => !old.includes(each)).forEach(each => {
    const text = each.innerText.trim();
    if (text.startsWith('Test') && !told.includes(text)) told.push(text);
})).observe(document.body, {childList: true, subtree: true, characterData: true});
"""
LABELS = "return [...document.querySelectorAll('[role=dialog] label')].map(each => each.innerText.split('\\n')[0])"
OPTIONS = "return document.querySelectorAll('[role=option]').length == 1"
FAILED = "Test Connection Failed\nThe connection does not work: the signature is not valid: "
WORKS = "Test Connection Successful\nThe exchange accepts the key, its signature and this machine's clock."


def field(name):
    return f"{DIALOG}//*[@name='{name}']"


def fill(browser, **fields):
    for name, text in fields.items():
        browser.paste(field(name), text)


def add(browser, conn_id, **fields):
    """Open an empty form and fill it."""
    browser.click("//button[normalize-space()='Add Connection']")
    fill(browser, connection_id=conn_id)
    browser.click(f"{DIALOG}//label[starts-with(normalize-space(), 'Connection Type')]")
    browser.keys("Binance")
    browser.until(OPTIONS)
    browser.keys(ENTER)
    fill(browser, **fields)


def expand(browser, name):
    browser.click(f"{DIALOG}//button[normalize-space()='{name}']")


def save(browser, **fields):
    """Fill and save; once more where the form, drawn anew at that moment, lost what was typed or pressed."""
    try:
        once_saved(browser, fields)
    except BrowserError:
        once_saved(browser, fields)


def once_saved(browser, fields):
    fill(browser, **fields)
    browser.click(f"{DIALOG}//button[normalize-space()='Save']")
    browser.gone(DIALOG)


def row(browser, conn_id, button):
    browser.click(f"//tr[contains(., '{conn_id}')]//button[@aria-label='{button} Connection']")


def answer(browser, conn_id):
    """What the UI says when the button is pressed."""
    browser.script(LISTEN)
    row(browser, conn_id, "Test")
    return browser.until("return window.told.at(-1)")


@pytest.fixture
def pictures(tmp_path):
    return Path(os.environ.get("PICTURES", tmp_path))


@pytest.fixture
def stack(tmp_path):
    (tmp_path / "dags").mkdir()
    settings = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    with Stack(tmp_path / "work", dags=tmp_path / "dags", env=settings) as stack:
        stack.start_sandbox("--no-history")
        stack.start_airflow()
        yield stack


@pytest.fixture
def browser(stack):
    """At the list of connections, which is empty."""
    with Browser(stack.processes, width=1280, height=1400) as browser:
        browser.open(f"{stack.airflow.url}/connections")
        yield browser


def test_a_connection_is_typed_in_saved_and_tested(stack, browser, pictures):
    """The form has the package's fields; Test says that a key works, or why not; a saved secret is shown no more."""
    keys = stack.workdir / "sandbox"
    hmac, ed25519 = (json.loads((keys / f"{name}.json").read_text()) for name in ("hmac", "ed25519"))
    pem = (keys / "ed25519.pem").read_text()
    host, _, port = stack.sandbox_url.rpartition(":")

    add(browser, "binance_default", host="https://api.binance.com", port="443", login="your API key", password="secret")
    browser.picture(pictures / "connection-form.png", DIALOG)
    expand(browser, "Extra Fields")
    fill(browser, element_key_file="/run/secrets/binance.pem", element_recv_window="5000", element_timeout="15")
    browser.picture(pictures / "connection-form-extra.png", DIALOG)
    own = [*UI_FIELD_BEHAVIOUR["relabeling"].values(), *(each["label"] for each in CONN_FIELDS.values())]
    assert {"Connection ID", "Connection Type", "Description", "Port", *own} == set(browser.script(LABELS))
    browser.click(f"{DIALOG}//button[@aria-label='Close']")
    browser.gone(DIALOG)

    add(browser, "binance_hmac", host=host, port=port, login=hmac["api_key"], password=hmac["secret"])
    save(browser)
    browser.size(1120, 560)
    browser.open(f"{stack.airflow.url}/connections")
    assert answer(browser, "binance_hmac") == WORKS
    browser.picture(pictures / "connection-test.png")
    browser.size(1280, 1400)

    row(browser, "binance_hmac", "Edit")
    assert browser.value(field("login")) == hmac["api_key"]
    assert browser.value(field("password")) == "***"
    save(browser, password="another")
    assert answer(browser, "binance_hmac").startswith(FAILED)

    add(browser, "binance_pem", host=host, port=port, login=ed25519["api_key"])
    expand(browser, "Extra Fields")
    save(browser, element_private_key=pem)
    row(browser, "binance_pem", "Edit")
    expand(browser, "Extra Fields")
    assert browser.value(field("element_private_key")) == "***"
    save(browser, element_recv_window="6000")
    assert answer(browser, "binance_pem") == WORKS

    told = [browser.source(), *(str(stack.airflow.api.api("GET", f"connections/binance_{x}")) for x in ("hmac", "pem"))]
    told += [log.read_text() for log in stack.processes.logs.glob("*.log") if log.stem != "sandbox"]
    for secret in (hmac["secret"], *pem.splitlines()[1:-1]):
        assert not [text for text in told if secret in text]
