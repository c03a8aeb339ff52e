"""Identity of an object -> its key.

A key is a function of that alone. After Jinja, only ``{start}``, ``{end}`` (each may have a strftime format),
``{scope}``, ``{account}`` and ``{dataset}`` are filled, by our own matcher: `str.format` would reach into objects.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from airflow_provider_binance_margin.lake.formats import FORMATS
from airflow_provider_binance_margin.lake.interval import utc
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity

#: what the suffix of a key may be: the suffix is the format
SUFFIXES = tuple(FORMATS)

# Of strftime's directives those that are the same on every worker, whatever its zone, language and platform.
_DIRECTIVE = re.compile("%[YymdHMSfjGVuUWw]")
_FORM = rf"[^{{}}%]*(?:{_DIRECTIVE.pattern}[^{{}}%]*)+"
_FIELD = re.compile(rf"\{{(?:(start|end)(?::({_FORM}))?|(scope|account|dataset))\}}")
_URL = re.compile(r"s3://([^/]+)/(.+)", re.DOTALL)
_ANY_URL = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST = 1024
# What S3 keys, partitions named name=value, and connection ids can all hold.
_ACCOUNT = re.compile(r"(?!None$)(?!.*\.\.)\w[\w.@+!():-]*")
_LONGEST_ACCOUNT = 200


class LayoutError(ValueError):
    """A key that cannot be written to; trying again cannot help."""


#: the key used when none is given
DEFAULT_KEY = "binance/margin/{dataset}/account={account}/scope={scope}/dt={start:%Y-%m-%d}/{start}_{end}.jsonl.gz"


def suffix_of(key: str) -> str:
    """The format of a key; LayoutError for a suffix that is none of `SUFFIXES`."""
    suffix = next((s for s in SUFFIXES if key.endswith(s)), None)
    if suffix is None:
        raise LayoutError(f"the key {key!r} ends in no known format: use one of {', '.join(SUFFIXES)}")
    return suffix


def check_template(template: str) -> None:
    """Reject, with a LayoutError, a key template with an unknown suffix or field."""
    suffix_of(template)
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise LayoutError(
            f"the key {template!r} holds a brace that cannot be filled: only {{start}}, {{end}} (also with a format of "
            "%Y %m %d %H %M %S %f %j %G %V %u, as {start:%Y-%m-%d}), {scope}, {account} and {dataset} are"
        )


def checked_account(value: object) -> str:
    """Return the name of an account; LayoutError if no key could hold it, as an empty text or the text ``None``."""
    if isinstance(value, str) and _ACCOUNT.fullmatch(value) and len(quote(value)) <= _LONGEST_ACCOUNT:
        return value
    raise LayoutError(
        f"account must be a name of letters, digits and . - _ @ + ! ( ) :, not {ascii(value)[:60]}: without one it is "
        "the connection's id, so give account= where that cannot stand in a key"
    )


def check_bucket(bucket: str) -> None:
    """Reject, with a LayoutError, anything but a bucket name."""
    if "/" in bucket and not bucket.startswith("arn:"):
        raise LayoutError(
            f"s3_bucket must be the bucket's name alone, not {bucket!r}: folders belong into s3_key, which also takes "
            "a full s3:// URL if s3_bucket is left out"
        )


def render(template: str, identity: ObjectIdentity) -> str:
    """The key of one object, bounds without a format as `compact` has them; LayoutError if longer than S3 takes."""

    def fill(match: re.Match[str]) -> str:
        bound, form, name = match.groups()
        if name:
            return str(getattr(identity, name))
        value = identity.interval.start if bound == "start" else identity.interval.end
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


def target_of(bucket: str | None, key: str) -> tuple[str | None, str]:
    """Bucket and key, also from a full ``s3://`` URL as key; no bucket where the AWS connection is to name one.

    :raises LayoutError: for two buckets, or what is none
    """
    url = _URL.fullmatch(key)
    if url is None and _ANY_URL.match(key):
        raise LayoutError(f"{key!r} is not a full s3:// URL: it needs a bucket and a key")
    if url is not None and bucket:
        raise LayoutError(f"the bucket is named twice: in s3_bucket ({bucket!r}) and in the s3:// URL of s3_key")
    if url is not None:
        return url[1], url[2]
    if bucket:
        check_bucket(bucket)
    return bucket or None, key
