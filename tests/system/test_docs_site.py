"""The documentation site, read from the disk in a real browser: search, and the scheme that the reader prefers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local_stack.browser import Browser, browser_programs
from local_stack.processes import Processes

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="drives Debian's Chromium"),
    pytest.mark.skipif(
        not all(browser_programs()), reason="no chromium or no chromedriver: Debian's chromium and chromium-driver"
    ),
]
SITE = Path(__file__).parents[2] / "site"
#: what is written in long lines or in wide tables
WIDE = ("api.html", "data.html", "fault-matrix.html", "index.html", "operator.html", "zh/troubleshooting.html")
FOUND = """
const links = [...document.querySelectorAll('.md-search-result__link')].map(each => each.href.split('?')[0]);
return links.some(each => each.endsWith('/report.html'));
"""
TABLES = "[...document.querySelectorAll('.md-typeset__scrollwrap')]"
UNCUT = f"{TABLES}.length && {TABLES}.every(each => each.scrollWidth <= each.clientWidth)"
#: the page's colour changes some time after the reader's preference
DARK = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).every(each => each < 80)"


@pytest.mark.skipif(not (SITE / "index.html").exists(), reason="`make docs` has not built the site")
def test_search_and_dark_mode_work_from_the_disk(tmp_path):
    """The report is found by a word of it; no page is wider than a phone's screen, no table than its page."""
    with Processes(tmp_path) as processes, Browser(processes) as browser:
        browser.emulate(390, 900, "dark")
        browser.open((SITE / "operator.html").as_uri())
        browser.until(f"return {DARK}")
        for page in WIDE:
            browser.open((SITE / page).as_uri())
            browser.until("return document.documentElement.scrollWidth == 390")
        browser.emulate(1440, 900, "light")
        browser.open((SITE / "data.html").as_uri())
        browser.until(f"return !{DARK}")
        browser.until(f"return {UNCUT}")
        browser.click("//input[@name='query']")
        browser.keys("takeover")
        browser.until(FOUND)
