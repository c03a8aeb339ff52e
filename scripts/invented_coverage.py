"""Five years of all datasets in Airflow's state store, as audits would have stored them."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.lake.coverage import Audit, Day, day_number, years_of

if TYPE_CHECKING:
    from local_stack.airflow_api import AirflowApi

SCOPES = ("cross", "BTCUSDT", "ETHUSDT", "币安人生USDT")
YEARS = 5


def remember(api: AirflowApi, dag_id: str, asset: str) -> int:
    """Store the same days each time, up to yesterday; return the number of values.

    :param dag_id: of the DAG that shall have audited
    :param asset: the lake's, by its name
    """
    now, chance = datetime.now(UTC), random.Random(5)  # noqa: S311 - data, no secret
    number = next(each["id"] for each in api.api("GET", "assets")["assets"] if each["name"] == asset)
    today, began = now.date(), now.replace(hour=0, minute=0, second=0, microsecond=0)
    audit = Audit(began, dag_id, "manual", "audit", loads=True, place="s3://lake/{start}.csv", grain="day")
    numbers = range(day_number(date(today.year - YEARS + 1, 3, 11)), day_number(today))
    stored = 0
    for dataset in DATASETS:
        for scope in SCOPES:
            days = {day: invented(chance) for day in numbers}
            for year in years_of(days, audit, dataset, "binance_default", scope):
                key = quote("/".join(["coverage", *map(str, year.key)]), safe="")
                api.api("PUT", f"assets/{number}/state-store/{key}", {"value": year.value | {"asset": [asset]}})
                stored += 1
    return stored


def invented(chance: random.Random) -> Day:
    """A day, mostly with records or proved empty, seldom at fault."""
    letter = chance.choices("cesmxul", (40, 60, 0.1, 0.1, 0.05, 0.05, 0.1))[0]
    number = int(chance.lognormvariate(2, 1)) + 1
    return {"c": Day("c", number, number), "e": Day("e"), "m": Day("m", 0, number)}.get(
        letter, Day(letter, number, number + 1)
    )
