"""`python -m airflow_provider_binance_margin.probe`: asks a real account what the exchange does not document.

It sends fewer than 40 requests, slowly, and prints a table to paste into an issue. The table holds days, error codes,
yes and no: no key, amount, pair, number of records or record id.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airflow_provider_binance_margin import __version__
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError, BinanceError, BinanceTransientError
from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.lake.interval import DAY_MS

T = TypeVar("T")

MOST_REQUESTS = 39
_TIME, _KEY = FORCE_LIQUIDATION.time_field, FORCE_LIQUIDATION.record_key
_SPANS = (7, 30, 90, 180, 366, 1000)
_OLDEST = 3000
_HALVINGS, _LOOKS, _PAIRS = 8, 9, 3
#: rows on a page, as documented
_MOST_ROWS = 100
_NOT_TOLD = "not told: no record was found to try it with"
_MAY_MORE = "is all that is needed here"


class OutOfRequestsError(Exception):
    """The probe has sent as many requests as it may."""


@dataclass(frozen=True)
class Answer:
    """Answer to one request: a page, or the code of a refusal."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    code: int | None = None

    def has(self, row: dict[str, Any]) -> bool:
        """True if this very record is among the rows."""
        return any(all(each.get(name) == row.get(name) for name in (*_KEY, _TIME)) for each in self.rows)

    def __str__(self) -> str:
        if self.code is not None:
            return f"refused with code {self.code}"
        return "rows" if self.rows else "no rows"


class Probe:
    """The questions, each asked with a few requests, so many seconds apart; the answers are in `findings`."""

    def __init__(self, hook: BinanceHook, *, pause: float = 0.5) -> None:
        self.hook = hook
        self.pause = pause
        self.requests = 0
        self.findings: dict[str, str] = {}
        self.now = 0
        self._span = _SPANS[0]
        self._row: dict[str, Any] | None = None

    def run(self) -> None:
        """Ask everything that the number of requests allows."""
        try:
            self.now = self._send(lambda: int(self.hook.ask_exchange_time() * 1000))
            if not self.key():
                return
            self.findings["how long may a window be?"] = self.span()
            self.findings["how far back does it remember?"] = self.memory()
            self.bounds()
            self.findings["what does a page beyond the last hold?"] = self.beyond()
            self.findings["what does size=101 come to?"] = self.size()
            self.findings["does an unfiltered call hold isolated records?"] = self.unfiltered()
            self.findings["what does a call without a window hold?"] = self.default_window()
        except OutOfRequestsError:
            self.findings["what is not listed here"] = f"not told: {MOST_REQUESTS} requests were not enough"

    def ask(self, start: int | None, end: int | None, *, size: int = 1, **more: Any) -> Answer:
        """Request one page; a refusal is an answer too."""
        try:
            page = self._send(
                lambda: self.hook.force_liquidation_page(start_time=start, end_time=end, size=size, **more)
            )
        except BinanceError as error:
            if error.code is None or isinstance(error, BinanceTransientError):
                raise
            return Answer(code=error.code)
        return Answer(page["rows"], page["total"] or 0)

    def around(self, row: dict[str, Any], before: int = 1, after: int = 1, **more: Any) -> Answer:
        """Request the milliseconds around a record."""
        at = int(row[_TIME])
        return self.ask(at - before, at + after, **more)

    # -- the questions ---------------------------------------------------------------------------------------------

    def key(self) -> bool:
        """Test the key; False if the endpoint refuses it."""
        works, message = self._send(self.hook.test_connection)
        if not works:
            raise BinanceConfigError(message)
        answer = self.ask(self._ago(1), self.now)
        if answer.code is not None:
            said = f"no answer: code {answer.code}"
        elif _MAY_MORE not in message:
            said = "yes: this key may do nothing else"
        else:
            said = "not told: this key may do more than read, or does not say"
        self.findings["is a read-only key enough?"] = said
        return answer.code is None

    def span(self) -> str:
        """Find the longest window, in days."""
        accepted, refused, code = 0, None, None
        trials = iter(_SPANS)
        for _ in range(len(_SPANS) + _HALVINGS):
            days = next(trials, None) if refused is None else (accepted + refused) // 2
            if days is None or days == accepted:
                break
            answer = self.ask(self._ago(days), self.now)
            if answer.code is None:
                accepted = days
            else:
                refused, code = days, answer.code
        self._span = max(accepted, 1)
        limit = f"; {refused} days are refused with code {code}" if refused else ", the longest tried"
        return f"{accepted} days are accepted{limit}"

    def memory(self) -> str:
        """Find the age of the oldest record, and one to try the bounds with."""
        oldest, back, beyond = None, 0, ""
        for _ in range(_LOOKS):
            window = self._ago(back + self._span), self._ago(back) - (1 if back else 0)
            answer = self.ask(*window)
            if answer.code is not None:
                beyond = f"; {back} days back is refused with code {answer.code}"
                break
            if answer.rows:
                self._row = self._row or answer.rows[0]
                oldest = (*window, answer.total)
            back += self._span if self._span * _LOOKS >= _OLDEST else max(back, self._span)
            if back >= _OLDEST:
                break
        beyond = beyond or f"; looked {back} days back"
        if oldest is None:
            return f"no record was found{beyond}"
        last = self.ask(oldest[0], oldest[1], current=oldest[2])
        if not last.rows:
            return f"not told: the last page of a window is empty{beyond}"
        return f"the oldest record found is {(self.now - int(last.rows[0][_TIME])) // DAY_MS} days old{beyond}"

    def bounds(self) -> None:
        """Test if the bounds are inclusive, and if they filter the record's time."""
        names = "is startTime inclusive?", "is endTime inclusive?", f"is {_TIME} the field that is filtered?"
        if (row := self._row) is None:
            self.findings |= dict.fromkeys(names, _NOT_TOLD)
            return
        first, last = self.around(row, before=0, size=100).has(row), self.around(row, after=0, size=100).has(row)
        filtered = first or last or self.around(row, size=100).has(row)
        said = "yes: a window of its two milliseconds holds a record" if filtered else "no, another"
        self.findings |= dict(zip(names, (_yes(first), _yes(last), said), strict=True))

    def beyond(self) -> str:
        """Request pages beyond the last."""
        if self._row is None:
            return _NOT_TOLD
        total = self.around(self._row).total
        next_page, far = (self.around(self._row, current=number) for number in (total + 1, total + 9999))
        same = "" if next_page.total == far.total == total else ", with another total"
        return f"{next_page}; far beyond: {far}{same}"

    def size(self) -> str:
        """Request a page longer than the documented maximum."""
        answer = self.ask(self._ago(self._span), self.now, size=_MOST_ROWS + 1)
        if answer.code is not None:
            return str(answer)
        if len(answer.rows) > _MOST_ROWS:
            return "101 rows"
        return "no more than 100 rows" if answer.total > _MOST_ROWS else "rows, too few to tell"

    def unfiltered(self) -> str:
        """Look for an isolated pair's record in a call without isolatedSymbol."""
        for symbol in self._send(self.hook.isolated_symbols)[:_PAIRS]:
            answer = self.ask(self._ago(self._span), self.now, isolated_symbol=symbol)
            if answer.rows:
                return _yes(self.around(answer.rows[0], size=100).has(answer.rows[0]))
        return "not told: no isolated pair with a record was found"

    def default_window(self) -> str:
        """Compare a call without a window to one of seven days."""
        bare, week = self.ask(None, None), self.ask(self._ago(7), self.now)
        if bare.code is not None:
            return f"code {bare.code}"
        return "as many records as seven days" if bare.total == week.total else "another number than seven days"

    def _send(self, request: Callable[[], T]) -> T:
        if self.requests >= MOST_REQUESTS:
            raise OutOfRequestsError
        self.requests += 1
        time.sleep(self.pause)
        return request()

    def _ago(self, days: int) -> int:
        return self.now - days * DAY_MS

    def __str__(self) -> str:
        lines = [f"| {question} | {answer} |" for question, answer in self.findings.items()]
        head = f"`{FORCE_LIQUIDATION.path}`, {self.requests} requests, version {__version__}:"
        return "\n".join([head, "", "| question | answer |", "|---|---|", *lines])


def _yes(holds: bool) -> str:  # noqa: FBT001 - the answer itself
    return "yes" if holds else "no"


def main(argv: Sequence[str] | None = None) -> int:
    """Probe and print; 1 if the exchange could not be asked."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_binance_margin.probe", description=__doc__)
    parser.add_argument("--conn-id", default=BinanceHook.default_conn_name, help="default: %(default)s")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds before each request (default: %(default)s)")
    options = parser.parse_args(argv)
    # without it, Airflow looks for connections in the environment only
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    probe = Probe(BinanceHook(options.conn_id), pause=options.pause)
    try:
        probe.run()
    except Exception as error:  # noqa: BLE001 - the text of another's error may hold secrets
        reason = str(error) if isinstance(error, BinanceError) else type(error).__name__
        print(f"The exchange could not be asked: {reason}", file=sys.stderr)
        return 1
    finally:
        if probe.findings:
            print(probe)
    return 0


if __name__ == "__main__":
    sys.exit(main())
