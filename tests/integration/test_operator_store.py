"""What the operator does to a bucket, and what it never does to it."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from airflow.sdk import Asset

SSE_C_KEY = "0123456789abcdef0123456789abcdef"


def snapshot(s3):
    return {key: (s3.get(key), s3.metadata(key)) for key in s3}


# Never fewer


def test_an_object_is_never_replaced_by_a_smaller_one(operator, run_task, sandbox, s3, day):
    """The exchange that forgot records makes the task fail for good, naming both counts and the key."""
    sandbox.add(n=250, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    before = snapshot(s3)
    sandbox.clear()
    sandbox.add(n=249, at=day.ms[0])

    done = run_task(operator(), interval=day.interval, clear_number=1, retries=3)

    assert done.state == "failed"
    for said in ("250", "249", f"s3://{s3.name}/{day.key}", "allow_shrink"):
        assert said in str(done.error)
    assert before == snapshot(s3)


@pytest.mark.parametrize("allow", [True, "{{ 'true' }}"], ids=["value", "template"])
def test_allow_shrink_lets_it_be_replaced(operator, run_task, sandbox, s3, day, rows, allow):
    """With allow_shrink, the smaller answer is taken."""
    sandbox.add(n=3, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    sandbox.clear()
    sandbox.add(n=2, at=day.ms[0])

    done = run_task(operator(allow_shrink=allow), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == rows(s3.get(day.key))


@pytest.mark.parametrize("on_empty", ["write", "none", "skip"])
def test_an_empty_answer_replaces_nothing(operator, run_task, sandbox, s3, day, on_empty):
    """An exchange that answers nothing where records were known makes the task fail, whatever on_empty says."""
    sandbox.add(n=3, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    before = snapshot(s3)
    sandbox.clear()

    done = run_task(operator(on_empty=on_empty), interval=day.interval, clear_number=1, retries=3)

    assert done.state == "failed"
    assert "holds 3 records, and the exchange now answers 0" in str(done.error)
    assert before == snapshot(s3)


def test_an_empty_answer_that_is_right_is_written(operator, run_task, sandbox, s3, day, rows):
    """With allow_shrink, an object that held records is emptied and not left standing, whatever on_empty says."""
    sandbox.add(n=3, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    sandbox.clear()

    done = run_task(operator(on_empty="none", allow_shrink=True), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert (rows(s3.get(day.key)), s3.metadata(day.key)["records"]) == ([], "0")


def test_an_empty_object_may_become_full(operator, run_task, sandbox, s3, day, rows):
    """Records that turn up later replace an object that had none."""
    run_task(operator(), interval=day.interval)
    sandbox.add(n=3, at=day.ms[0])

    done = run_task(operator(on_empty="none"), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == rows(s3.get(day.key))


@pytest.fixture
def month(operator, run_task, sandbox):
    """Loads January by days, of which each had two records."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    interval = (first, datetime(2026, 2, 1, tzinfo=UTC))

    def hold(**fewer):
        sandbox.clear()
        for day in range(31):
            at = int((first + timedelta(days=day)).timestamp() * 1000)
            sandbox.add(n=fewer.get(f"day{day + 1}", 2), at=at, step_ms=1000)
        sandbox.clear_log()

    def load(**options):
        run = {name: options.pop(name) for name in ("clear_number", "try_number") if name in options}
        options = {"grain": "day", "s3_key": "{start:%d}.jsonl", **options}
        return run_task(operator(**options), interval=interval, retries=3, **run)

    hold()
    assert load().result["records"] == 62
    return SimpleNamespace(hold=hold, load=load)


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize(
    "fewer", [{"day5": 1}, {"day1": 0, "day31": 1}, {f"day{day}": 1 for day in range(1, 29)}], ids=len
)
def test_objects_that_must_not_shrink_keep_no_others_away(month, sandbox, s3, fewer, workers):
    """All others are loaded; the error names some of those that were not, and the way out that loses nothing first."""
    before = snapshot(s3)
    month.hold(**{f"day{day}": 3 for day in range(1, 32)} | fewer)

    done = month.load(clear_number=1, max_workers=workers)
    after = snapshot(s3)
    sandbox.clear_log()
    kept = month.load(clear_number=2, replace=False)

    text = str(done.error)
    changed = {key for key in after if after[key] != before[key]}
    assert (done.state, len(changed)) == ("failed", 31 - len(fewer))
    assert {s3.metadata(key)["records"] for key in changed} == {"3"}
    assert f"{len(fewer)} of 31 objects could not be loaded, the others are" in text
    assert 0 < text.index("replace=False") < text.index("allow_shrink=True")
    assert text.count(" holds 2 records, and the exchange now answers ") == min(len(fewer), 10)
    assert ("; and 18 more" in text) == (len(fewer) == 28)
    assert len(text) < 3000
    assert (kept.state, kept.result["objects"], sandbox.requests) == ("success", 31, []), kept.error


def test_a_retry_resumes_beside_what_must_stay(month, sandbox, s3):
    """What was loaded before something else failed is not asked for again."""
    month.hold(**{f"day{day}": 3 for day in range(1, 32)} | {"day2": 1})
    sandbox.fault("error", code=-1002, status=401, skip=20)

    first = month.load(clear_number=1, max_workers=1)
    loaded = sum(s3.metadata(key)["records"] == "3" for key in s3)
    sandbox.clear_log()
    second = month.load(clear_number=1, try_number=2)

    assert (first.state, second.state) == ("failed", "failed")
    assert "not authorised" in str(first.error)
    assert "1 of 31 objects" in str(second.error)
    assert loaded >= 15
    assert len(sandbox.requests) == 31 - loaded
    assert sum(s3.metadata(key)["records"] == "3" for key in s3) == 30


def test_what_parquet_cannot_hold_keeps_no_other_object_away(month, sandbox, s3):
    """The record is named, and the days without it are there."""
    sandbox.add({"updatedTime": int(datetime(2026, 1, 9, tzinfo=UTC).timestamp() * 1000), "price": "0.123456789"})

    done = month.load(s3_key="{start:%d}.parquet")

    assert (done.state, sorted(key for key in s3 if key.endswith(".parquet"))) == (
        "failed",
        [f"{day:02d}.parquet" for day in range(1, 32) if day != 9],
    )
    assert "1 of 31 objects could not be loaded" in str(done.error)
    assert "price 0.123456789" in str(done.error) or "0.123456789" in str(done.error)
    assert "allow_shrink" not in str(done.error)


@pytest.mark.parametrize("fault", ["418", "-2015"])
def test_what_concerns_all_ends_all(month, sandbox, s3, fault):
    """A ban or a rejected key is no matter of one object."""
    before = snapshot(s3)
    sandbox.clear_log()
    options = {"code": -2015, "status": 401} if fault == "-2015" else {}
    sandbox.fault("error" if options else fault, times=None, **options)

    done = month.load(clear_number=1, max_workers=1)

    assert done.state in ("failed", "up_for_retry")
    assert "objects could not be loaded" not in str(done.error)
    assert snapshot(s3) == before
    assert len(sandbox.requests) <= (1 if fault == "418" else 4)  # objects are made four side by side


# Never another's


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({}, "something this package did not write"),
        (
            {
                "dataset": "force_liquidation",
                "interval-start": "2026-01-15T00:00:00Z",
                "interval-end": "2026-01-16T00:00:00Z",
                "scope": "BTCUSDT",
            },
            "of scope BTCUSDT",
        ),
        (
            {
                "dataset": "force_liquidation",
                "interval-start": "2026-01-14T00:00:00Z",
                "interval-end": "2026-01-16T00:00:00Z",
                "scope": "account",
                "account": "binance_default",
            },
            "[2026-01-14T00:00:00Z, 2026-01-16T00:00:00Z)",
        ),
        (
            {
                "dataset": "interest_history",
                "interval-start": "2026-01-15T00:00:00Z",
                "interval-end": "2026-01-16T00:00:00Z",
                "scope": "account",
            },
            "interest_history",
        ),
    ],
    ids=["foreign", "other-scope", "other-interval", "other-dataset"],
)
@pytest.mark.parametrize("options", [{}, {"replace": False}, {"allow_shrink": True}], ids=["", "keep", "shrink"])
def test_what_another_wrote_stays(operator, run_task, sandbox, s3, day, metadata, named, options):
    """An object of another interval, scope or origin is neither replaced nor taken for ours; the error names both."""
    s3.put("shared.jsonl", b"theirs", **metadata)
    before = snapshot(s3)

    done = run_task(operator(s3_key="shared.jsonl", **options), interval=day.interval, retries=3)

    assert done.state == "failed"
    for said in ("s3://" + s3.name + "/shared.jsonl", named, "[2026-01-15T00:00:00Z, 2026-01-16T00:00:00Z)"):
        assert said in str(done.error)
    assert before == snapshot(s3)
    assert sandbox.requests == []


@pytest.mark.parametrize("key", ["{start:%Y-%m}.jsonl", "x.jsonl", "{scope}.jsonl"])
def test_two_objects_under_one_key_are_refused_before_anything_is_asked(operator, run_task, sandbox, s3, day, key):
    """A key that does not tell the objects of a run apart fails for good, with no request and no object."""
    done = run_task(operator(s3_key=key, grain="hour"), interval=day.interval, retries=3)

    assert done.state == "failed"
    assert "to more than one interval, [2026-01-15T" in str(done.error)
    assert ([], []) == (sandbox.requests, s3.keys())


# Somebody else writes at the same time


def test_an_object_that_appears_meanwhile_is_noticed(operator, run_task, s3, s3_proxy, day):
    """What another wrote between our look and our put is seen, and left alone since it is not ours."""
    seen = []

    def meddle(handler):
        if handler.command == "PUT" and not seen:
            seen.append(handler.headers["If-None-Match"])
            s3.put("x.jsonl", b"theirs")

    s3_proxy(meddle)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, retries=3)

    assert (["*"], "failed") == (seen, done.state)
    assert "something this package did not write" in str(done.error)
    assert s3.get("x.jsonl") == b"theirs"


def test_an_object_that_grows_meanwhile_is_not_shrunk(operator, run_task, sandbox, s3, s3_proxy, day):
    """A run that read fewer records than another wrote meanwhile does not put its own over them."""
    sandbox.add(n=2, at=day.ms[0])
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    metadata = {**s3.metadata("x.jsonl"), "records": "9"}

    def meddle(handler):
        if handler.command == "PUT" and s3.get("x.jsonl") != b"newer":
            s3.put("x.jsonl", b"newer", **metadata)

    s3_proxy(meddle)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, clear_number=1, retries=3)

    assert done.state == "failed"
    assert "holds 9 records, and the exchange now answers 2" in str(done.error)
    assert s3.get("x.jsonl") == b"newer"


@pytest.mark.parametrize("change", ["appears", "changes", "vanishes"])
def test_a_change_that_may_be_replaced_is_replaced(operator, run_task, sandbox, s3, s3_proxy, day, rows, change):
    """A put that met another state than it had seen looks again and, if it may, puts again."""
    sandbox.add(n=2, at=day.ms[0])
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    metadata, meddled = s3.metadata("x.jsonl"), []
    if change == "appears":
        s3.client.delete_object(Bucket=s3.name, Key="x.jsonl")

    def meddle(handler):
        if handler.command == "PUT" and not meddled:
            meddled.append(1)
            if change == "vanishes":
                s3.client.delete_object(Bucket=s3.name, Key="x.jsonl")
            else:
                s3.put("x.jsonl", b"another", **metadata)

    s3_proxy(meddle)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == rows(s3.get("x.jsonl"))


@pytest.mark.parametrize(
    ("status", "code"), [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict"), (404, "NoSuchKey")]
)
def test_a_key_that_never_rests_is_for_a_retry(operator, run_task, s3_proxy, day, status, code):
    """If others write the key at each try, the task fails in a way that Airflow tries again."""
    s3_proxy(lambda handler: s3_proxy.error(status, code) if handler.command == "PUT" else None)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, retries=3)

    assert done.state == "up_for_retry"
    assert "was changed by somebody else" in str(done.error)


def test_a_store_without_conditions_gets_a_plain_put_and_one_warning(
    operator, run_task, sandbox, s3, s3_proxy, day, caplog
):
    """A store that answers 501 to a condition is written to without, which is told once."""
    puts = []

    def meddle(handler):
        if handler.command == "PUT":
            condition = handler.headers["If-None-Match"] or handler.headers["If-Match"]
            puts.append(condition)
            return s3_proxy.error(501, "NotImplemented") if condition else None
        return None

    s3_proxy(meddle)
    sandbox.add(n=2, at=day.ms[0])

    done = run_task(operator(grain="hour"), interval=day.interval)

    assert done.state == "success", done.error
    assert len(s3.keys()) == 24
    assert puts.count(None) == 24
    warnings = [r for r in caplog.records if "knows no conditional put" in r.getMessage()]
    assert len(warnings) == 1


@pytest.mark.parametrize("attempts", [1, 3], ids=["by-airflow", "by-boto"])
def test_a_put_whose_answer_was_lost(operator, run_task, sandbox, s3, s3_proxy, day, rows, attempts):
    """A put that arrived, though the answer said otherwise, is not mistaken for another's when it is tried again."""
    sandbox.add(n=2, at=day.ms[0])
    lost = []

    def meddle(handler):
        if handler.command == "PUT" and not lost:
            lost.append(s3_proxy.forward(handler))
            return s3_proxy.error(500, "InternalError")
        return None

    s3_proxy(meddle, attempts)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, retries=3)
    if attempts == 1:
        assert done.state == "up_for_retry"
        done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, try_number=2, retries=3)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == rows(s3.get("x.jsonl"))


# How it is put


def test_extra_arguments_reach_s3(operator, run_task, s3, day):
    """Encryption, storage class, ACL and metadata of the user's own are handed to S3, beside our metadata."""
    extra = {
        "ServerSideEncryption": "AES256",
        "StorageClass": "STANDARD_IA",
        "ACL": "public-read",
        "Metadata": {"team": "risk"},
        "CacheControl": "no-store",
    }

    done = run_task(operator(s3_extra_args=extra), interval=day.interval)

    assert done.state == "success", done.error
    head = s3.client.head_object(Bucket=s3.name, Key=day.key)
    assert ("AES256", "STANDARD_IA", "no-store") == (
        head["ServerSideEncryption"],
        head["StorageClass"],
        head["CacheControl"],
    )
    assert ("risk", "cross") == (head["Metadata"]["team"], head["Metadata"]["scope"])
    grants = s3.client.get_object_acl(Bucket=s3.name, Key=day.key)["Grants"]
    assert any(grant["Grantee"].get("URI", "").endswith("AllUsers") for grant in grants)


@pytest.mark.parametrize("name", ["records", "Records", "SCOPE", "Account", "attempt", "Body-Size"])
def test_metadata_of_the_users_own_cannot_fake_the_proof(operator, run_task, sandbox, s3, day, name):
    """Names that the proof uses stay ours, in whatever case they are given."""
    sandbox.add(n=2, at=day.ms[0])

    done = run_task(operator(s3_extra_args={"Metadata": {name: "7"}}), interval=day.interval)

    assert done.state == "success", done.error
    assert ("2", "cross") == (s3.metadata(day.key)["records"], s3.metadata(day.key)["scope"])


def test_extra_arguments_that_s3_does_not_have_are_told(operator, run_task, s3, day):
    """A misspelt argument is an error that says so, not a retry, and does not blame the store's conditions."""
    done = run_task(operator(s3_extra_args={"StorageKlass": "X"}), interval=day.interval, retries=3)

    assert done.state == "failed"
    assert "s3_extra_args" in str(done.error)
    assert s3.keys() == []


def test_a_misspelt_argument_is_not_taken_for_a_store_without_conditions(operator, run_task, day, caplog):
    """What boto itself refuses says nothing about the store."""
    run_task(operator(s3_extra_args={"StorageKlass": "X"}), interval=day.interval)

    assert "conditional" not in caplog.text


# Where it is put


def test_a_full_url_names_bucket_and_key(operator, run_task, s3, day):
    """An s3:// URL as the key needs no bucket beside it."""
    done = run_task(operator(s3_bucket=None, s3_key=f"s3://{s3.name}/a/{{start}}.jsonl"), interval=day.interval)

    assert done.state == "success", done.error
    assert ["a/20260115T000000Z.jsonl"] == s3.keys()


@pytest.mark.parametrize("folder", ["a b+c%20", "über/日本", "x=1&y=2?#"])
def test_a_key_may_hold_any_letters(operator, run_task, s3, day, folder):
    """Blanks, signs and letters of all scripts stand in the key as they were given."""
    for _ in range(2):
        done = run_task(operator(s3_key=f"{folder}/{{start}}.jsonl"), interval=day.interval, clear_number=5)

    assert done.state == "success", done.error
    assert [f"{folder}/20260115T000000Z.jsonl"] == s3.keys() == done.result["keys"]


@pytest.mark.parametrize("run_id", ["manual__ü ✓", " blanks ", "100%"])
def test_any_run_id_can_stand_in_the_metadata(operator, run_task, s3, day, run_id):
    """A run may be called what its user likes."""
    done = run_task(operator(), interval=day.interval, run_id=run_id)

    assert done.state == "success", done.error
    assert unquote(s3.metadata(day.key)["run-id"]).strip() == run_id.strip()


def test_the_bucket_may_be_the_connections(operator, run_task, connect, s3, day):
    """Without a bucket, the one that the AWS connection names for S3 is taken."""
    extra = {**json.loads(s3.connection()["extra"]), "service_config": {"s3": {"bucket_name": s3.name}}}
    connect(aws={**s3.connection(), "extra": json.dumps(extra)})

    done = run_task(operator(s3_bucket=None), interval=day.interval)

    assert done.state == "success", done.error
    assert [day.key] == s3.keys()


def test_one_object_that_must_stay_fails_the_run_and_keeps_none_of_the_others_away(
    operator, run_task, sandbox, s3, day
):
    """All others are whole, nothing is told to the outlets, and the error says how many and which."""
    taken = "20260115T120000Z.jsonl.gz"
    s3.put(taken, b"theirs")
    sandbox.add(n=48, at=day.ms[0], step_ms=1_800_000)
    asset = Asset(name="liquidations", uri="s3://lake/liquidations")

    done = run_task(
        operator(grain="hour", s3_key="{start}.jsonl.gz", outlets=[asset]), interval=day.interval, retries=3
    )

    assert ("failed", b"theirs") == (done.state, s3.get(taken))
    assert [2] * 23 == [len(gzip.decompress(s3.get(key)).splitlines()) for key in s3 if key != taken]
    assert "1 of 24 objects could not be loaded, the others are" in str(done.error)
    assert f"s3://{s3.name}/{taken} holds something this package did not write" in str(done.error)
    assert "allow_shrink" not in str(done.error)
    assert not (done.final or {}).get("outlet_events")
