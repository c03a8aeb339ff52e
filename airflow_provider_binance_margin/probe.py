"""`python -m airflow_provider_binance_margin.probe`: settles with a real account what the exchange does not document.

It sends fewer than 40 requests, slowly, and prints a table to paste into an issue. The table holds days, error codes,
yes and no: no key, amount, pair, number of records or identifier of one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_binance_margin import __version__
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError, BinanceError, BinanceTransientError
from airflow_provider_binance_margin.hooks.binance import BinanceHook

MOST_REQUESTS = 39
DAY = 86_400_000
_TIME, _KEY = FORCE_LIQUIDATION.time_field, FORCE_LIQUIDATION.record_key
_SPANS = (7, 30, 90, 180, 366, 1000)
_OLDEST = 3000
_HALVINGS, _LOOKS, _PAIRS = 8, 9, 3
_NOT_TOLD = "not told: no record was found to try it with"
_MAY_MORE = "is all that is needed here"


class OutOfRequestsError(Exception):
    """The probe has sent as many requests as it may."""


@dataclass(frozen=True)
class Answer:
    """What one request came to.

    :param rows: its rows
    :param total: how many the exchange states
    :param code: the error code of a refusal
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    code: int | None = None

    def has(self, row: dict[str, Any]) -> bool:
        """Whether this very record is among the rows."""
        return any(all(each.get(name) == row.get(name) for name in (*_KEY, _TIME)) for each in self.rows)


class Probe:
    """The questions, each asked with a few requests; answers are collected in `findings`.

    :param hook: the account's connection
    :param pause: seconds before each request
    """

    def __init__(self, hook: BinanceHook, *, pause: float = 0.5) -> None:
        self.hook = hook
        self.pause = pause
        self.requests = 0
        self.findings: list[tuple[str, str]] = []
        self.now = 0
        self._span = _SPANS[0]
        self._row: dict[str, Any] | None = None

    def run(self) -> None:
        """Ask everything, as far as the requests go."""
        try:
            self.now = self._counted(lambda: int(self.hook.ask_exchange_time() * 1000))
            if not self.key():
                return
            for question in (self.span, self.memory, self.bounds, self.beyond, self.size, self.unfiltered):
                question()
            self.default_window()
        except OutOfRequestsError:
            self._found("what is not listed here", f"not told: {MOST_REQUESTS} requests were not enough")

    def ask(self, start: int | None, end: int | None, *, size: int = 1, **more: Any) -> Answer:
        """One request of the endpoint; a refusal is an answer too."""
        try:
            page = self._counted(
                lambda: self.hook.force_liquidation_page(start_time=start, end_time=end, size=size, **more)
            )
        except BinanceTransientError:
            raise
        except BinanceError as error:
            if error.code is None:
                raise
            return Answer(code=error.code)
        return Answer(page["rows"], page["total"] or 0)

    # -- the questions ---------------------------------------------------------------------------------------------

    def key(self) -> bool:
        """Is a key that may only read enough? Returns whether this key is."""
        works, words = self._counted(self.hook.test_connection)
        if not works:
            raise BinanceConfigError(words)
        answer = self.ask(self._ago(1), self.now)
        if answer.code is not None:
            said = f"no answer: code {answer.code}"
        elif _MAY_MORE not in words:
            said = "yes: this key may do nothing else"
        else:
            said = "not told: this key may do more than read, or does not say"
        self._found("is a read-only key enough?", said)
        return answer.code is None

    def span(self) -> None:
        """How long may a window be?"""
        accepted, refused, code = 0, None, None
        for days in _SPANS:
            code = self.ask(self._ago(days), self.now).code
            if code is not None:
                refused = days
                break
            accepted = days
        for _ in range(_HALVINGS):
            if refused is None or refused - accepted <= 1:
                break
            days = (accepted + refused) // 2
            answer = self.ask(self._ago(days), self.now)
            accepted, refused, code = (days, refused, code) if answer.code is None else (accepted, days, answer.code)
        self._span = max(accepted, 1)
        limit = f"; {refused} days are refused with code {code}" if refused else ", the longest tried"
        self._found("how long may a window be?", f"{accepted} days are accepted{limit}")

    def memory(self) -> None:
        """How far back does the exchange remember?"""
        oldest, back, code = None, 0, None
        for _ in range(_LOOKS):
            window = self._ago(back + self._span), self._ago(back) - (1 if back else 0)
            answer = self.ask(*window)
            if answer.code is not None:
                code = answer.code
                break
            if answer.rows:
                self._row = self._row or answer.rows[0]
                oldest = (*window, answer.total)
            back += self._span if self._span * _LOOKS >= _OLDEST else max(back, self._span)
            if back >= _OLDEST:
                break
        self._found("how far back does it remember?", self._remembered(oldest, back, code))

    def _remembered(self, oldest: tuple[int, int, int] | None, back: int, code: int | None) -> str:
        beyond = f"; {back} days back is refused with code {code}" if code else f"; looked {back} days back"
        if oldest is None:
            return f"no record was found{beyond}"
        last = self.ask(oldest[0], oldest[1], current=oldest[2])
        if not last.rows:
            return f"not told: the last page of a window is empty{beyond}"
        return f"the oldest record found is {(self.now - int(last.rows[0][_TIME])) // DAY} days old{beyond}"

    def bounds(self) -> None:
        """Do startTime and endTime themselves belong to the window, and which field do they filter?"""
        names = "is startTime inclusive?", "is endTime inclusive?", f"is {_TIME} the field that is filtered?"
        row = self._row
        if row is None:
            for name in names:
                self._found(name, _NOT_TOLD)
            return
        at = int(row[_TIME])
        first = self.ask(at, at + 1, size=100).has(row)
        last = self.ask(at - 1, at, size=100).has(row)
        around = first or last or self.ask(at - 1, at + 1, size=100).has(row)
        self._found(names[0], _yes(first))
        self._found(names[1], _yes(last))
        self._found(names[2], "yes: a window of its two milliseconds holds a record" if around else "no, another")

    def beyond(self) -> None:
        """What does a page after the last one hold?"""
        if self._row is None:
            self._found("what does a page beyond the last hold?", _NOT_TOLD)
            return
        at = int(self._row[_TIME])
        total = self.ask(at - 1, at + 1).total
        next_page, far = (self.ask(at - 1, at + 1, current=number) for number in (total + 1, total + 9999))
        same = "" if next_page.total == far.total == total else ", with another total"
        self._found("what does a page beyond the last hold?", f"{_held(next_page)}; far beyond: {_held(far)}{same}")

    def size(self) -> None:
        """What does a page of 101 rows come to?"""
        answer = self.ask(self._ago(self._span), self.now, size=101)
        short = "no more than 100 rows" if answer.total > 100 else "rows, too few to tell"  # noqa: PLR2004
        held = "101 rows" if len(answer.rows) > 100 else short  # noqa: PLR2004
        self._found("what does size=101 come to?", held if answer.code is None else f"refused with code {answer.code}")

    def unfiltered(self) -> None:
        """Does a call without isolatedSymbol hold the records of isolated pairs?"""
        name = "does an unfiltered call hold isolated records?"
        for symbol in self._counted(self.hook.isolated_symbols)[:_PAIRS]:
            answer = self.ask(self._ago(self._span), self.now, isolated_symbol=symbol)
            if answer.rows:
                at = int(answer.rows[0][_TIME])
                self._found(name, _yes(self.ask(at - 1, at + 1, size=100).has(answer.rows[0])))
                return
        self._found(name, "not told: no isolated pair with a record was found")

    def default_window(self) -> None:
        """Which window is taken when none is given?"""
        bare, week = self.ask(None, None), self.ask(self._ago(7), self.now)
        said = "as many records as seven days" if bare.total == week.total else "another number than seven days"
        self._found("what does a call without a window hold?", said if bare.code is None else f"code {bare.code}")

    # -- small things ------------------------------------------------------------------------------------------------

    def _counted(self, send: Any) -> Any:
        if self.requests >= MOST_REQUESTS:
            raise OutOfRequestsError
        self.requests += 1
        time.sleep(self.pause)
        return send()

    def _ago(self, days: int) -> int:
        return self.now - days * DAY

    def _found(self, question: str, answer: str) -> None:
        self.findings.append((question, answer))

    def __str__(self) -> str:
        lines = [f"| {question} | {answer} |" for question, answer in self.findings]
        head = f"`{FORCE_LIQUIDATION.path}`, {self.requests} requests, version {__version__}:"
        return "\n".join([head, "", "| question | answer |", "|---|---|", *lines])


def _yes(holds: bool) -> str:  # noqa: FBT001 - the answer itself
    return "yes" if holds else "no"


def _held(answer: Answer) -> str:
    if answer.code is not None:
        return f"refused with code {answer.code}"
    return "rows" if answer.rows else "no rows"


def main(argv: Sequence[str] | None = None) -> int:
    """Probe and print; the exit status tells whether the exchange could be asked."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_binance_margin.probe", description=__doc__)
    parser.add_argument("--conn-id", default=BinanceHook.default_conn_name, help="default: %(default)s")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds before each request (default: %(default)s)")
    options = parser.parse_args(argv)
    # else Airflow looks for connections in the environment only
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    probe = Probe(BinanceHook(options.conn_id), pause=options.pause)
    try:
        probe.run()
    except Exception as error:  # noqa: BLE001 - whose text may hold what is not ours to show
        said = str(error) if isinstance(error, BinanceError) else type(error).__name__
        print(f"The exchange could not be asked: {said}", file=sys.stderr)
        return 1
    finally:
        if probe.findings:
            print(probe)
    return 0


if __name__ == "__main__":
    sys.exit(main())
