"""Progress of a run: what is counted, told, refused and given up."""

import logging
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.exchange.errors import BinanceIncompleteError
from airflow_provider_binance_margin.failures import LakeError, ObjectStaysError
from airflow_provider_binance_margin.lake.interval import DAY_MS, Interval
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity
from airflow_provider_binance_margin.transfers import progress as module
from airflow_provider_binance_margin.transfers.object_loader import MOST_INCOMPLETE, ObjectResult
from airflow_provider_binance_margin.transfers.progress import Progress


def identity(day=0, dataset="interest", scope="cross"):
    return ObjectIdentity(dataset, Interval(day * DAY_MS, (day + 1) * DAY_MS), scope, "main")


def loaded(key="a/b.jsonl", records=2, **more):
    return ObjectResult(key, records, **{"requests": 1, "size": 10, **more})


def refused(error):
    return ObjectResult(None, 0, refused=error)


@pytest.fixture
def metrics(monkeypatch):
    sent = []
    monkeypatch.setattr(module, "send_metric", lambda *metric: sent.append(metric))
    return sent


def test_all_is_counted_once():
    """An object that was there already counts as one, what was not written only as asked for."""
    progress = Progress("lake", 4)
    for result in (loaded("x/2"), loaded("x/1", 3, requests=4), loaded("x/3", requests=0), loaded(None, 0, size=0)):
        progress.add(result, identity())

    assert progress.done == 4
    assert progress.result() == {
        "records": 7,
        "objects": 3,
        "requests": 6,
        "bytes": 30,
        "uri": "s3://lake/x/",
        "keys": ["x/1", "x/2", "x/3"],
    }


def test_records_are_told_by_dataset_where_there_are_several():
    progress = Progress("lake", 2)
    progress.add(loaded(records=3), identity())
    assert "records_of" not in progress.result()

    progress.add(loaded(records=4), identity(dataset="borrow"))
    assert progress.result()["records_of"] == {"interest": 3, "borrow": 4}


def test_a_hundred_keys_are_named_and_all_objects_counted():
    progress = Progress("lake", 150)
    for number in reversed(range(150)):
        progress.add(loaded(f"x/{number:03}"), identity(number))

    result = progress.result()
    assert (result["objects"], result["keys"]) == (150, [f"x/{number:03}" for number in range(100)])


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ([], ""),
        (["a/b/c.csv"], "a/b/c.csv"),
        (["c.csv"], "c.csv"),
        (["a/b/c.csv", "a/b/d.csv"], "a/b/"),
        (["a/b/c.csv", "a/d/c.csv"], "a/"),
        (["a/bc/c.csv", "a/bd/c.csv"], "a/"),
        (["a/c.csv", "c.csv"], ""),
        (["a/c.csv", "b/c.csv"], ""),
    ],
)
def test_the_uri_is_the_object_or_the_folder_of_all(keys, place):
    progress = Progress("lake", 5)
    for key in keys:
        progress.add(loaded(key), identity())

    assert progress.result()["uri"] == f"s3://lake/{place}"


@pytest.mark.parametrize("expected", [1, 2, 3])
def test_objects_are_told_one_by_one_and_folded_where_they_are_several(caplog, expected):
    """The only object of a run is named by the last line of its task."""
    caplog.set_level(logging.INFO)
    progress = Progress("lake", expected)
    progress.add(loaded("x/1", 1234), identity())
    if expected == 3:
        progress.add(loaded("x/2", requests=0), identity())
    progress.log_objects()
    progress.log_objects()

    lines = ["1,234 records: s3://lake/x/1", "2 records, there already: s3://lake/x/2"]
    folded = ["::group::2 objects", *lines, "::endgroup::"]
    assert caplog.messages == {1: [], 2: lines[:1], 3: folded}[expected]


def test_progress_is_told_every_ten_seconds(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    progress = Progress("lake", 5)
    progress._began = progress._logged_at = 100.0
    for second in (105.0, 110.0, 115.0, 120.0):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda now=second: now))
        progress.add(loaded(None, 15, size=0), identity())

    assert caplog.messages == [
        "2 of 5 objects, 30 records, 0.2 objects a second, about 15 s left.",
        "4 of 5 objects, 60 records, 0.2 objects a second, about 5 s left.",
    ]


def test_metrics_count_what_was_loaded_and_not_what_was_there(metrics):
    progress = Progress("lake", 4)
    for result in (loaded(), loaded(requests=0), loaded(None), refused(LakeError("no"))):
        progress.add(result, identity())

    tags = {"dataset": "interest", "account": "main", "scope": "cross"}
    assert metrics == [("incr", "objects", 1, tags), ("incr", "records", 2, tags)]


def test_the_lag_is_that_of_the_last_interval_that_is_there(metrics):
    """Of each subject by itself, in whatever order they come; what was refused is not there."""
    progress = Progress("lake", 5)
    for day in (1, 2, 0):
        progress.add(loaded(requests=0), identity(day))
    progress.add(loaded(None, requests=0), identity(4, scope="BTCUSDT"))
    progress.add(refused(LakeError("no")), identity(9))
    progress.send_lags(5 * 86_400 + 60.0)

    assert [(kind, name, lag, tags["scope"]) for kind, name, lag, tags in metrics] == [
        ("gauge", "lag", 2 * 86_400 + 60.0, "cross"),
        ("gauge", "lag", 60.0, "BTCUSDT"),
    ]


@pytest.mark.parametrize("symbols", [50, 51, 60])
def test_the_greatest_symbols_are_told_and_the_rest_summed(symbols):
    progress = Progress("lake", 2)
    counts = {f"S{number:02}": 100 - number // 2 for number in range(symbols)}
    for share in (dict(list(counts.items())[1:]), {"S00": 100}):
        progress.add(loaded(symbols=share), identity())

    shown = dict(list(counts.items())[:50])
    rest = {"other": sum(counts.values()) - sum(shown.values())} if symbols > 50 else {}
    (found,) = progress.greatest_symbols().values()
    assert list(found.items()) == list((shown | rest).items())


def test_nothing_is_raised_where_nothing_was_refused():
    progress = Progress("lake", 2)
    progress.add(loaded(), identity())
    progress.raise_refused()


@pytest.mark.parametrize("error", [LakeError("foreign"), ObjectStaysError("seen", "cure"), BinanceIncompleteError("x")])
def test_the_only_object_fails_with_its_own_error(error, caplog):
    progress = Progress("lake", 1)
    progress.add(refused(error), identity())

    with pytest.raises(type(error)) as raised:
        progress.raise_refused()
    assert raised.value is error
    assert not caplog.messages  # the task's own error tells it


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("number", [1, 10, 11, 13])
@pytest.mark.parametrize("incomplete", [0, 1])
def test_what_was_refused_is_told_together_and_each_cure_once(number, incomplete, is_whole):
    """Ten at most; where another try may help, the error is one that is retried."""
    progress = Progress("lake", number + incomplete + 1 + (not is_whole))
    progress.add(loaded(), identity())
    for day in range(number):
        progress.add(refused(ObjectStaysError(f"s3://{day:02} is another's", "Choose another key")), identity(day))
    for _ in range(incomplete):
        progress.add(refused(BinanceIncompleteError("z moves")), identity())

    with pytest.raises((LakeError, BinanceIncompleteError)) as raised:
        progress.raise_refused()
    named = [f"s3://{day:02} is another's" for day in range(number)] + ["z moves"] * incomplete
    more = f"; and {len(named) - 10} more" if len(named) > 10 else ""
    others = "the others are" if is_whole else "and the run was given up"
    assert type(raised.value) is (BinanceIncompleteError if incomplete else LakeError)
    assert str(raised.value) == (
        f"{len(named)} of {progress.expected} objects could not be loaded, {others}. Choose another key"
        f" Not loaded: {'; '.join(named[:10])}{more}"
    )


@pytest.mark.parametrize("expected", [1, 2, 3])
def test_a_reason_is_logged_at_once_where_there_are_others(caplog, expected):
    progress = Progress("lake", expected)
    progress.add(refused(LakeError("foreign")), identity())

    assert caplog.messages == ["Object not loaded, continuing with the others: foreign"] * (expected > 1)


def test_a_reason_is_logged_once_and_a_hundred_at_most(caplog):
    progress = Progress("lake", 300)
    same = LakeError("the same")
    for error in (same, same, *(LakeError(str(number)) for number in range(200))):
        progress.add(refused(error), identity())

    assert caplog.messages[0] == "Object not loaded, continuing with the others: the same"
    assert len(caplog.messages) == len(set(caplog.messages)) == 99  # of a hundred, one came twice


@pytest.mark.parametrize("has_several_series", [True, False])
def test_an_exchange_in_trouble_is_left_alone(has_several_series):
    """Unless the trouble may be one dataset's: those are given up one by one."""
    progress = Progress("lake", 100, has_several_series=has_several_series)
    for day in range(MOST_INCOMPLETE):
        progress.add(refused(BinanceIncompleteError("moves")), identity(day))
    progress.add(refused(LakeError("stays")), identity())

    if has_several_series:
        progress.add(refused(BinanceIncompleteError("moves")), identity())
    else:
        with pytest.raises(BinanceIncompleteError, match="and the run was given up"):
            progress.add(refused(BinanceIncompleteError("moves")), identity())
