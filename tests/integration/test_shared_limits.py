"""Eight processes behind one address, without a coordinator: all get their records, and none annoys the exchange."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import time
from collections import defaultdict
from contextlib import closing
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from integration.fault_matrix.worker import work

PROCESSES = 8
START = datetime(2026, 1, 15, tzinfo=UTC)
MINUTE = 5
RECORDS = "/sapi/v1/margin/forceLiquidationRec"
IMPORTED_ONCE = [
    "airflow.sdk",
    "airflow.sdk.definitions.connection",
    "airflow.sdk.execution_time.context",
    "airflow_provider_binance_margin.exchange.call",
    "airflow_provider_binance_margin.exchange.paging",
    "airflow_provider_binance_margin.hooks.binance",
    "airflow_provider_binance_margin.hooks.session",
    "airflow_provider_binance_margin.hooks.settings",
    "airflow_provider_binance_margin.lake.spool",
]


@pytest.fixture
def all_at_once(sandbox):
    """Let eight processes read their pairs' records in so many threads; each one's rows and how often it came back.

    Somebody else behind their address has `used` a part of the first minute's limit: how fast the processes are then
    does not matter.
    """

    def run(pages, used, threads=1):
        span = timedelta(days=1) / threads
        windows = [(START + n * span, START + (n + 1) * span) for n in range(threads)]
        symbols = [f"W{n}USDT" for n in range(PROCESSES)]
        for symbol in symbols:
            for start, _ in windows:
                at = int(start.timestamp() * 1000)
                sandbox.add(n=100 * pages // threads, at=at, step_ms=1, symbol=symbol, isolated=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED_ONCE)
        outbox, gate = context.Queue(), context.Barrier(PROCESSES + 1)
        conn = sandbox.connection()
        shown = json.dumps({**conn, "extra": conn["extra"] or {}})
        workers = [
            context.Process(target=work, args=(outbox, gate, shown, symbol, windows), daemon=True) for symbol in symbols
        ]
        for worker in workers:
            worker.start()
        while gate.n_waiting < PROCESSES:
            time.sleep(0.01)
        use_up(sandbox, used)
        gate.wait(60)
        done = [outbox.get(timeout=150) for _ in workers]
        for worker in workers:
            worker.join(10)
        return {symbol: sorted(rows) for symbol, rows, _ in done}, {symbol: times for symbol, _, times in done}

    return run


def use_up(sandbox, weight):
    """Use so much of a minute's limit, with most of the minute left."""
    with closing(http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=30)) as client:
        while True:
            time.sleep(MINUTE - time.time() % MINUTE)
            for _ in range(weight):
                client.request("GET", RECORDS)
                client.getresponse().read()
            if time.time() % MINUTE < MINUTE - 3:
                return


def by_process(sandbox):
    """The log of each process: each has a pair of its own."""
    logs = defaultdict(list)
    for entry in sandbox.requests:
        if "isolatedSymbol" in entry.params:
            logs[entry.params["isolatedSymbol"]].append(entry)
    return logs


def ids(sandbox):
    return {f"W{n}USDT": sorted(r["orderId"] for r in sandbox.records(isolated_symbol=f"W{n}USDT")) for n in range(8)}


def test_a_low_limit_is_met_once_and_then_kept(sandbox, all_at_once):
    """Each process is told of a limit far below the documented one at most once, waits, and then keeps below it."""
    sandbox.settings.change(limit=80, minute=MINUTE, strikes=PROCESSES, ban_seconds=60)

    rows, _ = all_at_once(pages=9, used=64)

    assert ids(sandbox) == rows
    logs = by_process(sandbox)
    told = {symbol: [entry for entry in log if entry.status == 429] for symbol, log in logs.items()}
    assert any(told.values())
    assert {200, 429} == {entry.status for log in logs.values() for entry in log}
    assert [] == [symbol for symbol, refused in told.items() if len(refused) > 1]
    for symbol, refused in told.items():
        for entry in refused:
            # as Retry-After says it: in whole seconds
            end = entry.time + -(-(MINUTE * 1000 - entry.time % (MINUTE * 1000)) // 1000) * 1000
            assert [] == [later for later in logs[symbol] if entry.time < later.time < end]


def test_a_ban_stops_each_process_until_its_end(sandbox, all_at_once):
    """Once told that it is shut out, a process sends nothing from any thread until then; all records arrive after."""
    ban = 4
    sandbox.settings.change(limit=60, minute=MINUTE, strikes=0, ban_seconds=ban)

    rows, _ = all_at_once(pages=6, used=44, threads=4)

    assert ids(sandbox) == rows
    logs = by_process(sandbox)
    banned = {symbol: [entry.time for entry in log if entry.status == 418] for symbol, log in logs.items()}
    assert any(banned.values())
    first = min(time for times in banned.values() for time in times)
    for symbol, times in banned.items():
        early = [entry.time for entry in logs[symbol] if times and times[0] < entry.time < first + ban * 1000 - 1000]
        assert len(early) <= 3, symbol  # what the other threads had on its way, however long that is
