"""What an object states about itself: readable for everybody, exact for us, small enough for S3."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_margin.lake.interval import Interval
from airflow_provider_binance_margin.lake.object_metadata import (
    Existing,
    ObjectIdentity,
    Run,
    object_metadata,
    whose,
)

SUBJECT = ObjectIdentity("force_liquidation", Interval(1_768_435_200_000, 1_768_521_600_000), "cross", "main")
RUN = Run("scheduled__2026-01-16T00:00:00+00:00", 0, "a_dag", "load", 3, "2026-01-16 00:00:01.5+00:00", 2)
STATED = {
    "records": 352,
    "rows": 353,
    "total": 352,
    "proof": "total",
    "sha256": "ab" * 32,
    "body_sha256": "cd" * 32,
    "body_size": 4711,
    "first": 1_768_435_200_000,
    "last": 1_768_521_599_999,
    "fetched_at": 1_768_525_200_123,
    "provider_version": "0.1.0",
}
#: of what tells RUN from all others: the same for all versions, since another one may do the retry
ATTEMPT = hashlib.sha256(
    b'["a_dag", "scheduled__2026-01-16T00:00:00+00:00", "load", 3, "2026-01-16 00:00:01.5+00:00", 2, 0]'
).hexdigest()
WEIRD = [
    "手动触发__2026", "a\nb\r\nX-Evil: 1", "100%", "%41", "a b", " a ", "tab\tx", "\\back\\slash", 'quo"te', "é",
    "\x00\x7f", "a  b", "+&=?#/", "🎉", "",
]  # fmt: skip


def metadata(subject=SUBJECT, run=RUN, **stated):
    return object_metadata(subject, run, **{**STATED, **stated})


def as_s3_gives_it_back(sent):
    """Over HTTP: white space around a value is lost, inside it may become one blank, and names are in lower case."""
    return {name.lower(): " ".join(value.split()) for name, value in sent.items()}


def test_what_an_object_states():
    """These names and forms are what audits read: they must never change."""
    assert metadata() == {
        "dataset": "force_liquidation",
        "interval-start": "2026-01-15T00:00:00Z",
        "interval-end": "2026-01-16T00:00:00Z",
        "scope": "cross",
        "account": "main",
        "dag-id": "a_dag",
        "run-id": "scheduled__2026-01-16T00:00:00+00:00",
        "clear-number": "0",
        "attempt": ATTEMPT,
        "records": "352",
        "rows": "353",
        "total": "352",
        "proof": "total",
        "records-sha256": "ab" * 32,
        "body-sha256": "cd" * 32,
        "body-size": "4711",
        "first-updated-time": "2026-01-15T00:00:00Z",
        "last-updated-time": "2026-01-15T23:59:59.999Z",
        "fetched-at": "2026-01-16T01:00:00.123Z",
        "provider-version": "0.1.0",
    }


def test_an_empty_object_states_no_times():
    """And epoch is a time."""
    empty = metadata(records=0, total=0, first=None, last=None)

    assert (empty["first-updated-time"], empty["last-updated-time"]) == ("", "")
    assert metadata(first=0)["first-updated-time"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("text", WEIRD, ids=ascii)
def test_whatever_the_names_the_metadata_are_plain_ascii_and_come_back(text):
    """Nothing in a name can end a header, be lost on the way, or be taken for another name."""
    subject, run = replace(SUBJECT, scope=text, account=text), replace(RUN, run_id=text, task_id=text)

    sent = metadata(subject, run)
    received = as_s3_gives_it_back(sent)

    assert all(value.isascii() and (value.isprintable() or not value) for value in sent.values())
    assert received == sent
    assert [unquote(received[name]) for name in ("scope", "account", "run-id")] == [text] * 3
    assert subject.describes(received)
    assert run.wrote(received)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(WEIRD)


@given(names, names)
def test_two_names_are_never_one(one, other):
    """Not by encoding: an object of one scope or run is never taken for another's."""
    ours = as_s3_gives_it_back(metadata(replace(SUBJECT, scope=one, account=one), replace(RUN, run_id=one)))

    assert replace(SUBJECT, scope=other, account=one).describes(ours) is (one == other)
    assert replace(SUBJECT, scope=one, account=other).describes(ours) is (one == other)
    assert replace(RUN, run_id=other).wrote(ours) is (one == other)


@pytest.mark.parametrize(
    "run_id",
    ["a" * 250, "手" * 250, "🎉" * 250, "%" * 250, "\n" * 250, "🎉" * 9999],
    ids=["ASCII", "Chinese", "emoji", "percent signs", "line breaks", "endless"],
)
def test_the_metadata_fit_into_s3(run_id):
    """S3 takes 2 KB of names and values in all; a run's name may have 250 letters of any script."""
    run = replace(RUN, run_id=run_id, dag_id=run_id, task_id=run_id, clear_number=10**6)
    bounds = Interval(1_768_435_200_001, 1_768_521_600_001)
    longest = metadata(
        replace(SUBJECT, scope="币安人生" * 5 + "USDT", account="币" * 22, interval=bounds),
        run,
        records=10**12,
        rows=10**12,
        total=10**12,
        body_size=10**15,
        first=1,
        provider_version="10.10.10.dev10+g0123456789",
    )

    assert sum(len(name) + len(value) for name, value in longest.items()) <= 2048 - 256
    assert run.wrote(longest)
    assert not replace(run, run_id=run_id + "x").wrote(longest)


def test_a_run_id_that_fits_is_there_to_be_read():
    """Airflow's longest in ASCII is shown as it is."""
    assert metadata(run=Run("a" * 250, 0))["run-id"] == "a" * 250


def test_an_id_that_would_not_fit_is_known_by_its_checksum():
    """In a form that never changes: another version of this package finds the run's own object by it."""
    names = ["a" * 250, "a" * 251, "手" * 27, "手" * 28]

    assert [metadata(run=Run(name, 0))["run-id"] for name in names] == [
        names[0],
        "sha256:" + hashlib.sha256(names[1].encode()).hexdigest(),
        "%E6%89%8B" * 27,
        "sha256:" + hashlib.sha256(names[3].encode()).hexdigest(),
    ]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(SUBJECT, dataset="interest"), id="dataset"),
        pytest.param(replace(SUBJECT, scope="BTCUSDT"), id="scope"),
        pytest.param(replace(SUBJECT, scope="Cross"), id="case"),
        pytest.param(replace(SUBJECT, scope="account"), id="scope of old"),
        pytest.param(replace(SUBJECT, account="other"), id="account"),
        pytest.param(replace(SUBJECT, account="Main"), id="case of an account"),
        pytest.param(replace(SUBJECT, interval=Interval(SUBJECT.interval.start + 1, SUBJECT.interval.end)), id="start"),
        pytest.param(replace(SUBJECT, interval=Interval(SUBJECT.interval.start, SUBJECT.interval.end + 1)), id="end"),
    ],
)
def test_an_object_is_about_one_subject(other):
    """Dataset, interval to the millisecond, scope and account."""
    assert SUBJECT.describes(metadata())
    assert not other.describes(metadata())
    assert not other.may_describe(metadata())


@pytest.mark.parametrize("missing", ["dataset", "interval-start", "interval-end", "scope", "account"])
def test_what_does_not_say_it_all_is_another_object(missing):
    """Nothing is guessed."""
    assert not SUBJECT.describes({name: value for name, value in metadata().items() if name != missing})
    assert not SUBJECT.describes({**metadata(), missing: ""})
    assert not SUBJECT.describes({})


@pytest.mark.parametrize(
    ("run", "wrote"),
    [
        pytest.param(RUN, True, id="a retry"),
        pytest.param(replace(RUN, clear_number=1), False, id="cleared since"),
        pytest.param(replace(RUN, max_tries=4), False, id="the task alone cleared since"),
        pytest.param(replace(RUN, run_id="scheduled__2026-01-17"), False, id="another run"),
        pytest.param(replace(RUN, dag_id="another"), False, id="another DAG's run of that name"),
        pytest.param(replace(RUN, task_id="another"), False, id="another task of the run"),
        pytest.param(replace(RUN, map_index=4), False, id="another of the mapped tasks"),
        pytest.param(replace(RUN, started="2026-01-16 00:00:02+00:00"), False, id="the run deleted and made again"),
        pytest.param(replace(RUN, is_first_try=True), False, id="the first try of a run that looks the same"),
        pytest.param(replace(RUN, clear_number=None), False, id="an Airflow that does not count clears"),
        pytest.param(replace(RUN, started=""), False, id="an Airflow that does not say when"),
    ],
)
def test_only_a_retry_is_spared_what_is_done(run, wrote):
    """A run that was cleared, or one of whose clears nothing is known, loads again."""
    assert run.wrote(metadata()) is wrote


def test_unknown_clears_are_never_taken_for_known_ones():
    """Nor for each other."""
    unknown = replace(RUN, clear_number=None)

    assert metadata(run=unknown)["clear-number"] == ""
    assert not unknown.wrote(metadata(run=unknown))
    assert not RUN.wrote(metadata(run=unknown))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("352", 352), ("0", 0), ("007", 7), ("", 0), ("-1", 0), ("1.5", 0), ("many", 0), ("٣", 0), ("²", 0), (" 5", 0),
     ("1_0", 0), ("0x10", 0), ("9" * 5000, 0), ("1e3", 0), (str(10**12), 10**12)],
    ids=lambda value: ascii(value)[:12],
)  # fmt: skip
def test_how_many_records_an_object_says_it_holds(text, expected):
    """What is no number says nothing."""
    assert Existing("", 0, {"records": text}).records == expected


def test_an_object_without_a_number_says_nothing():
    """It may be replaced by anything."""
    assert Existing("", 0, {}).records == 0


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        pytest.param({}, "something this package did not write", id="foreign"),
        pytest.param({"scope": "a"}, "something this package did not write", id="no interval"),
        pytest.param({"interval-start": "x"}, "? [x, ?) of scope ?, account ?", id="half of ours"),
        pytest.param(
            SUBJECT.as_metadata(),
            "force_liquidation [2026-01-15T00:00:00Z, 2026-01-16T00:00:00Z) of scope cross, account main",
            id="ours",
        ),
        pytest.param(
            replace(SUBJECT, scope="币安人生USDT").as_metadata(),
            "force_liquidation [2026-01-15T00:00:00Z, 2026-01-16T00:00:00Z) of scope 币安人生USDT, account main",
            id="Chinese",
        ),
    ],
)
def test_whose_an_object_is_in_words(given_, words):
    """For the error that says why it stays."""
    assert whose(given_) == words


def old(scope, **more):
    """An object's metadata from before accounts were told apart."""
    return {name: value for name, value in metadata().items() if name != "account"} | {"scope": scope} | more


@pytest.mark.parametrize(
    ("given_", "may"),
    [
        pytest.param(old("account"), True, id="cross, as it was called"),
        pytest.param(old("cross"), True, id="cross, as it is called"),
        pytest.param(old("BTCUSDT"), False, id="a pair"),
        pytest.param(old("account", dataset="interest"), False, id="another dataset"),
        pytest.param(old("account", **{"interval-end": "2026-01-17T00:00:00Z"}), False, id="another interval"),
        pytest.param(old("account", account="other"), False, id="another account"),
        pytest.param(old("account", account=""), False, id="an empty account"),
        pytest.param(metadata(), False, id="one that says it all"),
        pytest.param({}, False, id="nothing"),
    ],
)
def test_an_object_that_does_not_state_its_account_may_be_ours(given_, may):
    """Which is less than being ours: nobody knows whose it is."""
    assert SUBJECT.may_describe(given_) is may
    assert SUBJECT.describes(given_) is (given_ == metadata())


def test_what_differs_is_named():
    """For the error that says which part of the key is missing."""
    assert SUBJECT.differs_in(metadata()) == []
    assert SUBJECT.differs_in(old("BTCUSDT")) == ["scope", "account"]
    assert SUBJECT.differs_in({}) == ["dataset", "interval-start", "interval-end", "scope", "account"]


@pytest.mark.parametrize(
    ("stated", "number"), [("0", 0), ("12", 12), ("", None), ("-1", None), ("x", None), ("9" * 99, None)]
)
def test_a_number_that_is_none_is_not_taken_for_one(stated, number):
    """Somebody may have edited it."""
    assert Existing("", 0, {"total": stated}).stated("total") == number
    assert Existing("", 0, {}).stated("total") is None


def test_an_object_has_as_many_bytes_as_it_says():
    """One that does not say so is given the benefit of the doubt."""
    assert Existing("", 4711, metadata()).is_intact
    assert not Existing("", 4710, metadata()).is_intact
    assert Existing("", 5, {}).is_intact
    assert Existing("", 5, {"body-size": "?"}).is_intact
