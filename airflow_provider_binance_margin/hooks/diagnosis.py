"""Result of a connection test, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_binance_margin.exchange.errors import BinanceBannedError, BinanceError, BinanceThrottledError

_UNNEEDED = {
    "enableWithdrawals": "may withdraw",
    "enableInternalTransfer": "may transfer",
    "permitsUniversalTransfer": "may transfer between wallets",
    "enableSpotAndMarginTrading": "may trade",
    "enableMargin": "may borrow and repay",
    "enableFutures": "may trade futures",
    "enableVanillaOptions": "may trade options",
}
_LACKING = {
    "enableReading": "Warning: the key may not read, so records cannot be loaded with it.",
    "ipRestrict": "Warning: the key has no IP list, so whoever gets hold of it can use it from anywhere.",
}


def diagnose(ask: Callable[[], Mapping[str, Any]]) -> tuple[bool, str]:
    """Tell, by a call for its key's restrictions, whether a connection works, and what to change; never raises."""
    try:
        flags = ask()
    except BinanceBannedError as error:
        return False, f"The exchange has banned this machine's IP address: {error}"
    except BinanceThrottledError as error:
        return False, f"The exchange asks to wait: {error}"
    except BinanceError as error:
        return False, f"The connection does not work: {error}."
    except Exception as error:  # noqa: BLE001 - a connection test must answer; the error's text may hold secrets
        name = type(error).__name__
        if "NotFound" in name:
            return False, "There is no such connection."
        return False, f"The connection could not be tested ({name})."
    return True, " ".join(["The exchange accepts the key, its signature and this machine's clock.", *_warnings(flags)])


def _warnings(flags: Mapping[str, Any]) -> list[str]:
    powers = ", ".join(text for flag, text in _UNNEEDED.items() if flags.get(flag) is True)
    unneeded = [f"Warning: the key {powers}; reading is all that is needed here."] if powers else []
    return unneeded + [text for flag, text in _LACKING.items() if flags.get(flag) is False]
