"""The sensor's three modes, against the sandbox over real sockets: one set of promises for all of them."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import pytest
from airflow.sdk import DAG
from unit.triggers.triggerer import known, live  # noqa: F401 - a fixture
from versions import needs

from airflow_provider_binance_margin.exchange.errors import BinanceRequestError
from airflow_provider_binance_margin.sensors.force_liquidation import ForceLiquidationSensor
from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationEventTrigger
from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryTrigger

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

    expected = {
        "total": 3,
        "newest": records[-1],
        "start": "2026-01-15T00:00:00Z",
        "end": "2026-01-16T00:00:00Z",
        "dataset": "force_liquidation",
        "isolated_symbol": None,
        "binance_conn_id": "binance_default",
    }
    assert ("success", expected) == (done.state, done.result), done.error
    assert ["1"] == [entry.params["size"] for entry in looks(sandbox)]
    assert (
        "3 of 1 records in [2026-01-15T00:00:00Z, 2026-01-16T00:00:00Z) (force_liquidation, binance_default)." in told()
    )


@pytest.mark.parametrize("there", [0, 2])
def test_not_yet(sense, sandbox, later, told, there):
    """Fewer than `min_records` are waited on, one request a poke, until there are enough."""
    sandbox.add(n=there, at=sandbox.now_ms() - 5000)

    def add_after_a_look():
        deadline = time.monotonic() + 60
        while not looks(sandbox) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2 * POKE)
        sandbox.add(n=3, at=sandbox.now_ms() - 1000)  # none later than a look that comes between

    later(0, add_after_a_look)

    done = sense(start=ago(hours=1), min_records=3)

    assert ("success", there + 3) == (done.state, done.result["total"]), done.error
    times = [entry.time for entry in looks(sandbox)]
    assert len(times) >= 2
    assert all(b - a >= POKE * 1000 - 20 for a, b in pairwise(times))
    text = told()
    assert f"{there} of 3 records in [" in text
    assert f"{there + 3} of 3 records in [" in text


@pytest.mark.parametrize(("on_empty", "state"), [("skip", "skipped"), ("fail", "failed"), ("pass", "success")])
@pytest.mark.parametrize("there", [0, 1])
def test_closed_with_too_few(sense, sandbox, day, on_empty, state, there, told):
    """A window that has ended with too few records ends the wait at the first look, as `on_empty` says."""
    sandbox.add(n=there, at=day.ms[0])

    done = sense(interval=day.interval, on_empty=on_empty, min_records=2)

    assert ([state], 1) == (done.states, len(looks(sandbox)))
    assert f"{there} of 2 records in [" in (text := told())
    assert "the interval has ended, and no more can appear." in text
    if on_empty == "pass":
        assert there == done.result["total"]


def test_closing(sense, sandbox, told):
    """A window that has ended but not settled is waited on, and closes when it has."""
    done = sense(start=ago(hours=1), end=datetime.now(UTC) - timedelta(seconds=0.5), settle=4)

    assert "skipped" == done.states[-1]
    assert len(looks(sandbox)) >= 2
    text = told()
    assert text.count("0 of 1 records in [") >= 2


@pytest.mark.parametrize("ahead", [-600.0, -4.0, -0.9, 0.9, 4.0, 600.0])
def test_closing_goes_by_the_exchanges_clock(sense, sandbox, later, ahead):
    """Whatever this machine's clock says, a window that is open by the exchange's is not taken for closed."""
    sandbox.clock_offset_ms = int(ahead * 1000)
    end = datetime.now(UTC) + timedelta(seconds=ahead + 2)
    later(1.0, lambda: sandbox.add(n=1, at=sandbox.now_ms()))

    done = sense(start=ago(hours=2), end=end, settle=1)

    assert ("success", 1) == (done.state, done.result and done.result["total"]), done.error


@pytest.mark.parametrize("ahead", [-600.0, -0.9, 0.9, 4.0, 600.0])
def test_nothing_closes_before_its_end(sense, sandbox, ahead):
    """With `settle=0` a window closes at its very end or after it, by the exchange's clock, and soon after."""
    sandbox.clock_offset_ms = int(ahead * 1000)
    end = datetime.now(UTC) + timedelta(seconds=ahead + 1.5)

    done = sense(start=ago(hours=2), end=end, settle=0)

    last = looks(sandbox)[-1].time / 1000 - end.timestamp()
    assert "skipped" == done.states[-1]
    assert 0 <= last <= 4


def test_a_window_that_has_not_begun_is_not_asked_about(sense, sandbox):
    """Nothing is sent while the window lies in the future."""
    done = sense(start=ago(seconds=-30), timeout=1)

    assert ("failed", []) == (done.state, looks(sandbox))


@pytest.mark.parametrize(
    ("key", "symbol"),
    [("hmac", "BTCUSDT"), ("hmac", "币安人生USDT"), ("rsa", "币安人生USDT"), ("ed25519", "币安人生USDT")],
    ids=["hmac, latin", "hmac, chinese", "rsa, chinese", "ed25519, chinese"],
)
def test_isolated_symbols(sense, sandbox, key, symbol, later, told):
    """One pair's records alone count, under every kind of key and whatever letters the pair has."""
    sandbox.add(n=2, at=sandbox.now_ms(), symbol=symbol, isolated=True)
    sandbox.add(n=5, at=sandbox.now_ms())
    later(0.3, sandbox.add, n=1, at=sandbox.now_ms(), symbol=symbol, isolated=True)
    conn = {"password": None, **sandbox.connection(key)}

    done = sense(start=ago(hours=1), isolated_symbol=symbol, conn=conn, min_records=3)

    assert ("success", 3) == (done.state, done.result and done.result["total"]), done.error
    assert ("binance_default", symbol) == (done.result["binance_conn_id"], done.result["isolated_symbol"])
    assert f"(force_liquidation, {symbol}, binance_default)" in told()
    assert {200} == {entry.status for entry in sandbox.requests}


KEEPS_STATE = needs("airflow.sdk.execution_time.context.TaskStateStoreAccessor")


def test_long_windows_are_cut_and_remembered(sense, mode, sandbox, later):
    """What lies longer back than `max_span` is asked for once; from then on a poke is one request."""
    if mode == "reschedule":
        KEEPS_STATE.args[0] and pytest.skip(KEEPS_STATE.kwargs["reason"])
    sandbox.add(n=4, at=sandbox.now_ms() - 20 * 86_400_000)

    def add_after_some_looks():
        deadline = time.monotonic() + 60
        while len(looks(sandbox)) < 7 and time.monotonic() < deadline:
            time.sleep(0.05)
        sandbox.add(n=1, at=sandbox.now_ms())

    later(0, add_after_some_looks)

    done = sense(start=ago(days=28), min_records=5, timeout=30)

    assert ("success", 5) == (done.state, done.result["total"]), done.error
    starts = [entry.params["startTime"] for entry in looks(sandbox)]
    assert 5 == len(set(starts))
    assert 1 == len(set(starts[4:]))
    assert 3 <= len(starts[4:])


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
    "unknown symbol": ({"isolated_symbol": "NOPE"}, "check isolated_symbol"),
    "empty symbol": ({"isolated_symbol": "{{ '' }}"}, "must be a pair such as BTCUSDT, not ''"),
    "rendered None": ({"isolated_symbol": "{{ none }}"}, "must be a pair such as BTCUSDT, not 'None'"),
    "lower case": ({"isolated_symbol": "{{ 'btcusdt' }}"}, "the exchange spells it BTCUSDT"),
    "several pairs": ({"isolated_symbol": "{{ ['BTCUSDT'] }}"}, "pass one pair in upper case"),
    "path": ({"isolated_symbol": "{{ '..' }}"}, "must be a pair"),
    "refused request": ({"fault": {"name": "error", "code": -1102}}, "a parameter is missing"),
    "not served": ({"fault": {"name": "451"}}, "does not serve this machine's region"),
    "half an interval": ({"start": None, "end": "2026-01-01"}, "end is given and start is not"),
    "no interval": ({"start": None}, "no data interval"),
    "reversed": ({"start": "2026-01-02", "end": "2026-01-01"}, "is reversed"),
}


LENIENT = [{}, {"soft_fail": True}, {"never_fail": True}]


@pytest.mark.parametrize("lenient", LENIENT, ids=["hard", "soft_fail", "never_fail"])
@pytest.mark.parametrize("kind", FINAL)
def test_what_cannot_pass_fails_at_once(sense, sandbox, kind, lenient):
    """What somebody has to mend fails the task at its first look, without retries, in words, and never skips it."""
    options, words = FINAL[kind]
    options = {"start": ago(hours=1), **options}
    if fault := options.pop("fault", None):
        sandbox.fault(times=None, **fault)

    done = sense(**options, **lenient)

    assert ["failed"] == done.states
    assert words in str(done.error)
    assert len(looks(sandbox)) == (kind in {"rejected key", "rejected secret", "unknown symbol"} or bool(fault))


@pytest.mark.parametrize("symbol", ["", " ", "None", "btcusdt", "BTC USDT", "..", "X" * 900, ["BTCUSDT"], [], 7, b"X"])
def test_a_pair_that_is_none_is_refused_by_each_way_in(symbol):
    """While the DAG is parsed, and by the triggers themselves."""
    with pytest.raises(ValueError, match="isolated_symbol must be a pair"):
        ForceLiquidationSensor(task_id="wait", isolated_symbol=symbol)
    with pytest.raises(BinanceRequestError, match="isolated_symbol must be a pair"):
        ForceLiquidationEventTrigger(isolated_symbol=symbol)
    with pytest.raises(BinanceRequestError, match="isolated_symbol must be a pair"):
        MarginHistoryTrigger(
            dataset="force_liquidation",
            binance_conn_id="c",
            start=1,
            end=None,
            isolated_symbol=symbol,
            min_records=1,
            settle=0,
            max_span=3600,
            poke_interval=1,
        )


@pytest.mark.parametrize("lenient", LENIENT, ids=["hard", "soft_fail", "never_fail"])
@pytest.mark.parametrize("symbol", ["", "None", "btcusdt", "{{ none }}", 7])
def test_a_pair_that_is_none_fails_its_mapped_task_alone(connect, run_task, sandbox, mode, symbol, lenient):
    """At once, without a request, and whatever the pairs beside it are."""
    sandbox.add(n=1, at=sandbox.now_ms(), symbol="BTCUSDT", isolated=True)
    options = {"mode": "reschedule"} if mode == "reschedule" else {"deferrable": mode == "deferrable"}
    with DAG("a_dag", schedule=None, start_date=ago(days=1)):
        task = ForceLiquidationSensor.partial(task_id="wait", start=ago(days=1), retries=2, **options, **lenient)
        mapped = task.expand(isolated_symbol=["BTCUSDT", symbol])

    done = run_task(mapped, map_index=1, retries=2)

    assert ("failed", []) == (done.state, sandbox.requests), done.error
    assert "isolated_symbol must be a pair" in str(done.error)
    assert "success" == run_task(mapped, map_index=0, retries=2).state


@pytest.mark.parametrize("lenient", LENIENT, ids=["hard", "soft_fail", "never_fail"])
def test_a_key_that_is_rejected_later_fails_too(sense, sandbox, later, lenient):
    """The exchange may change its mind while one waits: the task fails then, without retries."""
    later(0.7, sandbox.fault, name="error", code=-2015, status=401, times=None)

    done = sense(start=ago(hours=1), **lenient)

    assert "failed" == done.states[-1]
    assert "were rejected" in str(done.error)
    assert 1 == [entry.status for entry in looks(sandbox)].count(401)


@pytest.mark.parametrize("lenient", LENIENT, ids=["hard", "soft_fail", "never_fail"])
def test_a_closed_window_is_no_broken_sensor(sense, day, lenient):
    """`on_empty="fail"` fails as any sensor does, which Airflow skips under soft_fail and never_fail."""
    done = sense(interval=day.interval, on_empty="fail", **lenient)

    assert ["skipped" if lenient else "failed"] == done.states


def test_a_trigger_that_broke_is_no_wait_in_vain(run_task):
    """A triggerer that could not run the trigger fails the try under soft_fail, as an unexpected error of a poke."""
    sensor = ForceLiquidationSensor(task_id="wait", start="2026-01-01", soft_fail=True, retries=2)

    done = run_task(sensor, retries=2, next_method="__fail__", next_kwargs={"error": "Trigger failure"})

    assert ("up_for_retry", "TaskDeferralError") == (done.state, type(done.error).__name__)


# -- what a rescheduled sensor remembers -------------------------------------------------------------------------------

EVERY = pytest.mark.parametrize("mode", ["reschedule"], indirect=True)


@KEEPS_STATE
@EVERY
def test_years_back_a_poke_is_one_request(sense, sandbox, later, api):
    """The windows that have closed are asked for at the first poke alone, and their total and newest row are kept."""
    (record,) = sandbox.add(n=1, at=sandbox.now_ms() - 900 * 86_400_000)

    def starts():
        return [entry.params["startTime"] for entry in looks(sandbox)]

    def add_after_pokes():
        deadline = time.monotonic() + 60
        while len(starts()) < len(set(starts())) + 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        sandbox.add(n=1, at=sandbox.now_ms())

    later(0, add_after_pokes)
    done = sense(start="2021-01-01", min_records=2, timeout=120)

    assert ("success", True) == (done.state, len(done.states) >= 5), done.error
    assert len(set(starts())) + len(done.states) - 1 == len(starts())
    (key,) = api.task_state
    assert record == json.loads(api.task_state[key]["newest"])
    assert "binance-closed-0" == key


@KEEPS_STATE
@EVERY
@pytest.mark.parametrize(
    "state", [None, 5, "x", [], {}, {"until": 1}, {"asked": "x", "until": -1, "total": "3"}], ids=str
)
def test_a_state_that_is_no_memory_is_no_harm(sense, sandbox, api, state):
    """Whatever stands in the task's state, the sensor counts anew."""
    sandbox.add(n=1, at=sandbox.now_ms() - 20 * 86_400_000)
    api.task_state["binance-closed-0"] = state

    done = sense(start=ago(days=27))

    assert ("success", 1, 4) == (done.state, done.result["total"], len(looks(sandbox))), done.error


@KEEPS_STATE
def test_a_run_that_is_cleared_counts_anew(run_task, api, sandbox):
    """The state outlives Clear; another clear number is another memory."""
    api.conns["binance_default"] = {**sandbox.connection(), "extra": "{}"}
    asked = []
    for clear_number in (0, 0, 1, 1):
        sandbox.clear_log()
        sensor = ForceLiquidationSensor(task_id="wait", start="2021-01-01", mode="reschedule")
        run_task(sensor, clear_number=clear_number, first_rescheduled=ago(seconds=1))
        asked.append(len(looks(sandbox)) > 2)

    assert [True, False, True, False] == asked
    assert {"binance-closed-0", "binance-closed-1"} == set(api.task_state)


class Forgetful(ForceLiquidationSensor):
    """A sensor on an Airflow that keeps no state of tasks."""

    def poke(self, context):
        """Look without it."""
        context.pop("task_state_store", None)
        return super().poke(context)


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"start": "2021-01-01", "mode": "reschedule"}, "failed"),
        ({"start": "2021-01-01", "mode": "reschedule", "soft_fail": True}, "failed"),
        ({"start": "2021-01-01", "mode": "reschedule", "end": "2021-12-01", "on_empty": "pass"}, "success"),
        ({"start": ago(days=27), "mode": "reschedule"}, "up_for_reschedule"),
        ({"start": "2025-11-01", "deferrable": True, "mode": "reschedule"}, "deferred"),
        ({"start": "2025-11-01", "deferrable": True}, "deferred"),
    ],
    ids=["years", "years, soft_fail", "closed long ago", "four windows", "deferrable", "deferrable, poke"],
)
def test_where_nothing_can_be_remembered_a_start_long_ago_is_refused(run_task, api, sandbox, options, state):
    """With the cure, before the first request, and only where each poke would count anew."""
    api.conns["binance_default"] = {**sandbox.connection(), "extra": "{}"}

    done = run_task(Forgetful(task_id="wait", **options))

    assert state == done.state, done.error
    if state == "failed":
        assert 'set mode="poke" or deferrable=True, or a later start' in str(done.error)
        assert [] == looks(sandbox)


def test_a_sensor_that_is_under_way_is_not_refused_later(run_task, api, sandbox):
    """What was a few windows at the first poke may grow."""
    api.conns["binance_default"] = {**sandbox.connection(), "extra": "{}"}
    sensor = Forgetful(task_id="wait", start=ago(days=36), mode="reschedule")

    assert "up_for_reschedule" == run_task(sensor, first_rescheduled=ago(days=2)).state


@KEEPS_STATE
def test_a_state_store_that_fails_costs_requests_alone(run_task, api, sandbox, monkeypatch, told):
    """It is said, and the sensor goes on."""
    api.conns["binance_default"] = {**sandbox.connection(), "extra": "{}"}
    monkeypatch.setattr(type(api), "store", staticmethod(lambda *_: httpx.Response(409, json={"detail": "no"})))

    done = run_task(ForceLiquidationSensor(task_id="wait", start=ago(days=27), mode="reschedule"))

    assert "up_for_reschedule" == done.state, done.error
    assert "Task state not written" in told()


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
        assert 3 == told().count("Poll failed, will retry")


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
        ("418", "banned this IP address", False),
        ("403", "banned this IP address", False),
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
    assert 1000 <= second - first
    text = told()
    assert words in text
    assert 1 == text.count("Poll failed")


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_a_ban_does_not_outlast_the_timeout(sense, sandbox, soft_fail):
    """A sensor whose time is up while it is shut out ends then, without another request."""
    sandbox.fault("418", retry_after=300, times=None)

    done = sense(start=ago(hours=1), timeout=1, soft_fail=soft_fail)

    assert ("skipped" if soft_fail else "failed", 1) == (done.state, len(looks(sandbox)))


# -- when time is up ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_timeout(sense, sandbox, soft_fail):
    """Time that is up fails the task for good, or skips it under soft_fail."""
    began = time.monotonic()

    done = sense(start=ago(hours=1), timeout=1, soft_fail=soft_fail)

    assert ("skipped" if soft_fail else "failed") == done.state
    assert 1 <= time.monotonic() - began
    assert len(looks(sandbox)) <= 1 + 1 / POKE
    if not soft_fail:
        assert "AirflowSensorTimeout" == type(done.error).__name__


@pytest.mark.parametrize("mode", ["poke", "deferrable"], indirect=True)
def test_execution_timeout(sense, sandbox):
    """execution_timeout is called that and may be retried; where a worker is not held it does not apply, as ever."""
    done = sense(start=ago(hours=1), execution_timeout=timedelta(seconds=1))

    assert ("up_for_retry", "AirflowTaskTimeout") == (done.state, type(done.error).__name__)


def test_back_off(sense, sandbox):
    """With exponential_backoff pokes get rarer: without, there would be nine."""
    sense(start=ago(hours=1), poke_interval=0.4, exponential_backoff=True, max_wait=1.2, timeout=3.5)

    assert len(looks(sandbox)) <= 6


def test_the_triggerer_backs_off_up_to_the_longest_wait():
    """Of a deferred sensor; of the others Airflow itself sees to that."""
    window = {"start": 1, "end": None, "isolated_symbol": None, "min_records": 1, "settle": 60.0, "max_span": 604_800.0}
    pace = {"poke_interval": 0.4, "exponential_backoff": True, "max_wait": 1.2}
    trigger = MarginHistoryTrigger(dataset="force_liquidation", binance_conn_id="binance_default", **window, **pace)

    assert [0.4, 0.8, 1.2, 1.2] == [trigger._interval(polls) for polls in range(4)]


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
