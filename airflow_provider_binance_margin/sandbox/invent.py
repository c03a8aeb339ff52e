"""Records made up on demand: complete, plausible, each with an id of its own."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.datasets import FORCE_LIQUIDATION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_binance_margin.sandbox.dataset import Dataset

_seeds = count(1)
# where ids begin that do not rise with time
MIXED = 1_000_000_000


def invent(
    dataset: Dataset = FORCE_LIQUIDATION,
    *,
    n: int = 1,
    at: int,
    step_ms: int = 1,
    symbol: str | None = None,
    isolated: bool = False,
    isolated_symbol: str | None = None,
    in_seconds: bool | None = None,
    mixed_ids: bool = False,
    **fields: Any,
) -> Iterator[dict[str, Any]]:
    """`n` records from the moment `at`, `step_ms` apart. Other fields, known or not, under the exchange's names.

    :param isolated_symbol: the isolated pair that they belong to (the same: `symbol` and `isolated`).
    :param in_seconds: the unit of times; None: as the dataset has them.
    :param mixed_ids: ids do not rise with time.
    """
    scope = _scope(dataset, symbol, isolated_symbol, isolated=isolated)
    if symbol is not None and "symbol" in dataset.fields:
        fields["symbol"] = symbol
    _check(dataset, fields)
    for place in range(n):
        seed = next(_seeds)
        record = dataset.row(MIXED + (seed ^ 5) if mixed_ids else seed, scope, fields)
        record[dataset.time] = dataset.stamp(at + place * step_ms, in_seconds=in_seconds)
        record.update(fields)
        if dataset.scope(record) != scope:
            raise ValueError(
                f"these fields make a record of {dataset.scope(record) or 'cross'}, not {scope or 'cross'}"
            )
        yield in_order(dataset, record)


def _scope(dataset: Dataset, symbol: str | None, isolated_symbol: str | None, *, isolated: bool) -> str:
    if isolated_symbol and symbol not in {None, isolated_symbol}:
        raise ValueError(f"isolated_symbol {isolated_symbol} contradicts symbol {symbol}")
    # where the pair's parameter is `symbol`, a row that has a symbol is an isolated pair's
    named = symbol or "BTCUSDT" if isolated or (symbol and dataset.pair == "symbol") else ""
    scope = isolated_symbol or named
    if scope and dataset.pair is None:
        raise ValueError(f"{dataset.name} has no isolated records")
    if symbol and not scope and "symbol" not in dataset.fields:
        raise ValueError(f"{dataset.name} has no field 'symbol': isolated_symbol makes an isolated record")
    return scope


def _check(dataset: Dataset, fields: Mapping[str, Any]) -> None:
    """Refuse what would be a wrong record in silence: a parameter's name, or a name as no exchange writes one."""
    wrong = [name for name in fields if name not in dataset.fields and ("_" in name or name in dataset.params)]
    if wrong:
        raise ValueError(f"no such option, and no field of {dataset.name}: {', '.join(wrong)}")


def in_order(dataset: Dataset, record: dict[str, Any]) -> dict[str, Any]:
    """The record with the dataset's fields in their order, unknown ones behind."""
    known = {name: record[name] for name in dataset.fields if name in record}
    return known if len(known) == len(record) else {**known, **record}
