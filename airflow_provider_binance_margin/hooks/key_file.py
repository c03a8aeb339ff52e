"""Private key from a file: read without blocking, up to the size of a key."""

from __future__ import annotations

import os
import stat

from airflow_provider_binance_margin.exchange.credentials import hides_frames, key_text
from airflow_provider_binance_margin.exchange.errors import BinanceCredentialError

_LARGEST = 65_536
_CURE = "check key_file, which is a path on the worker (and on the triggerer)"


@hides_frames
def read_key_file(path: str) -> str:
    """Read a key file as text, DER as base64; BinanceCredentialError, quoting neither path nor content."""
    try:
        # without blocking on a named pipe
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BinanceCredentialError(f"the key file of the connection is not a regular file: {_CURE}")
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise BinanceCredentialError(
            f"the key file of the connection cannot be read ({type(error).__name__}): {_CURE}"
        ) from None
    if len(content) > _LARGEST:
        raise BinanceCredentialError(
            f"the key file of the connection is larger than any key (more than {_LARGEST // 1024} KiB): {_CURE}"
        )
    if not content.strip():
        raise BinanceCredentialError("the key file of the connection is empty")
    return key_text(content)
