"""When a window counts as closed."""

import pytest

from airflow_provider_binance_margin.exchange.settling import seconds_until_settled


@pytest.mark.parametrize(("now", "left"), [(99.0, 61.0), (100.0, 60.0), (159.999, 0.001), (160.0, 0.0), (999.0, 0.0)])
def test_a_window_settles_a_time_after_its_end_by_the_exchanges_clock(now, left):
    assert seconds_until_settled(100_000, 60.0, now) == pytest.approx(left)
