"""Series of one task: the product of its datasets and pairs, each once, and what tells one from the others."""

import pytest

from airflow_provider_binance_margin.exchange.errors import BinanceError, BinanceRequestError, BinanceSpanError
from airflow_provider_binance_margin.lake.layout import LayoutError
from airflow_provider_binance_margin.transfers.series import SeriesList, check_series, concerns_one_series, series_of

ALONE = ("interest", "BTCUSDT")
DATASETS = (["interest", "borrow"], None)
PAIRS = ("interest", [None, "BTCUSDT"])
BOTH = (["interest", "borrow"], [None, "BTCUSDT"])


def shown(series):
    return [str(each) for each in series]


@pytest.mark.parametrize(
    ("dataset", "pair", "expected"),
    [
        (*ALONE, ["interest of scope BTCUSDT"]),
        ("interest", None, ["interest of scope cross"]),
        (*BOTH, [f"{d} of scope {s}" for d in ("interest", "borrow") for s in ("cross", "BTCUSDT")]),
        (("interest", "interest"), ["BTCUSDT", "BTCUSDT"], ["interest of scope BTCUSDT"]),
        ({"interest", "borrow"}, {"", "BTCUSDT"}, [f"{d} of scope {s}" for d in ("borrow", "interest")
                                                    for s in ("cross", "BTCUSDT")]),
        ("interest", ["", None], ["interest of scope cross"]),
        ("liquidation_loan_repayment", ["BTCUSDT", "ETHUSDT"], ["liquidation_loan_repayment of scope cross"]),
    ],
)  # fmt: skip
def test_the_product_comes_once_in_the_order_given(dataset, pair, expected):
    """A set has its own; a dataset without pairs is taken once."""
    assert shown(series_of(dataset, pair)) == expected


@pytest.mark.parametrize(
    ("given", "varying"),
    [(ALONE, ()), (DATASETS, ("dataset",)), (PAIRS, ("scope",)), (BOTH, ("dataset", "scope"))],
    ids=["alone", "datasets", "pairs", "both"],
)
def test_a_key_must_tell_apart_what_varies(given, varying):
    series = series_of(*given)
    assert series.varying == varying

    full = "x/{dataset}/{scope}.csv"
    series.check_key(full)
    for name in ("dataset", "scope"):
        lacking = full.replace(f"{{{name}}}", "y")
        if name in varying:
            with pytest.raises(LayoutError, match=f"must hold {{{name}}}, as"):
                series.check_key(lacking)
        else:
            series.check_key(lacking)
    if len(varying) == 2:
        with pytest.raises(LayoutError, match=r"must hold \{dataset\} and \{scope\}, as"):
            series.check_key("x.csv")


@pytest.mark.parametrize("is_mapped", [True, False])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ALONE, [{"isolated_symbol": "BTCUSDT"}]),
        (("interest", None), [{}]),
        (DATASETS, [{"dataset": "interest"}, {"dataset": "borrow"}]),
        (PAIRS, [{"isolated_symbol": None}, {"isolated_symbol": "BTCUSDT"}]),
        (
            BOTH,
            [{"dataset": d, "isolated_symbol": s} for d in ("interest", "borrow") for s in (None, "BTCUSDT")],
        ),
    ],
)
def test_the_arguments_load_each_series_by_itself(given, expected, is_mapped):
    """A pair is told in any case; a dataset where the task or, of a mapped one, the others may have another."""
    series = series_of(*given)
    found = series.arguments(is_mapped=is_mapped)

    assert list(found) == list(series)
    names = [{"dataset": each.dataset.name} if is_mapped else {} for each in series]
    assert list(found.values()) == [name | told for name, told in zip(names, expected, strict=True)]


def test_a_summary_has_names_or_lists_of_a_hundred():
    pairs = [f"P{number}USDT" for number in range(120)]

    assert series_of(*ALONE).summary() == {"dataset": "interest", "scope": "BTCUSDT"}
    assert series_of(["borrow", "interest"], pairs).summary() == {"dataset": ["borrow", "interest"],
                                                                 "scope": pairs[:100]}  # fmt: skip


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (BinanceRequestError("x"), True),
        (BinanceSpanError("x", code=-1127), True),
        (BinanceError("x", code=-11001), True),
        (BinanceError("x", code=-2015), False),
        (BinanceError("x"), False),
    ],
)
def test_an_answer_to_one_series_keeps_no_others_away(error, is_one):
    assert concerns_one_series(error) is is_one


TEMPLATE = "{{ params.x }}"


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (("interest", None, None), ["interest of scope cross"]),
        ((TEMPLATE, "BTCUSDT", None), []),
        (([TEMPLATE], [TEMPLATE], None), []),
        ((object(), object(), object()), []),
        ((["interest", TEMPLATE], ["BTCUSDT", TEMPLATE], None), ["interest of scope BTCUSDT"]),
        (("interest", [TEMPLATE], {"asset": TEMPLATE}), ["interest of scope cross"]),
        (("interest", [None], {"asset": "BTC"}), ["interest of scope cross.asset-BTC"]),
    ],
)
def test_while_a_dag_is_parsed_only_what_stands_there_is_checked(given, known):
    series = check_series(*given)

    assert isinstance(series, SeriesList)
    assert shown(series) == known


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("nothing", None, None), "dataset must be one of"),
        (([], None, None), "dataset is an empty list"),
        (("interest", [], None), "isolated_symbol is an empty list"),
        (("interest", "btcusdt", None), "the exchange spells it BTCUSDT"),
        (("interest", [None, "btcusdt"], None), "the exchange spells it BTCUSDT"),
        ((TEMPLATE, "btcusdt", None), "the exchange spells it BTCUSDT"),
        ((TEMPLATE, ["btcusdt"], None), "the exchange spells it BTCUSDT"),
        ((["interest", "nothing", TEMPLATE], None, None), "dataset must be one of"),
        (("['interest']", None, None), "dataset is the text of a list"),
        (("interest", " ('BTCUSDT',)", None), "isolated_symbol is the text of a list"),
        (("interest", None, {"colour": "BTC"}), "filters has 'colour'"),
    ],
)
def test_what_no_endpoint_offers_is_refused_while_a_dag_is_parsed(given, says):
    with pytest.raises(ValueError, match=says):
        check_series(*given)
