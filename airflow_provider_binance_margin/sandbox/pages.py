"""One page of records, as the exchange's page has it or in one of its other readings (`settings`)."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.sandbox.answers import JSON, Answer
from airflow_provider_binance_margin.sandbox.asking import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_margin.sandbox.asking import Asked
    from airflow_provider_binance_margin.sandbox.settings import Settings

    Cut = Callable[[int, int], list[bytes]]


def page(asked: Asked, settings: Settings) -> Answer:
    """The page of records asked for, and how many there are."""
    if asked.dataset.is_list:
        return Answer(200, b"[%s]" % asked.dataset.packing.json(_listed(asked, settings)), JSON)
    rows, total = _paged(asked, settings)
    body = asked.dataset.packing.json(rows)
    form = b'{"total":%d,"rows":[%s]}' if asked.dataset.total_first else b'{"rows":[%s],"total":%d}'
    return Answer(200, form % ((total, body) if asked.dataset.total_first else (body, total)), JSON)


def _paged(asked: Asked, settings: Settings) -> tuple[list[bytes], int]:
    number, cut = _found(asked, settings)
    served = number if settings.list_cap is None else min(number, settings.list_cap)
    current = asked.current
    if settings.beyond == "last" and served:
        current = min(current, -(-served // asked.size))
    rows = cut((current - 1) * asked.size, min(current * asked.size, served))
    total = {"window": number, "page": len(rows)}.get(settings.total_of)
    if total is None:
        total = asked.book.count(asked.scope, 0, FOREVER)
    return rows, total if settings.total_cap is None else min(total, settings.total_cap)


def _found(asked: Asked, settings: Settings) -> tuple[int, Cut]:
    """Number of records in the window, and the cutter of a page out of them, in the order of the answer."""
    book, where = asked.book, (asked.scope, asked.start, asked.end)
    order = settings.order or ("newest" if asked.dataset.newest_first else "oldest")
    if not asked.filters and not settings.created_lag_ms and not asked.dataset.hidden and order == "newest":
        return book.count(*where), lambda first, last: book.cut(*where, first, last) if last > first else []
    rows = [row for _, _, row in _matching(asked, settings, by_id=order == "id")]
    if order == "oldest":
        rows.reverse()
    return len(rows), lambda first, last: rows[first:last]


def _matching(asked: Asked, settings: Settings, *, by_id: bool = False) -> list[tuple[int, int, bytes]]:
    """Time, id and row of what belongs to the window and has the filters' values, newest or greatest id first."""
    dataset, lag = asked.dataset, settings.created_lag_ms
    value, number = dataset.packing.value, next(name for name in dataset.ids if dataset.fields[name] is int)
    found = []
    for time, row in asked.book.entries(asked.scope, asked.start, asked.end + lag):
        which = int(value(row, number) or 0)
        if lag and not asked.start <= time - which * 7_919 % (lag + 1) <= asked.end:
            continue
        if any(value(row, name) != wanted for name, wanted in asked.filters.items()):
            continue
        if dataset.hidden and value(row, "status") in dataset.hidden:
            continue
        found.append((time, which, row))
    found.reverse()
    if by_id:
        found.sort(key=itemgetter(1), reverse=True)
    return found


def _listed(asked: Asked, settings: Settings) -> list[bytes]:
    """The newest rows, or those after a row's id; newest first in any case."""
    found = _matching(asked, settings)
    found.sort(key=itemgetter(0, 1), reverse=True)
    size = asked.size if settings.list_cap is None else min(asked.size, settings.list_cap)
    if asked.from_id is not None:
        least = asked.from_id + (settings.from_id == "after")
        first_by = itemgetter(1) if settings.cursor_order == "id" else itemgetter(0, 1)
        found = sorted((each for each in found if each[1] >= least), key=first_by)[:size]
        found.sort(key=itemgetter(0, 1), reverse=True)
    if settings.order in {"oldest", "id"}:
        found = sorted(found[:size], key=itemgetter(1) if settings.order == "id" else itemgetter(0, 1))
        found.reverse() if settings.order == "id" else None
    return [row for _, _, row in found[:size]]
