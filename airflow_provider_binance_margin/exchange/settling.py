"""Settling of windows by the exchange's clock, for everything that waits for it."""

from __future__ import annotations

#: seconds after its end for which a window may still receive rows
SETTLE = 60.0
#: seconds by which the exchange's clock may seem to step back, since it is told in whole ones
CLOCK_STEP = 1.0


def seconds_until_settled(end_ms: int, settle: float, exchange_time: float) -> float:
    """Seconds until a window counts as closed; 0 when it does.

    :param end_ms: first millisecond after the window
    :param settle: seconds after its end for which rows may still arrive
    :param exchange_time: seconds since 1970 by the exchange's clock, as of when the window is (or was first) asked for
    """
    return max(end_ms / 1000 + settle - exchange_time, 0.0)
