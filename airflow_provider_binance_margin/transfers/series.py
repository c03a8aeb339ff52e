"""Series of objects: the datasets and scopes that one task loads or audits."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from airflow_provider_binance_margin.exchange.dataset import Dataset
from airflow_provider_binance_margin.exchange.datasets import dataset_of
from airflow_provider_binance_margin.exchange.errors import BinanceError, BinanceRequestError
from airflow_provider_binance_margin.exchange.scope import Scope, checked_symbol, scope_of
from airflow_provider_binance_margin.lake.layout import LayoutError
from airflow_provider_binance_margin.options import is_plain

_MOST_NAMED = 100
_NO_SUCH_ISOLATED_ACCOUNT = -11001


@dataclass(frozen=True, eq=False)
class Series:
    """One dataset in one scope: the objects that follow each other in time."""

    dataset: Dataset
    scope: Scope

    def __str__(self) -> str:
        """As ``interest of scope cross``."""
        return f"{self.dataset.name} of scope {self.scope}"


class SeriesList(tuple[Series, ...]):
    """The series of one task, each once."""

    __slots__ = ()

    @property
    def varying(self) -> tuple[str, ...]:
        """The entries of an identity that tell its series apart: none, dataset, scope, or both."""
        datasets = {series.dataset.name for series in self}
        return ("dataset",) * (len(datasets) > 1) + ("scope",) * (len(self) > len(datasets))

    def check_key(self, template: str) -> None:
        """Refuse, by a LayoutError, a key template under which objects of two series would meet."""
        if lacking := [f"{{{name}}}" for name in self.varying if f"{{{name}}}" not in template]:
            raise LayoutError(
                f"the key {template!r} must hold {' and '.join(lacking)}, as the default key does: the task has "
                "several datasets or scopes, whose objects would have the same keys"
            )

    def arguments(self, *, is_mapped: bool = False) -> dict[Series, dict[str, Any]]:
        """The operator's arguments that tell each series from the others, and its pair, if it has one.

        :param is_mapped: the task is one of several, which may have other datasets
        """
        varying = (*self.varying, *(("dataset",) if is_mapped else ()))
        arguments = dict[Series, dict[str, Any]]()
        for series in self:
            dataset = {"dataset": series.dataset.name} if "dataset" in varying else {}
            symbol = series.scope.isolated_symbol
            pair = {"isolated_symbol": symbol} if symbol or "scope" in varying else {}
            arguments[series] = {**dataset, **pair}
        return arguments

    def summary(self) -> dict[str, Any]:
        """Dataset and scope for a task's result: a name or, of several, a list of at most 100."""
        distinct = {
            "dataset": list(dict.fromkeys(series.dataset.name for series in self)),
            "scope": list(dict.fromkeys(str(series.scope) for series in self)),
        }
        return {name: values[0] if len(values) == 1 else values[:_MOST_NAMED] for name, values in distinct.items()}


def concerns_one_series(error: BinanceError) -> bool:
    """True for an answer to one dataset or pair: others may be asked for all the same."""
    return isinstance(error, BinanceRequestError) or error.code == _NO_SUCH_ISOLATED_ACCOUNT


def series_of(dataset: Any, isolated_symbol: Any = None, filters: Any = None) -> SeriesList:
    """The product of datasets and pairs, each once, in the order given.

    :param isolated_symbol: a pair, None for the cross account, or a list of these; in a list an empty text is None, and
        a dataset that has no pairs is taken once, for the cross account
    :raises BinanceRequestError: with the cure
    """
    pairs = _pairs(isolated_symbol)
    without_pairs = [None] if _is_list(isolated_symbol) else pairs
    found: dict[tuple[str, Scope], Series] = {}
    for known in map(dataset_of, _entries("dataset", dataset)):
        for pair in pairs if known.pair_param else without_pairs:
            scope = scope_of(known, pair, filters)
            found.setdefault((known.name, scope), Series(known, scope))
    return SeriesList(found.values())


def check_series(dataset: Any, isolated_symbol: Any, filters: Any) -> SeriesList:
    """Refuse, while the DAG is parsed, what no endpoint offers; templates and other tasks' values come later.

    :return: the series that are known by then
    """
    datasets, symbols = _plain(dataset), _plain(isolated_symbol)
    try:
        if datasets is None:
            _pairs(symbols)
            return SeriesList()
        return series_of(datasets, symbols, filters if is_plain(filters) else None)
    except BinanceRequestError as error:
        raise ValueError(str(error)) from None


def _pairs(value: Any) -> list[str | None]:
    entries = _entries("isolated_symbol", value)
    return [checked_symbol(None if pair == "" and _is_list(value) else pair) for pair in entries]


def _entries(name: str, value: Any) -> list[Any]:
    """The entries of a list, or the single value."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "(", "{"):
        raise BinanceRequestError(
            f"{name} is the text of a list: for a template to give a list, its DAG needs "
            "render_template_as_native_obj=True"
        )
    if not _is_list(value):
        return [value]
    entries = sorted(value, key=str) if isinstance(value, AbstractSet) else list(value)
    if not entries:
        raise BinanceRequestError(f"{name} is an empty list: name one at least; [None] is the account without a pair")
    return entries


def _is_list(value: Any) -> bool:
    return isinstance(value, (Sequence, AbstractSet)) and not isinstance(value, (str, bytes))


def _plain(value: Any) -> Any:
    """The value, or its entries, as far as they stand in the DAG file; None where they do not."""
    if not _is_list(value):
        return value if is_plain(value) else None
    return [entry for entry in value if entry is None or is_plain(entry)] or (None if value else value)
