"""A task that fails says why at once: no frame of the package stands between Airflow's and the cause."""

from __future__ import annotations

import traceback

import pytest


def audit(**options):
    from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator

    return ForceLiquidationAuditOperator(task_id="t", grain="day", **{"s3_bucket": "a-bucket", **options})


def load(**options):
    from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator

    return ForceLiquidationToS3Operator(task_id="t", grain="day", **{"s3_bucket": "a-bucket", **options})


def sense(*, s3_bucket=None, **options):
    from airflow_provider_binance_margin.sensors.force_liquidation import ForceLiquidationSensor

    return ForceLiquidationSensor(task_id="t", poke_interval=0.01, timeout=60, **options)


def report(*, binance_conn_id=None, **options):
    from airflow_provider_binance_margin.operators.liquidation_report import LiquidationReportOperator

    return LiquidationReportOperator(task_id="t", **{"s3_bucket": "a-bucket", **options})


def frames(error):
    """Names of the package's frames that a log shows with an error, those of its causes and contexts included."""
    shown = traceback.TracebackException.from_exception(error)
    assert (shown.__cause__, shown.__context__ if not shown.__suppress_context__ else None) == (None, None)
    return [frame.name for frame in shown.stack if "airflow_provider_binance_margin" in frame.filename]


FAULTS = {
    "ban": ("418", {"retry_after": 120}, "banned this IP address"),
    "firewall": ("403", {}, "banned this IP address"),
    "key": ("error", {"code": -2015, "status": 401}, "the key, this address"),
    "region": ("451", {}, "does not serve this machine's region"),
    "refused": ("error", {"code": -1130, "status": 400}, "not valid"),
    "down": ("error", {"code": -1001, "status": 503}, "internal error"),
}


@pytest.mark.parametrize("make", [load, audit], ids=["load", "audit"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_the_exchange_is_short_and_names_the_connection(run_task, sandbox, s3, connect, day, fault, make):
    """Whatever the exchange answers; a ban once showed 36 frames."""
    name, options, says = FAULTS[fault]
    sandbox.fault(name, times=None, **options)

    done = run_task(make(s3_bucket=s3.name), interval=day.interval)

    assert (done.state, frames(done.error)) == ("failed", ["execute"])
    assert str(done.error).startswith("connection 'binance_default': ")
    assert says in str(done.error)


def test_so_is_one_that_a_sensor_does_not_wait_out(run_task, sandbox, connect, day):
    """Its own frame is the one that Airflow calls at each poke."""
    sandbox.fault("error", times=None, code=-2015, status=401)

    done = run_task(sense(), interval=day.interval)

    assert (done.state, frames(done.error)) == ("failed", ["poke"])
    assert str(done.error).startswith("connection 'binance_default': the key, this address")


OPTIONS = {
    "no connection": ({"binance_conn_id": "nowhere"}, [load, audit, sense]),
    "a wrong key": ({"binance_conn_id": "wrong"}, [load, audit, sense]),
    "no bucket": ({"s3_bucket": "no-such-bucket"}, [load, audit, report]),
    "no interval": ({}, [load, audit, sense, report]),
    "reversed": ({"start": "2026-01-16", "end": "2026-01-15"}, [load, audit, sense, report]),
    "no key": ({"s3_key": "{start}.txt"}, [load, audit, report]),
}


@pytest.mark.parametrize(
    ("options", "make"),
    [
        pytest.param(options, make, id=f"{name}-{make.__name__}")
        for name, (options, makers) in OPTIONS.items()
        for make in makers
    ],
)
def test_an_error_of_what_was_given_is_short(run_task, api, s3, connect, day, options, make):
    """Each option that is checked where the task runs, since it may be a template's."""
    api.conns["wrong"] = {**api.conns["binance_default"], "password": ""}
    task = make(**{} if make is sense else {"s3_bucket": s3.name})
    for name, value in options.items():
        setattr(task, name, value)

    done = run_task(task, interval=(None, None) if not options else day.interval)

    assert (done.state, frames(done.error)) == ("failed", ["poke" if make is sense else "execute"])
    assert "connection 'wrong': " in str(done.error) or options.get("binance_conn_id") != "wrong"
