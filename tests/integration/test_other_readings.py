"""Other readings of the exchange's page: for each, records are exact or there is an error, or the docs tell."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_binance_margin.exchange.errors import BinanceError
from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator
from airflow_provider_binance_margin.sensors.force_liquidation import ForceLiquidationSensor

DAY = 86_400_000
RECORDS = "/sapi/v1/margin/forceLiquidationRec"
READERS = ("hook", "operator")
FOREVER = timedelta(days=10_000)
each_reader = pytest.mark.parametrize("reader", READERS)


def lines(rows):
    """Rows without regard to their order, each as often as it is there."""
    return sorted(json.dumps(each, sort_keys=True) for each in rows)


def row(order, at):
    return {
        "avgPrice": "2.00000000",
        "executedQty": "1.00000000",
        "orderId": order,
        "price": "2.00000000",
        "qty": "1.00000000",
        "side": "SELL",
        "symbol": "BTCUSDT",
        "timeInForce": "GTC",
        "isIsolated": False,
        "updatedTime": at,
    }


@pytest.fixture
def of_another_reading(serve, connect, monkeypatch):
    """Serves rows as another exchange would: bounds that exclude, a total or a list that ends at a number."""

    def start(rows, *, after_start=0, before_end=0, most_stated=None, most_listed=None):
        def answer(handler):
            now = datetime.now(UTC)
            headers = {"Date": format_datetime(now, usegmt=True)}
            asked = {name: value for name, [value] in parse_qs(urlsplit(handler.path).query).items()}
            if not handler.path.startswith(RECORDS):
                return 200, headers, json.dumps({"serverTime": int(now.timestamp() * 1000)}).encode()
            first, last = int(asked["startTime"]) + after_start, int(asked["endTime"]) - before_end
            there = [each for each in rows if first <= each["updatedTime"] <= last][::-1]
            size = int(asked.get("size", 10))
            shown = there[:most_listed][size * (int(asked.get("current", 1)) - 1) :][:size]
            total = len(there) if most_stated is None else min(len(there), most_stated)
            return 200, headers, json.dumps({"rows": shown, "total": total}).encode()

        conn = connect(host=serve(answer))
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_DEFAULT", json.dumps(conn))

    return start


@pytest.fixture
def of_the_sandbox(sandbox, connect, monkeypatch):
    """The sandbox with other settings."""

    def start(**settings):
        sandbox.settings.change(**settings)
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_DEFAULT", json.dumps(connect()))

    return start


@pytest.fixture
def read(operator, run_task, s3):
    """The rows that one who reads all has got of an interval, or None where there was an error, and no object then."""

    def read(reader, interval, **options):
        if reader == "hook":
            hook = BinanceHook("binance_default")
            try:
                return hook.force_liquidations(*interval, **options)
            except BinanceError:
                return None
            finally:
                hook.close()
        done = run_task(operator(s3_key="{scope}/{start}.jsonl.gz", **options), interval=interval)
        if done.state != "success":
            assert s3.keys() == []
            return None
        (key,) = s3.keys()
        return [json.loads(line) for line in gzip.decompress(s3.get(key)).splitlines()]

    return read


@pytest.fixture
def audited(run_task, s3, connect):
    """The verdict on the only object of an interval; None where there was an error."""

    def audit(interval, **options):
        task = ForceLiquidationAuditOperator(
            task_id="audit", s3_bucket=s3.name, s3_key="{scope}/{start}.jsonl.gz", on_gap="report", **options
        )
        done = run_task(task, interval=interval)
        if done.state != "success":
            return None
        (verdict,) = [verdict for verdict, number in done.result["counts"].items() if number]
        return verdict

    return audit


def sensed(run_task, interval, **options):
    """How a sensor ends, and the number that it has found."""
    start, end = interval
    done = run_task(ForceLiquidationSensor(task_id="wait", start=start, end=end, timeout=5, **options))
    return done.state, (done.result or {}).get("total")


# Settings of the sandbox


@each_reader
@pytest.mark.parametrize("pair", [None, "BTCUSDT"])
def test_an_unfiltered_answer_may_hold_isolated_records(
    of_the_sandbox, sandbox, day, read, audited, run_task, reader, pair
):
    """What the exchange answers is read whole, with a pair and without one, and each look counts the same."""
    of_the_sandbox(unfiltered="all")
    sandbox.add(n=7, at=day.ms[0], symbol="BTCUSDT", isolated=True)
    sandbox.add(n=5, at=day.ms[0] + 3, symbol="BTCUSDT")

    found = read(reader, day.interval, isolated_symbol=pair)

    assert lines(found) == lines(sandbox.records(*day.ms, pair))
    assert len(found) == (7 if pair else 12)
    assert sensed(run_task, day.interval, isolated_symbol=pair) == ("success", len(found))
    if reader == "operator":
        assert audited(day.interval, isolated_symbol=pair, fresh=FOREVER) == "complete"


@each_reader
def test_a_longest_window_is_found_out(of_the_sandbox, sandbox, day, read, audited, run_task, reader):
    """The windows that the exchange accepts add up to the interval."""
    of_the_sandbox(max_span_ms=5 * 3_600_000)
    sandbox.add(n=120, at=day.ms[0], step_ms=DAY // 120)

    assert lines(read(reader, day.interval)) == lines(sandbox.records(*day.ms))
    assert sensed(run_task, day.interval, min_records=120) == ("success", 120)
    if reader == "operator":
        assert audited(day.interval, fresh=FOREVER) == "complete"


@pytest.fixture
def forgotten(of_the_sandbox, sandbox):
    """A day of which the exchange forgets what was before its noon, or all, as soon as it is told to."""
    end = sandbox.now_ms() // DAY * DAY - 20 * DAY
    sandbox.add(n=24, at=end - DAY, step_ms=DAY // 24)

    def forget(*, all_of_it):
        of_the_sandbox(retention_ms=sandbox.now_ms() - end + (0 if all_of_it else DAY // 2))

    forget.interval = [datetime.fromtimestamp(bound / 1000, UTC) for bound in (end - DAY, end)]
    return forget


@pytest.mark.parametrize("all_of_it", [False, True])
def test_what_was_loaded_outlives_the_exchanges_memory(
    forgotten, of_the_sandbox, sandbox, operator, run_task, s3, audited, all_of_it
):
    """The object stays as it is: loading again fails, and the audit tells that the exchange knows less."""
    of_the_sandbox()
    options = {"s3_key": "{scope}/{start}.jsonl.gz"}
    assert run_task(operator(**options), interval=forgotten.interval).state == "success"
    before = s3.objects()
    forgotten(all_of_it=all_of_it)

    again = run_task(operator(**options), interval=forgotten.interval, run_id="again")

    assert again.state == "failed"
    assert before == s3.objects()
    assert audited(forgotten.interval, fresh=FOREVER) == "long"


def test_what_the_exchange_has_forgotten_is_a_claim(forgotten, sandbox, operator, run_task, audited):
    """Nothing tells an empty answer from a forgotten one: it is loaded, and never called complete."""
    forgotten(all_of_it=True)

    done = run_task(operator(s3_key="{scope}/{start}.jsonl.gz"), interval=forgotten.interval)

    if done.state == "success":  # or it is refused
        assert done.result["records"] == 0
        assert audited(forgotten.interval) == "claim"
    assert sensed(run_task, forgotten.interval) == ("skipped", None)


# Servers that the sandbox cannot be


def counted(day, number=1500):
    """So many records, evenly over the day."""
    return [row(order, day.ms[0] + order * (DAY // number)) for order in range(number)]


CAPS = {
    "total and list": {"most_stated": 1000, "most_listed": 1000},
    "total": {"most_stated": 1000},
    "list": {"most_listed": 1000},
}


@pytest.mark.parametrize("caps", CAPS.values(), ids=CAPS)
@each_reader
def test_a_cap_at_a_thousand_loses_nothing(of_another_reading, day, read, reader, caps):
    """A total or a list that ends at 1,000 of 1,500: all of them, or an error."""
    there = counted(day)
    of_another_reading(there, **caps)

    found = read(reader, day.interval)

    assert found is None or lines(found) == lines(there)


@pytest.mark.parametrize("number", [999, 1000, 1001, 1500])
@each_reader
def test_a_number_that_only_looks_like_a_cap_is_read(of_another_reading, day, read, reader, number):
    """An honest exchange with exactly so many records is read whole."""
    there = counted(day, number)
    of_another_reading(there)

    assert lines(read(reader, day.interval)) == lines(there)


@pytest.mark.parametrize("caps", [CAPS["total and list"], CAPS["total"]], ids=["total and list", "total"])
def test_an_audit_does_not_take_a_cap_for_a_total(of_another_reading, day, operator, run_task, audited, caps):
    """An object of 1,000 records is not complete where the exchange has 1,500 and states 1,000."""
    of_another_reading(counted(day, 1500)[:1000])
    assert run_task(operator(s3_key="{scope}/{start}.jsonl.gz"), interval=day.interval).state == "success"
    of_another_reading(counted(day, 1500), **caps)

    assert audited(day.interval, fresh=FOREVER) in ("short", None)


@pytest.mark.parametrize("caps", CAPS.values(), ids=CAPS)
def test_a_sensor_finds_records_in_spite_of_a_cap(of_another_reading, day, run_task, caps):
    """That there are any is told by a single one."""
    of_another_reading(counted(day), **caps)

    state, total = sensed(run_task, day.interval)

    assert (state, total) in {("success", 1000), ("success", 1500)}


BOUNDS = {"startTime": {"after_start": 1}, "endTime": {"before_end": 1}}


@pytest.mark.parametrize("exclusive", BOUNDS)
@each_reader
def test_an_exclusive_bound_costs_no_more_than_its_millisecond(of_another_reading, day, read, reader, exclusive):
    """All that lies between the bounds of the windows is read exactly (see "is endTime inclusive?" of the probe)."""
    first, last = day.ms
    times = [first, first + 1, first + DAY // 2, last - 2, last - 1]
    there = [row(order, at) for order, at in enumerate(times)]
    of_another_reading(there, **BOUNDS[exclusive])

    found = read(reader, day.interval)

    lost = {*lines(there)} - {*lines(found)}
    assert {*lines(found)} <= {*lines(there)}
    assert lost <= {*lines([there[0] if exclusive == "startTime" else there[-1]])}


@pytest.mark.parametrize("exclusive", BOUNDS)
def test_neighbouring_days_miss_no_record_between_the_bounds(
    of_another_reading, day, operator, run_task, s3, rows, exclusive
):
    """Days side by side: only what lies in a bound's own millisecond can be missing, and nothing is there twice."""
    there = [row(order, day.ms[0] + at) for order, at in enumerate((1, DAY - 2, DAY + 1, 2 * DAY - 2))]
    of_another_reading(there, **BOUNDS[exclusive])
    interval = (day.start, day.start + timedelta(days=2))

    done = run_task(operator(s3_key="{start}.jsonl.gz", grain="day"), interval=interval)

    assert done.state == "success", done.error
    assert lines(there) == lines(each for key in s3 for each in rows(s3.get(key)))
