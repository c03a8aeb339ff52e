"""One check of the isolated pair, whatever way it comes in."""

import pytest

from airflow_provider_binance_margin.exchange.errors import BinanceRequestError
from airflow_provider_binance_margin.exchange.scope import checked_symbol


@pytest.mark.parametrize("symbol", [None, "BTCUSDT", "1000SATSUSDT", "币安人生USDT", "BTC-USDT", "A", "BTC_USDT.P"])
def test_what_the_exchange_calls_a_pair_is_taken_as_it_is(symbol):
    assert checked_symbol(symbol) == symbol


NO_PAIRS = (
    *("", " ", "None", "..", ".", "account", "cross", "A..B", "A\0B", "A\x1bB", "A\\B", "A/B", "A{B", "A B", "A" * 900),
    *("\ud800", "A\ud800B", "BTCUSDT\n", "-A", "A.", ["BTCUSDT"], 7, True, b"BTCUSDT", "A%B", "A&B", "A=B", "A+B"),
)


@pytest.mark.parametrize("symbol", NO_PAIRS)
def test_what_no_pair_is_called_is_refused_in_printable_words(symbol):
    with pytest.raises(BinanceRequestError, match="isolated_symbol must be a pair such as BTCUSDT") as caught:
        checked_symbol(symbol)
    assert str(caught.value).isprintable()
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("symbol", "cure"),
    [
        ("btcusdt", "spells it BTCUSDT"),
        (" BTCUSDT", "spells it BTCUSDT"),
        ("", "leave it out"),
        ("None", "leave it out"),
    ],
)
def test_the_refusal_names_the_cure(symbol, cure):
    with pytest.raises(BinanceRequestError, match=cure):
        checked_symbol(symbol)
