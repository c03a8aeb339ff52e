"""Redaction of logs: secrets by Airflow's masker, signatures and keys in the logs of HTTP libraries by a filter."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from airflow_provider_binance_margin.exchange.credentials import plain_text

#: loggers that write whole URLs, at some level
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
#: a 4096-bit RSA key has 53 lines of 64 columns, 3,500 characters in all
_LONGEST_TEXT, _LONGEST_BODY, _LONGEST_VALUE = 262_144, 8_192, 4_096
_MOST_LINES, _SHORTEST_LINE, _PEM_COLUMNS = 96, 16, 64
_masked: set[str] = set()


class _SignatureFilter(logging.Filter):
    """Redact signatures and API keys in a log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - the handler reports a broken log call
            message = f"{record.msg} {record.args}"
        redacted = _SECRET.sub(r"\1***", message)
        if redacted != message:
            record.msg, record.args = redacted, ()
        return True


_FILTER = _SignatureFilter()


def hush_http_loggers() -> None:
    """Install the filter on the loggers of all HTTP libraries."""
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_FILTER)


def mask(secrets: Iterable[str]) -> None:
    """Hand secrets, and each line of a private key, to Airflow's masker, once per process.

    The masker recompiles its pattern for each value, so a key's lines are at most `_MOST_LINES`.
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
                _masked.add(part)  # not earlier: other threads and forked children rely on it


def _key_lines(text: str) -> list[str]:
    """Lines of a private key, as written and as wrapped in a PEM; words of a text that is no PEM."""
    text = plain_text(text[:_LONGEST_TEXT])
    lines: dict[str, None] = {}
    for body in _PRIVATE_BODY.findall(text) or ([] if "-----BEGIN" in text else [text]):
        words = body[:_LONGEST_BODY].split()
        written = (word for word in words if len(word) <= 2 * _PEM_COLUMNS)
        joined = "".join(words)
        wrapped = (joined[i : i + _PEM_COLUMNS] for i in range(0, len(joined), _PEM_COLUMNS))
        lines |= dict.fromkeys(line for line in (*written, *wrapped) if len(line) >= _SHORTEST_LINE)
    return sorted(lines, key=len, reverse=True)[:_MOST_LINES]
