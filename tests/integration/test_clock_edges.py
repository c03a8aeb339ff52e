"""A machine whose clock is ahead of the exchange's: what seems to be over is not, and nothing is made of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from serving import forward

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
HOUR = 3_600_000


def bounds(start, end):
    return [datetime.fromtimestamp(bound / 1000, UTC) for bound in (start, end)]


@pytest.fixture
def audit(connect, s3):
    from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator

    def make(**more):
        return ForceLiquidationAuditOperator(task_id="audit", s3_bucket=s3.name, s3_key="{start}.jsonl.gz", **more)

    return make


@pytest.fixture
def late_records(sandbox, serve, connect):
    """Lets records arrive as soon as the exchange has answered for the first time that there are none."""

    def arrange(*records):
        late = list(records)

        def answer(handler):
            answered = forward(handler, sandbox.url)
            while late and handler.path.startswith(RECORDS) and answered[0] == 200:
                sandbox.add(late.pop())
            return answered

        connect(host=serve(answer))

    return arrange


@pytest.fixture
def just_over(sandbox):
    """An interval that settled (in a second) just now by this machine's clock: for five more, not by the exchange's."""
    sandbox.clock_offset_ms = -5000
    end = sandbox.now_ms() + 4000
    return end - HOUR, end


def test_an_audit_looks_again_once_the_interval_has_settled(audit, run_task, sandbox, late_records, just_over):
    """A look before that finds nothing missing, since there is nothing yet; what enters then is found missing."""
    late_records({"updatedTime": just_over[1] - 1})

    done = run_task(audit(on_empty="none", on_gap="report", settle=1), interval=bounds(*just_over))

    assert done.state == "success", done.error
    assert (done.result["counts"]["complete"], done.result["counts"]["missing"]) == (0, 1)
    assert [found["total"] for found in done.result["missing"]] == [1]
    asked = [entry.time for entry in sandbox.requests if (entry.path, entry.status) == (RECORDS, 200)]
    assert (2, True) == (len(asked), asked[0] < just_over[1] + 1000 <= asked[-1])


def test_an_audit_of_what_has_settled_looks_once(audit, run_task, sandbox):
    """One question for each interval, where both clocks agree."""
    end = sandbox.now_ms() - 60_000

    done = run_task(audit(on_empty="none", settle=1), interval=bounds(end - HOUR, end))

    assert done.state == "success", done.error
    assert [RECORDS] == [entry.path for entry in sandbox.requests]


def test_records_that_enter_before_an_interval_settles_are_loaded(
    operator, run_task, sandbox, s3, rows, late_records, just_over
):
    """The operator reads again then, and writes what is there in the end."""
    late_records({"updatedTime": just_over[1] - 1})

    done = run_task(operator(s3_key="x.jsonl", settle=1), interval=bounds(*just_over))

    assert done.state == "success", done.error
    assert len(rows(s3.get("x.jsonl"))) == 1
    assert rows(s3.get("x.jsonl")) == sandbox.records()


FUTURE = {
    "ends in the future": (-4, -0.5, None),
    "starts in the future": (-1, -0.5, None),
    "ends in the future, by grains": (-30, 0, "hour"),
}


@pytest.mark.parametrize(("says", "hours"), FUTURE.items(), ids=FUTURE)
def test_what_lies_in_the_exchanges_future_is_refused_at_once(operator, run_task, sandbox, s3, says, hours):
    """This machine's clock is two hours ahead: not waited for, not tried again, and nothing is written."""
    sandbox.clock_offset_ms = -2 * HOUR
    now = datetime.now(UTC)
    start, end = (now + timedelta(hours=hour) for hour in hours[:2])
    if hours[2]:
        start, end = (when.replace(minute=0, second=0, microsecond=0) for when in (start, end))
    task = operator(grain=hours[2], execution_timeout=timedelta(seconds=20))

    done = run_task(task, interval=(start, end), retries=3)

    assert (done.state, says.partition(",")[0] in str(done.error)) == ("failed", True), done.error
    known = datetime.now(UTC) - timedelta(hours=2)
    assert not [key for key in s3 if datetime.fromisoformat(s3.metadata(key)["interval-end"]) > known]
