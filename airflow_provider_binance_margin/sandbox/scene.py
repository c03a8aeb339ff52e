"""One request as a fault sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.sandbox.asking import Asked, Visit, asked
from airflow_provider_binance_margin.sandbox.datasets import PATHS
from airflow_provider_binance_margin.sandbox.rules import ALWAYS, parameters

if TYPE_CHECKING:
    from airflow_provider_binance_margin.sandbox.book import Account
    from airflow_provider_binance_margin.sandbox.dataset import Dataset
    from airflow_provider_binance_margin.sandbox.settings import Settings

PARAMETER = re.compile(rb"(?:^|&)(\w+)=([^&]*)")


@dataclass
class Scene:
    """One request, and the account of the key that makes it."""

    path: str
    query: bytes
    account: Account
    settings: Settings
    now: int
    played: list[str] = field(default_factory=list)

    @cached_property
    def dataset(self) -> Dataset | None:
        """The dataset that is asked for; None if it is none, or not said which."""
        served = PATHS.get(self.path, ())
        sent = dict(PARAMETER.findall(self.query)) if any(dataset.fixed for dataset in served) else {}
        for dataset in served:
            if all(sent.get(name.encode()) == value.encode() for name, value in dataset.fixed.items()):
                return dataset
        return None

    @cached_property
    def current(self) -> int | None:
        """The number of the page asked for; None where pages have none."""
        if self.dataset is None or self.dataset.is_list:
            return None
        found = dict(PARAMETER.findall(self.query)).get(b"current", b"1")
        return int(found) if found.isdigit() and len(found) <= 9 else 1  # noqa: PLR2004 - digits

    @cached_property
    def asked(self) -> Asked:
        """Parse the request; refused as the exchange would refuse it."""
        names = PATHS[self.path][0].params
        visit = Visit(self.account, self.settings, self.now, parameters(self.query, (*names, *ALWAYS)))
        return asked(self.path, visit)
