"""The stories of the sandbox: consistent in all datasets, and told as they are."""

from collections import Counter, defaultdict
from decimal import Decimal

import pytest

from airflow_provider_binance_margin.sandbox import Sandbox, SandboxControl
from airflow_provider_binance_margin.sandbox.__main__ import _parser
from airflow_provider_binance_margin.sandbox.dataset import DAY
from airflow_provider_binance_margin.sandbox.datasets import DATASETS
from airflow_provider_binance_margin.sandbox.stories import FIRST_IDS, KINDS

FIRST = 20_000
MINUTES_15 = 900_000
LEVELS = {"liquidation": "certain", "deficit": "certain", "takeover": "takeover", "burst": "candidate"}


def told(kinds="all", days=140, seed=7, account="main"):
    sandbox = Sandbox(days=0)
    sandbox.tell(kinds, seed=seed, first_day=FIRST, days=days, account=account)
    sandbox.settings.change(unfiltered="all")
    return sandbox


@pytest.fixture(scope="module")
def sandbox():
    return told()


def by_day_and_scope(sandbox, name):
    """Records of a dataset by (day, scope)."""
    dataset, found = DATASETS[name], defaultdict(list)
    for row in sandbox.records(dataset=name):
        found[dataset.ms(row) // DAY, dataset.scope(row)].append(row)
    return found


def amounts(rows, field="amount"):
    return sum((Decimal(row[field]) for row in rows), Decimal(0))


def test_every_kind_is_told_every_day_has_one(sandbox):
    stories = sandbox.stories()

    assert {story.time // DAY for story in stories} == set(range(FIRST, FIRST + 140))
    counts = Counter(story.kind for story in stories)
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 19
    assert {story.scope for story in stories} == {"", "BTCUSDT", "ETHUSDT", "币安人生USDT"}
    assert {story.scope for story in stories if story.kind == "deficit"} == {""}
    assert len(stories) > 140
    assert len({(story.time // DAY, story.scope) for story in stories if story.kind != "quiet"}) == len(
        [story for story in stories if story.kind != "quiet"]
    )


def test_records_are_complete_and_each_has_an_id_of_its_own(sandbox):
    for name in FIRST_IDS:
        dataset, rows = DATASETS[name], sandbox.records(dataset=name)

        assert len({tuple(row.get(field) for field in dataset.ids) for row in rows}) == len(rows) > 20
        for row in rows:
            assert [field for field in dataset.fields if field in row] == list(row)
            assert set(dataset.fields) - set(row) <= dataset.optional
            assert all(type(value) is dataset.fields[field] for field, value in row.items())


def test_the_evidence_is_there_when_and_where_it_is_said(sandbox):
    """And it is all there is in that scope from the event's begin to its end."""
    rows = {name: by_day_and_scope(sandbox, name) for name in DATASETS}

    for story in sandbox.stories():
        for name, dataset in DATASETS.items():
            number = next(field for field in dataset.ids if dataset.fields[field] is int)
            there = [
                row[number]
                for row in rows[name][story.time // DAY, story.scope]
                if story.time <= dataset.ms(row) <= story.end
            ]
            assert sorted(there) == sorted(story.ids.get(name, [])), (story, name)


def test_the_ledger_agrees_with_the_other_datasets(sandbox):
    """Each loan, repayment and transfer has its entry; each order its two; a deficit's loan its liquidation."""
    rows = {name: by_day_and_scope(sandbox, name) for name in DATASETS}
    for story in sandbox.stories():
        where = story.time // DAY, story.scope
        ledger = defaultdict(list)
        for entry in rows["capital_flow"][where]:
            ledger[entry["type"]].append(entry)

        assert amounts(rows["borrow"][where]) == amounts(ledger["BORROW"])
        moved = [(row["type"], row["amount"]) for row in rows["transfer"][where]]
        assert amounts(ledger["TRANSFER"]) == sum(
            (Decimal(amount) * (1 if way == "ROLL_IN" else -1) for way, amount in moved), Decimal(0)
        )
        repaid = amounts(ledger["REPAY"]) + amounts(ledger["REPAY_LIQUIDATION"])
        if rows["repay"][where]:
            assert -repaid == amounts(rows["repay"][where])
            assert amounts(rows["repay"][where], "interest") == amounts(rows["interest"][where], "interest")
        if repaid:
            assert -repaid == amounts(rows["borrow"][where]) + amounts(rows["interest"][where], "interest")
        assert len(rows["force_liquidation"][where]) * 2 == len(ledger["SELL_LIQUIDATION"]) or story.kind in {
            "voluntary",
            "burst",
        }
        assert bool(rows["liquidation_loan_repayment"][where]) == (story.kind == "deficit")


def test_what_is_repaid_leaves_nothing(sandbox):
    """All entries of a finished story add up to nothing, in each asset."""
    ledger = by_day_and_scope(sandbox, "capital_flow")
    for story in sandbox.stories():
        if story.kind == "repaid":
            left = defaultdict(Decimal)
            for entry in ledger[story.time // DAY, story.scope]:
                left[entry["asset"]] += Decimal(entry["amount"])
            assert set(left.values()) == {Decimal(0)}


def test_entries_of_one_transaction_share_id_and_second(sandbox):
    transactions = defaultdict(list)
    for entry in sandbox.records(dataset="capital_flow"):
        transactions[entry["tranId"]].append(entry)

    assert max(map(len, transactions.values())) > 1
    for entries in transactions.values():
        assert len({(entry["timestamp"], entry.get("symbol")) for entry in entries}) == 1
        assert entries[0]["timestamp"] % 1000 == 0


def test_the_levels_can_be_read_off_the_records(sandbox):
    """The rule of the liquidation report, applied to the records alone, finds what was told and nothing else."""
    rows = {name: by_day_and_scope(sandbox, name) for name in DATASETS}
    expected = {(story.time // DAY, story.scope): LEVELS.get(story.kind) for story in sandbox.stories()}
    found = {}
    for where in {*rows["capital_flow"], *expected}:
        ledger = rows["capital_flow"][where]
        orders = [row["updatedTime"] for row in rows["force_liquidation"][where]]

        def near(entry, times):
            return any(abs(entry["timestamp"] - time) <= MINUTES_15 for time in times)

        fees = [each for each in ledger if each["type"] in {"LIQUIDATION_FEE", "OTHER_LIQUIDATION"}]
        by_hand = [row["timestamp"] for row in rows["repay"][where] if row["type"] == "MANUAL"]
        bursts = [each for each in ledger if "_LIQUIDATION" in each["type"] or each["type"] == "SMALL_CONVERT"]
        if orders or rows["liquidation_loan_repayment"][where]:
            found[where] = "certain"
        elif any(not near(each, orders) for each in fees):
            found[where] = "takeover"
        elif any(not near(each, by_hand) for each in bursts):
            found[where] = "candidate"
        else:
            found[where] = None

    assert found == expected


def test_stories_are_a_function_of_seed_and_day(sandbox):
    part = told(days=140)

    assert part.stories() == sandbox.stories()
    for name in DATASETS:
        assert part.records(dataset=name) == sandbox.records(dataset=name)
    assert told(seed=8).stories() != sandbox.stories()


def test_stories_are_chosen_by_name():
    stories = told(("quiet", "quiet", "takeover"), days=30).stories()

    assert Counter(story.kind for story in stories)["quiet"] in {19, 20, 21}
    assert {story.kind for story in stories} == {"quiet", "takeover"}
    assert {story.kind for story in told("deficit", days=5).stories()} == {"deficit"}
    with pytest.raises(ValueError, match="no such story: 'murder'"):
        Sandbox(days=5, stories=("murder",))
    with pytest.raises(SystemExit):
        _parser().parse_args(["--stories", "quiet,murder"])
    assert _parser().parse_args(["--stories", "quiet,burst"]).stories == ("quiet", "burst")


def test_a_sandbox_can_begin_with_stories_up_to_now():
    """Instead of the history of forced liquidations; nothing is in the future."""
    sandbox = Sandbox(days=30, stories="all", time_unit="ms")

    assert len(sandbox.stories()) >= 30
    for name, dataset in DATASETS.items():
        assert all(row[dataset.time] <= sandbox.now_ms() for row in sandbox.records(dataset=name))
    assert {len(str(row["timestamp"])) for row in sandbox.records(dataset="transfer")} == {13}
    sandbox.reset()
    assert sandbox.stories() == []


def test_a_day_is_told_once_to_each_account():
    sandbox = told(days=7)

    with pytest.raises(ValueError, match="already"):
        sandbox.tell(first_day=FIRST + 6, days=3)
    other = sandbox.tell(first_day=FIRST, days=7, account="second")
    assert {story.account for story in other} == {"second"}
    assert len(sandbox.stories()) == 2 * len(other)


def test_another_process_can_tell_and_ask():
    with Sandbox(days=0) as sandbox:
        control = SandboxControl(sandbox.url)

        new = control.tell(("takeover", "quiet"), first_day=FIRST, days=4)

        assert new == control.stories() == sandbox.stories()
        with pytest.raises(ValueError, match="no such story"):
            control.tell("murder", first_day=FIRST + 9, days=1)
