"""Settings from an Airflow connection of type ``binance``, for hook and triggers alike."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from airflow_provider_binance_margin.exchange.call import Caller
from airflow_provider_binance_margin.exchange.counter import RecordCounter, rows_asked
from airflow_provider_binance_margin.exchange.credentials import Credentials, hides_frames, load_credentials, plain_text
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError, BinanceCredentialError
from airflow_provider_binance_margin.exchange.paging import Span
from airflow_provider_binance_margin.exchange.rate_limiter import SHARE
from airflow_provider_binance_margin.hooks.hosts import shared_host
from airflow_provider_binance_margin.hooks.key_file import read_key_file
from airflow_provider_binance_margin.hooks.redaction import hush_http_loggers, mask

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_binance_margin.exchange.dataset import Dataset
    from airflow_provider_binance_margin.exchange.host import Host
    from airflow_provider_binance_margin.exchange.scope import Scope

T = TypeVar("T")

DEFAULT_HOST = "https://api.binance.com"
_DEFAULT_PORTS = {"https": 443, "http": 80}
#: bytes of an Ed25519 key in PKCS#8
_SHORTEST_DER = 48
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True)
class Settings:
    """Connection that can be used; equal to another of the same host, key and limits."""

    base_url: str
    credentials: Credentials = field(compare=False)  # known by the secrets
    recv_window: int  # ms for which a request stays valid
    timeout: float  # seconds for one answer
    weight_share: float = SHARE  # part of each documented limit that all behind this address or account may use
    secrets: tuple[str, ...] = field(repr=False, default=())
    conn_id: str = field(compare=False, default="")

    @property
    def is_loopback(self) -> bool:
        """True for this machine."""
        return _is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def is_foreign(self) -> bool:
        """True for a host that is neither the exchange's nor this machine."""
        name = urlsplit(self.base_url).hostname or ""
        return not (self.is_loopback or name == "binance.com" or name.endswith(".binance.com"))

    @cached_property
    def host(self) -> Host:
        """Clock, pace and bans of the host, shared by this process."""
        return shared_host(self.base_url)

    def caller(self, path: str, weight: int, decode: Callable[[bytes], T], **options: Any) -> Caller[T]:
        """Make the caller of an endpoint; `options` are those of `Caller`."""
        options["share"] = self.weight_share
        return Caller(self.host, self.credentials, path, weight, decode, self.recv_window, **options)

    def counter(
        self, dataset: Dataset, scope: Scope, start: int, end: int | None, *, settle: float, max_span: float | None
    ) -> RecordCounter:
        """Make the counter of a window (ms). Its calls are not retried: the next poll is the next try."""
        decode, kind = partial(dataset.read_page, size=rows_asked(dataset)), dataset.weight_kind
        caller = self.caller(dataset.path, dataset.weight, decode, attempts=1, kind=kind)
        span = Span(dataset.span_ms(max_span))
        return RecordCounter(caller, start, end, span=span, settle=settle, dataset=dataset, scope=scope)


def secrets_of(conn: Connection) -> tuple[str, ...]:
    """Collect the values that no log may show, even of a connection that cannot be used."""
    try:
        extra = _extra(conn)
    except BinanceConfigError:
        extra = {"": getattr(conn, "extra", None)}
    given = [conn.login, conn.password, extra.get("private_key"), extra.get("private_key_passphrase")]
    # a key in the wrong field is a secret too
    given += [text for text in (conn.host, *extra.values()) if isinstance(text, str) and _holds_key(text)]
    return tuple(text for text in given if isinstance(text, str) and text.strip())


@hides_frames
def open_settings(conn: Connection) -> Settings:
    """Mask a connection's secrets in all logs, then read it; BinanceConfigError, quoting none."""
    hush_http_loggers()
    mask(secrets_of(conn))
    settings = read_settings(conn)
    mask(settings.secrets)
    return settings


@hides_frames
def read_settings(conn: Connection) -> Settings:
    """Check a connection and load its key; BinanceConfigError, quoting no secret."""
    extra, api_key = _extra(conn), (conn.login or "").strip()
    key_text, key_file = _text(extra, "private_key"), _text(extra, "key_file")
    if key_text and key_file:
        raise BinanceCredentialError("both private_key and key_file are given in the extra: keep one")
    if key_file:
        key_text = read_key_file(key_file)
    return Settings(
        base_url=_base_url(conn.host, conn.port, sandbox=api_key.startswith("sandbox")),
        credentials=load_credentials(
            api_key,
            secret=conn.password,
            private_key=key_text,
            passphrase=_text(extra, "private_key_passphrase"),
        ),
        recv_window=int(_number(extra, "recv_window", default=5000, least=1, most=59_999, whole=True)),
        timeout=_number(extra, "timeout", default=15, least=0.1, most=600, whole=False),
        weight_share=_number(extra, "weight_share", default=SHARE, least=0.05, most=0.95, whole=False),
        secrets=(*secrets_of(conn), *([key_text] if key_text else [])),
        conn_id=conn.conn_id,
    )


def _holds_key(text: str) -> bool:
    """True for a text that holds a key: PEM, or the base64 of PEM or DER."""
    if "-----BEGIN" in plain_text(text):
        return True
    with suppress(ValueError):
        data = base64.b64decode("".join(text.split()), validate=True)
        return len(data) >= _SHORTEST_DER and data.startswith((b"0", b"openssh-key-v1"))
    return False


def _extra(conn: Connection) -> Mapping[str, Any]:
    text = getattr(conn, "extra", None)
    try:
        extra = conn.extra_dejson or {}
        if not extra and isinstance(text, str) and text.strip():
            extra = json.loads(text)  # Airflow reads invalid JSON as an empty object
    except (ValueError, TypeError, AttributeError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise BinanceConfigError("the connection's extra is not a JSON object")
    return extra


def _given(extra: Mapping[str, Any], name: str) -> Any:
    value = extra.get(name)
    return None if isinstance(value, str) and not value.strip() else value


def _text(extra: Mapping[str, Any], name: str) -> str | None:
    if (value := _given(extra, name)) is None or isinstance(value, str):
        return value
    raise BinanceConfigError(f"the connection's extra {name} must be text")


def _number(extra: Mapping[str, Any], name: str, *, default: float, least: float, most: float, whole: bool) -> float:
    given = _given(extra, name)
    if given is None:
        return default
    value = None
    with suppress(TypeError, ValueError, OverflowError):
        value = None if isinstance(given, bool) else float(given)
    if value is None or not least <= value <= most or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise BinanceConfigError(f"the connection's extra {name} must be {kind} from {least:g} to {most:g}")
    return value


def _base_url(host: str | None, port: int | None, *, sandbox: bool) -> str:
    """The base URL that a connection names, in one spelling: lower case, no trailing dot, no default port."""
    given = (host or "").strip() or DEFAULT_HOST
    try:
        parts = urlsplit(given if "://" in given else f"https://{given}")
        scheme, name, url_port = parts.scheme.lower(), (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        raise BinanceConfigError("the connection's host is not a URL such as https://api.binance.com") from None
    if parts.username is not None or parts.password is not None:
        raise BinanceConfigError("the connection's host holds a user or password: those belong into login and password")
    if scheme not in ("https", "http"):
        raise BinanceConfigError("the connection's host must begin with https://")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "?" in given or "#" in given:
        raise BinanceConfigError("the connection's host is a base URL: it must have no path (such as /sapi) or query")
    address = _address(name)
    if address is None and ("[" in given or not _HOST_NAME.fullmatch(name)):
        raise BinanceConfigError("the connection's host is not the name of a host")
    if scheme == "http" and not (_is_loopback(name) or sandbox):
        raise BinanceConfigError(
            "the connection's host begins with http://, which would send the key and all records in the clear: use "
            "https:// (http:// is for this machine and for sandbox keys only)"
        )
    number = url_port or port or _DEFAULT_PORTS[scheme]
    if not 0 < number < 65_536:  # noqa: PLR2004
        raise BinanceConfigError("the connection's port must be a number from 1 to 65535")
    if address is not None:
        name = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
    return f"{scheme}://{name}" + ("" if number == _DEFAULT_PORTS[scheme] else f":{number}")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        return None if "%" in name else ipaddress.ip_address(name)
    return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)
