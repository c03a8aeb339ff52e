"""An object is one account's, and one run's: it is never taken for another's, nor put in another's place."""

from __future__ import annotations

import pytest
from airflow.sdk import Asset

KEY = "{start}.jsonl"
AT = "20260115T000000Z.jsonl"


@pytest.fixture
def accounts(sandbox, connect, api):
    """Two connections; as two accounts of one exchange, which the sandbox fills one after the other."""
    api.conns["a"] = api.conns["b"] = connect()

    def hold(n, at):
        sandbox.clear()
        sandbox.add(n=n, at=at)
        sandbox.clear_log()

    return hold


def snapshot(s3):
    return {key: (s3.get(key), s3.metadata(key)) for key in s3}


def without_account(metadata, **more):
    """What an object stated of itself before accounts were told apart."""
    old = {name: value for name, value in metadata.items() if name not in ("account", "attempt", "rows", "body-size")}
    return {**old, "scope": "account" if old["scope"] == "cross" else old["scope"], **more}


# Whose it is


@pytest.mark.parametrize(("first", "second"), [(5, 3), (5, 5), (3, 5), (0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("same_run", [True, False], ids=["one run", "another run"])
@pytest.mark.parametrize("more", [{}, {"replace": False}, {"allow_shrink": True}, {"on_empty": "none"}], ids=str)
def test_two_accounts_under_one_key(operator, run_task, sandbox, s3, day, accounts, first, second, same_run, more):
    """The second fails for good, whatever the options; no text says how to destroy the first one's."""
    accounts(first, day.ms[0])
    run_task(operator(s3_key=KEY, binance_conn_id="a"), interval=day.interval, map_index=0)
    before = snapshot(s3)
    accounts(second, day.ms[0])

    run_id = "scheduled__1" if same_run else "scheduled__2"
    task = operator(s3_key=KEY, binance_conn_id="b", **more)
    done = run_task(task, interval=day.interval, retries=3, map_index=1, run_id=run_id)

    assert (done.state, snapshot(s3)) == ("failed", before)
    assert len(sandbox.requests) <= more.get("replace", True)  # its one page, asked for while S3 is connected to
    assert all(said in str(done.error) for said in ("account a", "account b", "{account}", f"/{AT}"))
    assert "allow_shrink" not in str(done.error)
    assert "{start}" not in str(done.error)


@pytest.mark.parametrize("key", [None, "{account}/{start}.csv", "{dataset}-{account}-{scope}-{start}.parquet"])
def test_accounts_have_keys_of_their_own(operator, run_task, sandbox, s3, day, accounts, key):
    """By default, and wherever the key says so."""
    results = []
    for number, conn_id in enumerate(("a", "b"), 3):
        accounts(number, day.ms[0])
        results.append(run_task(operator(s3_key=key, binance_conn_id=conn_id), interval=day.interval).result)

    assert [(result["account"], result["records"]) for result in results] == [("a", 3), ("b", 4)]
    assert sorted(s3.keys()) == sorted(key for result in results for key in result["keys"])
    assert {s3.metadata(key)["account"] for key in s3} == {"a", "b"}


@pytest.mark.parametrize("account", ["fund", "币安", "{{ params.name }}"])
def test_an_account_may_have_a_name(operator, run_task, sandbox, s3, day, accounts, account):
    """Which outlives its connection, may be a template, and stands in key, result and event."""
    accounts(2, day.ms[0])
    asset = Asset(name="lake", uri="s3://lake/x")
    name = "fund" if "{{" in account else account
    options = {"account": account, "s3_key": "{account}.jsonl", "params": {"name": "fund"}, "outlets": [asset]}

    done = run_task(operator(binance_conn_id="a", **options), interval=day.interval)
    (event,) = done.final["outlet_events"]
    moved = run_task(operator(binance_conn_id="b", **options), interval=day.interval, clear_number=1)

    assert (done.state, moved.state, s3.keys()) == ("success", "success", [f"{name}.jsonl"]), moved.error
    said = {"dataset": "force_liquidation", "account": name, "scope": "cross", "bucket": s3.name}
    assert said.items() <= done.result.items()
    assert said.items() <= event["extra"].items()


@pytest.mark.parametrize(
    ("changed", "cure"),
    [
        ({"account": "other"}, "{account}"),
        ({"scope": "BTCUSDT"}, "{scope}"),
        ({"dataset": "interest"}, "{dataset}"),
        ({"interval-start": "2026-01-14T00:00:00Z"}, "{start}"),
        ({"interval-end": "2026-01-17T00:00:00Z"}, "{end}"),
        ({"scope": "BTCUSDT", "account": "other"}, "{scope} and {account}"),
    ],
)
def test_the_cure_names_what_the_key_lacks(operator, run_task, s3, day, changed, cure):
    """And nothing else."""
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    s3.put("x.jsonl", b"theirs", **{**s3.metadata("x.jsonl"), **changed})

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, clear_number=1, retries=3)

    assert (done.state, s3.get("x.jsonl")) == ("failed", b"theirs")
    assert f"Let s3_key hold {cure}, or name another place." in str(done.error)


# From before accounts were told apart


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("new", [5, 6])
def test_an_object_that_does_not_state_its_account_is_loaded_again(
    operator, run_task, sandbox, s3, day, rows, told, replace, new
):
    """It is never taken for done, is warned of, and gives way to as many records or more."""
    sandbox.add(n=5, at=day.ms[0])
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    s3.put("x.jsonl", s3.get("x.jsonl"), **without_account(s3.metadata("x.jsonl")))
    sandbox.add(n=new - 5, at=day.ms[0] + 99)
    sandbox.clear_log()

    done = run_task(operator(s3_key="x.jsonl", replace=replace), interval=day.interval, try_number=2, retries=0)

    assert (done.state, done.result["records"], len(sandbox.requests)) == ("success", new, 1), done.error
    assert sandbox.records(*day.ms) == rows(s3.get("x.jsonl"))
    assert (s3.metadata("x.jsonl")["account"], s3.metadata("x.jsonl")["scope"]) == ("binance_default", "cross")
    assert "does not state its account" in told()


@pytest.mark.parametrize("more", [{}, {"replace": False}, {"allow_shrink": True}], ids=str)
@pytest.mark.parametrize("new", [0, 4])
def test_an_object_that_does_not_state_its_account_never_shrinks(operator, run_task, sandbox, s3, day, more, new):
    """It may be another account's, so that no option destroys it."""
    sandbox.add(n=5, at=day.ms[0])
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    s3.put("x.jsonl", s3.get("x.jsonl"), **without_account(s3.metadata("x.jsonl")))
    before = snapshot(s3)
    sandbox.clear()
    sandbox.add(n=new, at=day.ms[0])

    done = run_task(operator(s3_key="x.jsonl", **more), interval=day.interval, clear_number=1, retries=3)

    assert (done.state, snapshot(s3)) == ("failed", before)
    assert "may be another account's" in str(done.error)
    assert "allow_shrink" not in str(done.error)


# Which run wrote it


@pytest.mark.parametrize(
    "other",
    [
        {"started": "2026-11-22T00:00:00.000001Z"},
        {"run_after": "2026-11-22T00:00:00.000001Z"},
        {"run_id": "scheduled__2"},
        {"clear_number": 1},
        {"retries": 7},
        {"map_index": 0},
        {"task_id": "another"},
        {"try_number": 1},
    ],
    ids=["made again", "dag.test", "another run", "cleared", "task cleared", "mapped", "another task", "first try"],
)
def test_what_another_wrote_is_not_this_runs(operator, run_task, sandbox, s3, day, other):
    """A run that was deleted and made again, or a fresh metadata database, loads again what has come since."""
    sandbox.add(n=20, at=day.ms[0])
    run_task(operator(), interval=day.interval, retries=3)
    sandbox.add(n=7, at=day.ms[0] + 999)
    task_id, run = other.pop("task_id", "load"), {"try_number": 2, "retries": 3, **other}

    done = run_task(operator(task_id=task_id), interval=day.interval, **run)
    again = run_task(operator(task_id=task_id), interval=day.interval, **{**run, "try_number": 2})

    assert (done.result["requests"], done.result["records"]) == (1, 27), done.error
    assert (again.result["requests"], again.result["records"]) == (0, 27), again.error


def test_a_run_that_was_deferred_knows_its_own_objects(operator, run_task, sandbox, s3, day):
    """Its try is still the first."""
    sandbox.add(n=20, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    sandbox.clear_log()

    done = run_task(operator(), interval=day.interval, next_method="execute_complete", next_kwargs={"event": "x"})

    assert (done.state, done.result["records"], sandbox.requests) == ("success", 20, []), done.error


# What an object holds


def test_rows_and_records_are_stated_apart(operator, run_task, sandbox, s3, day, rows):
    """A row that was seen twice, differently, blocks no later answer that has it once."""
    sandbox.add(n=10, at=day.ms[0])
    sandbox.fault("twin", times=None)
    twins = run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    stated = s3.metadata("x.jsonl")
    lines = len(rows(s3.get("x.jsonl")))
    sandbox.clear_faults()

    clean = run_task(operator(s3_key="x.jsonl"), interval=day.interval, clear_number=1, retries=3)

    assert (twins.state, stated["records"], stated["rows"], stated["total"]) == ("success", "10", str(lines), "10")
    assert (twins.result["records"], lines) == (10, 11)
    assert (clean.state, s3.metadata("x.jsonl")["rows"]) == ("success", "10"), clean.error


@pytest.mark.parametrize("more", [{}, {"replace": False}, {"on_empty": "none"}], ids=str)
@pytest.mark.parametrize("n", [0, 3])
def test_an_object_of_another_size_than_it_states_is_not_done(operator, run_task, sandbox, s3, day, rows, more, n):
    """It was damaged, or the store keeps its own marks among the bytes."""
    sandbox.add(n=n, at=day.ms[0])
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    s3.put("x.jsonl", b"1f;chunk-signature=", **s3.metadata("x.jsonl"))

    done = run_task(operator(s3_key="x.jsonl", **more), interval=day.interval, try_number=2)

    assert (done.state, done.result["requests"]) == ("success", 1), done.error
    assert sandbox.records(*day.ms) == rows(s3.get("x.jsonl"))


@pytest.mark.parametrize("more", [{}, {"replace": False}, {"on_empty": "none"}, {"grain": "day"}], ids=str)
@pytest.mark.parametrize("n", [0, 2])
def test_a_damaged_object_that_cannot_be_made_again_stays(operator, run_task, sandbox, s3, day, more, n):
    """What is left of it may be all there is; the way out is none that would take it for done or destroy it."""
    sandbox.add(n=3, at=day.ms[0])
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    s3.put("x.jsonl", s3.get("x.jsonl")[:-9], **s3.metadata("x.jsonl"))
    before = snapshot(s3)
    sandbox.clear()
    sandbox.add(n=n, at=day.ms[0])

    done = run_task(operator(s3_key="x.jsonl", **more), interval=day.interval, try_number=2, retries=3)

    assert (done.state, snapshot(s3)) == ("failed", before)
    assert all(
        said in str(done.error) for said in ("is damaged", "3 records", f"answers {n}", "restore", "move it away")
    )
    assert not any(said in str(done.error) for said in ("replace=False", "allow_shrink"))
