"""Keeps secrets out of logs: known ones through Airflow's masker, signatures out of what HTTP libraries log."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator

from airflow_provider_binance_margin.exchange.credentials import plain_text

#: the loggers of HTTP libraries that write whole URLs, at one level or another
_CHATTY = (
    "urllib3.connectionpool",
    "urllib3.connection",
    "urllib3.util.retry",
    "requests",
    "aiohttp.client",
    "aiohttp.internal",
    "httpx",
    "httpcore",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
)
_SECRET = re.compile(r"(signature=|x-mbx-apikey\W+(?:b['\"])?)[^&\s\"'>)\]]+", re.IGNORECASE)
_PRIVATE_BODY = re.compile(r"PRIVATE KEY(?: BLOCK)?-----(.+?)(?:-----|\Z)", re.DOTALL)
#: an RSA key of 4096 bits has 53 lines of 64 columns, 3,500 characters in all
_LONGEST_TEXT, _LONGEST_BODY, _LONGEST_VALUE = 262_144, 8_192, 4_096
_MOST_LINES, _SHORTEST_LINE, _PEM_COLUMNS = 96, 16, 64
_masked: set[str] = set()


class _SignatureFilter(logging.Filter):
    """Rewrites a record so that no signature and no API key is left in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a mistake in a library's log call is the handler's to report
            message = f"{record.msg} {record.args}"
        redacted = _SECRET.sub(r"\1***", message)
        if redacted != message:
            record.msg, record.args = redacted, ()
        return True


_FILTER = _SignatureFilter()


def hush_http_loggers() -> None:
    """Let no HTTP library log a signature, at any level."""
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_FILTER)  # a filter that is there already is not added again


def mask(secrets: Iterable[str]) -> None:
    """Hand secrets to Airflow's masker, each once per process; of a key text, each of its lines too.

    The masker compiles all that it knows anew for each value, so few are handed to it: of a private key with other
    things around it the key alone, and never more than `_MOST_LINES` lines.
    """
    try:
        from airflow.sdk.log import mask_secret
    except ImportError:  # before Airflow 3.1
        from airflow.sdk.execution_time.secrets_masker import mask_secret  # type: ignore[no-redef]

    for secret in secrets:
        whole = [secret, secret.strip()] if len(secret) <= _LONGEST_VALUE else []
        for part in [*_key_lines(secret), *whole]:
            if part not in _masked:
                mask_secret(part)
                _masked.add(part)  # only now: another thread, or a child forked meanwhile, relies on it


def _key_lines(text: str) -> list[str]:
    """The lines of a private key, as they are written and as a PEM has them; of what is no PEM, its words."""
    text = plain_text(text[:_LONGEST_TEXT])
    lines: dict[str, None] = {}
    for body in _PRIVATE_BODY.findall(text) or ([] if "-----BEGIN" in text else [text]):
        words = body[:_LONGEST_BODY].split()
        written = (word for word in words if len(word) <= 2 * _PEM_COLUMNS)
        lines |= dict.fromkeys(line for line in (*written, *_wrap("".join(words))) if len(line) >= _SHORTEST_LINE)
    return sorted(lines, key=len, reverse=True)[:_MOST_LINES]


def _wrap(text: str) -> Iterator[str]:
    """A text in lines as long as those of a PEM."""
    return (text[i : i + _PEM_COLUMNS] for i in range(0, len(text), _PEM_COLUMNS))
