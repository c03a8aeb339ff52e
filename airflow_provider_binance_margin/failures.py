"""What Airflow shall do about an error: fail for good where trying again cannot help, else as the task says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowNotFoundException

from airflow_provider_binance_margin.exchange.errors import BinanceBannedError, BinanceConfigError, BinanceRequestError
from airflow_provider_binance_margin.lake.fields import FieldError
from airflow_provider_binance_margin.lake.interval import IntervalError
from airflow_provider_binance_margin.lake.layout import LayoutError


class LakeError(Exception):
    """The store of the lake refuses for good, or what is there must not be replaced; trying again cannot help."""


class ObjectStaysError(LakeError):
    """One object must stay as it is, which concerns no other object of the run.

    :param seen: what is under the key and what it cannot be replaced by
    :param cure: what to do about it
    """

    def __init__(self, seen: str, cure: str) -> None:
        super().__init__(f"{seen}. {cure}")
        self.seen = seen
        self.cure = cure


_FINAL = (BinanceConfigError, BinanceRequestError, IntervalError, LayoutError, FieldError, LakeError)


@contextmanager
def in_airflow_terms(*, ban_is_final: bool = True) -> Iterator[None]:
    """Raise what cannot be helped by trying again as AirflowFailException, which is not retried.

    :param ban_is_final: whether that holds for a ban too, since nothing would keep the retries until its end
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
