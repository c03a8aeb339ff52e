"""Errors of the exchange, and the action that each error code asks for.

    BinanceError
    ├── BinanceTransientError        try again: network, 5xx, an answer that is not the exchange's or cannot be read
    │   ├── BinanceIncompleteError   a window whose pages never agreed with its total
    │   ├── BinanceClockError        timestamps are refused, and setting the clock does not help or fails
    │   └── BinanceThrottledError    429, or 5xx with a Retry-After: not before `retry_after` seconds
    │       └── BinanceBannedError   418 or 403: nothing at all before `retry_after` seconds
    ├── BinanceConfigError           somebody has to act: key, permission, address, account
    │   └── BinanceCredentialError   the key cannot be used or was rejected
    └── BinanceRequestError          the request itself is refused: asking again cannot help
        └── BinanceSpanError         the window asked for is too long (or its dates are refused)

Messages are this package's own and never quote a body, address, URL or header.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class BinanceError(Exception):
    """Anything that went wrong between this package and the exchange.

    :param message: what was seen, what it means and what to do
    :param code: the exchange's error code, where it gave one
    :param status: the HTTP status of the answer, where there was one
    """

    def __init__(self, message: str, *, code: int | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class BinanceTransientError(BinanceError):
    """The exchange or the way to it failed for the moment; the same call may succeed later."""


class BinanceIncompleteError(BinanceTransientError):
    """A window's pages did not agree with the total the exchange states, however often it was read."""


class BinanceClockError(BinanceTransientError):
    """Timestamps are rejected: the network is too slow, or the clock offset cannot be measured."""


class BinanceThrottledError(BinanceTransientError):
    """The exchange asks to wait: it limits this address (429), or is down for a time and says for how long (5xx).

    :param retry_after: seconds from now before which the call may not be tried again
    """

    def __init__(self, message: str, *, retry_after: float, code: int | None = None, status: int | None = None) -> None:
        super().__init__(message, code=code, status=status)
        self.retry_after = retry_after


class BinanceBannedError(BinanceThrottledError):
    """IP ban by the exchange (418) or block by its firewall (403), for `retry_after` seconds."""


class BinanceConfigError(BinanceError):
    """Retrying cannot help: connection, key, permissions or account must be changed first."""


class BinanceCredentialError(BinanceConfigError):
    """The API key or its secret cannot be used, or the exchange rejects it."""


class BinanceRequestError(BinanceError):
    """The exchange rejects the request; repeating it cannot help."""


class BinanceSpanError(BinanceRequestError):
    """The exchange refuses the window's dates; a shorter window may be accepted."""


class ErrorAction(Enum):
    """Reaction to an answer, and the error of a call that ends with it."""

    RETRY = "retry", BinanceTransientError
    RETRY_SLOWLY = "retry slowly", BinanceTransientError
    THROTTLE = "throttle", BinanceThrottledError
    RESYNC = "resync", BinanceClockError
    KEY = "key", BinanceCredentialError
    CONFIG = "config", BinanceConfigError
    REQUEST = "request", BinanceRequestError
    SPAN = "span", BinanceSpanError


class ErrorInfo(NamedTuple):
    """Meaning of one error code and its cure, in our words."""

    action: ErrorAction
    text: str


_KEY_HELP = (
    "check that the connection's key is the right one and still exists, that this machine's public address is on its "
    "IP list, and that it may read (if a read-only key is refused, enable margin for it)"
)
_DATES = "the exchange refuses the dates of the window"

#: code -> meaning. Names and classes follow the exchange's margin error table; texts are ours.
ERRORS: dict[int, ErrorInfo] = {
    -1000: ErrorInfo(ErrorAction.RETRY, "the exchange had an unknown internal error"),
    -1001: ErrorInfo(ErrorAction.RETRY, "the exchange had an internal error"),
    -1002: ErrorInfo(ErrorAction.KEY, f"the key is not authorised: {_KEY_HELP}"),
    -1003: ErrorInfo(ErrorAction.THROTTLE, "too many requests from this address"),
    -1004: ErrorInfo(ErrorAction.RETRY, "the exchange is busy"),
    -1006: ErrorInfo(ErrorAction.RETRY, "a backend of the exchange sent an unexpected response"),
    -1007: ErrorInfo(ErrorAction.RETRY, "a backend of the exchange timed out"),
    -1008: ErrorInfo(ErrorAction.RETRY_SLOWLY, "the exchange is overloaded"),
    -1015: ErrorInfo(ErrorAction.THROTTLE, "too many orders from this account"),
    -1016: ErrorInfo(
        ErrorAction.REQUEST, "the service is no longer available: a newer version of this package may be needed"
    ),
    -1020: ErrorInfo(ErrorAction.REQUEST, "the operation is not supported"),
    -1021: ErrorInfo(ErrorAction.RESYNC, "the timestamp is outside the receive window"),
    -1022: ErrorInfo(
        ErrorAction.KEY,
        "the signature is not valid: the API secret or private key does not belong to this API key, or is of another "
        "kind (HMAC, RSA, Ed25519) than the key was registered with",
    ),
    -1099: ErrorInfo(ErrorAction.KEY, f"the key was not found or is not authorised: {_KEY_HELP}"),
    -1100: ErrorInfo(ErrorAction.SPAN, "a parameter holds illegal characters, or its dates are out of range"),
    -1101: ErrorInfo(ErrorAction.REQUEST, "too many parameters"),
    -1102: ErrorInfo(ErrorAction.REQUEST, "a parameter is missing, empty, malformed or beyond its limit"),
    -1103: ErrorInfo(ErrorAction.REQUEST, "a parameter is unknown to the exchange"),
    -1104: ErrorInfo(ErrorAction.REQUEST, "a parameter was not read by the exchange"),
    -1105: ErrorInfo(ErrorAction.REQUEST, "a parameter is empty"),
    -1106: ErrorInfo(ErrorAction.REQUEST, "a parameter was sent that is not wanted"),
    -1108: ErrorInfo(ErrorAction.REQUEST, "a parameter is too large"),
    -1111: ErrorInfo(ErrorAction.REQUEST, "a parameter is too precise"),
    -1121: ErrorInfo(ErrorAction.REQUEST, "the exchange does not know the symbol: check isolated_symbol, e.g. BTCUSDT"),
    -1127: ErrorInfo(ErrorAction.SPAN, "the window is longer than the exchange allows"),
    -1128: ErrorInfo(ErrorAction.REQUEST, "the combination of parameters is not allowed"),
    -1130: ErrorInfo(ErrorAction.REQUEST, "a parameter's value is not valid"),
    -1131: ErrorInfo(ErrorAction.REQUEST, "recv_window must be below 60000"),
    -2008: ErrorInfo(ErrorAction.KEY, f"the API key is unknown: {_KEY_HELP}"),
    -2014: ErrorInfo(
        ErrorAction.KEY, "the API key is malformed: check the connection's login for missing or extra characters"
    ),
    -2015: ErrorInfo(ErrorAction.KEY, f"the key, this address or the key's permissions were rejected: {_KEY_HELP}"),
    -3000: ErrorInfo(ErrorAction.RETRY, "the exchange had an internal error"),
    -3001: ErrorInfo(ErrorAction.CONFIG, "the account must enable two-factor authentication first"),
    -3002: ErrorInfo(ErrorAction.REQUEST, "the exchange does not have this asset"),
    -3003: ErrorInfo(
        ErrorAction.CONFIG, "the account has no margin account: open one at the exchange, or use another key"
    ),
    -3004: ErrorInfo(ErrorAction.CONFIG, "the account is not allowed to trade"),
    -3007: ErrorInfo(ErrorAction.RETRY, "the account has a pending transaction"),
    -3011: ErrorInfo(ErrorAction.SPAN, _DATES),
    -3014: ErrorInfo(ErrorAction.CONFIG, "the account is banned from borrowing"),
    -3018: ErrorInfo(ErrorAction.CONFIG, "the account is banned from transfers in"),
    -3019: ErrorInfo(ErrorAction.CONFIG, "the account is banned from transfers out"),
    -3021: ErrorInfo(ErrorAction.REQUEST, "margin accounts may not trade this pair"),
    -3022: ErrorInfo(ErrorAction.CONFIG, "the account is banned from trading"),
    -3025: ErrorInfo(ErrorAction.SPAN, _DATES),
    -3026: ErrorInfo(ErrorAction.REQUEST, "a parameter is not valid"),
    -3027: ErrorInfo(ErrorAction.REQUEST, "not a margin asset"),
    -3028: ErrorInfo(ErrorAction.REQUEST, "not a margin pair: check isolated_symbol"),
    -3037: ErrorInfo(ErrorAction.RETRY, "the exchange is clearing profit and loss"),
    -3044: ErrorInfo(ErrorAction.RETRY, "the exchange is busy"),
    -3999: ErrorInfo(ErrorAction.CONFIG, "the function is for invited users only"),
    -4047: ErrorInfo(ErrorAction.SPAN, "the window is longer than the exchange allows"),
    -7001: ErrorInfo(ErrorAction.REQUEST, "the date range is not supported"),
    -11001: ErrorInfo(
        ErrorAction.CONFIG,
        "the account has no isolated margin account for this pair (closed ones vanish): check isolated_symbol",
    ),
}


def error_info(code: int | None, status: int) -> ErrorInfo:
    """Meaning of an answer's code and HTTP status.

    An unknown code is fatal below 500 and transient from 500 on. An answer without one is not the exchange's:
    balancers, proxies and portals send such for a time.
    """
    if status == 451:  # noqa: PLR2004 - the status has no better name than its number
        return ErrorInfo(ErrorAction.CONFIG, "the exchange does not serve this machine's region")
    if code is not None and code in ERRORS:
        return ERRORS[code]
    if status >= 500 or status == 408:  # noqa: PLR2004
        return ErrorInfo(ErrorAction.RETRY, "the exchange failed")
    if code is None:
        unread = "could not be read" if status == 200 else "is not the exchange's"  # noqa: PLR2004
        return ErrorInfo(
            ErrorAction.RETRY, f"the answer {unread}: if this lasts, check the connection's host and any proxy"
        )
    return ErrorInfo(ErrorAction.REQUEST, "the code is unknown to this package; nothing was assumed about it")
