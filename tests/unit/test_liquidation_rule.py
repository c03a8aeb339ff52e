"""The rule of the liquidation report, record by record: `operators/liquidation_report.sql`."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("duckdb")

from airflow_provider_binance_margin.operators.liquidation_report import _apply_rule, _database

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
NOON = 1_768_478_400_000  # 2026-01-15T12:00:00Z
GAP = 15 * MINUTE
number = count(9_007_199_254_740_993)  # what no double holds


def order(at=0, *, symbol="BTCUSDT", isolated=False, **more):
    return "force_liquidation", {
        "orderId": next(number),
        "symbol": symbol,
        "side": "SELL",
        "isIsolated": isolated,
        "updatedTime": NOON + at,
        "scope": symbol if isolated else "cross",
        **more,
    }


def entry(kind, at=0, *, symbol=None, asset="USDT", amount="-1.00000000", **more):
    row = {"id": next(number), "type": kind, "timestamp": NOON + at, "asset": asset, "amount": amount}
    pair = {} if symbol is None else {"symbol": symbol}
    return "capital_flow", {**row, **pair, "scope": symbol or "cross", **more}


def fee(at=0, **more):
    return entry("LIQUIDATION_FEE", at, **more)


def sale(at=0, **more):
    return entry("SELL_LIQUIDATION", at, **more)


def repay(at=0, *, symbol=None, kind="MANUAL", status="CONFIRMED", **more):
    row = {"txId": next(number), "type": kind, "status": status, "timestamp": NOON + at}
    pair = {} if symbol is None else {"isolatedSymbol": symbol}
    return "repay", {**row, **pair, "scope": symbol or "cross", **more}


def loan(at=0, **more):
    row = {"repayId": next(number), "asset": "USDC", "amount": "5", "status": "SUCCESS", "createTime": NOON + at}
    return "liquidation_loan_repayment", {**row, "scope": "cross", **more}


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    """The events that follow from these records."""

    def apply(*records):
        folder = tmp_path_factory.mktemp("lake")
        for name, row in records:
            Path(folder, name).mkdir(exist_ok=True)
            with Path(folder, name, "rows.jsonl").open("a") as file:
                file.write(json.dumps({"account": "main", **row}) + "\n")
        with _database(str(folder)) as db:
            return _apply_rule(db)[0]

    return apply


def all_at_once(rule, cases):
    """The events of each case, each told of an account of its own."""
    found = {name: [] for name in cases}
    records = [
        (kind, {**row, "account": f"{name}/{row.get('account', 'main')}"})
        for name, case in cases.items()
        for kind, row in case
    ]
    for event in rule(*records):
        found[event["account"].partition("/")[0]].append(event)
    return found


def brief(events):
    return [
        (event["level"], event["scope"], (event["first_time"] - NOON, event["last_time"] - NOON)) for event in events
    ]


LEVELS = {
    "an order": ([order()], ["certain"]),
    "an order and its entries": ([order(300), sale(), fee(7 * SECOND)], ["certain"]),
    "a fee alone": ([fee()], ["takeover"]),
    "another liquidation alone": ([entry("OTHER_LIQUIDATION")], ["takeover"]),
    "a takeover with its entries": ([entry("OTHER_LIQUIDATION"), fee(), sale(2 * SECOND)], ["takeover"]),
    "an order of another scope does not explain a fee": ([order(), fee(symbol="BTCUSDT")], ["takeover", "certain"]),
    "an order of another pair does not explain a fee": (
        [order(isolated=True), fee(symbol="ETHUSDT")],
        ["certain", "takeover"],
    ),
    "an order of another account does not explain a fee": ([order(), fee(account="other")], ["certain", "takeover"]),
    "negative equity": ([order(), fee(MINUTE), loan(HOUR), loan(2 * HOUR)], ["certain"]),
    "a loan is paid back in the end": ([order(), loan(20 * HOUR), loan(40 * HOUR), loan(60 * HOUR)], ["certain"]),
    "a loan after each of two liquidations": (
        [order(), loan(HOUR), order(20 * HOUR), loan(21 * HOUR), loan(40 * HOUR)],
        ["certain", "certain"],
    ),
    "a loan long after, and another": ([order(), loan(HOUR), loan(26 * HOUR), loan(40 * HOUR)], ["certain", "certain"]),
    "a loan alone": ([loan(), loan(20 * HOUR)], ["certain"]),
    "a loan of a liquidation long ago": ([order(), loan(25 * HOUR)], ["certain", "certain"]),
    "a loan of a takeover": ([fee(), loan(HOUR)], ["certain"]),
    "a loan is none of an isolated pair": ([order(isolated=True), loan(HOUR)], ["certain", "certain"]),
    "a burst": ([sale(), entry("REPAY_LIQUIDATION"), entry("SMALL_CONVERT", asset="BNB")], ["candidate"]),
    "dust alone": ([entry("SMALL_CONVERT", asset="BNB")], ["candidate"]),
    "paid back by hand": ([sale(), repay(2 * SECOND), entry("REPAY_LIQUIDATION", 2 * SECOND)], []),
    "paid back by hand just in time": ([sale(), repay(GAP)], []),
    "paid back by hand too late": ([sale(), repay(GAP + 1)], ["candidate"]),
    "paid back by hand too early": ([sale(), repay(-GAP - 1)], ["candidate"]),
    "paid back by hand in another scope": ([sale(), repay(symbol="BTCUSDT")], ["candidate"]),
    "paid back by hand of another account": ([sale(), repay(account="other")], ["candidate"]),
    "paid back in vain": ([sale(), repay(status="FAILED")], ["candidate"]),
    "paid back of itself": ([sale(), repay(kind="AUTO"), repay(kind="BNB_AUTO_REPAY")], ["candidate"]),
    "paid back by hand does not explain a fee": ([fee(), repay()], ["takeover"]),
    "paid back by hand does not explain an order": ([order(), repay()], ["certain"]),
    "paid back by hand explains no more than its neighbourhood": (
        [sale(), repay(), sale(10 * MINUTE), sale(20 * MINUTE)],
        ["candidate"],
    ),
    "no liquidation": ([entry(kind) for kind in ("BORROW", "REPAY", "TRANSFER", "SMALL_BALANCE_CONVERT")], []),
    "a type that is not known": ([entry("INSURANCE_FUND_COMPENSATION")], []),
    "nothing": ([], []),
}


@pytest.fixture(scope="module")
def told(rule):
    return all_at_once(rule, {name: records for name, (records, _) in LEVELS.items()})


@pytest.mark.parametrize("name", LEVELS)
def test_levels(told, name):
    assert [event["level"] for event in told[name]] == LEVELS[name][1]


def test_what_is_at_most_15_minutes_apart_is_one_event_and_16_are_two(rule):
    kinds = [(order, fee), (fee, order), (fee, fee), (order, order), (sale, sale), (sale, fee), (fee, sale)]
    gaps = {0: 1, 1: 1, GAP: 1, GAP + 1: 2, 16 * MINUTE: 2}
    cases = {f"{place} {gap}": [a(), b(gap)] for place, (a, b) in enumerate(kinds) for gap in gaps}

    found = all_at_once(rule, cases)

    assert {name: len(events) for name, events in found.items()} == {
        f"{place} {gap}": number for place in range(len(kinds)) for gap, number in gaps.items()
    }
    assert all(events[-1]["last_time"] == NOON + int(name.split()[1]) for name, events in found.items())


def test_an_event_goes_on_as_long_as_no_gap_is_longer(rule):
    """A fee long after the first order still is the liquidation's."""
    assert brief(rule(order(), order(10 * MINUTE), fee(20 * MINUTE))) == [("certain", "cross", (0, 20 * MINUTE))]


def test_an_event_takes_in_what_surrounds_it_and_the_rest_stands_alone(rule):
    events = rule(sale(-16 * MINUTE), sale(-14 * MINUTE), fee(), fee(10 * MINUTE), sale(24 * MINUTE), sale(26 * MINUTE))

    assert brief(events) == [
        ("candidate", "cross", (-16 * MINUTE, -16 * MINUTE)),
        ("takeover", "cross", (-14 * MINUTE, 24 * MINUTE)),
        ("candidate", "cross", (26 * MINUTE, 26 * MINUTE)),
    ]


def test_an_entry_between_two_events_is_the_nearers(rule):
    [first, second] = rule(fee(), sale(9 * MINUTE), fee(16 * MINUTE))

    assert [len(event["evidence"]) for event in (first, second)] == [1, 2]


def test_a_record_in_several_objects_counts_once_at_its_earliest_time(rule):
    """A pair's record in an answer without a pair too; an order that was updated; a repayment that went through."""
    name, isolated = order(isolated=True)
    _, entered = fee(symbol="BTCUSDT")
    _, pending = loan(status="PENDING")
    copies = [("force_liquidation", {**isolated, "scope": "cross", "updatedTime": NOON + 5 * HOUR, "side": "SELL"})]
    copies += [("capital_flow", {**entered, "scope": "cross"})]
    copies += [("liquidation_loan_repayment", {**pending, "status": "SUCCESS"})]

    events = rule((name, isolated), ("capital_flow", entered), ("liquidation_loan_repayment", pending), *copies)

    assert brief(events) == [("certain", "BTCUSDT", (0, 0)), ("certain", "cross", (0, 0))]
    assert [event["fees"] for event in events] == [[{"asset": "USDT", "amount": "-1.00000000"}], []]
    assert [[each["type"] for each in event["evidence"]] for event in events] == [
        ["LIQUIDATION_FEE", "SELL"],
        ["SUCCESS"],
    ]


@pytest.mark.parametrize("scope", ["BTCUSDT", "币安人生USDT"])
def test_a_row_without_its_pair_is_of_the_pair_that_was_asked_for(rule, scope):
    _, without = fee()
    _, by_hand = repay(HOUR)
    records = [("capital_flow", {**without, "scope": scope}), sale(HOUR, symbol=scope)]

    assert brief(rule(*records, ("repay", {**by_hand, "scope": scope}))) == [("takeover", scope, (0, 0))]


def test_a_filtered_objects_rows_are_of_its_account(rule):
    _, entered = fee()

    assert brief(rule(("capital_flow", {**entered, "scope": "cross.asset-USDT"}))) == [("takeover", "cross", (0, 0))]


def test_amounts_are_exact_and_by_asset(rule):
    [event] = rule(
        sale(asset="BTC", amount="-0.00000001"),
        sale(SECOND, asset="BTC", amount="-12345678901234567.00000002"),
        sale(amount="0.10000000"),
        sale(SECOND, amount="0.200000000000000003"),
        fee(amount="-0.30000000"),
        fee(SECOND, asset="BNB", amount="-1E-8"),
        order(),
        loan(HOUR),
    )

    assert event["amounts"] == [
        {"asset": "BTC", "amount": "-12345678901234567.00000003"},
        {"asset": "USDT", "amount": "0.300000000000000003"},
    ]
    assert event["fees"] == [{"asset": "BNB", "amount": "-0.00000001"}, {"asset": "USDT", "amount": "-0.30000000"}]


def test_repayments_are_of_the_latest_liquidation(rule):
    day = 24 * HOUR
    events = rule(order(), loan(HOUR), order(20 * HOUR), loan(21 * HOUR), loan(45 * HOUR), loan(45 * HOUR + day + 1))

    assert brief(events) == [
        ("certain", "cross", (0, HOUR)),
        ("certain", "cross", (20 * HOUR, 45 * HOUR)),
        ("certain", "cross", (45 * HOUR + day + 1, 45 * HOUR + day + 1)),
    ]


def test_the_activity_is_of_the_day_before_and_of_the_event(rule):
    """Exact, by dataset, type and asset, each record once; in ms or in seconds; nothing of another scope or account."""
    day = 24 * HOUR

    def charge(at, amount="0.00000001", **more):
        row = {"txId": next(number), "interestAccuredTime": NOON + at, "type": "PERIODIC", "asset": "USDT"}
        return "interest", {**row, "interest": amount, "scope": "cross", **more}

    def move(at, kind="ROLL_IN", *, unit=1, **more):
        row = {"txId": next(number), "timestamp": (NOON + at) // unit, "type": kind, "asset": "USDT", "amount": "2"}
        return "transfer", {**row, "status": "CONFIRMED", "scope": "cross", **more}

    taken = {"asset": "USDT", "amount": "5.5", "isolatedSymbol": ""}
    _, borrowed = repay(-HOUR, kind="AUTO", **taken)
    _, moved = move(-HOUR, scope="BTCUSDT")
    records = [fee(), fee(10 * MINUTE), fee(symbol="BTCUSDT")]
    records += [charge(-day - 1), charge(-day), charge(-HOUR, "12345678901234567.00000001"), charge(10 * MINUTE)]
    records += [charge(10 * MINUTE + 1), charge(0, isolatedSymbol="ETHUSDT"), charge(0, account="other")]
    records += [move(-SECOND), move(-SECOND, unit=1000), move(0, "ROLL_OUT"), move(0, status="FAILED")]
    records += [("transfer", moved), ("transfer", {**moved, "scope": "cross"})]
    records += [("borrow", borrowed), ("borrow", {**borrowed, "scope": "cross.asset-USDT"}), repay(0, **taken)]

    pair, cross = sorted(rule(*records), key=lambda event: event["scope"])

    def brief(event):
        return [tuple(each[name] for name in ("dataset", "type", "records", "amount")) for each in event["activity"]]

    assert brief(cross) == [
        ("borrow", "AUTO", 1, "5.50000000"),
        ("interest", "PERIODIC", 3, "12345678901234567.00000003"),
        ("repay", "MANUAL", 1, "5.50000000"),
        ("transfer", "ROLL_IN", 2, "4.00000000"),
        ("transfer", "ROLL_OUT", 1, "2.00000000"),
    ]
    assert brief(pair) == [("transfer", "ROLL_IN", 1, "2.00000000")]


def test_evidence_names_each_record(rule):
    """Ids are whole, also those that no double holds."""
    records = [order(1), fee(2), sale(3), loan(4)]
    keys = {"force_liquidation": "orderId", "liquidation_loan_repayment": "repayId", "capital_flow": "id"}

    [event] = rule(*records)

    assert [(each["dataset"], each["id"]) for each in event["evidence"]] == [
        (name, row[keys[name]]) for name, row in records
    ]
    assert event["evidence"][0]["symbol"] == "BTCUSDT"


def test_an_event_over_midnight_is_one(rule):
    """And is of the day of its first time."""
    midnight = 12 * HOUR

    assert brief(rule(fee(midnight - MINUTE), fee(midnight + MINUTE), sale(midnight + 3 * MINUTE))) == [
        ("takeover", "cross", (midnight - MINUTE, midnight + 3 * MINUTE))
    ]
