"""Interval -> object key.

A key is a function of interval and scope alone. After Jinja, only ``{start}``, ``{end}`` (each may have a strftime
format) and ``{scope}`` are filled, by our own matcher: `str.format` would reach into objects.
"""

from __future__ import annotations

import re

from airflow_provider_binance_margin.lake.interval import Interval, utc

#: what the suffix of a key may be: the suffix is the format
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
ACCOUNT = "account"

# Of strftime's directives those that are the same on every worker, whatever its zone, language and platform.
_DIRECTIVE = re.compile("%[YymdHMSfjGVuUWw]")
_FORM = rf"[^{{}}%]*(?:{_DIRECTIVE.pattern}[^{{}}%]*)+"
_FIELD = re.compile(rf"\{{(?:(start|end)(?::({_FORM}))?|(scope))\}}")
_URL = re.compile(r"s3://([^/]+)/(.+)", re.DOTALL)
_ANY_URL = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST = 1024


class LayoutError(ValueError):
    """A key that cannot be written to; trying again cannot help."""


def default_key(dataset: str) -> str:
    """The key used when none is given."""
    return f"binance/margin/{dataset}/scope={{scope}}/dt={{start:%Y-%m-%d}}/{{start}}_{{end}}.jsonl.gz"


def suffix_of(key: str) -> str:
    """The format of a key.

    :raises LayoutError: for a suffix that is none of `SUFFIXES`
    """
    suffix = next((s for s in SUFFIXES if key.endswith(s)), None)
    if suffix is None:
        raise LayoutError(f"the key {key!r} ends in no known format: use one of {', '.join(SUFFIXES)}")
    return suffix


def check_template(template: str) -> None:
    """Refuse a key template that could never be filled: an unknown suffix, or a brace that is not ours.

    :raises LayoutError: with what is allowed
    """
    suffix_of(template)
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise LayoutError(
            f"the key {template!r} holds a brace that cannot be filled: only {{start}}, {{end}} (also with a format of "
            "%Y %m %d %H %M %S %f %j %G %V %u, as {start:%Y-%m-%d}) and {scope} are"
        )


def render(template: str, interval: Interval, scope: str) -> str:
    """The key of one object. Bounds without a format render as ``20260115T070000Z``, or ``...T070000.745Z``.

    :raises LayoutError: when it is longer than S3 takes
    """

    def fill(match: re.Match[str]) -> str:
        bound, form, _ = match.groups()
        if not bound:
            return scope
        value = interval.start if bound == "start" else interval.end
        return _DIRECTIVE.sub(lambda each: utc(value).strftime(each[0]), form) if form else compact(value)

    check_template(template)
    key = _FIELD.sub(fill, template)
    length = len(key.encode(errors="surrogatepass"))
    if length > _LONGEST:
        raise LayoutError(f"the key {key[:60]!r}... has {length} bytes, and S3 takes {_LONGEST} at most")
    return key


def compact(value: int) -> str:
    """As ``20260115T070000Z``, with ``.745`` before the ``Z`` when it is not a whole second."""
    fraction = f".{value % 1000:03d}" if value % 1000 else ""
    return f"{utc(value):%Y%m%dT%H%M%S}{fraction}Z"


def split_url(bucket: str | None, key: str) -> tuple[str, str]:
    """Bucket and key, from both or from a full ``s3://`` URL in the key.

    :raises LayoutError: when both or neither name a bucket
    """
    url = _URL.fullmatch(key)
    if url is None and _ANY_URL.match(key):
        raise LayoutError(f"{key!r} is not a full s3:// URL: it needs a bucket and a key")
    if url is not None and bucket:
        raise LayoutError(f"the bucket is named twice: in s3_bucket ({bucket!r}) and in the s3:// URL of s3_key")
    if url is not None:
        return url[1], url[2]
    if not bucket:
        raise LayoutError("no bucket: give s3_bucket, or a full s3:// URL as s3_key")
    return bucket, key
