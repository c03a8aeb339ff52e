"""Private keys from their bytes; encrypted ones are opened in a process of their own.

`cryptography` holds the interpreter while it derives what opens a key (0.1 s for 600,000 rounds of PBKDF2): a
triggerer's loop would stand still for as long.
"""

from __future__ import annotations

import base64
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.exchange.errors import BinanceConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

OPENSSH = "OPENSSH PRIVATE KEY"
_LONGEST_WAIT = 120.0
_PROGRAM = f"from {__name__} import main; main()"


def load_block(label: str, data: bytes, passphrase: bytes | None) -> PrivateKeyTypes:
    """Load one private key of a PEM's label, none for DER.

    :raises TypeError: when a passphrase is missing or superfluous
    :raises ValueError: when it cannot be read
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    # The check that is skipped takes up to 0.3 s in which no other thread runs, so a triggerer would stand still; a
    # key that it would refuse signs what the exchange refuses.
    skipped = {"unsafe_skip_rsa_key_validation": True}
    load: Callable[..., PrivateKeyTypes]
    if label == OPENSSH:
        load = serialization.load_ssh_private_key
        skipped = skipped if skipped.keys() <= inspect.signature(load).parameters.keys() else {}  # the newest only can
    else:
        load = serialization.load_pem_private_key if label else serialization.load_der_private_key
    try:
        return load(data, passphrase, **skipped)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    except ValueError as error:
        if passphrase is None and "password-protected" in str(error):  # of OpenSSH's form, older ones tell it so
            raise TypeError(str(error)) from None
        raise


def load_apart(label: str, data: bytes, passphrase: bytes) -> PrivateKeyTypes:
    """Load one encrypted private key as `load_block` does, within two minutes, while other threads go on."""
    outcome, _, content = _ask([label.encode(), data, passphrase]).partition(b"\n")
    if outcome == b"key":
        return load_block("", content, None)
    if outcome in (b"TypeError", b"ValueError"):
        raise (TypeError if outcome == b"TypeError" else ValueError)(content.decode())
    return load_block(label, data, passphrase)  # no process could be made, or it was killed


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
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    label, data, passphrase = map(base64.b64decode, sys.stdin.buffer.read().split(b"\n"))
    try:
        key = load_block(label.decode(), data, passphrase)
        answer = b"key\n" + key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    except (TypeError, ValueError) as error:
        answer = f"{'TypeError' if isinstance(error, TypeError) else 'ValueError'}\n{error}".encode()
    sys.stdout.buffer.write(answer)
