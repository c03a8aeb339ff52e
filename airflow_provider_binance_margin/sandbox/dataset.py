"""Type of a dataset of the margin account: `datasets` declares them, nothing else knows one by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.rows import Packing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HOUR = 3_600_000
DAY = 24 * HOUR
# a time below this is one in seconds
SECONDS_BELOW = 100_000_000_000


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One dataset and the endpoint that serves it.

    :param fields: names and types of a row's fields, in documented order.
    :param time: the field that is a row's time; ten-digit values of it are seconds.
    :param ids: the fields that identify a row, of which one is an integer; the first is in every row.
    :param row: a plausible row but for its time: (seed, isolated pair or "", fields that are given) -> fields.
    :param scope: the isolated pair that a row belongs to, "" for the cross account.
    :param optional: fields that are not in every row.
    :param weight: of one request; `whose` says whether it counts for the address ("IP") or for the account ("UID").
    :param pair: the parameter that names an isolated pair; None: there are no isolated rows.
    :param fixed: parameters that must have this value, which tell apart the datasets of one path.
    :param filters: optional parameters, each with the values it may have (empty: any); it names a row's field.
    :param by_id: the filter that takes precedence over the window.
    :param is_list: a bare list with `limit` and `fromId`; else `rows` and `total` with `current` and `size`.
    :param size: rows on a page by default; `most`, at most.
    :param total_first: the answer begins with its total.
    :param newest_first: the order of the rows.
    :param longest: longest window in ms; `longest_with`, longest one with a filter; None: any.
    :param too_long: the code by which a longer one is refused.
    :param window: default length of a window in ms, no more than the longest.
    :param start_alone: a window of which only the start is sent ends "now", "now" with its start moved up to the
        longest window ("clamped"), or after the default length ("forward").
    :param memory: how far back the exchange remembers, in ms; an earlier start is moved up in silence. None: for ever.
    :param in_seconds: times are sent in seconds, of ten digits.
    :param whole_seconds: times are whole seconds, in milliseconds.
    :param hidden: statuses of rows that are never sent.
    """

    name: str
    path: str
    fields: Mapping[str, type]
    time: str
    ids: tuple[str, ...]
    row: Callable[[int, str, Mapping[str, Any]], dict[str, Any]]
    scope: Callable[[Mapping[str, Any]], str]
    optional: frozenset[str] = frozenset()
    weight: int = 1
    whose: str = "IP"
    pair: str | None = "isolatedSymbol"
    fixed: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_id: str | None = None
    is_list: bool = False
    size: int = 10
    most: int = 100
    total_first: bool = False
    newest_first: bool = True
    longest: int | None = None
    longest_with: Mapping[str, int] = field(default_factory=dict)
    too_long: int = -1127
    window: int = 7 * DAY
    start_alone: str = "now"
    memory: int | None = None
    in_seconds: bool = False
    whole_seconds: bool = False
    hidden: frozenset[str] = frozenset()

    @cached_property
    def packing(self) -> Packing:
        """Store of its rows."""
        return Packing(self.fields, self.optional)

    @cached_property
    def params(self) -> tuple[str, ...]:
        """The parameters of its endpoint, apart from those of every signed request."""
        paging = ("limit", "fromId") if self.is_list else ("current", "size")
        pair = () if self.pair is None else (self.pair,)
        return ("startTime", "endTime", *pair, *self.fixed, *self.filters, *paging)

    @property
    def paging(self) -> str:
        """The parameter that says how many rows a page holds."""
        return "limit" if self.is_list else "size"

    def ms(self, record: Mapping[str, Any]) -> int:
        """A record's time in milliseconds."""
        time = int(record[self.time])
        return time * 1_000 if self._has_seconds(time) else time

    def stamp(self, ms: int, *, in_seconds: bool | None = None) -> int:
        """A moment as a new record of this dataset has it."""
        if self.in_seconds if in_seconds is None else in_seconds:
            return ms // 1_000
        return ms // 1_000 * 1_000 if self.whole_seconds else ms

    def moved(self, record: Mapping[str, Any], ms: int) -> dict[str, Any]:
        """The record at another moment, in the unit that it has."""
        return {**record, self.time: self.stamp(ms, in_seconds=self._has_seconds(int(record[self.time])))}

    def _has_seconds(self, time: int) -> bool:
        return self.in_seconds and time < SECONDS_BELOW
