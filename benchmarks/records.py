"""What is loaded into the sandbox, and whether an object holds exactly that."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, datetime
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

START = int(datetime(2026, 1, 15, tzinfo=UTC).timestamp() * 1000)
DAY = 86_400_000
PRICES = {"ADAUSDT": 0.52, "BNBUSDT": 610.0, "BTCUSDT": 67_000.0, "DOGEUSDT": 0.147, "ETHBTC": 0.0433, "XRPUSDT": 1.42}
CHUNK = 20_000
ODDS_OF_A_TIE = 0.1


def records(n: int) -> Iterator[dict[str, Any]]:
    """`n` records of one day in the order they are to be written, now and then two in one millisecond."""
    rng = Random(n)  # noqa: S311 - the same ones each time
    slot = DAY // max(1, -(-n // 2))
    for pair in range(-(-n // 2)):
        first = START + pair * slot + rng.randrange(slot // 2)
        second = first if rng.random() < ODDS_OF_A_TIE else first + rng.randrange(slot // 2)
        two = [_record(rng, first, 2 * pair), _record(rng, second, 2 * pair + 1)]
        two.sort(key=lambda row: (row["updatedTime"], row["symbol"], row["orderId"]))
        yield from two[: n - 2 * pair]


def _record(rng: Random, time: int, number: int) -> dict[str, Any]:
    symbol = rng.choice(list(PRICES))
    price = PRICES[symbol] * rng.gauss(1, 0.05)
    quantity = f"{round(rng.lognormvariate(6, 1.5) / price, 5) or 0.00001:.8f}"
    return {
        "avgPrice": f"{price * rng.gauss(1, 0.0004):.8f}",
        "executedQty": quantity,
        "orderId": 90_000_000_000 + number * 31 + rng.randrange(31),
        "price": f"{price:.8f}",
        "qty": quantity,
        "side": "SELL" if rng.random() < 0.7 else "BUY",  # noqa: PLR2004
        "symbol": symbol,
        "timeInForce": "GTC",
        "isIsolated": False,
        "updatedTime": time,
    }


def chunks(n: int) -> Iterator[list[dict[str, Any]]]:
    """The same, in pieces."""
    rows: list[dict[str, Any]] = []
    for row in records(n):
        rows.append(row)
        if len(rows) == CHUNK:
            yield rows
            rows = []
    yield rows


@lru_cache
def digest(n: int) -> str:
    """Of what an object with the `n` records holds, uncompressed."""
    sha256 = hashlib.sha256()
    for row in records(n):
        sha256.update(json.dumps(row, separators=(",", ":")).encode() + b"\n")
    return sha256.hexdigest()


def verdict(body: bytes, n: int) -> str:
    """Whether an object holds what was loaded, byte for byte ("exact"), or else what is wrong with it."""
    text = gzip.decompress(body)
    if hashlib.sha256(text).hexdigest() == digest(n):
        return "exact"
    found = {str(json.loads(line).get("orderId")) for line in text.splitlines()}
    missing = sum(str(row["orderId"]) not in found for row in records(n))
    return f"{missing:,} lost" if missing else "changed"
