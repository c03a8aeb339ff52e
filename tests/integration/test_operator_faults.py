"""Whatever goes wrong while the operator reads, the object holds the exact records, or there is none."""

from __future__ import annotations

import re
import time

import pytest
from versions import POLICIES

RECORDS = "/sapi/v1/margin/forceLiquidationRec"


def by_id(records):
    return sorted(records, key=lambda record: record["orderId"])


MOVING = [
    ("enter", {"current": 2}),
    ("enter", {"current": 1, "when": "after"}),
    ("enter", {"current": 3, "n": 150}),
    ("enter", {"current": 2, "at": "tail"}),
    ("leave", {"current": 2}),
    ("leave", {"current": 2, "at": "tail"}),
    ("leave", {"current": 1, "n": 120, "when": "after"}),
    ("update", {"current": 2}),
    ("update", {"current": 1, "when": "after"}),
    ("update", {"current": 1, "at": "head"}),
]
BROKEN = [
    ("duplicate", {"current": 2}),
    ("short", {"current": 2}),
    ("short", {"current": 1, "n": 30}),
    ("empty", {"current": 2}),
    ("empty", {"current": 1}),
    ("repeat", {"current": 2}),
    ("total", {"current": 1, "off": -1}),
    ("total", {"current": 3}),
    ("no-total", {"current": 1}),
    ("rows-null", {"current": 2}),
    ("twin", {"current": 3}),
]
FAILING = [
    ("reset", {"current": 2}),
    ("reset-body", {"current": 2}),
    ("cut", {"current": 1}),
    ("500", {"current": 2}),
    ("html", {"current": 1}),
    ("error-200", {"current": 3}),
    ("429", {"current": 2, "retry_after": 1}),
    ("-1021", {"current": 2}),
    ("error", {"code": -1001, "current": 1}),
    ("slow-body", {"seconds": 0.3, "pieces": 5, "current": 2}),
]


@pytest.mark.parametrize(
    ("fault", "options"),
    MOVING + BROKEN + FAILING,
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_the_records_are_exact_in_the_end(operator, run_task, sandbox, s3, day, rows, fault, options):
    """One thing goes wrong while one pages: what is written is what the exchange holds, each record once."""
    sandbox.add(n=250, at=day.ms[0] + 1000)
    sandbox.fault(fault, **options)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval)

    assert done.state == "success", done.error
    assert by_id(sandbox.records(*day.ms)) == by_id(rows(s3.get("x.jsonl")))
    assert any(entry.fault for entry in sandbox.requests)


def test_many_things_go_wrong_at_once(operator, run_task, sandbox, s3, day, rows):
    """A day in hours, while calls fail and records come and go, is exact in the end."""
    sandbox.add(n=2400, at=day.ms[0], step_ms=36_000)
    for place, fault in enumerate(("enter", "500", "update", "reset", "cut", "leave", "-1021", "duplicate")):
        for skip in (2, 11, 20):
            sandbox.fault(fault, skip=skip + place)

    done = run_task(operator(grain="hour", s3_key="{start}.jsonl"), interval=day.interval)

    assert done.state == "success", done.error
    written = [row for key in s3 for row in rows(s3.get(key))]
    assert by_id(sandbox.records(*day.ms)) == by_id(written)


@pytest.mark.parametrize("fault", ["short", "total"])
def test_what_never_agrees_is_not_written(operator, run_task, sandbox, s3, day, fault):
    """Pages that never agree with their total end in an error that names both numbers, and may be retried."""
    sandbox.add(n=150, at=day.ms[0])
    sandbox.fault(fault, times=None, current=2 if fault != "total" else None)

    done = run_task(operator(), interval=day.interval, retries=3)

    assert done.state == "up_for_retry"
    assert "total stated as 15" in str(done.error)
    assert "distinct records seen" in str(done.error)
    assert s3.keys() == []


def test_a_total_that_counts_otherwise_can_be_accepted(operator, run_task, sandbox, s3, day, rows):
    """Without require_total, two equal readings up to an empty page stand for completeness, and the metadata say so."""
    sandbox.add(n=150, at=day.ms[0])
    sandbox.fault("total", times=None)

    done = run_task(operator(s3_key="x.jsonl", require_total=False), interval=day.interval)

    assert done.state == "success", done.error
    assert by_id(sandbox.records(*day.ms)) == by_id(rows(s3.get("x.jsonl")))
    assert ("pages", "150") == (s3.metadata("x.jsonl")["proof"], s3.metadata("x.jsonl")["records"])


@pytest.mark.parametrize(
    ("fault", "seconds"), [("418", 120), ("418", 20), ("403", 300)], ids=["long", "short", "firewall"]
)
@pytest.mark.parametrize("policy", [pytest.param(True, marks=POLICIES), False], ids=["policy", "no-policy"])
def test_a_ban_ends_everything_at_once(operator, run_task, sandbox, s3, day, fault, seconds, policy):
    """After a ban nothing more is sent, and the task is tried again when it is over: or, before Airflow 3.3, never."""
    sandbox.add(n=5, at=day.ms[0])
    sandbox.fault(fault, times=None, **({"retry_after": seconds} if fault == "418" else {}))
    tasks = [operator(grain="hour", max_workers=1), operator()]
    for task in tasks:
        task.retry_policy = getattr(task, "retry_policy", None) if policy else None

    began = time.monotonic()
    done = run_task(tasks[0], interval=day.interval, retries=3)
    took = time.monotonic() - began
    final = done.final
    again = run_task(tasks[1], interval=day.interval, try_number=2, retries=3)

    expected = "up_for_retry" if policy else "failed"
    assert (expected, expected, 1) == (done.state, again.state, len(sandbox.requests))
    assert s3.keys() == []
    told = re.search(r"banned this IP address for (\d+) s", str(done.error))
    assert seconds - 1 - took <= int(told[1]) <= seconds + 2
    if policy:
        assert seconds - took <= final["retry_delay_seconds"] <= seconds + 3
    else:
        assert "clear it then" in str(done.error)


def test_a_ban_stops_what_is_side_by_side(operator, run_task, sandbox, day):
    """Of sixteen workers' calls, no more go out than were on their way when the ban came: eight, after ten answers."""
    sandbox.add(n=5000, at=day.ms[0])
    sandbox.latency = 0.02
    sandbox.fault("418", times=None, skip=10)

    done = run_task(operator(), interval=day.interval, retries=3)

    assert "banned this IP address" in str(done.error)
    assert len(sandbox.requests) <= 10 + 8


def test_a_long_wait_is_for_airflows_retry(operator, run_task, sandbox, s3, day):
    """A Retry-After beyond a minute is not sat out by the worker: the task is retried, and nothing more is sent."""
    sandbox.fault("429", retry_after=300, times=None)

    done = run_task(operator(), interval=day.interval, retries=3)

    assert ("up_for_retry", 1, []) == (done.state, len(sandbox.requests), s3.keys())
    assert "asks to wait 300 s" in str(done.error)
