"""The sensor's three modes, against the sandbox over real sockets: one set of promises for all of them."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from unit.triggers.triggerer import known, live  # noqa: F401 - a fixture

from airflow_provider_binance_margin.sensors.force_liquidation import ForceLiquidationSensor

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
MODES = ("poke", "reschedule", "deferrable")
POKE = 0.2


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
def sense(mode, run_task, api, sandbox, known):  # noqa: F811
    """Run a sensor in the mode to its end."""

    def sense(*, interval=(None, None), conn=None, **options):
        conn = {**sandbox.connection(), **(conn or {})}
        api.conns.setdefault("binance_default", {**conn, "extra": json.dumps(conn.get("extra") or {})})
        known(conn)

        def make(**by_mode):
            return ForceLiquidationSensor(
                **{"task_id": "wait", "poke_interval": POKE, "timeout": 20, "retries": 2, **by_mode, **options}
            )

        return live(make, mode, run_task, interval=interval, retries=2)

    return sense


@pytest.fixture
def later():
    """Do something in some seconds."""
    timers = []

    def later(seconds, act, **options):
        timers.append(timer := threading.Timer(seconds, act, kwargs=options))
        timer.start()

    yield later
    for timer in timers:
        timer.join()


def looks(sandbox):
    return [entry for entry in sandbox.requests if entry.path == RECORDS]


def ago(**how):
    return datetime.now(UTC) - timedelta(**how)


# -- what there is to see ----------------------------------------------------------------------------------------------


def test_found(sense, sandbox, day, told):
    """Records that are there end the wait with the exchange's total, the newest row and the window, after one look."""
    records = sandbox.add(n=3, at=day.ms[0] + 5)
    sandbox.add(n=1, at=day.ms[1])

    done = sense(interval=day.interval)

    expected = {"total": 3, "newest": records[-1], "start": "2026-01-15T00:00:00Z", "end": "2026-01-16T00:00:00Z"}
    assert ("success", expected) == (done.state, done.result), done.error
    assert ["1"] == [entry.params["size"] for entry in looks(sandbox)]
    assert "[2026-01-15T00:00:00Z, 2026-01-16T00:00:00Z) has 3 of 1 records." in told()


@pytest.mark.parametrize("there", [0, 2])
def test_not_yet(sense, sandbox, later, told, there):
    """Fewer than `min_records` are waited on, one request a poke, until there are enough."""
    sandbox.add(n=there, at=sandbox.now_ms() - 5000)

    def add_after_a_look():
        deadline = time.monotonic() + 15
        while not looks(sandbox) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2 * POKE)
        sandbox.add(n=3, at=sandbox.now_ms())

    later(0, add_after_a_look)

    done = sense(start=ago(hours=1), min_records=3)

    assert ("success", there + 3) == (done.state, done.result["total"]), done.error
    times = [entry.time for entry in looks(sandbox)]
    assert len(times) >= 2
    assert all(b - a >= POKE * 1000 - 20 for a, b in pairwise(times))
    text = told()
    assert f"has {there} of 3 records." in text
    assert f"has {there + 3} of 3 records." in text


@pytest.mark.parametrize(("on_empty", "state"), [("skip", "skipped"), ("fail", "failed"), ("pass", "success")])
@pytest.mark.parametrize("there", [0, 1])
def test_closed_with_too_few(sense, sandbox, day, on_empty, state, there, told):
    """A window that has ended with too few records ends the wait at the first look, as `on_empty` says."""
    sandbox.add(n=there, at=day.ms[0])

    done = sense(interval=day.interval, on_empty=on_empty, min_records=2)

    assert ([state], 1) == (done.states, len(looks(sandbox)))
    assert f"has ended with {there} of 2 records; nothing can appear in it any more." in told()
    if on_empty == "pass":
        assert there == done.result["total"]


def test_closing(sense, sandbox, told):
    """A window that has ended but not settled is waited on, and closes when it has."""
    done = sense(start=ago(hours=1), end=datetime.now(UTC) - timedelta(seconds=0.5), settle=4)

    assert "skipped" == done.states[-1]
    assert len(looks(sandbox)) >= 2
    text = told()
    assert "has 0 of 1 records." in text
    assert "has ended with 0 of 1 records" in text


def test_closing_goes_by_the_exchanges_clock(sense, sandbox, later):
    """Where this machine's clock is ahead, a window that is still open by the exchange's is not taken for closed."""
    sandbox.clock_offset_ms = -600_000
    end = datetime.now(UTC) - timedelta(seconds=598)
    later(1.0, lambda: sandbox.add(n=1, at=sandbox.now_ms()))

    done = sense(start=ago(hours=2), end=end, settle=1)

    assert ("success", 1) == (done.state, done.result and done.result["total"]), done.error


def test_a_window_that_has_not_begun_is_not_asked_about(sense, sandbox):
    """Nothing is sent while the window lies in the future."""
    done = sense(start=ago(seconds=-30), timeout=1)

    assert ("failed", []) == (done.state, looks(sandbox))


@pytest.mark.parametrize(
    ("key", "symbol"),
    [("hmac", "BTCUSDT"), ("hmac", "币安人生USDT"), ("rsa", "币安人生USDT"), ("ed25519", "币安人生USDT")],
    ids=["hmac, latin", "hmac, chinese", "rsa, chinese", "ed25519, chinese"],
)
def test_isolated_symbols(sense, sandbox, key, symbol, later):
    """One pair's records alone count, under every kind of key and whatever letters the pair has."""
    sandbox.add(n=2, at=sandbox.now_ms(), symbol=symbol, isolated=True)
    sandbox.add(n=5, at=sandbox.now_ms())
    later(0.3, sandbox.add, n=1, at=sandbox.now_ms(), symbol=symbol, isolated=True)
    conn = {"password": None, **sandbox.connection(key)}

    done = sense(start=ago(hours=1), isolated_symbol=symbol, conn=conn, min_records=3)

    assert ("success", 3) == (done.state, done.result and done.result["total"]), done.error
    assert {200} == {entry.status for entry in sandbox.requests}


def test_long_windows_are_cut_and_remembered(sense, mode, sandbox, later):
    """What lies longer back than `max_span` is asked for once; from then on a poke is one request."""
    sandbox.add(n=4, at=sandbox.now_ms() - 20 * 86_400_000)
    later(1.0, sandbox.add, n=1, at=sandbox.now_ms())

    done = sense(start=ago(days=27), min_records=5)

    assert ("success", 5) == (done.state, done.result["total"]), done.error
    legs = done.states.count("up_for_reschedule") + 1 if mode == "reschedule" else 2 if mode == "deferrable" else 1
    starts = [entry.params["startTime"] for entry in looks(sandbox)]
    assert 4 * legs <= len(starts) <= 4 * legs + 10
    if mode == "poke":
        assert 1 == len(set(starts[3:]))


def test_the_newest_may_lie_in_a_window_that_is_known(sense, sandbox):
    """The newest row is told from whichever of the windows holds it."""
    (record,) = sandbox.add(n=1, at=sandbox.now_ms() - 20 * 86_400_000)

    done = sense(start=ago(days=27))

    assert record == done.result["newest"]


# -- what ends it ------------------------------------------------------------------------------------------------------

FINAL = {
    "rejected key": ({"conn": {"login": "sandbox" + "x" * 57}}, "were rejected"),
    "rejected secret": ({"conn": {"password": "wrong"}}, "the signature is not valid"),
    "bad connection": ({"conn": {"host": "http://user:pw@127.0.0.1"}}, "holds a user or password"),
    "missing connection": ({"binance_conn_id": "nobody"}, "nobody"),
    "bad symbol": ({"isolated_symbol": "NOPE"}, "check isolated_symbol"),
    "half an interval": ({"start": None, "end": "2026-01-01"}, "end is given and start is not"),
    "no interval": ({"start": None}, "no data interval"),
    "reversed": ({"start": "2026-01-02", "end": "2026-01-01"}, "is reversed"),
}


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", FINAL)
def test_what_cannot_pass_fails_at_once(sense, sandbox, kind, soft_fail):
    """What no waiting helps fails the task at its first look, without retries and in words; skipped under soft_fail."""
    options, words = FINAL[kind]

    done = sense(**{"start": ago(hours=1), **options, "soft_fail": soft_fail})

    assert ["skipped" if soft_fail else "failed"] == done.states
    assert len(looks(sandbox)) <= 1
    if not soft_fail:
        assert words in str(done.error)


def test_a_key_that_is_rejected_later_fails_too(sense, sandbox, later):
    """The exchange may change its mind while one waits: the task fails then, without retries."""
    later(0.7, sandbox.fault, name="error", code=-2015, status=401, times=None)

    done = sense(start=ago(hours=1))

    assert "failed" == done.states[-1]
    assert "were rejected" in str(done.error)
    assert 1 == [entry.status for entry in looks(sandbox)].count(401)


# -- what may pass -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("500", {}),
        ("reset", {}),
        ("cut", {}),
        ("html", {}),
        ("no-total", {}),
        ("error", {"code": -1001}),
        ("-1021", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "" if not value else str(value),
)
def test_what_may_pass_is_looked_at_again(sense, sandbox, day, fault, options, told):
    """A look that fails for the moment is logged, and the next one tells: no retry of the task, no hurry."""
    sandbox.add(n=1, at=day.ms[0])
    sandbox.fault(fault, times=3 if fault != "-1021" else 1, **options)

    done = sense(interval=day.interval)

    assert ("success", 1) == (done.state, done.result["total"]), done.error
    assert (4 if fault != "-1021" else 2) == len(looks(sandbox))
    times = [entry.time for entry in looks(sandbox)]
    if fault != "-1021":
        assert all(b - a >= POKE * 1000 - 20 for a, b in pairwise(times))
        assert 3 == told().count("This look failed, there will be others")


def test_a_dead_host_is_waited_for(sense, sandbox, told):
    """An exchange that cannot be reached is "not yet" until the timeout."""
    sandbox.stop()

    done = sense(start=ago(hours=1), timeout=1)

    assert "failed" == done.state
    assert "could not be reached (" in told()


@pytest.mark.parametrize(
    ("fault", "words", "backoff"),
    [
        ("429", "asks to wait", True),
        ("418", "shut this address out", False),
        ("403", "shut this address out", False),
    ],
    ids=["429 with backoff", "418", "403"],
)
def test_nothing_is_sent_before_the_exchange_allows_it(sense, sandbox, day, fault, words, backoff, told):
    """After a 429, 418 or 403 the next request comes after the time it names, in whichever process that is."""
    sandbox.add(n=1, at=day.ms[0])
    sandbox.fault(fault, retry_after=1)

    done = sense(interval=day.interval, exponential_backoff=backoff, never_fail=True)

    first, second = [entry.time for entry in looks(sandbox)]
    assert "success" == done.state, done.error
    assert 1000 <= second - first <= 4000
    text = told()
    assert words in text
    assert 1 == text.count("This look failed")


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_a_ban_does_not_outlast_the_timeout(sense, sandbox, soft_fail):
    """A sensor whose time is up while it is shut out ends then, without another request."""
    sandbox.fault("418", retry_after=300, times=None)
    began = time.monotonic()

    done = sense(start=ago(hours=1), timeout=1, soft_fail=soft_fail)

    assert ("skipped" if soft_fail else "failed", 1) == (done.state, len(looks(sandbox)))
    assert time.monotonic() - began < 60


# -- when time is up ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_timeout(sense, sandbox, soft_fail):
    """Time that is up fails the task for good, or skips it under soft_fail."""
    began = time.monotonic()

    done = sense(start=ago(hours=1), timeout=1, soft_fail=soft_fail)

    assert ("skipped" if soft_fail else "failed") == done.state
    assert 1 <= time.monotonic() - began < 20
    if not soft_fail:
        assert "AirflowSensorTimeout" == type(done.error).__name__


@pytest.mark.parametrize("mode", ["poke", "deferrable"], indirect=True)
def test_execution_timeout(sense, sandbox):
    """execution_timeout is called that and may be retried; where a worker is not held it does not apply, as ever."""
    done = sense(start=ago(hours=1), execution_timeout=timedelta(seconds=1))

    assert ("up_for_retry", "AirflowTaskTimeout") == (done.state, type(done.error).__name__)


def test_back_off(sense, sandbox):
    """With exponential_backoff pokes get rarer, up to max_wait."""
    sense(start=ago(hours=1), poke_interval=0.4, exponential_backoff=True, max_wait=1.2, timeout=3.5)

    times = [entry.time / 1000 for entry in looks(sandbox)]
    gaps = [b - a for a, b in pairwise(times)]
    assert 3 <= len(times) <= 6
    assert max(gaps) <= 1.2 + 0.5


@pytest.mark.parametrize("option", [{"settle": -1}, {"max_span": 0}, {"max_span": timedelta(minutes=1)}], ids=str)
def test_options_that_cannot_work_are_refused(option):
    """What would never work, or would send requests without end, is an error when the DAG is parsed."""
    (name,) = option

    with pytest.raises(ValueError, match=name):
        ForceLiquidationSensor(task_id="wait", start="2026-01-01", **option)


@pytest.mark.parametrize(
    "option", [{"on_empty": "ignore"}, {"min_records": 0}, {"grain": "week"}, {"poke_interval": -1}], ids=str
)
def test_options_that_mean_nothing_are_refused(option):
    """A word or number that means nothing is an error when the DAG is parsed, and names the option."""
    from airflow.providers.common.compat.sdk import AirflowException

    (name,) = option

    with pytest.raises((ValueError, AirflowException), match=name):  # the latter is Airflow's own, before 3.1
        ForceLiquidationSensor(task_id="wait", **option)
