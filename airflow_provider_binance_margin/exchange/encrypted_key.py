"""Encrypted private keys, opened in a process of their own.

`cryptography` holds the interpreter while it derives what opens a key (0.1 s for 600,000 rounds of PBKDF2): a
triggerer's loop would stand still for as long.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.exchange.credentials import load_block
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_LONGEST_WAIT = 120.0
_PROGRAM = f"from {__name__} import main; main()"


def load_apart(label: str, data: bytes, passphrase: bytes) -> PrivateKeyTypes:
    """Load one encrypted private key, as `credentials.load_block` does, while other threads go on.

    :raises BinanceConfigError: when it takes more than two minutes
    """
    from cryptography.exceptions import UnsupportedAlgorithm

    answer = _ask([label.encode(), data, passphrase]).split(b"\n")
    try:
        outcome, content = answer[0].decode(), base64.b64decode(answer[1], validate=True)
    except (ValueError, IndexError):  # no process could be made, or it was killed
        return load_block(label, data, passphrase)
    if outcome == "key":
        return load_block("", content, None)
    raise {"TypeError": TypeError, "ValueError": ValueError}.get(outcome, UnsupportedAlgorithm)(content.decode())


def _ask(fields: list[bytes]) -> bytes:
    """The answer of `main` in a new process, which shares nothing with this one but where modules are found."""
    try:
        return subprocess.run(  # noqa: S603 - this very interpreter
            [sys.executable or "", "-P", "-c", _PROGRAM],
            input=b"\n".join(map(base64.b64encode, fields)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            timeout=_LONGEST_WAIT,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired:
        pass
    except (OSError, ValueError):
        return b""
    raise BinanceConfigError(
        f"the private key takes more than {_LONGEST_WAIT:.0f} s to decrypt: encrypt it anew, with fewer rounds"
    )


def main() -> None:
    """Read a key and its passphrase, and write it decrypted, or the class and text of the error."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    label, data, passphrase = map(base64.b64decode, sys.stdin.buffer.read().split(b"\n"))
    try:
        key = load_block(label.decode(), data, passphrase)
        content = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        outcome = "key"
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        outcome, content = type(error).__name__, str(error).encode()
    sys.stdout.buffer.write(outcome.encode() + b"\n" + base64.b64encode(content))
