"""Loads of `distributed.py`: DAGs as a user would run them, and the days that each dataset must have afterwards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.sandbox.datasets import DATASETS
from demo_lake import DATASET
from local_stack import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
PAIRS = ("BTCUSDT", "ETHUSDT", "币安人生USDT")
DAYS = 20
# of 90 days that the exchange remembers, the first has been forgotten in part
REMEMBERED = 89
MONTHS = 60
# what a user would change who cannot wait for a second try
_SLOW, _QUICK = re.compile(r"timedelta\(minutes=\d\)"), "timedelta(seconds=2)"
_ALL_PAIRS = "[{}]".format(", ".join(f'"{pair}"' for pair in PAIRS))


@dataclass(frozen=True)
class Load:
    """Backfill of one DAG.

    :param changes: made in the example before it is run
    """

    dag_id: str
    first: date
    last: date
    at_once: int
    changes: Mapping[str, str]


@dataclass(frozen=True)
class Story:
    """Backfills side by side, a worker being killed in the first of them, and the days that each dataset must have."""

    loads: tuple[Load, ...]
    days: Mapping[str, Sequence[date]]
    outlet: bool

    @property
    def history(self) -> int:
        """Days that the exchange must hold."""
        return max(map(len, self.days.values())) + 5


def daily() -> Story:
    """Twenty days of forced liquidations."""
    days = _days(DAYS)
    return Story((Load("binance_force_liquidation_daily", days[0], days[-1], 4, {}),), {DATASET: days}, outlet=True)


def everything() -> Story:
    """All datasets of the account and three pairs as far as they are remembered, forced liquidations of five years."""
    recent = _days(REMEMBERED)
    # five at once spend the share of the limit; the weight keeps their workers for them
    months = [
        date(year, month, 1) for year in range(recent[-1].year - 6, recent[-1].year + 1) for month in range(1, 13)
    ]
    past = [month for month in months if month < _today().replace(day=1)][-MONTHS:]
    lists = {
        "Operator.partial(": "Operator(",
        'map_index_template="{{ task.dataset }}",': (
            f"dataset=list(DATASETS), isolated_symbol=[None, *{_ALL_PAIRS}], priority_weight=3,"
        ),
        ").expand(dataset=list(DATASETS))": ")  # all in one task",
    }
    loads = (
        Load("binance_margin_history", recent[0], recent[-1], 5, lists),
        Load("binance_force_liquidation_backfill", past[0], past[-1], 4, {'["BTCUSDT", "ETHUSDT"]': _ALL_PAIRS}),
    )
    days = {**dict.fromkeys(DATASETS, recent), DATASET: _days((_today() - past[0]).days)}
    return Story(loads, days, outlet=False)


def _today() -> date:
    return datetime.now(UTC).date()


def _days(number: int) -> list[date]:
    """So many days up to yesterday."""
    return [_today() - timedelta(days=back) for back in range(number, 0, -1)]


def quick_dags(story: Story, target: Path) -> None:
    """The examples as they are but for their changes and the wait before a second try."""
    target.mkdir()
    for load in story.loads:
        source = ROOT / "dags" / f"{load.dag_id}.py"
        text, found = _SLOW.subn(_QUICK, source.read_text())
        missing = [each for each in load.changes if each not in text]
        if not found or missing:
            raise StackError(f"{source.name} has no {', '.join(missing or [_SLOW.pattern])} to change.")
        for old, new in load.changes.items():
            text = text.replace(old, new)
        (target / source.name).write_text(text)
