"""A margin account that changes between any two requests, with operator and audit on top of it.

Real from `execute` down to one `requests` adapter, one S3 client and the order in which threads get on: these three are
in memory, and all that happens comes from one seed. Pages hold three rows, so that few rows are many pages.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import logging
import random
import re
from collections import Counter
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from unittest import mock

import pyarrow.parquet
from airflow.providers.common.compat.sdk import AirflowFailException
from botocore.exceptions import ClientError
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from airflow_provider_binance_margin.exchange import paging
from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError
from airflow_provider_binance_margin.hooks import hosts, session
from airflow_provider_binance_margin.operators.lake_operator import LakeOperator
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator
from airflow_provider_binance_margin.transfers import bounded_map, object_store
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator

TODAY = datetime(2026, 1, 20, tzinfo=UTC)
NOW = TODAY + timedelta(hours=12)
DAY = 24 * 3_600_000
PAGE = 3
BUCKET = "lake"
#: page size and weight are data: with these, few rows are many pages, and no request waits for the pace
SMALL = {
    name: replace(DATASETS[name], max_size=PAGE, weight=1) for name in ("force_liquidation", "borrow", "capital_flow")
}
_CAP_STEP = paging._CAP_STEP
_MOST_REQUESTS = 3000
_MOST_STORE_CALLS = 400
_HEADERS = CaseInsensitiveDict({"Date": NOW.strftime("%a, %d %b %Y %H:%M:%S GMT")})
BASE_URL = "http://127.0.0.1:1"
CONNECTION = json.dumps({"conn_type": "binance", "host": BASE_URL, "login": "sandbox" + "k" * 57, "password": "s" * 64})


def ms(when):
    return int(when.timestamp() * 1000)


class KilledError(BaseException):
    """The worker dies: nothing is sent from here on."""


# -- the exchange ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One row of one moment; a row that changes is another with the same key."""

    time: int
    number: int
    line: bytes

    @property
    def place(self):
        return self.time, self.number


@dataclass(frozen=True)
class Asked:
    """One answer that was given: the window, half-open, the page or the id, the rows, and the account's version."""

    version: int
    start: int
    end: int
    at: int | None
    size: int
    answer: tuple

    @property
    def question(self):
        return self.start, self.end, self.at, self.size


@dataclass
class Account:
    """The account, every version that it had, and the endpoint that serves it, newest rows first.

    :param cap: no total and no list is longer
    :param id_is_inclusive: whether ``fromId`` itself is answered too
    :param by_time: whether a cursor's pages are cut by time rather than by id; the ids are in its order then
    """

    dataset: object
    cap: int | None = None
    id_is_inclusive: bool = False
    by_time: bool = False
    versions: list = field(default_factory=lambda: [{}])
    asked: list = field(default_factory=list)
    lines: dict = field(default_factory=dict)  # each line there ever was -> its row

    @property
    def rows(self):
        return self.versions[-1]

    def change(self, rows):
        """The next version."""
        self.versions.append(rows)
        for row in rows.values():
            self.lines[row.line] = row

    def answer(self, params):
        start, end = int(params["startTime"]), int(params["endTime"]) + 1
        size, at = int(params.get("size") or params["limit"]), params.get("current", params.get("fromId"))
        asked = (start, end, None if at is None else int(at), size)
        answer = self.answer_of(self.rows.values(), *asked)
        self.asked.append(Asked(len(self.versions) - 1, *asked, answer))
        rows, total = answer
        if total is None:
            return b"[" + b",".join(rows) + b"]"
        return b'{"rows":[%b],"total":%d}' % (b",".join(rows), total)

    def answer_of(self, rows, start, end, at, size):
        """What an account with these rows answers: lines, and the total where there is one."""
        found = sorted((row for row in rows if start <= row.time < end), key=lambda row: row.place, reverse=True)
        if not self.dataset.is_ledger:
            found = found[: self.cap]
            return tuple(row.line for row in found[(at - 1) * size : at * size]), len(found)
        if at is not None:
            found = [row for row in found if row.number > at - self.id_is_inclusive]
            found.sort(key=(lambda row: row.place) if self.by_time else (lambda row: row.number))
            found = sorted(found[:size], key=lambda row: row.place, reverse=True)
        return tuple(row.line for row in found[:size]), None

    def is_answer_of(self, rows, asked):
        """Whether that is what an account with these rows may answer.

        It is open which rows of one time a page cuts, and whether the row of a cursor comes again.
        """
        return any(
            self._are_alike(asked.answer, replace(self, id_is_inclusive=is_inclusive).answer_of(rows, *asked.question))
            for is_inclusive in (False, True)
        )

    def _are_alike(self, answer, other):
        (given, total), (expected, stated) = answer, other
        differing = {self.lines[line].time for line in set(given) ^ set(expected)}
        ends = {self.lines[lines[at]].time for lines in (given, expected) if lines for at in (0, -1)}
        return (len(given), total) == (len(expected), stated) and differing <= ends


_TEMPLATES = {
    "force_liquidation": (
        '{{"avgPrice":"{value}","executedQty":"1","orderId":{number},"price":"0.5","qty":"1","side":"{side}",'
        '"symbol":"BTCUSDT","timeInForce":"GTC","isIsolated":false,"updatedTime":{time}}}'
    ),
    "borrow": (
        '{{"type":"MANUAL","amount":"{value}","asset":"BTC","interest":"0","principal":"1","status":"{status}",'
        '"timestamp":{time},"txId":{number}}}'
    ),
    "capital_flow": (
        '{{"id":{number},"tranId":7,"timestamp":{time},"asset":"BTC","type":"TRANSFER","amount":"{value}"}}'
    ),
}


class Life:
    """What happens to an account, drawn from a random generator."""

    def __init__(self, rng, account, spans):
        self.rng, self.account, self.spans = rng, account, spans
        self.number = 0
        self.gone = []  # rows that may come back as they were
        self.may_come_back = rng.random() < 0.15
        self.is_tied = rng.random() < 0.3
        self.focus = None

    def row(self, time, number=None):
        if number is None:
            self.number += 1
            # in the order of time, as of a row that was only hidden so far, or later than all others
            in_order = self.account.dataset.is_ledger and (self.account.by_time or self.rng.random() < 0.8)
            number = time * 1000 + self.number if in_order else 10**16 + self.number
        value = f"{self.rng.randrange(10**9)}.{self.rng.randrange(10):01}"
        status = "PENDING" if self.rng.random() < 0.1 else "CONFIRMED"
        text = _TEMPLATES[self.account.dataset.name].format(
            value=value, number=number, time=time, status=status, side=self.rng.choice(("BUY", "SELL"))
        )
        return Row(time, number, text.encode())

    def time(self, span=None):
        start, end = span or self.focus or self.rng.choice(self.spans)
        step = (end - start) // 9 if self.is_tied else 1
        return self.rng.choice((start, end - 1)) if self.rng.random() < 0.1 else self.rng.randrange(start, end, step)

    def begin(self):
        rows = {}
        for span in self.spans:
            for _ in range(self.rng.choice((0, 0, 1, 2, 3, 4, 5, 6, 8, 11))):
                row = self.row(self.time(span))
                rows[row.number] = row
        self.account.change(rows)

    def enter(self, rows):
        row = self.row(self.time())
        if self.may_come_back and self.gone and self.rng.random() < 0.7:
            row = self.gone.pop(self.rng.randrange(len(self.gone)))
        rows[row.number] = row

    def leave(self, rows):
        if row := self.pick(rows):
            self.gone.append(rows.pop(row.number))

    def move(self, rows):
        """Another time, in the same window or in another one."""
        if self.account.by_time:
            self.alter(rows)
        elif row := self.pick(rows):
            rows[row.number] = self.row(self.time(), row.number)

    def alter(self, rows):
        """Another value, at the same time."""
        if row := self.pick(rows):
            rows[row.number] = self.row(row.time, row.number)

    def swap(self, rows):
        self.leave(rows)
        self.enter(rows)

    def pick(self, rows):
        there = [row for row in rows.values() if not self.focus or self.focus[0] <= row.time < self.focus[1]]
        return self.rng.choice(there) if there else None

    def go_on(self):
        rows = dict(self.account.rows)
        acts = (self.enter, self.leave, self.move, self.alter, self.swap, self.swap)
        for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
            self.rng.choice(acts)(rows)
        self.account.change(rows)


# -- the ends ----------------------------------------------------------------------------------------------------------


class Answer:
    """A response of `requests`, as far as it is asked."""

    status_code, headers = 200, _HEADERS

    def __init__(self, body):
        self.raw = SimpleNamespace(stream=lambda *_, **__: [body])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing is open."""


class Wire(BaseAdapter):
    """Where `requests` would open a connection."""

    world = None

    def __init__(self, **_):
        super().__init__()

    def send(self, request, *_, **__):
        path, _, query = request.url.removeprefix(BASE_URL).partition("?")
        return Answer(self.world.reply(path, query))

    def close(self):
        """Nothing is open."""


class Store:
    """The client of an S3 that keeps conditions, in memory."""

    def __init__(self, before, after, host):
        self.objects, self.puts, self.before, self.after = {}, 0, before, after
        self.meta = SimpleNamespace(endpoint_url=f"https://{host}")

    def head_bucket(self, **_):
        self.before()
        return {}

    def head_object(self, *, Key, **_):  # noqa: N803 - botocore's names
        self.before()
        return self._there(Key, "HeadObject")

    def get_object(self, *, Key, IfMatch, **_):  # noqa: N803
        self.before()
        there = self._there(Key, "GetObject")
        if there["ETag"] != IfMatch:
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "GetObject")
        return there | {"Body": SimpleNamespace(iter_chunks=lambda _: [self.objects[Key][0]])}

    def put_object(self, *, Key, Body, Metadata, IfMatch=None, IfNoneMatch=None, **_):  # noqa: N803
        self.before()
        there = self.objects.get(Key)
        etag = there and f'"{hashlib.md5(there[0]).hexdigest()}"'
        if (IfMatch and IfMatch != etag) or (IfNoneMatch and there):
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")
        assert all(name.islower() and (name + value).isascii() for name, value in Metadata.items())
        assert sum(map(len, (*Metadata, *Metadata.values()))) <= 2048
        self.objects[Key] = Body.read(), dict(Metadata)
        self.puts += 1
        self.after()
        return {}

    def _there(self, key, name):
        if key not in self.objects:
            raise ClientError({"Error": {"Code": "404"}}, name)
        body, metadata = self.objects[key]
        return {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "ContentLength": len(body), "Metadata": metadata}


class SeededExecutor(Executor):
    """A pool whose tasks get on one at a time, in an order that a random generator draws."""

    rng = None

    def __init__(self, *_):
        self.pending = []

    def submit(self, do, /, *args):
        future = SeededFuture()
        future.do, future.pool = (lambda: do(*args)), self
        self.pending.append(future)
        while self.pending and self.rng.random() < 0.4:
            self.step()
        return future

    def step(self):
        future = self.pending.pop(self.rng.randrange(len(self.pending)))
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(future.do())
            except BaseException as error:  # noqa: BLE001 - as a pool does
                future.set_exception(error)

    def shutdown(self, *, cancel_futures):
        assert cancel_futures
        for future in self.pending:
            future.cancel()


class SeededFuture(Future):
    def result(self, timeout=None):
        while not self.done():
            self.pool.step()
        return super().result(timeout)


def _seeded_wait(futures, **how):
    while not any(future.done() for future in futures):
        next(iter(futures)).pool.step()
    return wait_for(futures, **how)


def _client(*_, **__):
    return Wire.world.store


@contextmanager
def ends():
    """The package with its three ends in memory."""
    with (
        mock.patch.dict("os.environ", AIRFLOW_CONN_BINANCE_DEFAULT=CONNECTION),
        mock.patch.dict(DATASETS, SMALL),
        mock.patch.object(session, "_Adapter", Wire),
        mock.patch.object(object_store, "_connect", _client),
        mock.patch.object(bounded_map, "ThreadPoolExecutor", SeededExecutor),
        mock.patch.object(bounded_map, "wait", _seeded_wait),
        mock.patch.object(LakeOperator, "log", logging.getLogger(__name__)),
    ):
        yield


# -- one case ----------------------------------------------------------------------------------------------------------


class Case:
    """An account, a task, and what happens while that runs; all from one seed."""

    def __init__(self, seed, kind):
        self.seed, self.kind = seed, kind
        self.rng = rng = random.Random(f"{kind}-{seed}")
        self.is_ledger = kind == "ledger"
        name = "capital_flow" if self.is_ledger else rng.choice(("force_liquidation", "force_liquidation", "borrow"))
        self.dataset = SMALL[name]
        self.is_wide = rng.random() < 0.06  # and one of its days never rests
        days = 6 if self.is_wide else rng.choice((1, 1, 1, 1, 2, 3))
        self.end = TODAY - timedelta(days=rng.choice((0, 0, 2)))
        self.start = self.end - timedelta(days=days)
        self.grain = rng.choice(("day", "day", None)) if days < 3 else "day"
        self.span = rng.choice((72, 24, 24, 24, 12, 8)) * 3600
        self.on_empty = rng.choice(("write",) * 6 + ("none",))
        self.suffix = rng.choice((".jsonl",) * 6 + (".jsonl.gz", ".csv", ".csv.gz", ".parquet"))
        step = DAY if self.grain else ms(self.end) - ms(self.start)
        self.intervals = [(at, at + step) for at in range(ms(self.start), ms(self.end), step)]
        self.cap_step = rng.choice((_CAP_STEP,) * 5 + (3,))
        cap = rng.choice((None, 6, 9)) if self.cap_step == 3 and not self.is_ledger else None
        self.account = Account(self.dataset, cap, rng.random() < 0.5, rng.random() < 0.2)
        width = DAY // 3
        spans = [(at, at + width) for at in range(ms(self.start), ms(self.end), width)]
        spans = rng.sample(spans, min(len(spans), 5 if self.is_wide else rng.choice((1, 2, 3, 3))))
        if rng.random() < 0.2:  # beside what is loaded
            spans.append((ms(self.start) - width, ms(self.start)))
        self.life = Life(rng, self.account, spans)
        self.life.begin()
        if self.is_wide or rng.random() < 0.25:
            self.life.focus = rng.choice(spans)
        self.requests = self.store_calls = 0
        self.moments, self.rate, self.kill_at = set(), 0.0, None
        host = "s3.us-east-1.amazonaws.com" if rng.random() < 0.9 else "store.test"
        self.store = Store(self.before_store_call, self.before_store_call, host)

    # what happens between requests

    def before_store_call(self):
        self.store_calls += 1
        assert self.store_calls < _MOST_STORE_CALLS
        self.die_if_due()

    def die_if_due(self):
        if self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at < 0:
                raise KilledError

    def reply(self, path, query):
        self.requests += 1
        assert self.requests < _MOST_REQUESTS
        self.die_if_due()
        if self.requests in self.moments or self.rng.random() < self.rate:
            self.life.go_on()
        if path == "/api/v3/time":
            return b'{"serverTime":%d}' % ms(NOW)
        assert path == self.dataset.path
        return self.account.answer(dict(each.split("=") for each in query.split("&")))

    def stir(self):
        """Let the account change: at some moments, or all the time."""
        first, rng = self.requests + 1, self.rng
        style = 0.9 if self.is_wide else rng.random()
        if style < 0.7:
            last = first + rng.choice((4, 8, 16, 30))
            self.moments = {rng.randint(first, last) for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 6)))}
        elif style < 0.95:
            self.rate = 1.0 if self.is_wide else rng.choice((0.03, 0.08, 0.15, 0.4, 1.0))

    def rest(self):
        self.moments, self.rate, self.kill_at = set(), 0.0, None

    # tasks

    def run(self, run_id="one", try_number=1, **options):
        """One try of the loading task: its result, or its error; and what it was asked and answered meanwhile."""
        task = MarginHistoryToS3Operator(**self.options("load"), **options)
        return self.attempt(task, self.context(run_id, try_number))

    def audit(self, **options):
        task = MarginHistoryAuditOperator(**self.options("audit"), on_gap="report", **options)
        return self.attempt(task, self.context("audit", 1))

    def options(self, task_id):
        return {
            "task_id": task_id,
            "dataset": self.dataset.name,
            "s3_bucket": BUCKET,
            "s3_key": "{start}" + self.suffix,
            "start": self.start,
            "end": self.end,
            "grain": self.grain,
            "max_span": self.span,
            "aws_conn_id": None,
            "max_workers": 4,
            "on_empty": self.on_empty,
        }

    @staticmethod
    def context(run_id, try_number):
        dag_run = SimpleNamespace(clear_number=0, start_date=NOW, run_after=NOW, run_id=run_id)
        task = SimpleNamespace(task_id="load", map_index=-1, max_tries=2, try_number=try_number)
        task.dag_id, task.run_id, task.xcom_push = "a_dag", run_id, lambda *_: None
        return {"dag_run": dag_run, "ti": task, "run_id": run_id, "dag": SimpleNamespace(dag_id="a_dag")}

    def attempt(self, task, context):
        began, puts, before = len(self.account.asked), self.store.puts, dict(self.store.objects)
        version = len(self.account.versions) - 1
        try:
            result, error = task.execute(context), None
        except (BinanceIncompleteError, AirflowFailException, KilledError) as caught:
            result, error = None, caught
        asked = self.account.asked[began:]
        return Attempt(self, result, error, asked, before, self.store.puts - puts, version)

    def key(self, interval):
        at = datetime.fromtimestamp(interval[0] / 1000, UTC)
        return f"{at:%Y%m%dT%H%M%SZ}{self.suffix}"

    def state(self, interval, version=-1):
        """The rows of an interval, in an object's order."""
        rows = (row for row in self.account.versions[version].values() if interval[0] <= row.time < interval[1])
        return sorted(rows, key=lambda row: row.place)

    def is_too_full(self, error):
        """Whether that is the error of a second or a millisecond that no answer is known to show all of."""
        unit, word = (1000, "a second this full") if self.is_ledger else (1, "cannot be read in halves")
        there = (row for interval in self.intervals for row in self.state(interval))
        most = Counter(row.time // unit for row in there).values()
        if not self.is_ledger:
            most = [each for each in most if paging._is_likely_cap(min(each, self.account.cap or each))]
        return word in str(error) and max(most, default=0) >= PAGE


@dataclass
class Attempt:
    """One try of a task, and what it left."""

    case: Case
    result: dict | None
    error: BaseException | None
    asked: list
    before: dict
    puts: int
    version: int

    def of(self, interval):
        """What was asked about an interval."""
        return [asked for asked in self.asked if interval[0] <= asked.start and asked.end <= interval[1]]

    def verdicts(self):
        """Of an audit: the verdict on each key that is not complete."""
        counts = self.result["counts"]
        return {found["key"]: each for each in counts if each != "complete" for found in self.result[each]}

    def may_be_empty(self, interval):
        """Whether an object may be missing since what was answered is what an account without rows answers."""
        if self.case.on_empty != "none" or not self.of(interval):
            return False
        try:
            return bool(explained(self, interval, []))
        except AssertionError:
            return False


# -- what is promised --------------------------------------------------------------------------------------------------


def decode(case, body):
    """The rows of an object, as the lines that the account had; KeyError for one that it never had."""
    suffix, columns = case.suffix.removesuffix(".gz"), case.dataset.columns
    if case.suffix.endswith(".gz"):
        body = gzip.decompress(body)
    if suffix == ".jsonl":
        assert not body or body.endswith(b"\n")
        return [case.account.lines[line].line for line in body.split(b"\n")[:-1]]
    if suffix == ".csv":
        written = list(csv.reader(io.StringIO(body.decode())))
        assert written.pop(0) == [*columns, "extra"]
        value = _as_csv
    else:
        written = [list(row.values()) for row in pyarrow.parquet.read_table(io.BytesIO(body)).to_pylist()]
        value = _as_python
    lines = {}
    for line in case.account.lines:
        row = json.loads(line)
        lines[(*(value(row.get(name), kind) for name, kind in columns.items()), value(None, ""))] = line
    return [lines[tuple(row)] for row in written]


def _as_csv(value, _):
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _as_python(value, kind):
    if value is None:
        return None
    if kind == "timestamp":
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value)
    return Decimal(value) if kind == "decimal" else value


def check_written(attempt, interval):
    """Hold one object that was written against the account's versions; return how it is explained."""
    case = attempt.case
    body, metadata = case.store.objects[case.key(interval)]
    lines = decode(case, body)
    rows = [case.account.lines[line] for line in lines]
    check_metadata(case, body, metadata, rows)
    assert [row.place for row in rows] == sorted(row.place for row in rows), "not in order"
    assert all(interval[0] <= row.time < interval[1] for row in rows), "beside the interval"
    assert len(set(lines)) == len(lines), "a row is there twice"
    return explained(attempt, interval, rows)


def explained(attempt, interval, rows):
    """The word for what these rows of an interval are: a state of the account, or what the answers cannot tell of."""
    case, asked = attempt.case, attempt.of(interval)
    versions = range(asked[0].version, asked[-1].version + 1)
    states = [frozenset(row.line for row in case.state(interval, version)) for version in versions]
    found = frozenset(row.line for row in rows)
    if found in states:
        return "a state"
    assert found <= frozenset().union(*states), "a row that was not there"
    return explain(case, asked, rows, states)


#: what cannot be told from a resting account by the answers: name -> what happens while one reads
UNTOLD = {
    "inner page": "of a window that ended more than a day ago, a row leaves an inner page while another enters",
    "behind the first page": "a window of several pages has been read, others of the object have not: on all pages but "
    "its first, a row leaves while another enters",
    "in passing": "a row enters a window that has been read and leaves it again before the object's last window is",
    "came back": "a row leaves, or changes, and later is there again as it was",
    "behind the newest": "of a ledger's window that is read by cursor, a row that is not one of the newest leaves, "
    "changes, or enters where the cursor has been",
}


def explain(case, asked, rows, states):
    """Name why what was written, no state of the account, could not be told from one by the answers."""
    windows = {}
    for number, each in enumerate(asked):
        windows.setdefault((each.start, each.end), []).append((number, each))
    confirmed = {window for window in [*windows] if not case.is_ledger and _is_confirmed_by_halves(window, windows)}
    windows = {
        window: asked for window, asked in windows.items() if window in confirmed or not _is_given_up(window, windows)
    }
    relied_on = [each for asked in windows.values() for each in _relied_on(case, rows, [each for _, each in asked])]
    moved = _moved(case, rows, relied_on)
    assert all(
        case.account.is_answer_of([*rows, *(row for row in moved if each.start <= row.time < each.end)], each)
        for each in relied_on
    ), "the answers told of it"
    seen = [[line in state for state in states] for line in frozenset().union(*states)]
    pages = [-(-sum(start <= row.time < end for row in rows) // PAGE) for start, end in sorted(windows)]
    is_old = asked[0].end <= ms(NOW) - DAY
    is_true = {
        "inner page": not case.is_ledger and is_old and max(pages) > 2,
        "behind the newest": case.is_ledger and any(each.at is not None for each in relied_on),
        "behind the first page": not case.is_ledger and len(windows) > 1 and max(pages[:-1]) > 1,
        "in passing": len(windows) > 1 and any(_changes(each, [False, True, False]) for each in seen),
        "came back": any(_changes(each, [True, False, True]) for each in seen),
    }
    name = next((name for name in is_true if is_true[name]), None)
    assert name is not None, "no state of the account, and nothing that happened explains it"
    keys = [{case.account.lines[line].number for line in state} for state in states]
    lost = set.intersection(*keys) - {row.number for row in rows}
    return f"untold: {name}{', a record is missing' if lost else ''}"


def _changes(seen, pattern):
    """Whether a row was there, and was not, in this order."""
    changes = [each for number, each in enumerate(seen) if number == 0 or each != seen[number - 1]]
    return any(changes[at : at + len(pattern)] == pattern for at in range(len(changes)))


def _is_given_up(window, windows):
    """Whether a window was read in parts in the end, or as a part of another one."""
    last = windows[window][-1][0]
    return any(
        other != window and asked[-1][0] > last and (_holds(window, other) or _holds(other, window))
        for other, asked in windows.items()
    )


def _is_confirmed_by_halves(window, windows):
    """Whether a window's halves were asked after it for one page each, the older one's not the first: no reading.

    Of both, what was asked before has been given up.
    """
    last = windows[window][-1][0]
    after = {
        other: later
        for other, asked in windows.items()
        if other != window and _holds(window, other) and (later := [each for each in asked if each[0] > last])
    }
    if len(after) != 2 or any(each.at == 1 for _, each in after[min(after)]):
        return False
    windows |= after
    return True


def _moved(case, rows, relied_on):
    """Rows of records that moved to a later window of the reading: written as that one shows them."""
    latest = {row.number: row for row in rows}
    shown = {case.account.lines[line] for each in relied_on for line in each.answer[0]}
    windows = {(each.start, each.end) for each in relied_on}

    def window_of(row):
        return max((window for window in windows if window[0] <= row.time < window[1]), default=None)

    return [row for row in shown if row.number in latest and window_of(row) < window_of(latest[row.number])]


def _holds(window, other):
    return window[0] <= other[0] and other[1] <= window[1]


def _relied_on(case, rows, asked):
    """The answers that a reading of a window stands on."""
    if case.is_ledger:
        if len(asked[-1].answer[0]) < PAGE:  # one answer showed all of it, twice
            return asked[-2:]
        runs = [number for number, each in enumerate(asked) if each.at == 0]
        assert runs, "not read to its end"
        return asked[runs[-1] :]
    there = sum(asked[0].start <= row.time < asked[0].end for row in rows)
    pages = {each.at: each for each in asked}
    return [each for at, each in pages.items() if at == 1 or (at - 1) * each.size < there]


def check_metadata(case, body, metadata, rows):
    """Hold what an object states about itself against what it holds."""
    text = b"".join(row.line + b"\n" for row in rows)
    expected = {
        "records": len({row.number for row in rows}),
        "rows": len(rows),
        "proof": "exhausted" if case.is_ledger else "total",
        "records-sha256": hashlib.sha256(text).hexdigest(),
        "body-sha256": hashlib.sha256(body).hexdigest(),
        "body-size": len(body),
        "dataset": case.dataset.name,
    }
    if case.dataset.not_final:
        expected["not-final"] = sum(b"PENDING" in row.line for row in rows)
    assert metadata.items() >= {name: str(value) for name, value in expected.items()}.items(), "metadata"


def check_run(attempt, tally, *, done=frozenset()):
    """Hold one try of the loading task against what is promised: each object is a state, or its error is raised.

    :param done: keys that an earlier try of the run has written
    """
    case, objects = attempt.case, attempt.case.store.objects
    refused = []
    for interval in case.intervals:
        key = case.key(interval)
        if key in objects and objects[key] is not attempt.before.get(key):
            tally[check_written(attempt, interval)] += 1
        elif key not in done and not attempt.may_be_empty(interval):
            refused.append(key)
    error = attempt.error
    if error is None:
        assert not refused, "not written, and no error"
    elif not isinstance(error, KilledError):
        assert refused or case.on_empty == "none", error
        if len(case.intervals) > 1:
            number = int(re.match(f"([0-9]+) of {len(case.intervals)} objects could not be loaded", str(error))[1])
            assert number == len(refused) or (case.on_empty == "none" and number > len(refused))
            assert "the others are" in str(error)
    assert attempt.before.keys() <= objects.keys(), "an object has gone"


def check_audit(attempt):
    """Hold the verdicts of an audit of a resting account against the objects and the account."""
    case = attempt.case
    if attempt.error is not None:
        assert case.is_too_full(attempt.error), attempt.error
        return Counter([_kind_of(attempt.error)])
    report = attempt.result
    listed = attempt.verdicts()
    seen = Counter()
    for interval in case.intervals:
        key, there = case.key(interval), case.state(interval)
        verdict = listed.get(key, "complete")
        seen[verdict] += 1
        if key not in case.store.objects:
            expected = "missing" if there or case.on_empty == "write" else "complete"
        else:
            lines = decode(case, case.store.objects[key][0])
            if len(lines) < len(there):
                expected = "short"
            elif any(b"PENDING" in line for line in lines):
                expected = "unfinished"
            else:
                expected = "long" if len(lines) > len(there) else "complete"
                if not lines and interval[1] < ms(NOW) - 7 * DAY:
                    expected = "claim"
        assert verdict == expected, (verdict, expected, key)
    assert seen == +Counter(report["counts"])
    return seen


def check_moving_audit(attempt, tally):
    """Hold the verdicts of an audit of an account that changes against what each window may have been counted as."""
    case = attempt.case
    if attempt.error is not None:
        assert isinstance(attempt.error, BinanceIncompleteError)
        tally[f"audit while it changes: {_kind_of(attempt.error)}"] += 1
        return
    versions = case.account.versions[attempt.version :]
    for interval in case.intervals:
        records = int(case.store.objects.get(case.key(interval), (b"", {"records": "0"}))[1]["records"])
        step, counts = int(case.span * 1000), []
        for start in range(*interval, step):
            end = min(start + step, interval[1])
            seen = [{row for row in rows.values() if start <= row.time < end} for rows in versions]
            if case.is_ledger:  # counted by reading it: a row that moves may be passed by
                seen = [set.intersection(*seen), set.union(*seen)]
            counts.append([len({row.number for row in each}) for each in seen])
        least, most = sum(map(min, counts)), sum(map(max, counts))
        may_be = {"short": records < most, "long": records > least, "complete": least <= records <= most}
        verdict = attempt.verdicts().get(case.key(interval), "complete")
        tally[f"audit while it changes: {verdict}"] += 1
        if case.cap_step == _CAP_STEP:  # else windows are counted in halves, each at its own moment
            assert may_be.get(verdict, True), (verdict, records, least, most)


def play(seed, kind, tally):
    """One case, told from its beginning to its end."""
    case = Case(seed, kind)
    rng = case.rng
    Wire.world, SeededExecutor.rng = case, rng
    hosts._hosts.clear()
    with mock.patch.object(paging, "_CAP_STEP", case.cap_step):
        case.stir()
        if rng.random() < 0.2:
            case.kill_at = rng.randrange(30)
        attempt = case.run()
        check_run(attempt, tally)
        tally[f"run: {_kind_of(attempt.error)}"] += 1
        tally["requests"] += len(attempt.asked)
        if isinstance(attempt.error, KilledError):
            case.kill_at, written = None, dict(case.store.objects)
            attempt = case.run(try_number=2)
            check_run(attempt, tally, done=written)
            assert all(case.store.objects[key] is written[key] for key in written), "written twice by one run"
            tally[f"after a kill: {_kind_of(attempt.error)}"] += 1
        if rng.random() < 0.15:
            case.kill_at = None
            case.stir()
            check_moving_audit(case.audit(), tally)
        case.rest()
        for verdict, number in check_audit(case.audit()).items():
            tally[f"audit: {verdict}"] += number
        if rng.random() < 0.2:
            check_second(case, tally, replace=rng.random() < 0.8)


def check_second(case, tally, *, replace):
    """Load the interval once more, of a resting account: what has changed is replaced, what must stay is named."""
    before = dict(case.store.objects)
    attempt = case.run("two", replace=replace)
    stays, is_left = [], []
    for interval in case.intervals:
        key, there = case.key(interval), [row.line for row in case.state(interval)]
        old, new = before.get(key), case.store.objects.get(key)
        if new is not old:
            assert replace or old is None, "replaced"
            assert decode(case, new[0]) == there, "at rest, another object than the account"
            if old is not None and decode(case, old[0]) == there:
                assert old[0] == new[0], "the same rows, other bytes"
        elif replace and old is not None and int(old[1]["records"]) > len(there):
            stays.append(key)
        elif (replace or old is None) and (there or case.on_empty == "write"):
            is_left.append(key)
    assert not is_left or case.is_too_full(attempt.error)
    assert bool(stays or is_left) == (attempt.error is not None), attempt.error
    tally[f"once more, at rest: {_kind_of(attempt.error)}"] += 1


def _kind_of(error):
    if error is None:
        return "written"
    text = str(error)
    marks = ("never agreed", "never twice alike", "a second this full", "records moved between", "in halves", "holds ")
    return f"{type(error).__name__} ({', '.join(mark.strip() for mark in marks if mark in text)})".replace(" ()", "")
