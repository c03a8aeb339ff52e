"""The demo's own check: it sees each way in which a lake can be wrong."""

from __future__ import annotations

from datetime import date

import pytest

from demo_lake import CROSS, Cell, Stored, at_the_edges, compare, key_of

DAYS = [date(2026, 1, 1), date(2026, 1, 2)]
MIDNIGHT = 1_767_225_600_000
ROW = {"orderId": 1, "symbol": "BTCUSDT", "isIsolated": False, "updatedTime": MIDNIGHT}
LATE = {**ROW, "orderId": 2, "updatedTime": MIDNIGHT + 86_400_000 - 1}
OTHER = {**ROW, "orderId": 3, "updatedTime": MIDNIGHT + 5}
WANTED = {(DAYS[0], CROSS): [ROW, LATE]}


def lake(*rows, **more):
    return {key_of(DAYS[0], CROSS): Stored(rows, "", ""), key_of(DAYS[1], CROSS): Stored((), "", ""), **more}


def check(stored, scopes=(CROSS,)):
    return compare(DAYS, scopes, WANTED, stored)


def test_a_lake_that_is_right():
    cells = check(lake(ROW, LATE))
    assert all(cell.right for cell in cells)
    assert [cell.found for cell in cells] == [2, 0]


@pytest.mark.parametrize(
    ("rows", "missing", "doubled", "foreign"),
    [
        ([ROW], 1, 0, 0),
        ([ROW, LATE, LATE], 0, 1, 0),
        ([ROW, LATE, OTHER], 0, 0, 1),
        ([ROW, ROW, OTHER], 1, 1, 1),
        ([ROW, {**LATE, "symbol": "ETHUSDT"}], 1, 0, 1),
    ],
)
def test_a_record_too_few_or_too_many(rows, missing, doubled, foreign):
    cell = check(lake(*rows))[0]
    assert not cell.right
    assert (cell.missing, cell.doubled, cell.foreign) == (missing, doubled, foreign)


def test_an_object_that_is_not_there():
    stored = lake(ROW, LATE)
    del stored[key_of(DAYS[1], CROSS)]
    cell: Cell = check(stored)[1]
    assert not cell.right
    assert cell.found is None


def test_an_object_that_nobody_asked_for():
    stranger = {"scope=cross/dt=2026-01-01/copy.jsonl.gz": Stored((ROW,), "", "")}
    assert [cell.right for cell in check(lake(ROW, LATE, **stranger))] == [True, True, False]


def test_the_day_that_ended_meanwhile_is_not_held_against_it():
    next_day = {key_of(date(2026, 1, 3), CROSS): Stored((OTHER,), "", "")}
    assert all(cell.right for cell in check(lake(ROW, LATE, **next_day)))


def test_records_at_both_ends_of_a_day_are_counted():
    assert at_the_edges(DAYS, lake(ROW, LATE, OTHER)) == 2
