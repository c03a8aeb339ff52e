"""What one worker of many does: it reads its pair's records, and comes back when it is told to, as Airflow would."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

from airflow_provider_binance_margin.exchange.errors import BinanceThrottledError
from airflow_provider_binance_margin.hooks.binance import BinanceHook


def work(outbox, gate, conn, symbol, windows):
    """Read windows side by side; what the exchange asks to wait for too long is tried again at its time."""
    os.environ["AIRFLOW_CONN_SHARED"] = conn
    hook = BinanceHook("shared")
    hook.settings  # noqa: B018 - all start with the same knowledge: none
    waits = []

    def read(window):
        while True:
            try:
                return hook.force_liquidations(*window, isolated_symbol=symbol)
            except BinanceThrottledError as error:
                waits.append(error.retry_after)
                time.sleep(error.retry_after + 1)

    gate.wait(60)
    with ThreadPoolExecutor(len(windows)) as threads:
        rows = [row["orderId"] for part in threads.map(read, windows) for row in part]
    outbox.put((symbol, rows, len(waits)))
