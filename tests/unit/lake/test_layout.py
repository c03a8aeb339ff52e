"""Keys: what a template renders to, and what is refused before anything is sent."""

from __future__ import annotations

import locale
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from programs import python

from airflow_provider_binance_margin.lake.interval import Interval
from airflow_provider_binance_margin.lake.layout import (
    DEFAULT_KEY,
    SUFFIXES,
    LayoutError,
    check_bucket,
    check_template,
    checked_account,
    render,
    suffix_of,
    target_of,
)
from airflow_provider_binance_margin.lake.object_metadata import CROSS, ObjectIdentity, Run, object_metadata


def at(*fields):
    return int(datetime(*fields, tzinfo=UTC).timestamp()) * 1000


DAY = Interval(at(2026, 1, 15), at(2026, 1, 16))
ODD = Interval(at(2026, 1, 15, 7) + 745, at(2026, 1, 15, 8) + 5)

PIECES = [
    "{",
    "}",
    "{start",
    "{end",
    "{scope}",
    "{account}",
    "{dataset}",
    ":%Y",
    ":",
    "%",
    "!r",
    "0",
    ".x",
    "[0]",
    "/",
    "\0",
    "\n",
    "é",
    ".",
]
templates = st.lists(st.sampled_from(PIECES), max_size=50).map("".join) | st.text(max_size=200)


LONGEST = {
    "records": 10**12,
    "rows": 10**12,
    "total": 10**12,
    "proof": "total",
    "sha256": "ab" * 32,
    "body_sha256": "cd" * 32,
    "body_size": 10**12,
    "first": 1,
    "last": 1_768_521_599_999,
    "fetched_at": 1_768_525_200_123,
    "provider_version": "10.10.10.dev10+g0123456789",
}


def about(interval=DAY, scope="BTCUSDT", account="main", dataset="force_liquidation"):
    return ObjectIdentity(dataset, interval, scope, account)


# -- filling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "interval", "expected"),
    [
        pytest.param("{start}_{end}.jsonl", DAY, "20260115T000000Z_20260116T000000Z.jsonl", id="bounds"),
        pytest.param("{start}_{end}.jsonl", ODD, "20260115T070000.745Z_20260115T080000.005Z.jsonl", id="milliseconds"),
        pytest.param("dt={start:%Y-%m-%d}/hour={end:%H}/x.csv", ODD, "dt=2026-01-15/hour=08/x.csv", id="formats"),
        pytest.param("{start:%Y%m%dT%H%M%S.%f}.jsonl", ODD, "20260115T070000.745000.jsonl", id="fraction"),
        pytest.param("{start:%j}-{start:%G-W%V-%u}.jsonl", DAY, "015-2026-W03-4.jsonl", id="day of year, ISO week"),
        pytest.param("{scope}/{scope}.parquet", DAY, "BTCUSDT/BTCUSDT.parquet", id="scope twice"),
        pytest.param("{dataset}/{account}.csv", DAY, "force_liquidation/main.csv", id="dataset and account"),
        pytest.param("{start:%Y年}/x.jsonl.gz", DAY, "2026年/x.jsonl.gz", id="Chinese between directives"),
        pytest.param("{start:at %H:%M}.jsonl", DAY, "at 00:00.jsonl", id="colons and blanks"),
        pytest.param("100%/x.jsonl", DAY, "100%/x.jsonl", id="a percent sign outside is plain text"),
        pytest.param(".jsonl", DAY, ".jsonl", id="nothing but a suffix"),
    ],
)
def test_what_a_template_renders_to(template, interval, expected):
    """Bounds in UTC, with milliseconds only where there are some."""
    assert render(template, about(interval)) == expected


def test_the_default_key():
    """It is in the README and in people's lakes: it must never change."""
    assert render(DEFAULT_KEY, about(scope=CROSS)) == (
        "binance/margin/force_liquidation/account=main/scope=cross/dt=2026-01-15/"
        "20260115T000000Z_20260116T000000Z.jsonl.gz"
    )


@pytest.mark.parametrize("scope", ["币安人生USDT", "{start}", "{scope}", r"\1", r"\g<0>", "%Y"], ids=ascii)
def test_a_scope_is_put_in_as_it_is(scope):
    """Whatever it is made of: nothing of it is filled or interpreted."""
    filled = render("{account}/scope={scope}/{start}.jsonl", about(scope=scope, account=scope))

    assert filled == f"{scope}/scope={scope}/20260115T000000Z.jsonl"


@given(st.integers(1_483_228_800_000, 4_133_980_799_999), st.integers(1, 10**10), st.integers(1, 10**10))
def test_two_intervals_never_share_the_default_key(start, one, other):
    """Not even those that differ by a millisecond at one end."""
    keys = {render(DEFAULT_KEY, about(Interval(start, start + length))) for length in (one, other)}

    assert len(keys) == len({one, other})


@pytest.mark.parametrize("environment", [{"TZ": "Asia/Shanghai"}, {"PYTHONUTF8": "0", "LC_ALL": "POSIX"}], ids=str)
def test_a_key_depends_on_no_workers_environment(environment):
    """Neither its zone nor its language: two workers of one DAG write the same keys."""
    template = "{start:%Y年%m-%d-%H-%M-%S-%f-%j-%y-%G-%V-%u-%w-%U-%W}.jsonl"
    code = (
        "import locale; locale.setlocale(locale.LC_ALL, ''); "
        "from airflow_provider_binance_margin.lake.layout import render; "
        "from airflow_provider_binance_margin.lake.interval import Interval; "
        "from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity; "
        f"print(ascii(render({template!a}, ObjectIdentity('x', Interval({DAY.start}, {DAY.end}), 'a', 'b'))))"
    )
    done = python("-c", code, env={**environment})

    assert done.stdout.strip() == ascii(render(template, about()))


def test_a_key_depends_on_no_locale_set_meanwhile():
    """Another package may set the process's language at any time."""
    before = locale.setlocale(locale.LC_TIME)
    try:
        for language in ("C.UTF-8", "C", "POSIX"):
            locale.setlocale(locale.LC_TIME, language)
            assert render("{start:%Y-%m-%d}.jsonl", about()) == "2026-01-15.jsonl"
    finally:
        locale.setlocale(locale.LC_TIME, before)


# -- braces that are not ours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        "{}", "{0}", "{{", "}}", "{", "}", "{{start}}", "{start", "start}", "{start.__class__}", "{start[0]}",
        "{start!r}", "{start!s:%Y}", "{start:}", "{start:{end}}", "{sta{end}rt}", "{scope:x}", "{scope.x}", "{scope!r}",
        "{account:x}", "{account.x}", "{Account}", "{dataset!r}",
        "{Start}",
        "{ start }", "{start }", "{ds}", "{partition_key}", "{interval}", "{start}{", "{{{scope}}}", "${start}}",
        "{\n}", "{start:%Y{scope}}", "{end:%Y}}",
    ],
)  # fmt: skip
def test_any_other_brace_is_refused(field):
    """Before the first request, naming what is allowed."""
    with pytest.raises(LayoutError, match="holds a brace that cannot be filled") as caught:
        check_template(f"x/{field}/x.jsonl")

    assert all(
        ours in str(caught.value)
        for ours in ("{start}", "{end}", "{start:%Y-%m-%d}", "{scope}", "{account}", "{dataset}")
    )
    with pytest.raises(LayoutError):
        render(f"x/{field}/x.jsonl", about())


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("%s", id="seconds by the worker's zone"),
        pytest.param("%c", id="the locale's date and time"),
        pytest.param("%x", id="the locale's date"),
        pytest.param("%X", id="the locale's time"),
        pytest.param("%p", id="the locale's AM and PM"),
        pytest.param("%A", id="the locale's days"),
        pytest.param("%B", id="the locale's months"),
        pytest.param("%-d", id="one platform's"),
        pytest.param("%_d", id="padding"),
        pytest.param("%Ey", id="the locale's era"),
        pytest.param("%5000000d", id="width"),
        pytest.param("%Q", id="unknown, which would stand in the key"),
        pytest.param("%Y-%", id="cut off"),
        pytest.param("%", id="nothing but a percent sign"),
        pytest.param("%\x00", id="null"),
        pytest.param("%n", id="a line break"),
        pytest.param("YYYY-MM-DD", id="another language's, the same for every interval"),
        pytest.param(" ", id="a blank"),
    ],
)
def test_a_format_that_is_no_function_of_the_bound_is_refused(form):
    """A key must be the same on every worker, and another one for another interval."""
    with pytest.raises(LayoutError, match=r"%Y-%m-%d"):
        check_template(f"{{start:{form}}}.jsonl")


# -- suffixes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_suffix_is_the_format(suffix):
    """The longest one that fits counts."""
    assert suffix_of(f"a.csv/b.jsonl.x{suffix}") == suffix


@pytest.mark.parametrize(
    "key", ["", "x", "x.json", "x.JSONL", "x.jsonl ", "x.jsonl\n", "x.jsonl/", "x.gz", "x.jsonl.zip", "jsonl",
            "{start:%Y.jsonl}"],
)  # fmt: skip
def test_any_other_suffix_is_refused(key):
    """With the list of those there are."""
    with pytest.raises(LayoutError, match="ends in no known format") as caught:
        check_template(key)

    assert all(suffix in str(caught.value) for suffix in SUFFIXES)


@example("{start:%s}.jsonl")
@example("{start:%Y\ud800}.jsonl")
@given(templates.flatmap(lambda text: st.sampled_from([text, text + ".jsonl"])))
def test_whatever_the_template_it_is_refused_or_rendered(template):
    """Nothing else is ever raised, and what is accepted leaves no brace."""
    try:
        check_template(template)
    except LayoutError:
        return
    key = render(template, about(ODD, "账户", "账户"))
    assert not {"{", "}"} & set(key)
    assert key.endswith(suffix_of(template))


@pytest.mark.parametrize(("letters", "fits"), [(1024, True), (1025, False)], ids=["1024 bytes", "1025 bytes"])
@pytest.mark.parametrize("letter", ["x", "é", "币"])
def test_a_key_longer_than_s3_takes_is_refused(letter, letters, fits):
    """Which counts bytes, not letters."""
    room = letters - len(".jsonl")
    template = letter * (room // len(letter.encode())) + "x" * (room % len(letter.encode())) + ".jsonl"

    if fits:
        assert len(render(template, about()).encode()) == letters
        return
    with pytest.raises(LayoutError, match="1025 bytes"):
        render(template, about())


# -- where to --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bucket", "key", "expected"),
    [
        pytest.param("lake", "a/b.jsonl", ("lake", "a/b.jsonl"), id="bucket and key"),
        pytest.param(None, "s3://lake/a/b.jsonl", ("lake", "a/b.jsonl"), id="URL"),
        pytest.param("", "s3://lake/a/b.jsonl", ("lake", "a/b.jsonl"), id="URL, bucket rendered to nothing"),
        pytest.param(None, "s3://lake/{start}_{end}.jsonl", ("lake", "{start}_{end}.jsonl"), id="URL with fields"),
        pytest.param(None, "s3://lake//a.jsonl", ("lake", "/a.jsonl"), id="a key that starts with a slash"),
        pytest.param(None, "s3://lake/a\nb", ("lake", "a\nb"), id="line break"),
        pytest.param(None, "a/b.jsonl", (None, "a/b.jsonl"), id="a bucket of the AWS connection"),
        pytest.param("", "a/b.jsonl", (None, "a/b.jsonl"), id="the same, bucket rendered to nothing"),
        pytest.param("lake", "a:b//c.jsonl", ("lake", "a:b//c.jsonl"), id="colon and slashes apart"),
    ],
)
def test_bucket_and_key_or_a_full_url(bucket, key, expected):
    """Either way they are the same two."""
    assert target_of(bucket, key) == expected


@pytest.mark.parametrize(
    ("bucket", "key", "words"),
    [
        pytest.param("lake", "s3://lake/a.jsonl", "named twice", id="the same bucket twice"),
        pytest.param("other", "s3://lake/a.jsonl", "named twice", id="two buckets"),
        pytest.param(None, "s3://lake", "not a full s3:// URL", id="no key"),
        pytest.param(None, "s3://lake/", "not a full s3:// URL", id="empty key"),
        pytest.param(None, "s3:///a.jsonl", "not a full s3:// URL", id="no bucket in the URL"),
        pytest.param("lake", "s3://", "not a full s3:// URL", id="nothing in the URL"),
        pytest.param("lake", "S3://lake/a.jsonl", "not a full s3:// URL", id="upper case"),
        pytest.param("lake", "s3a://lake/a.jsonl", "not a full s3:// URL", id="Hadoop's"),
        pytest.param("lake", "gs://lake/a.jsonl", "not a full s3:// URL", id="another store"),
        pytest.param("lake", "https://lake.s3.amazonaws.com/a.jsonl", "not a full s3:// URL", id="over HTTP"),
        pytest.param(None, "file:///tmp/a.jsonl", "not a full s3:// URL", id="a file"),
    ],
)
def test_what_names_no_place_is_refused(bucket, key, words):
    """And an address is never taken for a key."""
    with pytest.raises(LayoutError, match=words):
        target_of(bucket, key)


@pytest.mark.parametrize("bucket", ["s3://lake", "s3://lake/", "lake/folder", "/lake", "https://lake.s3.amazonaws.com"])
def test_a_bucket_is_a_name_alone(bucket):
    """And the error says where the rest belongs."""
    for refuse in (lambda: check_bucket(bucket), lambda: target_of(bucket, "x.jsonl")):
        with pytest.raises(LayoutError, match=r"the bucket's name alone.*s3_key") as caught:
            refuse()
        assert bucket in str(caught.value)


@pytest.mark.parametrize("bucket", ["lake", "my.lake-1", "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake"])
def test_a_bucket_may_be_an_access_point(bucket):
    """Whose name has slashes."""
    assert target_of(bucket, "x.jsonl") == (bucket, "x.jsonl")


# -- accounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "binance_default",
        "main",
        "a.b-c_d",
        "_x",
        "7",
        "desk@fund",
        "a+b",
        "a!b(c):d",
        "币安",
        "A" * 200,
        "cross",
        "BTCUSDT",
    ],
    ids=lambda name: name[:20],
)
def test_what_an_account_may_be_called(name):
    """Nearly whatever a connection may; key and metadata hold it, within what S3 takes."""
    assert checked_account(name) == name
    longest = object_metadata(
        about(account=name, scope="币" * 40), Run("r" * 250, 10**6, "d" * 250, "t", 9, "2026", 3), **LONGEST
    )
    assert sum(len(name) + len(value) for name, value in longest.items()) <= 2048 - 256
    assert about(account=name, scope="币" * 40).describes(longest)


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "None", "a/b", "/", "..", "a..b", ".", ".a", "-a", "a b", "a\n", "a\0", "a\x1b", "a\\b", "{start}",
        "a{", "a}", "a=b", "a%2Fb", "a?", "a#b", "a&b", "a" * 201,
        "币" * 23, "\ud800", "\u0301", None, 7, b"a", ["a"], True,
    ],
    ids=ascii,
)  # fmt: skip
def test_what_no_account_is_called(name):
    """What a key, a partition or the metadata could not hold as it is: told with what to do."""
    with pytest.raises(LayoutError, match=r"account must be a name.*give account="):
        checked_account(name)
