"""Objects of a run: identity and key of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from airflow_provider_binance_margin.lake.layout import LayoutError, render
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity
from airflow_provider_binance_margin.load_plan import LoadPlan
from airflow_provider_binance_margin.transfers.series import Series


@dataclass(frozen=True)
class ObjectTask:
    """One object to load or to audit."""

    series: Series
    identity: ObjectIdentity
    key: str


def object_tasks(plan: LoadPlan, template: str, all_series: Iterable[Series], account: str) -> Iterator[ObjectTask]:
    """The objects of a run by ascending interval, one of each series.

    :raises LayoutError: at once, when two of them would be written under one key
    """

    def tasks() -> Iterator[ObjectTask]:
        for interval in plan.objects():
            for series in all_series:
                identity = ObjectIdentity(series.dataset.name, interval, str(series.scope), account)
                yield ObjectTask(series, identity, render(template, identity))

    check_keys(template, ((task.key, task.identity) for task in tasks()))
    return tasks()


def check_keys(template: str, objects: Iterable[tuple[str, ObjectIdentity]]) -> None:
    """Refuse a key template that names two objects alike.

    :raises LayoutError: with the cure
    """
    seen: set[bytes] = set()  # of checksums: the keys of years of hours would fill megabytes
    for key, identity in objects:
        checksum = blake2b(key.encode(), digest_size=16).digest()
        if checksum in seen:
            raise LayoutError(
                f"the key {template!r} gives {key!r} to more than one interval, {identity.interval} among "
                "them: it must hold {start}, with a format as fine as the grain"
            )
        seen.add(checksum)
