"""An invented past: each UTC day is a function of the seed and the day alone, whatever range it is asked for in.

Most days are empty, some have a few records, and in every twenty days two have more than a hundred and one more than
three hundred, most of them within an hour or two. A day that is not empty begins and ends with a record in its very
first and very last millisecond.
"""

from __future__ import annotations

import math
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.book import CROSS, entry
from airflow_provider_binance_margin.sandbox.market import BITCOIN, ISOLATED, PRICES

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400_000
BLOCK = 20


def history(seed: int, first_day: int, days: int, until: int) -> Iterator[tuple[int, str, bytes]]:
    """The records of `days` days from `first_day` (a day is counted from 1970-01-01) up to the moment `until`."""
    for day in range(first_day, first_day + days):
        for each in _day(seed, day):
            if each[0] <= until:
                yield each


@lru_cache(maxsize=2048)
def _day(seed: int, day: int) -> tuple[tuple[int, str, bytes], ...]:
    rng = Random(f"{seed}/{day}")
    number = _records_of(seed, day)
    moments = [(time, CROSS) for time in _times(rng, number)]
    for pair, share in ISOLATED.items():
        moments += [(time, pair) for time in _times(rng, int(number * share))]
    moments.sort(key=lambda moment: moment[0])
    return tuple(entry(_record(rng, day, rank, *moment)) for rank, moment in enumerate(moments))


def _records_of(seed: int, day: int) -> int:
    rng = Random(f"{seed}/block {day // BLOCK}")
    kinds = [(0, 0)] * 11 + [(2, 12)] * 6 + [(101, 280)] * 2 + [(301, 600)]
    rng.shuffle(kinds)
    sizes = [rng.randint(*kind) for kind in kinds]
    return sizes[day % BLOCK]


def _times(rng: Random, number: int) -> list[int]:
    """Moments of a day: both ends, a wave of an hour or two, a few at any time, now and then two at once."""
    times = [0, DAY - 1] if number > 1 else []
    wave = rng.randrange(DAY)
    while len(times) < number:
        if _chance(rng, 0.1) and times:
            times.append(times[-1])
        elif _chance(rng, 0.7):
            times.append(min(max(int(rng.gauss(wave, DAY / 48)), 0), DAY - 1))
        else:
            times.append(rng.randrange(DAY))
    return times


def _chance(rng: Random, odds: float) -> bool:
    return rng.random() < odds


def _record(rng: Random, day: int, rank: int, time: int, pair: str) -> dict[str, Any]:
    symbol = pair or rng.choice(list(PRICES))
    side = "SELL" if _chance(rng, 0.7) else "BUY"
    price = PRICES[symbol] * (1 + 0.3 * math.sin(day / 40 + len(symbol))) * rng.gauss(1, 0.01)
    quantity = round(rng.lognormvariate(6, 1.5) / price / (BITCOIN if symbol.endswith("BTC") else 1), 5) or 0.00001
    filled = quantity if _chance(rng, 0.95) else round(quantity * rng.random(), 5)
    better = 1 + abs(rng.gauss(0, 0.0004)) * (1 if side == "SELL" else -1)
    return {
        "avgPrice": f"{price * better:.8f}",
        "executedQty": f"{filled:.8f}",
        "orderId": day * 1_000_000 + rank * 31 + rng.randrange(31),
        "price": f"{price:.8f}",
        "qty": f"{quantity:.8f}",
        "side": side,
        "symbol": symbol,
        "timeInForce": "GTC",
        "isIsolated": bool(pair),
        "updatedTime": day * DAY + time,
    }
