"""What a connection test says."""

from __future__ import annotations

import pytest

from airflow_provider_binance_margin.exchange.errors import (
    BinanceBannedError,
    BinanceClockError,
    BinanceCredentialError,
    BinanceThrottledError,
    BinanceTransientError,
)
from airflow_provider_binance_margin.hooks.diagnosis import diagnose

GOOD = "The exchange accepts the key, its signature and this machine's clock."


def failing(error):
    def ask():
        raise error

    return ask


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            BinanceBannedError("until then", retry_after=9.0),
            "The exchange has banned this machine's IP address: until then",
        ),
        (BinanceThrottledError("a while", retry_after=9.0), "The exchange asks to wait: a while"),
        (BinanceTransientError("no answer"), "The connection does not work: no answer."),
        (BinanceCredentialError("wrong key"), "The connection does not work: wrong key."),
        (BinanceClockError("wrong time"), "The connection does not work: wrong time."),
        (RuntimeError("secret body 10.1.2.3"), "The connection could not be tested (RuntimeError)."),
        (KeyError("secret"), "The connection could not be tested (KeyError)."),
        (type("AirflowNotFoundException", (Exception,), {})("x"), "There is no such connection."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_in_words(error, says):
    """Errors of ours are told as they are; of others, only the kind."""
    assert (False, says) == diagnose(failing(error))


@pytest.mark.parametrize(
    ("flags", "warns"),
    [
        ({}, []),
        ({"ipRestrict": True, "enableReading": True, "enableWithdrawals": False}, []),
        ({"enableWithdrawals": True}, ["may withdraw"]),
        ({"enableInternalTransfer": True, "permitsUniversalTransfer": True}, ["may transfer", "between wallets"]),
        ({"enableMargin": True}, ["may borrow and repay"]),
        ({"enableFutures": True, "enableVanillaOptions": True}, ["trade futures", "trade options"]),
        ({"enableReading": False}, ["may not read"]),
        ({"ipRestrict": False}, ["no IP list"]),
        ({"enableWithdrawals": "true", "ipRestrict": None}, []),
    ],
)
def test_what_is_warned_of(flags, warns):
    """A working key is reported with what it should not be able to; what the exchange does not say is not guessed."""
    works, told = diagnose(lambda: flags)

    assert works
    assert told.startswith(GOOD)
    assert [] == [warning for warning in warns if warning not in told]
    assert bool(warns) == ("Warning" in told)
