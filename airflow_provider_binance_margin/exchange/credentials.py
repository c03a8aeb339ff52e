"""An API key and its signer: HMAC-SHA256, RSA (PKCS#1 v1.5 with SHA-256) or Ed25519.

Keys are accepted as PEM or as the bare base64 of their DER, PKCS#8 or (RSA) PKCS#1, plain or with a passphrase.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote

from airflow_provider_binance_margin.exchange.errors import BinanceCredentialError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

KeyKind: TypeAlias = Literal["HMAC", "RSA", "Ed25519"]

_PRIVATE_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----(.*?)-----END \1-----", re.DOTALL)
_IS_PUBLIC = "this is a public key: the connection needs the private one that belongs to it"


@dataclass(frozen=True)
class Credentials:
    """An API key with what signs for it. Its representation shows neither.

    :param api_key: sent with each signed request
    :param kind: the kind of signature
    :param sign: signs the bytes of a query and returns the signature, ready to stand in the query
    """

    api_key: str = field(repr=False)
    kind: KeyKind
    sign: Callable[[bytes], str] = field(repr=False)


def load_credentials(
    api_key: str | None,
    *,
    secret: str | None = None,
    private_key: str | None = None,
    passphrase: str | None = None,
) -> Credentials:
    """Credentials from an API key and either its secret (HMAC) or its private key (RSA or Ed25519, by the key itself).

    :raises BinanceCredentialError: in words for each way a key can be wrong, without quoting it
    """
    api_key = (api_key or "").strip()
    if not api_key:
        raise BinanceCredentialError("no API key: put it into the connection's login")
    if not _is_one_word(api_key):
        raise BinanceCredentialError("the API key (the connection's login) holds characters that no API key has")
    secret, private_key = (secret or "").strip(), (private_key or "").strip()
    if secret and private_key:
        raise BinanceCredentialError("both an API secret and a private key are given: keep the one this API key has")
    if private_key:
        return _with_private_key(api_key, private_key, passphrase)
    if not secret:
        raise BinanceCredentialError(
            "neither an API secret nor a private key is given: put the secret into the connection's password, "
            "or the key into its extra private_key or key_file"
        )
    if "PRIVATE KEY-----" in secret:
        raise BinanceCredentialError("the password holds a private key: it belongs into the extra private_key")
    if not _is_one_word(secret):
        raise BinanceCredentialError("the API secret (the connection's password) holds characters that no secret has")
    if passphrase:
        raise BinanceCredentialError(
            "a passphrase is given, but an API secret has none: take the passphrase away, or give the private key it "
            "belongs to instead of the secret"
        )
    return Credentials(api_key, "HMAC", _hmac_signer(secret.encode()))


def _is_one_word(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _hmac_signer(secret: bytes) -> Callable[[bytes], str]:
    return lambda payload: hmac.new(secret, payload, hashlib.sha256).hexdigest()


def _with_private_key(api_key: str, text: str, passphrase: str | None) -> Credentials:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    # JSON and environment variables tend to carry line breaks as \\n
    key = _parse(text.replace("\\r", "\r").replace("\\n", "\n"), passphrase or None)
    if isinstance(key, Ed25519PrivateKey):
        return Credentials(api_key, "Ed25519", lambda payload: _quoted(key.sign(payload)))
    if isinstance(key, RSAPrivateKey):
        return Credentials(api_key, "RSA", lambda payload: _quoted(key.sign(payload, PKCS1v15(), hashes.SHA256())))
    raise BinanceCredentialError(
        f"the private key is of a kind the exchange does not take ({type(key).__name__}): use Ed25519 or RSA"
    )


def _quoted(signature: bytes) -> str:
    return quote(base64.b64encode(signature).decode(), safe="")


def _parse(text: str, passphrase: str | None) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

    pem = "-----BEGIN" in text
    load = load_pem_private_key if pem else load_der_private_key
    data = _from_pem(text) if pem else _from_base64(text)
    try:
        # The check that is skipped takes up to 0.3 s in which no other thread runs, so a triggerer would stand still; a
        # key that it would refuse signs what the exchange refuses.
        return load(data, passphrase.encode() if passphrase else None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        # cryptography's own words for: a passphrase is missing, or given for a key that has none
        raise BinanceCredentialError(
            "the private key is encrypted: put its passphrase into the extra private_key_passphrase"
            if passphrase is None
            else "a passphrase is given, but the private key is not encrypted: take the passphrase away"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        if not pem and _is_public(data):
            raise BinanceCredentialError(_IS_PUBLIC) from None
        raise BinanceCredentialError(
            "the private key cannot be read: "
            + (
                "the passphrase is wrong, or the key is damaged"
                if passphrase
                else "it is damaged or of an unknown form"
            )
        ) from None


def _is_public(der: bytes) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def _from_pem(text: str) -> bytes:
    """The private key's block alone, with the line breaks it must have: some or all may have been lost to spaces."""
    block = _PRIVATE_PEM.search(text)
    if block is None and "PUBLIC KEY-----" in text:
        raise BinanceCredentialError(_IS_PUBLIC)
    if block is None or not block[2].isascii():
        raise BinanceCredentialError(
            "the private key cannot be read: paste the whole key, with its BEGIN and END lines, and nothing between"
        )
    label, words, headers = block[1], block[2].split(), []
    while len(words) > 1 and words[0].endswith(":"):  # "Proc-Type: 4,ENCRYPTED", of OpenSSL's own encryption
        headers.append(f"{words.pop(0)} {words.pop(0)}")
    lines = [f"-----BEGIN {label}-----", *headers, *([""] if headers else []), *words, f"-----END {label}-----", ""]
    return "\n".join(lines).encode()


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise BinanceCredentialError(
            "the private key is neither PEM nor base64: paste the whole key, with its BEGIN and END lines"
        ) from None
