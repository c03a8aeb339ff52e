"""API keys of the three kinds Binance issues, made once and kept in a folder that only its owner can read."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import string
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {"hmac": "hmac", "rsa": "rsa", "ed25519": "ed25519", "no-margin": "hmac", "second": "hmac"}
# whose account a key opens; the others share one
MAIN = "main"
ACCOUNTS = {"no-margin": "no-margin", "second": "second"}
LETTERS = string.ascii_letters + string.digits
LENGTH = 64
CREATED = 1_698_645_219_000
ENCODED = re.compile(r"[A-Za-z0-9%._~-]+")


def _flags() -> dict[str, bool]:
    """Permissions of a key made for reading, under the names that the exchange uses."""
    names = (
        "enableInternalTransfer",
        "enableFutures",
        "enablePortfolioMarginTrading",
        "enableVanillaOptions",
        "permitsUniversalTransfer",
        "enableFixApiTrade",
        "enableFixReadOnly",
        "enableMargin",
        "enableSpotAndMarginTrading",
        "enableWithdrawals",
    )
    return {"ipRestrict": True, "enableReading": True, **dict.fromkeys(names, False)}


@dataclass(frozen=True)
class ApiKey:
    """One API key of one account.

    `flags` may be changed to see what a client makes of a key that may do more, or not even read.
    """

    name: str
    api_key: str
    secret: str | None = None
    private_key: str | None = None
    margin: bool = True
    account: str = MAIN
    flags: dict[str, bool] = field(default_factory=_flags)

    def verifies(self, payload: bytes, signature: str) -> bool:
        """True if `signature`, as it stands in the query, is this key's for exactly these bytes."""
        if not payload.isascii() or not ENCODED.fullmatch(signature):
            return False
        if self.secret is not None:
            expected = hmac.new(self.secret.encode(), payload, hashlib.sha256).hexdigest()
            return hmac.compare_digest(expected.encode(), unquote(signature).lower().encode())
        try:
            self._verify(payload, base64.b64decode(unquote(signature), validate=True))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    def _verify(self, payload: bytes, signature: bytes) -> None:
        if isinstance(self._public, rsa.RSAPublicKey):
            self._public.verify(signature, payload, padding.PKCS1v15(), SHA256())
        else:
            self._public.verify(signature, payload)

    @cached_property
    def _public(self) -> rsa.RSAPublicKey | ed25519.Ed25519PublicKey:
        private = load_pem_private_key((self.private_key or "").encode(), None)
        assert isinstance(private, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey)
        return private.public_key()


def open_keys(home: Path) -> dict[str, ApiKey]:
    """The keys kept in `home`, by name; what is not there yet is made, also the folder."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = {name: _open(home, name, kind) for name, kind in KINDS.items()}
    # a key that nobody should use for this: it can send the money away, from anywhere
    keys["no-margin"].flags.update(enableWithdrawals=True, ipRestrict=False)
    return keys


def _open(home: Path, name: str, kind: str) -> ApiKey:
    file, pem = home / f"{name}.json", home / f"{name}.pem"
    if not file.exists():
        if kind != "hmac":
            _write(pem, _new_pem(kind))
        secret = {"secret": _random(LENGTH)} if kind == "hmac" else {}
        _write(file, json.dumps({"api_key": "sandbox" + _random(LENGTH - len("sandbox")), **secret}))
    content = json.loads(file.read_text())
    private_key = None if kind == "hmac" else pem.read_text()
    account = ACCOUNTS.get(name, MAIN)
    secret = content.get("secret")
    return ApiKey(name, content["api_key"], secret, private_key, margin=name != "no-margin", account=account)


def _new_pem(kind: str) -> str:
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _random(length: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(length))


def _write(path: Path, text: str) -> None:
    """A file that nobody else could read at any moment, whole or not at all; of several that write one, the first's."""
    new = path.with_suffix(f"{path.suffix}.{_random(8)}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(new)
    finally:
        new.unlink()
