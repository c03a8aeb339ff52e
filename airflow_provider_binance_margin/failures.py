"""Errors in Airflow's terms: final ones become AirflowFailException."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowNotFoundException

from airflow_provider_binance_margin.exchange.errors import BinanceBannedError, BinanceConfigError, BinanceRequestError
from airflow_provider_binance_margin.lake.fields import FieldError
from airflow_provider_binance_margin.lake.interval import IntervalError
from airflow_provider_binance_margin.lake.layout import LayoutError


class LakeError(Exception):
    """The object store refuses for good, or an object must not be replaced."""


class ObjectStaysError(LakeError):
    """One object must not be replaced; others of the run may be.

    :param seen: the object and its replacement
    :param cure: advice to the user
    """

    def __init__(self, seen: str, cure: str) -> None:
        super().__init__(f"{seen}. {cure}")
        self.seen = seen
        self.cure = cure


_FINAL = (BinanceConfigError, BinanceRequestError, IntervalError, LayoutError, FieldError, LakeError)


@contextmanager
def in_airflow_terms(*, ban_is_final: bool = True) -> Iterator[None]:
    """Raise final errors as AirflowFailException, which is not retried.

    :param ban_is_final: False where a retry policy waits for the end of a ban
    """
    try:
        yield
    except _FINAL as error:
        raise AirflowFailException(str(error)) from None
    except BinanceBannedError as error:
        if not ban_is_final:
            raise
        raise AirflowFailException(
            f"{error}. The task is not retried, since retries before that time would lengthen the ban: clear it after"
        ) from None
    except AirflowNotFoundException as error:
        raise AirflowFailException(f"{error}: create the connection, or correct the id the task names") from None
