"""Has a record appeared? One request of one row a look, as a generator: the same for pokes and for triggers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.exchange.endpoint import Page, Record
from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError, BinanceSpanError
from airflow_provider_binance_margin.exchange.paging import Span

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.call import Caller
    from airflow_provider_binance_margin.exchange.wire import Call

ROWS_ASKED = 1


@dataclass(frozen=True)
class Seen:
    """What a look saw.

    :param total: how many records the exchange states from the watch's start to `end`
    :param newest: the newest of them, None without any
    :param end: up to when was looked, in ms, exclusive
    :param closed: whether the watched window has ended and settled, so that nothing can appear in it any more
    """

    total: int
    newest: Record | None
    end: int
    closed: bool

    @property
    def newest_time(self) -> int | None:
        """The newest record's time in ms."""
        return self.newest.time if self.newest else None


class Watch:
    """Counts the records from a moment on. Totals of windows that have closed are remembered, not asked for again.

    :param caller: how the endpoint is called, decoding answers of `ROWS_ASKED` rows
    :param start: first millisecond watched
    :param end: first millisecond not watched any more; None watches on and on
    :param span: the longest window asked for at once
    :param settle_ms: how long after its end a window counts as closed
    :param isolated_symbol: the endpoint's own filter
    """

    def __init__(
        self,
        caller: Caller[Page],
        start: int,
        end: int | None,
        *,
        span: Span,
        settle_ms: int,
        isolated_symbol: str | None = None,
    ) -> None:
        self._caller = caller
        self._start = start
        self._end = end
        self._span = span
        self._settle_ms = settle_ms
        self._symbol = isolated_symbol
        self._closed_total = 0
        self._closed_newest: Record | None = None

    def look(self) -> Call[Seen]:
        """Look once; nothing is asked about what has not begun."""
        now = self._caller.host.server_ms()
        end = now + 1 if self._end is None else min(self._end, now + 1)
        total, newest, start = self._closed_total, self._closed_newest, self._start
        while start < end:
            stop = min(start + self._span.ms, end)
            try:
                page = yield from self._ask(start, stop)
            except BinanceSpanError:
                if not self._span.halve(stop - start):
                    raise
                continue
            total += page.total or 0
            newest = page.records[0] if page.records else newest
            start = stop
            now = min(now, self._caller.host.server_ms())  # an answer may have shown that our clock is ahead
            if stop + self._settle_ms <= now:
                self._closed_total, self._closed_newest, self._start = total, newest, stop
        return Seen(total, newest, end, self._end is not None and self._end <= self._start)

    def _ask(self, start: int, stop: int) -> Call[Page]:
        page = yield from self._caller.call(
            {"startTime": start, "endTime": stop - 1, "isolatedSymbol": self._symbol, "current": 1, "size": ROWS_ASKED}
        )
        if page.total is None:
            raise BinanceIncompleteError("the exchange states no total")
        if page.total and not page.records:
            raise BinanceIncompleteError(f"the exchange states {page.total} records and shows none of them")
        return page
