"""What the demo shows: a terminal gets bars and colours, a log file plain lines."""

from __future__ import annotations

import io
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo_lake import CROSS, prefix_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from demo_lake import Cell

    Tell = Callable[[Counter[str], int], None]

_LOG_WIDTH = 120
_LOG_SECONDS = 5.0
_BAR_WIDTH = 50


class Screen:
    """The demo's output, and the stopwatch that goes with it."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # a symbol in Chinese must not end the demo on a terminal that cannot show it
            sys.stdout.reconfigure(errors="replace", line_buffering=True)
        width = None if sys.stdout.isatty() else _LOG_WIDTH
        self._console = Console(highlight=False, width=width, soft_wrap=width is None)
        self._unicode = "utf" in self._console.encoding.lower()
        self.seconds: dict[str, float] = {}

    def say(self, text: str, style: str = "") -> None:
        """One line or more."""
        self._console.print(text, style=style, markup=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        """A line that begins a part."""
        self.say(f"\n{text}", "bold")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure one step, and tell how long it took."""
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
        self.say(f"  {name}: {self.seconds[name]:.1f} s", "dim")

    @contextmanager
    def runs(self, label: str) -> Iterator[Tell]:
        """Show how many runs are done: a bar that moves, or a line now and then."""
        if not self._console.is_terminal:
            yield self._lines(label)
            return
        columns = TextColumn("  {task.description}"), BarColumn(_BAR_WIDTH), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(label, total=None)
            yield lambda states, total: progress.update(task, total=total, completed=_done(states))

    def _lines(self, label: str) -> Tell:
        last = [0.0]

        def tell(states: Counter[str], total: int) -> None:
            if _done(states) == total or time.monotonic() - last[0] >= _LOG_SECONDS:
                last[0] = time.monotonic()
                self.say(f"  {label}: {_done(states)} of {total} runs done, {states['running']} running")

        return tell

    def table(self, cells: Sequence[Cell], bucket: str) -> None:
        """One line for each day: its interval, its records, the key of the account's object."""
        table = Table(
            title=f"s3://{bucket}/{prefix_of()}", title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True
        )
        table.add_column("interval (UTC)")
        table.add_column("records", justify="right")
        table.add_column("isolated", justify="right")
        table.add_column("key of the account's object", overflow="fold")
        for cell in cells:
            if cell.scope == CROSS:
                isolated = sum(each.found or 0 for each in cells if each.day == cell.day and each.scope != CROSS)
                found = "absent" if cell.found is None else str(cell.found)
                table.add_row(f"{cell.day} 00:00 + 24h", found, str(isolated), cell.key.removeprefix(prefix_of()))
        self._console.print(table)

    def chart(self, days: Sequence[date], cells: Sequence[Cell]) -> None:
        """Records per day as bars: the cross account's, then the isolated pairs'."""
        full, light = ("█", "░") if self._unicode else ("#", "-")
        cross = {day: _found(cells, day, account=True) for day in days}
        isolated = {day: _found(cells, day, account=False) for day in days}
        scale = _BAR_WIDTH / max(1, *(cross[day] + isolated[day] for day in days))
        self.heading(f"Records per day ({full} cross account, {light} isolated pairs)")
        for day in days:
            total = cross[day] + isolated[day]
            width = max(round(total * scale), total > 0)
            part = min(width, round(cross[day] * scale))
            self.say(f"  {day:%a %Y-%m-%d} {full * part}{light * (width - part)} {total}")

    def verdict(self, cells: Sequence[Cell], edges: int) -> None:
        """Whether every record is where it must be, once, and what is wrong if not."""
        wrong = [cell for cell in cells if not cell.right]
        for cell in wrong:
            self.say(_complaint(cell), "red")
        if not wrong:
            records = sum(cell.found or 0 for cell in cells)
            self.say(
                f"{records:,} records in {len(cells)} objects: each of the sandbox's once, none twice, none foreign; "
                f"{edges} of them in the very first or last millisecond of their day.",
                "bold green",
            )

    def summary(self) -> None:
        """How long each step took."""
        table = Table("step", box=box.SIMPLE_HEAD)
        table.add_column("seconds", justify="right")
        for name, seconds in self.seconds.items():
            table.add_row(name, f"{seconds:.1f}")
        self._console.print(table)


def _complaint(cell: Cell) -> str:
    if cell.found is None:
        return f"ABSENT  {cell.key}: {cell.wanted} records"
    return f"WRONG   {cell.key}: {cell.missing} missing, {cell.doubled} doubled, {cell.foreign} foreign"


def _done(states: Counter[str]) -> int:
    return states["success"] + states["failed"]


def _found(cells: Sequence[Cell], day: date, *, account: bool) -> int:
    return sum(cell.found or 0 for cell in cells if cell.day == day and (cell.scope == CROSS) == account)
