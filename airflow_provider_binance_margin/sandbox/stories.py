"""Stories of an account, told in the records of all datasets, and known: a report can be held against them.

A day has one story, sometimes a second one of another scope at the same moment, as a function of the seed and the day.
Each begins with a transfer in, a loan, its interest and a purchase, but for a quiet day, of which there is no record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.dataset import DAY, HOUR
from airflow_provider_binance_margin.sandbox.datasets import DATASETS
from airflow_provider_binance_margin.sandbox.invent import in_order
from airflow_provider_binance_margin.sandbox.market import ISOLATED, PRICES, assets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SECOND = 1_000
EIGHT = Decimal("0.00000001")
A_DAYS_IDS = 100_000
# below those of made-up records, so that what is added later has the greater id
FIRST_IDS = {
    "force_liquidation": 20_000_000_000,
    "interest": 2_100_000_000_000_000_000,
    "borrow": 100_000_000_000,
    "repay": 200_000_000_000,
    "transfer": 300_000_000_000,
    "capital_flow": 10_000_000_000,
    "liquidation_loan_repayment": 1_000_000_000,
}


@dataclass
class Story:
    """Event in one scope on one day.

    :param kind: a name out of `KINDS`.
    :param scope: the isolated pair, "" for the cross account.
    :param time: first moment of the event itself, `end` its last, in ms; of a quiet day both are its begin.
    :param ids: of the records of the event itself, by dataset.
    :param account: whose it is.
    """

    kind: str
    scope: str
    time: int
    end: int
    ids: dict[str, list[int]] = field(default_factory=dict)
    account: str = "main"


class Teller:
    """Writes one story; `records` are (dataset, record) in the order in which they came to be."""

    def __init__(self, kind: str, scope: str, day: int, number: int, event: int) -> None:
        self.rng = Random(f"{day}/{number}/{scope}/{event}")
        self.story = Story(kind, scope, event, event)
        self.records: list[tuple[str, dict[str, Any]]] = []
        symbol = scope or self.rng.choice([each for each in PRICES if each.endswith("USDT")])
        self.symbol, (self.base, self.quote) = symbol, assets(symbol)
        self.quantity = _money(self.rng.lognormvariate(8, 1) / PRICES[symbol] + 0.01)
        self.price = Decimal(str(PRICES[symbol]))
        self.debt = Decimal(0)
        self._ids = day * A_DAYS_IDS + number * A_DAYS_IDS // 10
        self._told = False

    def write(self, dataset: str, ms: int, **fields: Any) -> None:
        """One more record; those of the event itself are its evidence."""
        kind, self._ids = DATASETS[dataset], self._ids + 1
        number = next(name for name in kind.ids if kind.fields[name] is int)
        fields = {name: str(value) if isinstance(value, Decimal) else value for name, value in fields.items()}
        fields[number] = FIRST_IDS[dataset] + self._ids
        made = kind.row(self._ids, self.story.scope, fields)
        self.records.append((dataset, in_order(kind, {**made, kind.time: kind.stamp(ms), **fields})))
        if self._told:
            self.story.ids.setdefault(dataset, []).append(fields[number])
            self.story.end = max(self.story.end, kind.ms(self.records[-1][1]))

    def book(self, ms: int, *entries: tuple[str, str, Decimal]) -> None:
        """A transaction in the ledger: (type, asset, amount), all of one second."""
        transaction = 200_000_000_000 + self._ids
        for kind, asset, amount in entries:
            self.write("capital_flow", ms, tranId=transaction, type=kind, asset=asset, amount=amount)

    def begin(self, ms: int) -> None:
        """A transfer in, a loan, interest from then on to the event, and a purchase."""
        value = _money(self.quantity * self.price)
        own, loan = _money(value / 3), value - _money(value / 3)
        self.write("transfer", ms, asset=self.quote, amount=own, type="ROLL_IN")
        self.book(ms, ("TRANSFER", self.quote, own))
        self.write(
            "borrow", ms + HOUR, asset=self.quote, amount=loan, principal=loan, interest=_money(0), type="MANUAL"
        )
        self.book(ms + HOUR, ("BORROW", self.quote, loan))
        self.debt = loan
        hours = range((ms + HOUR) // HOUR + 1, self.story.time // HOUR + 1)
        for kind, at in (("ON_BORROW", ms + HOUR), *(("PERIODIC", hour * HOUR) for hour in hours)):
            interest = _money(loan * Decimal("0.0000071"))
            self.write("interest", at, asset=self.quote, principal=loan, interest=interest, type=kind)
            self.debt += interest
        purchase = (("BUY_INCOME", self.base, self.quantity), ("BUY_EXPENSE", self.quote, -value))
        self.book(ms + HOUR + 5 * SECOND, *purchase)
        self._told = True

    def sell(self, ms: int, kind: str, share: Decimal = Decimal(1), paid: Decimal = Decimal(1)) -> Decimal:
        """Sell a share of what there is, booked under `kind`; what it brought."""
        quantity = _money(self.quantity * share)
        income = _money(quantity * self.price * paid)
        types = (f"{kind}_EXPENSE", f"{kind}_INCOME") if kind == "SELL" else (kind, kind)
        self.book(ms, (types[0], self.base, -quantity), (types[1], self.quote, income))
        return income


def _money(value: Decimal | float) -> Decimal:
    return Decimal(value).quantize(EIGHT)


def _repaid(teller: Teller, at: int) -> None:
    """Sold, paid back by hand and taken home: nothing is left."""
    _pay_back(teller, at, "SELL", "REPAY")
    rest = -sum(
        (
            Decimal(row["amount"])
            for name, row in teller.records
            if name == "capital_flow" and row["asset"] == teller.quote
        ),
        Decimal(0),
    )
    teller.write("transfer", at + 60 * SECOND, asset=teller.quote, amount=-rest, type="ROLL_OUT")
    teller.book(at + 60 * SECOND, ("TRANSFER", teller.quote, rest))


def _voluntary(teller: Teller, at: int) -> None:
    """Paid back by hand in one click: booked as a liquidation is, but without a fee and with a MANUAL repayment."""
    _pay_back(teller, at, "SELL_LIQUIDATION", "REPAY_LIQUIDATION")


def _pay_back(teller: Teller, at: int, sale: str, repayment: str) -> None:
    teller.sell(at, sale, paid=Decimal("1.02"))
    principal = Decimal(next(row["principal"] for name, row in teller.records if name == "borrow"))
    paid = {"amount": teller.debt, "principal": principal, "interest": teller.debt - principal}
    teller.write("repay", at + 2 * SECOND, asset=teller.quote, type="MANUAL", **paid)
    teller.book(at + 2 * SECOND, (repayment, teller.quote, -teller.debt))


def _liquidation(teller: Teller, at: int) -> None:
    """Orders of the account's own, each booked, then the debt and the fee."""
    _liquidated(teller, at, Decimal("0.8"))


def _liquidated(teller: Teller, at: int, paid: Decimal) -> None:
    orders = teller.rng.randint(1, 6)
    for place in range(orders):
        moment, quantity = at + place * 7 * SECOND, _money(teller.quantity / orders)
        price = _money(teller.price * paid)
        order = {"price": price, "avgPrice": price, "qty": quantity, "executedQty": quantity, "side": "SELL"}
        teller.write("force_liquidation", moment + teller.rng.randrange(900), symbol=teller.symbol, **order)
        teller.sell(moment, "SELL_LIQUIDATION", Decimal(1) / orders, paid)
    fee = _money(teller.quantity * teller.price / 50)
    end = at + orders * 7 * SECOND
    teller.book(end, ("REPAY_LIQUIDATION", teller.quote, -teller.debt), ("LIQUIDATION_FEE", teller.quote, -fee))


def _deficit(teller: Teller, at: int) -> None:
    """A liquidation that brings less than the debt; what is missing is paid back later, in two parts."""
    _liquidated(teller, at, Decimal("0.5"))
    for hours, status in ((1, "SUCCESS"), (2, "SUCCESS")):
        amount = _money(teller.quantity * teller.price / 12)
        teller.write("liquidation_loan_repayment", at + hours * HOUR, amount=amount, status=status)


def _takeover(teller: Teller, at: int) -> None:
    """All is taken over at once: no order of the account's, only the ledger tells."""
    fee = _money(teller.quantity * teller.price / 50)
    teller.book(at, ("OTHER_LIQUIDATION", teller.base, -teller.quantity), ("LIQUIDATION_FEE", teller.quote, -fee))


def _burst(teller: Teller, at: int) -> None:
    """Booked as a liquidation in one second, without order, fee or repayment: nobody can tell."""
    teller.sell(at, "SELL_LIQUIDATION")
    dust = [("SMALL_CONVERT", asset, _money(-0.0001)) for asset in ("BNB", "ETH")]
    teller.book(at, ("REPAY_LIQUIDATION", teller.quote, -teller.debt), *dust)


KINDS: dict[str, Callable[[Teller, int], None] | None] = {
    "quiet": None,
    "repaid": _repaid,
    "voluntary": _voluntary,
    "liquidation": _liquidation,
    "deficit": _deficit,
    "takeover": _takeover,
    "burst": _burst,
}
# the loan of what is missing is one of the cross account
CROSS_ONLY = {"deficit"}


def checked_kinds(names: str | Sequence[str]) -> tuple[str, ...]:
    """Kinds of stories by name, or "all"; one that stands twice is told twice as often."""
    chosen = tuple(KINDS) if names == "all" else (names,) if isinstance(names, str) else tuple(names)
    unknown = [name for name in chosen if name not in KINDS]
    if unknown:
        raise ValueError(f"no such story: {', '.join(map(repr, unknown))}; there are {', '.join(KINDS)}")
    return chosen


def tell(seed: int, kinds: Sequence[str], first_day: int, days: int, until: int) -> Iterator[Teller]:
    """The stories of `days` days from `first_day`, as far as they are over by the moment `until`."""
    for day in range(first_day, first_day + days):
        for teller in _day(seed, kinds, day):
            last = max((DATASETS[name].ms(row) for name, row in teller.records), default=teller.story.end)
            if last <= until:
                yield teller


def _day(seed: int, kinds: Sequence[str], day: int) -> Iterator[Teller]:
    rng = Random(f"{seed}/story {day}")
    turn = list(kinds)
    Random(f"{seed}/turn {day // len(kinds)}").shuffle(turn)
    kind, scopes = turn[day % len(kinds)], ["", *ISOLATED]
    rng.shuffle(scopes)
    event = day * DAY + rng.randrange(8 * HOUR, 20 * HOUR) // SECOND * SECOND
    yield _story(kind, "" if kind in CROSS_ONLY else scopes[0], day, 0, event)
    others = [each for each in kinds if each not in CROSS_ONLY and each != "quiet"]
    if kind not in {"quiet", *CROSS_ONLY} and others and rng.random() < 0.3:  # noqa: PLR2004 - odds
        yield _story(rng.choice(others), scopes[1], day, 1, event)


def _story(kind: str, scope: str, day: int, number: int, event: int) -> Teller:
    play = KINDS[kind]
    if play is None:
        return Teller(kind, "", day, number, day * DAY)
    teller = Teller(kind, scope, day, number, event)
    teller.begin(day * DAY + teller.rng.randrange(5 * HOUR) // SECOND * SECOND)
    play(teller, event)
    return teller
