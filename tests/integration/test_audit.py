"""Is the lake complete? Objects over a real S3 server, held against the sandbox."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from versions import has

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
DAY = 86_400_000
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 6
INTERVAL = FIRST, FIRST + timedelta(days=DAYS)
VERDICTS = ("complete", "missing", "short", "long", "foreign", "corrupt", "claim", "unfinished")
FOREVER = timedelta(days=10_000)


def at(day):
    return int((FIRST + timedelta(days=day)).timestamp() * 1000)


def key(day, suffix=".jsonl.gz"):
    return f"{FIRST + timedelta(days=day):%Y-%m-%d}{suffix}"


def span(first, last):
    """A gap from one day to another."""
    bounds = (FIRST + timedelta(days=day) for day in (first, last))
    return dict(zip(("start", "end"), (f"{bound:%Y-%m-%dT%H:%M:%SZ}" for bound in bounds), strict=True))


def counts(**numbers):
    return dict.fromkeys(VERDICTS, 0) | numbers


@pytest.fixture
def options(s3):
    """What loading and audit have in common."""
    return {"s3_bucket": s3.name, "s3_key": "{start:%Y-%m-%d}.jsonl.gz", "grain": "day"}


@pytest.fixture
def audit(connect, options):
    """Makes audits of what `filled` has loaded."""
    from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator

    def make(**more):
        return ForceLiquidationAuditOperator(task_id="audit", **{**options, "fresh": FOREVER, **more})

    return make


@pytest.fixture
def load(operator, options, run_task):
    def load(interval=INTERVAL, **more):
        done = run_task(operator(**{**options, **more}), interval=interval, run_id=f"load__{more}")
        assert done.state == "success", done.error
        return done

    return load


@pytest.fixture
def filled(sandbox, load):
    """Six days, loaded; 30, 31, ... records a day."""
    for day in range(DAYS):
        sandbox.add(n=30 + day, at=at(day), step_ms=1000)
    load()
    sandbox.clear_log()


# Verdicts


def test_a_complete_lake_is_complete(filled, audit, run_task, sandbox, s3):
    """One request of one row per interval, and a small result."""
    done = run_task(audit(), interval=INTERVAL)

    assert done.state == "success", done.error
    assert done.result == {
        **span(0, DAYS),
        "source": "data_interval",
        "dataset": "force_liquidation",
        "account": "binance_default",
        "scope": "cross",
        "bucket": s3.name,
        "checked": 6,
        "counts": counts(complete=6),
        "gaps": [],
        "expiring": [],
        **{verdict: [] for verdict in VERDICTS[1:]},
    }
    assert [(entry.path, entry.params["size"], entry.params["current"]) for entry in sandbox.requests] == [
        (RECORDS, "1", "1")
    ] * 6
    assert {int(entry.params["startTime"]) for entry in sandbox.requests} == {at(day) for day in range(DAYS)}


def damage(s3, name, how):
    """Other bytes under a key, with the metadata it had."""
    body, metadata = s3.get(name), s3.metadata(name)
    s3.put(name, how(bytearray(body)), **metadata)


def lose(s3, sandbox):
    s3.client.delete_object(Bucket=s3.name, Key=key(2))


def enter(s3, sandbox):
    sandbox.add(n=1, at=at(2))


def forget(s3, sandbox):
    kept = [row for row in sandbox.records(at(0), at(DAYS)) if not at(2) <= row["updatedTime"] < at(3)]
    sandbox.clear()
    sandbox.load(kept)


def stranger(s3, sandbox):
    s3.put(key(2), b"hello")


def another_scope(s3, sandbox):
    s3.put(key(2), s3.get(key(2)), **{**s3.metadata(key(2)), "scope": "BTCUSDT"})


def another_account(s3, sandbox):
    s3.put(key(2), s3.get(key(2)), **{**s3.metadata(key(2)), "account": "another"})


@pytest.mark.parametrize(
    ("what", "verdict", "records", "total"),
    [
        (lose, "missing", None, 32),
        (enter, "short", 32, 33),
        (forget, "long", 32, 0),
        (stranger, "foreign", 0, 32),
        (another_scope, "foreign", 32, 32),
        (another_account, "foreign", 32, 32),
    ],
)
def test_what_is_wrong_is_listed(filled, audit, run_task, sandbox, s3, what, verdict, records, total):
    """With its key and both numbers; what can be cured by loading again is a gap, whose bounds say what to load."""
    what(s3, sandbox)

    done = run_task(audit(on_gap="report"), interval=INTERVAL)

    assert done.state == "success", done.error
    assert done.result["counts"] == counts(complete=5, **{verdict: 1})
    assert done.result[verdict] == [{**span(2, 3), "key": key(2), "records": records, "total": total}]
    assert done.result["gaps"] == ([span(2, 3)] if verdict in ("missing", "short") else [])


@pytest.mark.parametrize(
    ("what", "verdict", "state"),
    [
        (lose, "missing", "failed"),
        (enter, "short", "failed"),
        (stranger, "foreign", "failed"),
        (forget, "long", "success"),
    ],
)
def test_a_gap_fails_the_task_for_good(filled, audit, run_task, sandbox, s3, what, verdict, state, capfd):
    """Trying again would find the same; the log lists what was found. An object that is longer is no failure."""
    what(s3, sandbox)

    done = run_task(audit(), interval=INTERVAL, retries=3)

    assert state == done.state
    assert state == "success" or f"1 {verdict} of 6 intervals" in str(done.error)
    assert f"{verdict}: [2026-01-03T00:00:00Z, 2026-01-04T00:00:00Z)" in capfd.readouterr().out


CUTS = {
    "cut": lambda body: bytes(body[:-20]),
    "cut-to-nothing": lambda _: b"",
    "byte": lambda body: bytes(body[:40] + bytearray([body[40] ^ 0x10]) + body[41:]),
    "last-byte": lambda body: bytes(body[:-1] + bytearray([body[-1] ^ 0x01])),
    "half": lambda body: bytes(body[: len(body) // 2]),
    "other": lambda _: b"<html>",
}


@pytest.mark.parametrize("how", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv.gz", ".parquet"])
def test_damaged_content_is_found_where_asked_for(sandbox, load, audit, run_task, s3, suffix, how):
    """In whole or in part; another size is found by each audit, though only one that is asked to reads the content."""
    sandbox.add(n=200, at=at(0), step_ms=1000)
    sandbox.add(n=3, at=at(1))
    template = {"s3_key": "{start:%Y-%m-%d}" + suffix}
    bounds = {"interval": (FIRST, FIRST + timedelta(days=2))}
    load(bounds["interval"], **template)
    intact = run_task(audit(verify_content=True, **template), **bounds)
    damage(s3, key(0, suffix), how)

    resized = len(s3.get(key(0, suffix))) != int(s3.metadata(key(0, suffix))["body-size"])
    found = run_task(audit(verify_content=True, on_gap="report", **template), **bounds)
    looked = run_task(audit(on_gap="report", **template), **bounds)

    assert intact.result["counts"] == counts(complete=2)
    assert looked.result["counts"] == counts(complete=2 - resized, **({"corrupt": 1} if resized else {}))
    assert found.result["counts"] == counts(complete=1, corrupt=1)
    assert (found.result["corrupt"][0]["key"], found.result["gaps"]) == (key(0, suffix), [span(0, 1)])


def test_a_row_that_was_edited_is_found(filled, audit, run_task, s3):
    """Packed well, and with the right number of rows."""
    damage(
        s3, key(1), lambda body: gzip.compress(gzip.decompress(bytes(body)).replace(b"31.39000000", b"31.39000001", 1))
    )

    done = run_task(audit(verify_content=True, on_gap="report"), interval=INTERVAL)

    assert done.result["counts"] == counts(complete=5, corrupt=1)


def test_a_body_that_is_not_what_the_store_took_in_is_corrupt(filled, audit, run_task, s3, s3_proxy):
    """The S3 client refuses it by the store's own checksum: that is no failure of the way there."""

    def spoil(handler):
        if handler.command == "GET" and key(1) in handler.path:
            status, headers, body = s3_proxy.forward(handler)
            return status, {**headers, "x-amz-checksum-crc32": "AAAAAA=="}, body
        return None

    s3_proxy(spoil)

    done = run_task(audit(verify_content=True, on_gap="report"), interval=INTERVAL, retries=3)

    assert (done.state, done.result and done.result["counts"]) == ("success", counts(complete=5, corrupt=1)), done.error


def test_an_object_that_is_replaced_meanwhile_is_not_taken_for_corrupt(filled, audit, run_task, s3, s3_proxy):
    """Its new bytes are not those that the metadata spoke of: the audit looks again, with the next try."""

    def replace(handler):
        if handler.command == "GET" and key(1) in handler.path:
            s3.put(key(1), b"newer", **s3.metadata(key(1)))

    s3_proxy(replace)

    done = run_task(audit(verify_content=True, on_gap="report"), interval=INTERVAL, retries=3)

    assert (done.state, done.result) == ("up_for_retry", None), done.error


def test_an_empty_object_fetched_late_is_a_claim(load, audit, run_task, sandbox):
    """The exchange may have forgotten by then. Said, and no failure; one with records proves itself."""
    sandbox.add(n=1, at=at(3))
    load()

    late = run_task(audit(fresh=timedelta(days=7)), interval=INTERVAL)
    soon = run_task(audit(), interval=INTERVAL)

    assert (late.state, late.result["counts"]) == ("success", counts(complete=1, claim=5))
    assert late.result["claim"][0] == {**span(0, 1), "key": key(0), "records": 0, "total": 0}
    assert late.result["gaps"] == []
    assert soon.result["counts"] == counts(complete=6)


@pytest.mark.parametrize(("on_empty", "missing"), [("none", 0), ("skip", 0), ("write", 5)])
def test_what_loading_leaves_out_is_not_missed(load, audit, run_task, sandbox, on_empty, missing):
    """Where empty intervals leave no object, only those with records need one."""
    sandbox.add(n=1, at=at(3))
    load(on_empty="none")

    done = run_task(audit(on_empty=on_empty, on_gap="report"), interval=INTERVAL)

    assert done.result["counts"] == counts(complete=6 - missing, missing=missing)


@pytest.mark.parametrize("scope", ["account", "cross"])
def test_an_object_that_does_not_state_its_account_is_to_be_loaded_again(
    filled, audit, load, run_task, s3, told, scope
):
    """It is missing, with the reason in result and log; loading it again makes it complete."""
    old = {name: value for name, value in s3.metadata(key(2)).items() if name not in ("account", "body-size")}
    s3.put(key(2), s3.get(key(2)), **{**old, "scope": scope})

    done = run_task(audit(on_gap="report", verify_content=True), interval=INTERVAL)
    (gap,) = done.result["gaps"]
    load(**gap, replace=False)
    after = run_task(audit(verify_content=True), interval=INTERVAL)

    reason = "what is there does not state its account"
    assert done.result["counts"] == counts(complete=5, missing=1)
    assert done.result["missing"] == [{**span(2, 3), "key": key(2), "records": 32, "total": 32, "reason": reason}]
    assert f"missing ({reason}): [2026-01-03" in told()
    assert after.result["counts"] == counts(complete=6)


def test_an_audit_looks_at_one_account(filled, audit, run_task, api, connect):
    """Another's objects are foreign; its own are found by its name, whatever connection it has by now."""
    api.conns["moved"] = connect()

    another = run_task(audit(binance_conn_id="moved", on_gap="report"), interval=INTERVAL)
    own = run_task(audit(binance_conn_id="moved", account="binance_default"), interval=INTERVAL)

    assert another.result["counts"] == counts(foreign=6)
    assert (own.result["counts"], own.result["account"]) == (counts(complete=6), "binance_default")


def test_a_twin_row_seen_once_is_no_fault(load, audit, run_task, sandbox, s3):
    """Records are counted, not rows: neither the object with the twin nor the exchange without it is wrong."""
    sandbox.add(n=10, at=at(0))
    sandbox.fault("twin", times=None)
    load((FIRST, FIRST + timedelta(days=1)))
    sandbox.clear_faults()

    done = run_task(audit(), interval=(FIRST, FIRST + timedelta(days=1)))

    assert (s3.metadata(key(0))["rows"], done.result["counts"]) == ("11", counts(complete=1)), done.error


# What follows


def test_faults_stand_out_in_the_log(filled, audit, run_task, sandbox, s3, told):
    """One warning each, short and with the object; what is no fault is a range of days, and no warning."""
    lose(s3, sandbox)
    run_task(audit(on_gap="report"), interval=INTERVAL)
    sandbox.clear()
    run_task(audit(on_gap="report"), interval=INTERVAL)

    lines = [line for line in told().splitlines() if re.search(r"\b(missing|long|claim)(:| \()", line)]
    missing = f"missing: {bounds(2, 3)}, no object, the exchange states 32: s3://{s3.name}/{key(2)}"
    assert [missing in line for line in lines].count(True) == 1
    assert [f"long: {bounds(0, 2)}, {bounds(3, 6)}" in line for line in lines].count(True) == 1
    assert len([line for line in lines if "warning" in line.lower()]) == 2  # the day is missing to both audits


def bounds(first, last):
    return "[{start}, {end})".format(**span(first, last))


def test_gaps_are_loaded_again_by_the_same_operator(filled, audit, load, operator, options, run_task, sandbox, s3):
    """Each is a set of keyword arguments, in whole grains, touching ones joined; then the lake is complete."""
    for day in (0, 1, 4):
        s3.client.delete_object(Bucket=s3.name, Key=key(day))
    sandbox.add(n=1, at=at(5))
    damage(s3, key(2), lambda body: bytes(body[:-4]))
    gaps = run_task(audit(on_gap="report", verify_content=True), interval=INTERVAL).result["gaps"]

    again = [run_task(operator(**{**options, **gap}), run_id="again", interval=INTERVAL) for gap in gaps]
    complete = run_task(audit(verify_content=True), interval=INTERVAL)

    assert gaps == [span(0, 3), span(4, 6)]
    assert [("success", 3), ("success", 2)] == [(done.state, done.result["objects"]) for done in again]
    assert (complete.state, complete.result["counts"]) == ("success", counts(complete=6))


def test_long_lists_are_cut_and_gaps_are_not(audit, run_task, sandbox):
    """Of 144 hours that are missing, 100 are listed; all are counted, and one gap holds them."""
    hourly = audit(on_gap="report", grain="hour", s3_key="{start}.parquet")

    done = run_task(hourly, interval=INTERVAL)

    assert done.result["counts"] == counts(missing=144)
    assert [f["start"] for f in done.result["missing"]] == [
        f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z" for hour in range(100)
    ]
    assert (done.result["gaps"], len(sandbox.requests)) == ([span(0, DAYS)], 144)
    assert len(json.dumps(done.result)) < 20_000


def test_an_isolated_pair_is_audited_by_its_own_objects(load, audit, run_task, sandbox, s3):
    """Those of the account are neither counted nor taken for it."""
    template = {"s3_key": "{scope}/{start:%Y-%m-%d}.jsonl.gz"}
    for day in range(DAYS):
        sandbox.add(n=3, at=at(day), symbol="币安人生USDT", isolated=True)
        sandbox.add(n=5, at=at(day), symbol="币安人生USDT")
    load(isolated_symbol="币安人生USDT", **template)
    sandbox.clear_log()

    pair = run_task(audit(isolated_symbol="币安人生USDT", **template), interval=INTERVAL)
    account = run_task(audit(on_gap="report", **template), interval=INTERVAL)

    assert (pair.state, pair.result["counts"]) == ("success", counts(complete=6))
    assert account.result["counts"] == counts(missing=6)
    assert [e.params.get("isolatedSymbol") for e in sandbox.requests] == ["币安人生USDT"] * 6 + [None] * 6


def test_long_intervals_are_counted_window_by_window(load, audit, run_task, sandbox, s3):
    """A month in one object is as many requests as it has windows."""
    month = FIRST, datetime(2026, 2, 1, tzinfo=UTC)
    sandbox.add(n=310, at=at(0), step_ms=DAY // 10)
    load(month, grain="month", s3_key="{start:%Y-%m}.csv")
    sandbox.clear_log()

    done = run_task(audit(grain="month", s3_key="{start:%Y-%m}.csv", verify_content=True), interval=month)

    assert (done.state, done.result["counts"], len(sandbox.requests)) == ("success", counts(complete=1), 5)


# When


def test_the_future_is_not_audited(audit, run_task, sandbox):
    """What has not ended cannot be complete."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)

    done = run_task(audit(grain=None), interval=(now - timedelta(hours=1), now + timedelta(hours=2)), retries=3)

    assert (done.state, "ends in the future" in str(done.error)) == ("failed", True)


def test_the_exchanges_clock_decides_what_has_ended(audit, run_task, sandbox, s3):
    """Where this machine's clock is ahead, an interval seems over that is not: it is refused, not found missing."""
    sandbox.clock_offset_ms = -2 * 3_600_000
    end = datetime.now(UTC) - timedelta(minutes=30)

    done = run_task(audit(grain=None), interval=(end - timedelta(hours=3), end), retries=3)

    assert (done.state, "ends in the future" in str(done.error)) == ("failed", True), done.error


def test_an_interval_that_has_just_ended_is_waited_for(audit, run_task, sandbox):
    """Until it counts as closed, by the exchange's clock."""
    end = sandbox.now_ms() // 1000 * 1000
    bounds = [datetime.fromtimestamp(bound / 1000, UTC) for bound in (end - 60_000, end)]

    done = run_task(audit(grain=None, on_gap="report", settle=1.5), interval=bounds)

    assert done.state == "success", done.error
    assert [entry.time for entry in sandbox.requests if entry.path == RECORDS][-1] >= end + 1500


# When others fail


@pytest.mark.parametrize("fault", ["500", "cut", "reset", "no-total"])
def test_the_exchange_is_asked_again(filled, audit, run_task, sandbox, fault):
    """A failure that passes changes nothing."""
    sandbox.fault(fault, skip=2)

    done = run_task(audit(), interval=INTERVAL, retries=3)

    if fault == "no-total":  # an answer that says nothing is none: Airflow may try later
        assert (done.state, "states no total" in str(done.error)) == ("up_for_retry", True)
    else:
        assert (done.state, done.result and done.result["counts"]) == ("success", counts(complete=6)), done.error


def test_a_rejected_key_fails_at_once(filled, audit, run_task, connect):
    """Nothing is said of the lake."""
    connect(login="sandbox-not-a-key")

    done = run_task(audit(on_gap="report"), interval=INTERVAL, retries=3)

    assert (done.state, done.result) == ("failed", None)


def test_a_ban_ends_the_audit(filled, audit, run_task, sandbox):
    """No more is asked than was on its way."""
    sandbox.fault("418", times=None)

    done = run_task(audit(max_workers=1), interval=INTERVAL, retries=3)

    state = "up_for_retry" if has("airflow.sdk.ExceptionRetryPolicy") else "failed"
    assert (done.state, len(sandbox.requests)) == (state, 1)


@pytest.mark.parametrize("on_gap", ["fail", "report"])
@pytest.mark.parametrize("more", [{}, {"verify_content": True}, {"on_empty": "none"}], ids=str)
def test_a_bucket_that_is_not_there_fails_for_good(audit, run_task, sandbox, on_gap, more):
    """That is no gap: nothing is said of the lake, and nothing asked of the exchange."""
    done = run_task(audit(s3_bucket="nowhere-at-all", on_gap=on_gap, **more), interval=INTERVAL, retries=3)

    assert (done.state, done.result, sandbox.requests) == ("failed", None, [])
    assert "s3://nowhere-at-all/" in str(done.error)
    assert "the bucket does not exist" in str(done.error)


@pytest.mark.parametrize(
    ("status", "code", "state"), [(403, "AccessDenied", "failed"), (503, "SlowDown", "up_for_retry")]
)
@pytest.mark.parametrize("verb", ["HEAD", "GET"])
def test_a_store_that_refuses_is_no_gap(filled, audit, run_task, s3_proxy, verb, status, code, state):
    """Nothing is taken for missing or corrupt because it could not be read."""
    s3_proxy(lambda handler: s3_proxy.error(status, code) if handler.command == verb else None)

    done = run_task(audit(verify_content=True, on_gap="report"), interval=INTERVAL, retries=3)

    assert (state, None) == (done.state, done.result), done.error


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"on_gap": "ignore"}, "on_gap must be"),
        ({"on_empty": "fail"}, "on_empty must be"),
        ({"grain": "week"}, "grain must be"),
        ({"s3_key": "x.txt"}, "ends in no known format"),
        ({"max_workers": 0}, "max_workers must be"),
    ],
)
def test_what_could_never_work_is_refused_when_the_dag_is_parsed(audit, wrong, told):
    """As it is for loading."""
    with pytest.raises(ValueError, match=told):
        audit(**wrong)
