"""The deferrable operator: what must be waited for is waited for in the triggerer, and nothing rides along."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from unit.triggers.triggerer import new_process, triggered
from versions import POLICIES, deserialize

from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator


def deferred(final):
    """What a deferral stores: the trigger's moment and what follows."""
    kwargs = deserialize(final["trigger_kwargs"])
    return kwargs, final["next_method"], deserialize(final["next_kwargs"] or {})


@pytest.fixture
def now():
    return datetime.now(UTC)


def test_settling_is_waited_out_in_the_triggerer(operator, run_task, sandbox, s3, rows, now):
    """A run that comes before its interval counts as closed is deferred until then, and then loads it whole."""
    interval, began = (now - timedelta(hours=1), now), time.monotonic()
    sandbox.add(n=3, at=int(interval[0].timestamp() * 1000) + 5)
    options = {"settle": 8, "deferrable": True, "s3_key": "x.jsonl"}

    first = run_task(operator(**options), interval=interval)
    took = time.monotonic() - began
    sandbox.add(n=1, at=int(interval[1].timestamp() * 1000) - 5)
    kwargs, method, more = deferred(first.final)
    new_process()
    done = run_task(operator(**options), interval=interval, **triggered(first.final))

    assert ("deferred", "success") == (first.state, done.state), done.error
    assert 0 <= (kwargs["moment"] - interval[1]).total_seconds() - 8 < took + 5
    assert ("execute_complete", {}) == (method, more or {})
    assert 4 == len(rows(s3.get("x.jsonl")))


@pytest.mark.parametrize(("fault", "seconds"), [("418", 120), ("418", 5), ("403", 300), ("429", 120)], ids=str)
def test_bans_are_waited_out_in_the_triggerer(operator, run_task, sandbox, s3, day, fault, seconds, now):
    """After a ban, or a wait beyond a minute, one request was made and the task is deferred to its end."""
    sandbox.add(n=3, at=day.ms[0])
    sandbox.fault(fault, **({} if fault == "403" else {"retry_after": seconds}))
    began = time.monotonic()

    first = run_task(operator(deferrable=True), interval=day.interval, retries=0)
    took = time.monotonic() - began
    kwargs, method, more = deferred(first.final)

    assert ("deferred", 1, []) == (first.state, len(sandbox.requests), s3.keys())
    assert seconds <= (kwargs["moment"] - now).total_seconds() <= seconds + took + 10
    assert ("execute_complete", {}) == (method, more or {})

    new_process()
    done = run_task(
        operator(deferrable=True),
        interval=day.interval,
        next_method=method,
        next_kwargs={"event": str(kwargs["moment"])},
    )

    assert ("success", 3) == (done.state, done.result["records"]), done.error


def test_nothing_rides_in_what_is_deferred(operator, run_task, sandbox, connect, day):
    """What is stored of a deferral names neither key nor secret nor connection: a moment is all there is."""
    conn = connect()
    sandbox.fault("418", retry_after=100)

    first = run_task(operator(deferrable=True), interval=day.interval)

    kwargs, _, _ = deferred(first.final)
    stored = json.dumps(first.final, default=str)
    assert {"moment", "end_from_trigger"} >= set(kwargs)
    assert [] == [secret for secret in (conn["login"], conn["password"], "signature") if secret in stored]


@pytest.mark.parametrize("policy", [pytest.param(True, marks=POLICIES), False], ids=["policy", "no policy"])
def test_without_deferring_a_ban_is_airflows_retry_or_final(operator, run_task, sandbox, day, policy):
    """A task that may not defer is retried when the ban ends, or fails for good where there are no retry policies."""
    sandbox.fault("418", retry_after=100, times=None)
    task = operator(deferrable=False)
    task.retry_policy = getattr(task, "retry_policy", None) if policy else None

    done = run_task(task, interval=day.interval, retries=3)

    assert ("up_for_retry" if policy else "failed", 1) == (done.state, len(sandbox.requests))


def test_what_cannot_pass_is_not_deferred(operator, run_task, connect, day):
    """A rejected key fails at once, deferrable or not."""
    connect(login="sandbox" + "x" * 57)

    done = run_task(operator(deferrable=True), interval=day.interval, retries=3)

    assert "failed" == done.state
    assert "were rejected" in str(done.error)


def legs(make, run_task, interval, most=12):
    """The states of a task that goes round between worker and triggerer, and its last leg."""
    more, states = {}, []
    while len(states) < most:
        new_process()
        done = run_task(make(), interval=interval, retries=3, **more)
        states.append(done.state)
        if done.state != "deferred":
            break
        kwargs, method, kept = deferred(done.final)
        assert {"moment", "end_from_trigger"} >= set(kwargs)
        assert {"waits"} >= set(kept or {})
        more = {"next_method": method, "next_kwargs": {**(kept or {}), "event": str(kwargs["moment"])}}
    return states, done


@pytest.mark.parametrize("policy", [pytest.param(True, marks=POLICIES), False], ids=["policy", "no policy"])
@pytest.mark.parametrize(("fault", "seconds"), [("418", 120), ("429", 120), ("403", 300)])
@pytest.mark.parametrize("audits", [False, True], ids=["load", "audit"])
def test_throttling_without_end_costs_a_try(operator, run_task, sandbox, s3, day, fault, seconds, audits, policy):
    """After a few waits in vain the error is raised; a ban is not tried again too early even then."""
    sandbox.fault(fault, times=None, **({} if fault == "403" else {"retry_after": seconds}))

    def make():
        more = {"task_id": "audit", "s3_bucket": s3.name}
        task = ForceLiquidationAuditOperator(**more, deferrable=True) if audits else operator(deferrable=True)
        task.retry_policy = getattr(task, "retry_policy", None) if policy else None
        return task

    began = time.monotonic()
    states, done = legs(make, run_task, day.interval)
    took = time.monotonic() - began

    final = "up_for_retry" if policy or fault == "429" else "failed"
    assert (["deferred"] * 3 + [final], 4) == (states, len(sandbox.requests)), done.error
    if policy:
        assert seconds - took <= done.final["retry_delay_seconds"] <= seconds + 3


def test_as_long_as_it_gets_on_it_goes_round(operator, run_task, sandbox, s3, day):
    """Each wait after which something was loaded is a new beginning."""
    sandbox.add(n=24, at=day.ms[0], step_ms=3_600_000)
    for skip in range(4, 24, 5):
        sandbox.fault("418", skip=skip, retry_after=120)

    states, done = legs(lambda: operator(deferrable=True, grain="hour", max_workers=1), run_task, day.interval)

    assert (done.state, done.result["records"], len(s3.keys())) == ("success", 24, 24), done.error
    assert states.count("deferred") >= 4


def test_what_is_loaded_anew_after_each_wait_is_no_progress(operator, run_task, sandbox, s3, day):
    """Where Airflow cannot tell this run's objects from others."""
    sandbox.add(n=24, at=day.ms[0], step_ms=3_600_000)
    more = {"started": None}

    def run(task, **options):
        sandbox.clear_faults()
        sandbox.fault("418", skip=3, times=None, retry_after=120)
        return run_task(task, **options, **more)

    states, _ = legs(lambda: operator(deferrable=True, grain="hour", max_workers=1), run, day.interval)

    assert states[:3] == ["deferred"] * 3
    assert len(states) == 4
