"""Conversion of errors for Airflow: final ones become AirflowFailException, tracebacks stay short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowNotFoundException

from airflow_provider_binance_margin.exchange.errors import (
    BinanceBannedError,
    BinanceConfigError,
    BinanceError,
    BinanceRequestError,
)
from airflow_provider_binance_margin.lake.fields import FieldError
from airflow_provider_binance_margin.lake.interval import IntervalError
from airflow_provider_binance_margin.lake.layout import LayoutError


class LakeError(Exception):
    """The object store refuses for good, or an object must not be replaced."""


class StoreError(Exception):
    """The store failed for the moment; trying again may help."""


class ObjectStaysError(LakeError):
    """One object must not be replaced; others of the run may be."""

    def __init__(self, seen: str, cure: str) -> None:
        super().__init__(f"{seen}. {cure}")
        self.seen = seen
        self.cure = cure


_FINAL = (BinanceConfigError, BinanceRequestError, IntervalError, LayoutError, FieldError, LakeError)
#: errors whose text says the cause and the cure
KNOWN_ERRORS = (*_FINAL, BinanceError, StoreError, AirflowNotFoundException)


def task_error(error: Exception, *, ban_is_final: bool = True) -> Exception:
    """Make the error that ends a task of one of `KNOWN_ERRORS`, to be raised ``from None``.

    It has no frames yet, so the traceback in the task's log ends where it is raised: the dozens within the package say
    nothing that the text does not. Final errors become AirflowFailException, which is not retried.

    :param ban_is_final: False where a retry policy waits for the end of a ban
    """
    cure = ""
    if isinstance(error, BinanceBannedError) and ban_is_final:
        cure = ". The task is not retried, since retries before its end would lengthen the ban: clear it then"
    elif isinstance(error, AirflowNotFoundException):
        cure = ": create the connection, or correct the id the task names"
    elif not isinstance(error, _FINAL):
        return error.with_traceback(None)
    return AirflowFailException(f"{error}{cure}")


def name_connection(conn_id: str, text: object) -> str:
    """Prefix an error's text with the connection, unless it names it."""
    return str(text) if repr(conn_id) in str(text) else f"connection {conn_id!r}: {text}"


@contextmanager
def naming_connection(conn_id: str) -> Iterator[None]:
    """Name the connection in the exchange's errors."""
    try:
        yield
    except BinanceError as error:
        error.args = (name_connection(conn_id, error),)
        raise
