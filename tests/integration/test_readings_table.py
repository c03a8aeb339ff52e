"""The docs' table of other readings of the exchange's page, made by asking the sandbox in each of them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_provider_binance_margin.exchange import rate_limiter
from airflow_provider_binance_margin.exchange.errors import BinanceError
from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.lake.interval import IntervalError
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator
from airflow_provider_binance_margin.sensors.margin_history import MarginHistorySensor
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator

HOUR = 3_600_000
DAY = 24 * HOUR
FOREVER = timedelta(days=10_000)
LIMIT = 10**9  # weight a minute: nothing waits for the pace
PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
PROOF = "<!-- tests: tests/integration/test_readings_table.py::test_the_table_says_what_each_reading_comes_to -->"
RIGHT, WRONG, WAITS, UNTOLD = "right", "WRONG", "waits", "undetected"
WHO = ("hook", "operator", "audit", "sensor")
READERS = WHO[:2]


@dataclass(frozen=True)
class Reading:
    """One reading of the exchange's page.

    :param name: as the table has it
    :param settings: of the sandbox; a retention of "noon" or "night" begins at the day's noon or at its end
    :param n: records of the day, evenly spread, the first and the last in its first and its last millisecond
    :param inner: all of them lie an hour and more from the day's bounds instead
    :param isolated: as many of an isolated pair are there too
    :param mixed: ids do not rise with time
    :param crowded: all but the first and the last are of one millisecond
    :param lost: records that are not read, and no others
    :param fault: what happens to the account, before each of the first requests in turn
    :param untold: those whom nothing tells that the exchange is another
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = "force_liquidation"
    n: int = 250
    inner: bool = False
    isolated: bool = False
    mixed: bool = False
    crowded: bool = False
    lost: int | None = None
    fault: Mapping[str, Any] | None = None
    untold: tuple[str, ...] = ()


EDGE = {"untold": WHO[:3], "lost": 1}


def readings(dataset, *listed, **common):
    return tuple(Reading(name, settings, dataset, **{**common, **how}) for name, settings, how in listed)


REFUSED = {"retention_ms": "noon", "beyond_memory": "refused"}
SWAPS = (
    ("a row leaves the head while a late one enters", {}, {"fault": {"leave": "head", "enter": "tail"}}),
    ("a row leaves the tail while a late one enters", {}, {"fault": {"leave": "tail", "enter": "middle"}}),
)
#: asked of pages and of a ledger alike
ALIKE = (
    ("oldest first", {"order": "oldest"}, {}),
    ("in no order of time", {"order": "id"}, {"mixed": True}),
    ("old records are left out in silence", {"retention_ms": "noon"}, {"untold": READERS}),
    ("all the day's records are left out", {"retention_ms": "night"}, {"untold": READERS}),
    ("windows that begin too early are refused", REFUSED, {}),
    ("answers without a pair hold isolated rows", {"unfiltered": "all"}, {"isolated": True}),
)
PAGED = readings(
    "force_liquidation",
    ("as documented", {}, {}),
    ("`startTime` excludes", {"start_exclusive": True}, EDGE),
    ("`endTime` excludes", {"end_exclusive": True}, EDGE),
    ("bounds are whole seconds", {"window_grain_ms": 1000}, EDGE),
    ("bounds are times of creation", {"created_lag_ms": HOUR // 2}, {"inner": True}),
    ("a longest window of 5 hours", {"max_span_ms": 5 * HOUR}, {}),
    ("totals end at 1,000", {"total_cap": 1000}, {"n": 1500}),
    ("lists end at 1,000", {"list_cap": 1000}, {"n": 1500}),
    ("totals and lists end at 1,000", {"total_cap": 1000, "list_cap": 1000}, {"n": 1500}),
    ("totals and lists end at 200", {"total_cap": 200, "list_cap": 200}, {"untold": READERS}),
    ("totals count a page", {"total_of": "page"}, {"untold": READERS}),
    ("totals count the account's records", {"total_of": "account"}, {"untold": ("sensor",)}),
    ("pages hold 7 rows at most", {"size_cap": 7}, {}),
    ("pages hold 10 rows, whatever `size` is", {"size_fixed": 10}, {}),
    ("pages hold 500 rows, whatever `size` is", {"size_fixed": 500}, {}),
    ("the page beyond the last is the last", {"beyond": "last"}, {}),
    *ALIKE,
    ("answers without a pair hold none", {}, {"isolated": True}),
    *SWAPS,
)
LEDGER = readings(
    "capital_flow",
    ("as documented", {}, {}),
    ("`startTime` excludes", {"start_exclusive": True}, EDGE),
    ("`endTime` excludes", {"end_exclusive": True}, {}),
    ("bounds are whole seconds", {"window_grain_ms": 1000}, {}),
    ("a longest window of 5 hours", {"max_span_ms": 5 * HOUR}, {}),
    ("`fromId` includes its own row", {"from_id": "from"}, {}),
    ("after `fromId` the earliest come first", {"cursor_order": "time"}, {}),
    ("ids do not rise with time", {}, {"mixed": True}),
    ("both of these", {"cursor_order": "time"}, {"mixed": True}),
    ("all in one second", {}, {"crowded": True}),
    ("all in one second, whose ids do not rise", {"cursor_order": "time"}, {"crowded": True, "mixed": True}),
    ("answers hold 300 rows at most", {"size_cap": 300}, {}),
    ("answers hold 300 rows, whatever `limit` is", {"size_fixed": 300}, {}),
    ("answers hold 240 rows at most", {"size_cap": 240}, {"untold": READERS}),
    *ALIKE,
    *SWAPS,
    n=1100,
)


def lines(rows):
    """Rows without regard to their order, each as often as it is there."""
    return sorted(json.dumps(each, sort_keys=True) for each in rows)


class Exchange:
    """The sandbox as a reading has it, with the records of a day, and who asks for them."""

    def __init__(self, sandbox, s3, run_task):
        self.sandbox, self.s3, self.run_task = sandbox, s3, run_task
        self.end = sandbox.now_ms() // DAY * DAY - 20 * DAY
        self.start = self.end - DAY
        self.interval = [datetime.fromtimestamp(bound / 1000, UTC) for bound in (self.start, self.end)]
        self.folders, self.objects = count(), {}

    def prepare(self, reading, lacking=None):
        """A fresh exchange, which lacks the first or the last record of the day if so told."""
        self.reading, self.key = reading, f"{next(self.folders)}/{{dataset}}/{{start}}.jsonl.gz"
        self.sandbox.reset()
        self.sandbox.settings.change(limit=LIMIT)
        margin = HOUR if reading.inner else 0
        first, last = self.start + margin, self.end - margin - 1
        step = 0 if reading.crowded else (last - first - HOUR // 30) // reading.n
        self.add(reading, at=first + HOUR // 60, n=reading.n - 2, step_ms=step)
        for place, at in enumerate((first, last)):
            if lacking != place:
                self.add(reading, at=at)
        for at in (self.start - HOUR, self.end + HOUR):
            self.add(reading, at=at)
        if reading.isolated:
            pair = {"isolated_symbol": "BTCUSDT", "dataset": reading.dataset}
            self.sandbox.add(n=reading.n, at=first, step_ms=(last - first) // reading.n, **pair)

    def add(self, reading, **how):
        self.sandbox.settings.change(mixed_ids=reading.mixed)
        self.sandbox.add(dataset=reading.dataset, **how)

    def turn(self, skip=0):
        """From here on the exchange is as the reading has it."""
        end = self.sandbox.now_ms() - self.end
        ages = {"noon": end + DAY // 2, "night": end}
        self.sandbox.settings.change(**{name: ages.get(value, value) for name, value in self.reading.settings.items()})
        if self.reading.fault:
            self.sandbox.fault("swap", dataset=self.reading.dataset, skip=skip, **self.reading.fault)

    def loaded(self, lacking):
        """The key of an object of such a day, loaded while the exchange was as documented."""
        unfiltered = self.reading.settings.get("unfiltered", "cross")
        what = self.reading.dataset, self.reading.n, unfiltered, lacking
        if what not in self.objects:
            self.prepare(self.reading, lacking=lacking)
            self.sandbox.settings.change(unfiltered=unfiltered)
            assert self.task(MarginHistoryToS3Operator)[0] == "success"
            self.objects[what] = self.key
        return self.objects[what]

    def word_for(self, rows, states):
        """The word for rows that were read."""
        found, (before, after) = lines(rows), states
        if found in (before, after):
            return RIGHT
        assert self.reading.lost in (None, len({*before} - {*found})), "more than its bounds' own milliseconds"
        return WRONG

    def states(self, act):
        """What somebody who acts comes to, and the states that the account was in: before and after."""
        before = self.there()
        found = act()
        return found, (before, self.there())

    def there(self):
        return lines(self.sandbox.records(self.start, self.end, dataset=self.reading.dataset))

    def task(self, kind, **options):
        """A task's state and result, or the class of its error."""
        more = {"s3_bucket": self.s3.name, "s3_key": self.key} if kind is not MarginHistorySensor else {}
        task = kind(task_id="task", dataset=self.reading.dataset, **more, **options)
        done = self.run_task(task, interval=self.interval)
        return done.state, done.result, type(done.error).__name__


def from_hook(exchange, skip):
    """The word for what the hook returns."""
    exchange.prepare(exchange.reading)
    exchange.turn(skip)
    hook = BinanceHook("binance_default")
    try:
        rows, states = exchange.states(lambda: hook.records(exchange.reading.dataset, *exchange.interval))
    except (BinanceError, IntervalError) as error:
        return f"`{type(error).__name__}`"
    finally:
        hook.close()
    return exchange.word_for(rows, states)


def from_operator(exchange, skip):
    """The word for what the operator writes."""
    exchange.prepare(exchange.reading)
    exchange.turn(skip)
    (state, _, error), states = exchange.states(lambda: exchange.task(MarginHistoryToS3Operator))
    (folder, *_) = exchange.key.split("/")
    keys = [key for key in exchange.s3 if key.startswith(f"{folder}/")]
    if state != "success":
        return WRONG if keys else f"`{error}`"
    rows = [json.loads(line) for key in keys for line in gzip.decompress(exchange.s3.get(key)).splitlines()]
    return exchange.word_for(rows, states)


def from_audit(exchange, skip):
    """The word for its verdicts on an object that is whole, and on one that lacks a record."""
    verdicts = []
    at_risk = 0 if {"start_exclusive", "retention_ms"} & set(exchange.reading.settings) else 1
    for lacking in (None, at_risk):
        key = exchange.loaded(lacking)
        exchange.prepare(exchange.reading)
        exchange.key = key
        exchange.turn(skip)
        state, result, error = exchange.task(MarginHistoryAuditOperator, on_gap="report", fresh=FOREVER)
        if state != "success":
            verdicts.append(f"`{error}`")
        else:
            verdicts += [f"`{verdict}`" for verdict, number in result["counts"].items() if number]
    whole, short = verdicts
    if short == "`complete`":
        return WRONG
    return RIGHT if whole == "`complete`" else whole


def from_sensor(exchange, skip):
    """The word for the number that it finds, told to wait for all of them."""
    exchange.prepare(exchange.reading)
    number = len(exchange.there()) if exchange.reading.settings.get("unfiltered") != "all" else 2 * exchange.reading.n
    exchange.turn(skip)
    state, result, error = exchange.task(
        MarginHistorySensor, min_records=number, poke_interval=0.1, timeout=0.1, soft_fail=True
    )
    if state == "failed":
        return f"`{error}`"
    if state == "skipped":
        return WAITS
    return RIGHT if result["total"] == number else WRONG


ASK = dict(zip(WHO, (from_hook, from_operator, from_audit, from_sensor), strict=True))


def word(exchange, reading, who):
    """What one who asks comes to, whenever the account moves; the worst of it, if it differs."""
    exchange.reading = reading
    words = {ASK[who](exchange, skip) for skip in (range(4) if reading.fault else (0,))}
    if (WRONG in words) != (who in reading.untold):
        return f"{WRONG}: {sorted(words)}"
    if WRONG in words:
        return UNTOLD
    return " or ".join(sorted(words, reverse=True))


def table(exchange, title, listed):
    """One table of the page."""
    head = [f"| {title} | " + " | ".join(WHO) + " |", "|---|" + "---|" * len(WHO)]
    rows = [[reading.name, *(word(exchange, reading, who) for who in WHO)] for reading in listed]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows), PROOF]) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "listed"), [("pages and totals", PAGED), ("the ledger, `capital_flow`", LEDGER)], ids=["pages", "ledger"]
)
def test_the_table_says_what_each_reading_comes_to(sandbox, connect, s3, run_task, monkeypatch, title, listed):
    """Right, refused, or told by nothing but the probe: never wrong otherwise; ``UPDATE_DOCS=1`` writes it."""
    monkeypatch.setenv("AIRFLOW_CONN_BINANCE_DEFAULT", json.dumps(connect()))
    monkeypatch.setitem(rate_limiter.LIMITS, "IP", LIMIT)
    monkeypatch.setattr(S3Hook, "get_client_type", lambda *_, **__: s3.client)  # to make one takes as long as a reading
    made = table(Exchange(sandbox, s3, run_task), title, listed)
    assert WRONG not in made, made
    page = PAGE.read_text(encoding="utf-8")
    begin = page.index(f"| {title} |")
    end = page.index("\n\n", begin) + 1
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page[:begin] + made + page[end:], encoding="utf-8")
    else:
        assert made == page[begin:end]
