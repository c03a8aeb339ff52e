"""The datasets of the margin account, one declaration each.

Source: https://developers.binance.com/docs/margin_trading. What a page does not say (order, retention, the meaning of a
window's ends) is set in `settings`.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.dataset import DAY, Dataset
from airflow_provider_binance_margin.sandbox.market import BITCOIN, PRICES, assets
from airflow_provider_binance_margin.sandbox.rows import FIELDS, TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

LEDGER_TYPES = (
    *("TRANSFER", "BORROW", "REPAY", "BUY_INCOME", "BUY_EXPENSE", "SELL_INCOME", "SELL_EXPENSE", "TRADING_COMMISSION"),
    *("BUY_LIQUIDATION", "SELL_LIQUIDATION", "REPAY_LIQUIDATION", "OTHER_LIQUIDATION", "LIQUIDATION_FEE"),
    *("SMALL_BALANCE_CONVERT", "COMMISSION_RETURN", "SMALL_CONVERT"),
)


def _fields(text: str) -> dict[str, type]:
    """Fields in order: strings, but for those marked `:int`."""
    return {word.removesuffix(":int"): int if word.endswith(":int") else str for word in text.split()}


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _random(seed: int, scope: str, given: Mapping[str, Any]) -> tuple[Random, str]:
    """A generator for one row, and its asset: one that its account may owe."""
    rng = Random(seed)
    return rng, given.get("asset") or rng.choice(assets(scope) if scope else ("USDT", "BTC", "ETH", "BNB"))


def _amount(rng: Random, asset: str, mu: float = 6.0) -> float:
    """An amount of an asset, worth some hundred dollars."""
    return rng.lognormvariate(mu, 1.2) / PRICES.get(f"{asset}USDT", BITCOIN if asset == "BTC" else 1.0)


def _isolated_symbol(row: Mapping[str, Any]) -> str:
    return str(row.get("isolatedSymbol") or "")


# forced liquidations


def _liquidation(seed: int, scope: str, given: Mapping[str, Any]) -> dict[str, Any]:
    symbol = scope or given.get("symbol", "BTCUSDT")
    price = f"{PRICES.get(symbol, 1.0):.8f}"
    # beyond all order ids of the history
    numbers = {"orderId": 90_000_000_000 + seed, "price": price, "qty": "31.39000000"}
    side = {"side": "SELL", "symbol": symbol, "timeInForce": "GTC", "isIsolated": bool(scope)}
    return {"avgPrice": price, "executedQty": "31.39000000", **numbers, **side}


def _liquidation_scope(row: Mapping[str, Any]) -> str:
    return str(row["symbol"]) if row.get("isIsolated") else ""


FORCE_LIQUIDATION = Dataset(
    name="force_liquidation",
    path="/sapi/v1/margin/forceLiquidationRec",
    fields=dict(zip(FIELDS, TYPES, strict=True)),
    time="updatedTime",
    ids=("symbol", "orderId", "isIsolated"),
    row=_liquidation,
    scope=_liquidation_scope,
)


# interest


def _interest(seed: int, scope: str, given: Mapping[str, Any]) -> dict[str, Any]:
    rng, asset = _random(seed, scope, given)
    principal, rate = _amount(rng, asset), rng.uniform(0.00005, 0.0004)
    return _present(
        txId=2_328_408_217_636_413_776 + seed,
        interestAccuredTime=0,
        asset=asset,
        rawAsset=None if scope else asset,
        principal=f"{principal:.8f}",
        interest=f"{principal * rate / 24:.8f}",
        interestRate=f"{rate:.8f}",
        type=rng.choice(("PERIODIC", "PERIODIC", "PERIODIC", "ON_BORROW", "PERIODIC_CONVERTED")),
        isolatedSymbol=scope or None,
    )


INTEREST = Dataset(
    name="interest",
    path="/sapi/v1/margin/interestHistory",
    fields=_fields(
        "txId:int interestAccuredTime:int asset rawAsset principal interest interestRate type isolatedSymbol"
    ),
    optional=frozenset({"rawAsset", "isolatedSymbol"}),
    time="interestAccuredTime",
    ids=("txId",),
    row=_interest,
    scope=_isolated_symbol,
    filters={"asset": ()},
    total_first=True,
    longest=30 * DAY,
    start_alone="clamped",
    memory=90 * DAY,
)


# loans


def _loan(seed: int, scope: str, given: Mapping[str, Any], types: tuple[str, ...], share: float) -> dict[str, Any]:
    rng, asset = _random(seed, scope, given)
    principal = _amount(rng, asset)
    interest = principal * rng.random() * share
    return _present(
        type=rng.choice(types),
        isolatedSymbol=scope or None,
        amount=f"{principal + interest:.8f}",
        asset=asset,
        interest=f"{interest:.8f}",
        principal=f"{principal:.8f}",
        status="CONFIRMED",
        timestamp=0,
        txId=2_970_933_056 + seed,
    )


def _loans(name: str, which: str, types: tuple[str, ...], share: float) -> Dataset:
    return Dataset(
        name=name,
        path="/sapi/v1/margin/borrow-repay",
        fields=_fields("type isolatedSymbol amount asset interest principal status timestamp:int txId:int"),
        optional=frozenset({"isolatedSymbol"}),
        time="timestamp",
        ids=("txId",),
        row=lambda seed, scope, given: _loan(seed, scope, given, types[:2] if scope else types, share),
        scope=_isolated_symbol,
        weight=10,
        fixed={"type": which},
        filters={"asset": (), "txId": ()},
        by_id="txId",
        longest=7 * DAY,
        longest_with={"asset": 30 * DAY},
    )


BORROW = _loans("borrow", "BORROW", ("AUTO", "MANUAL"), 0.0)
REPAY = _loans("repay", "REPAY", ("AUTO", "MANUAL", "BNB_AUTO_REPAY", "POINT_AUTO_REPAY"), 0.002)


# transfers


def _transfer(seed: int, scope: str, given: Mapping[str, Any]) -> dict[str, Any]:
    rng, asset = _random(seed, scope, given)
    account = "ISOLATED_MARGIN" if scope else "CROSS_MARGIN"
    way = given.get("type") or rng.choice(("ROLL_IN", "ROLL_IN", "ROLL_OUT"))
    return _present(
        amount=f"{_amount(rng, asset, 7.0):.8f}",
        asset=asset,
        status="CONFIRMED",
        timestamp=0,
        txId=5_240_372_201 + seed,
        type=way,
        transFrom=account if way == "ROLL_OUT" else "SPOT",
        transTo="SPOT" if way == "ROLL_OUT" else account,
        fromSymbol=scope if scope and way == "ROLL_OUT" else None,
        toSymbol=scope if scope and way != "ROLL_OUT" else None,
    )


def _transfer_scope(row: Mapping[str, Any]) -> str:
    side, symbol = ("transFrom", "fromSymbol") if row.get("type") == "ROLL_OUT" else ("transTo", "toSymbol")
    return str(row.get(symbol) or "") if row.get(side) == "ISOLATED_MARGIN" else ""


TRANSFER = Dataset(
    name="transfer",
    path="/sapi/v1/margin/transfer",
    fields=_fields("amount asset status timestamp:int txId:int type transFrom transTo fromSymbol toSymbol"),
    optional=frozenset({"transFrom", "transTo", "fromSymbol", "toSymbol"}),
    time="timestamp",
    ids=("txId",),
    row=_transfer,
    scope=_transfer_scope,
    filters={"asset": (), "type": ("ROLL_IN", "ROLL_OUT")},
    longest=30 * DAY,
    in_seconds=True,
)


# the ledger


def _ledger_entry(seed: int, scope: str, given: Mapping[str, Any]) -> dict[str, Any]:
    rng, asset = _random(seed, scope, given)
    kind = rng.choice(LEDGER_TYPES[:8])
    sign = -1 if kind in {"REPAY", "BUY_EXPENSE", "SELL_EXPENSE", "TRADING_COMMISSION"} else 1
    return _present(
        id=14_000_000_000 + seed,
        tranId=210_000_000_000 + seed // 3,  # one transaction is several entries
        timestamp=0,
        asset=asset,
        symbol=scope or None,
        type=kind,
        amount=f"{sign * _amount(rng, asset):.8f}",
    )


CAPITAL_FLOW = Dataset(
    name="capital_flow",
    path="/sapi/v1/margin/capital-flow",
    fields=_fields("id:int tranId:int timestamp:int asset symbol type amount note"),
    optional=frozenset({"symbol", "note"}),
    time="timestamp",
    ids=("id",),
    row=_ledger_entry,
    scope=lambda row: str(row.get("symbol") or ""),
    weight=100,
    pair="symbol",
    filters={"asset": (), "type": LEDGER_TYPES},
    is_list=True,
    size=500,
    most=1_000,
    longest=7 * DAY,
    too_long=-4047,
    start_alone="forward",
    memory=90 * DAY,
    whole_seconds=True,
)


# what a liquidation with negative equity leaves to be paid back


def _repayment(seed: int, _: str, __: Mapping[str, Any]) -> dict[str, Any]:
    rng = Random(seed)
    amount = f"{_amount(rng, 'USDC'):.8f}"
    return {"repayId": 12_345_678 + seed, "asset": "USDC", "amount": amount, "status": "SUCCESS", "createTime": 0}


LIQUIDATION_LOAN_REPAYMENT = Dataset(
    name="liquidation_loan_repayment",
    path="/sapi/v1/margin/liquidation-loan/repay-history",
    fields=_fields("repayId:int asset amount status createTime:int"),
    time="createTime",
    ids=("repayId",),
    row=_repayment,
    scope=lambda _: "",
    weight=100,
    whose="UID",
    pair=None,
    size=50,
    total_first=True,
    newest_first=False,
    memory=90 * DAY,
    hidden=frozenset({"FAILED"}),
)

DATASETS = {
    dataset.name: dataset
    for dataset in (FORCE_LIQUIDATION, INTEREST, BORROW, REPAY, TRANSFER, CAPITAL_FLOW, LIQUIDATION_LOAN_REPAYMENT)
}
PATHS: dict[str, tuple[Dataset, ...]] = {}
for _each in DATASETS.values():
    PATHS[_each.path] = (*PATHS.get(_each.path, ()), _each)


def dataset_of(name: str) -> Dataset:
    """A dataset by its name."""
    if name not in DATASETS:
        raise ValueError(f"no such dataset: {name!r}; there are {', '.join(DATASETS)}")
    return DATASETS[name]
