"""Record counter: one request of one row per poll, as a generator that sensors and triggers share.

A ledger states no total: there it is one request of as many rows as it shows, and more only where those are too few.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from airflow_provider_binance_margin.exchange.dataset import Dataset, Page, Record
from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError, BinanceSpanError
from airflow_provider_binance_margin.exchange.ledger import middle_of
from airflow_provider_binance_margin.exchange.paging import HOUR_MS, Span
from airflow_provider_binance_margin.exchange.scope import Scope
from airflow_provider_binance_margin.exchange.settling import seconds_until_settled

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.call import Caller
    from airflow_provider_binance_margin.exchange.messages import Call

#: by how much our clock may differ from the exchange's before a request is refused for it
_SKEW_MS = 5000


@dataclass(frozen=True)
class Count:
    """Result of one poll."""

    total: int  # number of records that the exchange states from the window's start to `end`
    newest: Record | None
    end: int  # ms, exclusive
    closed: bool  # True once the window has ended and settled, so that nothing can appear in it any more

    @property
    def newest_time(self) -> int | None:
        """The newest record's time in ms."""
        return self.newest.time if self.newest else None


class _Closed(msgspec.Struct, frozen=True):
    """The count of the settled part of a window."""

    asked: str  # digest of the question, so that no other one takes this for its answer
    until: int  # ms, exclusive
    total: Annotated[int, msgspec.Meta(ge=0)]
    newest: str | None  # as a line of JSON
    span: Annotated[int, msgspec.Meta(ge=HOUR_MS)]


@dataclass(eq=False, repr=False)
class RecordCounter:
    """Count of the records from a moment on; totals of settled windows are kept, not asked for again."""

    caller: Caller[Page]  # decodes answers of `rows_asked` rows
    start: int  # ms
    end: int | None  # ms, exclusive; None for a window that stays open
    _: KW_ONLY
    span: Span
    settle: float  # seconds after its end, by the exchange's clock, at which a window counts as closed
    dataset: Dataset
    scope: Scope

    def __post_init__(self) -> None:
        account = (self.caller.host.base_url, self.caller.path, self.caller.credentials.api_key)
        question = json.dumps([*account, self.dataset.name, str(self.scope), self.start, self.end, self.settle])
        asked = hashlib.sha256(question.encode()).hexdigest()
        self._first = self._closed = _Closed(asked, self.start, 0, None, self.span.ms)

    @property
    def memory(self) -> dict[str, Any] | None:
        """The count of what has closed, as JSON, for another process to go on from; None as long as nothing has."""
        return None if self._closed == self._first else dict(msgspec.to_builtins(self._closed))

    def recall(self, memory: object) -> None:
        """Go on from another process's count; that of another question, or one that cannot be read, is ignored."""
        try:
            closed = msgspec.convert(memory, _Closed)
            self._record(closed.newest)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return
        if closed.asked == self._first.asked and self.start <= closed.until < self._present_end() + 24 * HOUR_MS:
            self._closed = closed
            self.span.ms = min(self.span.ms, closed.span)

    def poll(self) -> Call[Count]:
        """Poll once; nothing is asked about what has not begun."""
        clock, closed, end = self.caller.host.clock, self._closed, self._present_end()
        total, newest, start = closed.total, self._record(closed.newest), closed.until
        while start < end:
            stop, asked_at = self._cut(start, end), clock.monotonic()
            try:
                number, last = yield from self._ask(start, stop)
            except BinanceSpanError:
                if not self.span.halve(stop - start):
                    raise
                continue
            total += number
            newest = last or newest
            start = stop
            if self._had_settled(stop, asked_at):
                line = newest.line.decode() if newest else None
                self._closed = _Closed(closed.asked, stop, total, line, self.span.ms)
            present = self._present_end()
            if self.end is not None and self._had_settled(self.end, asked_at):  # more than our clock knew
                end = self.end
            elif present - end > (clock.monotonic() - asked_at) * 1000 + _SKEW_MS:  # the answer has set our clock
                end = present
        return Count(total, newest, end, self.end is not None and self.end <= self._closed.until)

    def _had_settled(self, end: int, asked_at: float) -> bool:
        """By the date of the answer itself, reckoned back to when it was asked for; False where none was sent."""
        now = self.caller.host.exchange_time(asked_at)
        return now is not None and not seconds_until_settled(end, self.settle, now)

    def _present_end(self) -> int:
        """End of the window so far, by the clock that signs requests; it limits the request only."""
        present = self.caller.host.server_ms() + 1
        return present if self.end is None else min(self.end, present)

    def _cut(self, start: int, end: int) -> int:
        """The end of the next request: the last cut is where all before has settled, to be asked for only once."""
        if end - start <= self.span.ms:
            return end
        settled = self._present_end() - int(self.settle * 1000) - _SKEW_MS
        return start + self.span.ms if settled <= start else min(start + self.span.ms, settled)

    def _ask(self, start: int, stop: int) -> Call[tuple[int, Record | None]]:
        """Return the number of one window's records, and the newest of them."""
        page = yield from self._page(start, stop)
        if self.dataset.is_ledger:
            if len(page.records) < self.dataset.max_size:
                return len(page.records), _newest(page.records)
            middle = middle_of(start, stop, self.dataset.max_size)
            older, oldest = yield from self._ask(start, middle)
            newer, newest = yield from self._ask(middle, stop)
            return older + newer, newest or oldest
        if page.total is None:
            raise BinanceIncompleteError("the exchange states no total")
        if page.total and not page.records:
            raise BinanceIncompleteError(f"the exchange states {page.total} records and shows none of them")
        if page.total > 1 and not self.dataset.newest_first:  # then it is the first row or the last
            page.records.extend((yield from self._page(start, stop, page.total)).records)
        return page.total, _newest(page.records)

    def _page(self, start: int, stop: int, at: int | None = None) -> Call[Page]:
        return self.caller.call(self.dataset.request(self.scope, start, stop, size=rows_asked(self.dataset), at=at))

    def _record(self, line: str | None) -> Record | None:
        return None if line is None else self.dataset.record(line.encode())


def rows_asked(dataset: Dataset) -> int:
    """Rows that a poll asks for: one beside a total, as many as there are without one."""
    return dataset.max_size if dataset.is_ledger else 1


def _newest(records: Sequence[Record]) -> Record | None:
    return max(records, key=lambda record: record.time or 0, default=None)
