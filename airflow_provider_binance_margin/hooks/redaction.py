"""Keeps secrets out of logs: known ones through Airflow's masker, signatures out of what HTTP libraries log."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from airflow_provider_binance_margin.exchange.forking import fork_safe_lock

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
_masked: set[str] = set()
_lock = fork_safe_lock()


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
    """Hand secrets to Airflow's masker, each once per process; of a key text, each of its lines too."""
    try:
        from airflow.sdk.log import mask_secret
    except ImportError:  # before Airflow 3.1
        from airflow.sdk.execution_time.secrets_masker import mask_secret  # type: ignore[no-redef]

    for secret in secrets:
        for part in {secret, secret.strip(), *_key_lines(secret)}:
            with _lock:
                if part in _masked:
                    continue
                _masked.add(part)
            mask_secret(part)


def _key_lines(text: str) -> list[str]:
    words = text.replace("\\n", "\n").replace("\\r", "\n").split()
    return [word for word in words if len(word) >= 16 and "-----" not in word]  # noqa: PLR2004
