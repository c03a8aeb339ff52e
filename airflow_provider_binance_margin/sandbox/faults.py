"""Injected faults: a name of `mishaps.KINDS`, its options, and the requests that it applies to.

Faults are applied in the order of injection. One that is not reached is not used up: of "429" and
"500", for one request each, the first request gets the one and the second request the other.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.datasets import FORCE_LIQUIDATION, PATHS, dataset_of
from airflow_provider_binance_margin.sandbox.mishaps import KINDS

if TYPE_CHECKING:
    from airflow_provider_binance_margin.sandbox.answers import Answer
    from airflow_provider_binance_margin.sandbox.dataset import Dataset
    from airflow_provider_binance_margin.sandbox.edits import Serve
    from airflow_provider_binance_margin.sandbox.mishaps import Kind
    from airflow_provider_binance_margin.sandbox.scene import Scene

WHEN = ("times", "skip", "path", "current", "dataset")


@dataclass
class Fault:
    """Fault for `times` requests of a path, dataset or page, after the first `skip` of them."""

    name: str
    kind: Kind
    options: dict[str, Any]
    times: int | None = 1
    skip: int = 0
    path: str | None = None
    current: int | None = None
    dataset: str | None = None

    def takes(self, scene: Scene) -> bool:
        """True if the fault applies to this request, which is counted then."""
        if self.times == 0 or self.path not in {None, scene.path} or self.current not in {None, scene.current}:
            return False
        if not _fits(self.kind, scene.dataset, self.dataset):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """The faults to come, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, name: str, options: dict[str, Any]) -> None:
        """One more fault; an unknown name or option is an error at once."""
        if name not in KINDS:
            raise ValueError(f"no such fault: {name!r}; there are {', '.join(KINDS)}")
        kind = KINDS[name]
        merged = {**kind.preset, **options}
        when = {key: merged.pop(key) for key in WHEN if key in merged}
        inspect.signature(kind.play).bind(None, None, **merged)
        if kind.to != "any" and not {"path", "dataset"} & set(when):
            when["dataset"] = FORCE_LIQUIDATION.name
        _check(name, kind, when)
        self._faults.append(Fault(name, kind, merged, **when))

    def clear(self) -> None:
        """No more faults."""
        self._faults.clear()

    def play(self, scene: Scene, serve: Serve) -> Answer:
        """The exchange's answer behind all faults that take this request."""
        if not self._faults:
            return serve()
        answer = _play(scene, serve, tuple(self._faults))
        self._faults = [fault for fault in self._faults if fault.times != 0]
        return answer


def _fits(kind: Kind, dataset: Dataset | None, wanted: str | None) -> bool:
    """True if a fault of this kind can happen to a request for this dataset, and is meant for it."""
    if wanted is not None and (dataset is None or dataset.name != wanted):
        return False
    if kind.to in {"any", "signed"}:
        return True
    return dataset is not None and not (dataset.is_list and kind.to in {"pages", "total"})


def _check(name: str, kind: Kind, when: dict[str, Any]) -> None:
    """Refuse a fault that cannot happen where it is wanted."""
    path, dataset = when.get("path"), when.get("dataset")
    chosen = PATHS.get(path or "", ()) if dataset is None else (dataset_of(dataset),)
    if path is not None and dataset is not None and chosen[0].path != path:
        raise ValueError(f"fault {name!r}: {dataset} is not served on {path}")
    if kind.to not in {"any", "signed"} and path is not None and not chosen:
        raise ValueError(f"fault {name!r} is one of answers with records, which {path} has none of")
    for each in chosen:
        if each.is_list and (kind.to in {"pages", "total"} or when.get("current") is not None):
            raise ValueError(f"fault {name!r} cannot happen to {each.name}: its answers have no pages and no total")


def _play(scene: Scene, serve: Serve, faults: tuple[Fault, ...]) -> Answer:
    for place, fault in enumerate(faults):
        if fault.takes(scene):
            scene.played.append(fault.name)
            behind = partial(_play, scene, serve, faults[place + 1 :])
            return fault.kind.play(scene, behind, **fault.options)
    return serve()
