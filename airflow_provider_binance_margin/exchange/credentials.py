"""An API key and its signer: HMAC-SHA256, RSA (PKCS#1 v1.5 with SHA-256) or Ed25519.

Keys are accepted as PEM (PKCS#8, PKCS#1, OpenSSH's own) or as the base64 of a PEM or DER, plain or with a passphrase.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeAlias, TypeVar
from urllib.parse import quote

from airflow_provider_binance_margin.exchange.errors import BinanceCredentialError
from airflow_provider_binance_margin.exchange.forking import fork_safe_lock
from airflow_provider_binance_margin.exchange.private_key import OPENSSH, load_apart, load_block

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

KeyKind: TypeAlias = Literal["HMAC", "RSA", "Ed25519"]

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

#: characters of a private key's block (one of RSA with 8192 bits has 6,500), and of all that may stand around it
_LONGEST_KEY = 16_384
_LONGEST_TEXT = 262_144
_LONGEST_SECRET = 1024
_ESCAPED_BREAK = re.compile(r"\\+[rn]")
_PRIVATE_PEM = re.compile(
    rf"-----BEGIN ([A-Z0-9 ]{{0,40}}PRIVATE KEY)-----(.{{0,{_LONGEST_KEY}}}?)-----END \1-----", re.DOTALL
)
_IS_PUBLIC = "this is a public key: the connection needs the private one that belongs to it"
#: what stands in files that are easily taken for a private key in PEM -> what it is, and the cure
_OTHER_FORMS = {
    "PuTTY-User-Key-File": "the private key is in PuTTY's form: convert it with puttygen KEY.ppk -O private-openssh "
    "-o KEY.pem",
    "PRIVATE KEY BLOCK-----": "this is a PGP key, which the exchange does not take: use Ed25519 or RSA",
    "PUBLIC KEY": _IS_PUBLIC,
    "BEGIN CERTIFICATE-----": "the private key cannot be read: this is a certificate, and the connection needs the "
    "private key that belongs to it",
    '"kty"': "the private key is a JSON Web Key: give it as PEM",
}
_PKCS12 = re.compile(rb"0(?:[\x00-\x7f]|\x80|\x81.|\x82..|\x83...)\x02\x01\x03", re.DOTALL)


@dataclass(frozen=True)
class Credentials:
    """API key and its signer: bytes of a query -> signature, as it stands in the query. Shows neither."""

    api_key: str = field(repr=False)
    kind: KeyKind
    sign: Callable[[bytes], str] = field(repr=False)


def bare(error: E) -> E:
    """An error without traceback, cause and context, whose frames hold secrets that error trackers would show."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def hides_frames(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: whatever ends the function leaves it `bare`, a task's timeout too; no frame holds its arguments."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - see above
            refusal = bare(error)
        del args, kwargs
        raise refusal

    return call


@hides_frames
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
        return (_opened_once if passphrase else _with_private_key)(api_key, private_key, passphrase)
    if not secret:
        raise BinanceCredentialError(
            "neither an API secret nor a private key is given: put the secret into the connection's password, "
            "or the key into its extra private_key or key_file"
        )
    if len(secret) <= _LONGEST_TEXT and "PRIVATE KEY-----" in plain_text(secret):
        raise BinanceCredentialError("the password holds a private key: it belongs into the extra private_key")
    if not _is_one_word(secret) or len(secret) > _LONGEST_SECRET:
        raise BinanceCredentialError(
            "the API secret (the connection's password) holds characters that no secret has, or is longer than any"
        )
    if passphrase:
        raise BinanceCredentialError(
            "a passphrase is given, but an API secret has none: take the passphrase away, or give the private key it "
            "belongs to instead of the secret"
        )
    key = secret.encode()
    return Credentials(api_key, "HMAC", lambda payload: hmac.new(key, payload, hashlib.sha256).hexdigest())


def _is_one_word(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


#: the encrypted keys that this process has opened, or why not: deriving what opens one takes up to seconds
_opened: dict[bytes, Credentials | str] = {}
_opening = fork_safe_lock()
_salt = os.urandom(32)
_MOST_OPENED = 64


def _opened_once(api_key: str, text: str, passphrase: str | None) -> Credentials:
    content = json.dumps([api_key, text, passphrase]).encode()
    name = hashlib.blake2b(content, key=_salt).digest()
    with _opening:
        result = _opened.pop(name, None)
        if result is None:
            try:
                result = _with_private_key(api_key, text, passphrase)
            except BinanceCredentialError as error:
                result = str(error)
        _opened[name] = result  # as the newest
        if len(_opened) > _MOST_OPENED:
            del _opened[next(iter(_opened))]
    if isinstance(result, str):
        raise BinanceCredentialError(result)
    return result


def _with_private_key(api_key: str, text: str, passphrase: str | None) -> Credentials:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    key = _parse(text, passphrase or None)
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
    label, data = _block(text)
    try:
        return load_apart(label, data, passphrase.encode()) if passphrase else load_block(label, data, None)
    except TypeError:
        raise BinanceCredentialError(
            "a passphrase is given, but the private key is not encrypted: take the passphrase away"
            if passphrase
            else "the private key is encrypted: put its passphrase into the extra private_key_passphrase"
        ) from None
    except ValueError as error:
        raise BinanceCredentialError(_unreadable(label, data, passphrase, error)) from None


def _unreadable(label: str, data: bytes, passphrase: str | None, error: Exception) -> str:
    """The words for a private key that `cryptography` does not read."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    if not label:
        with suppress(ValueError, UnsupportedAlgorithm):
            load_der_public_key(data)
            return _IS_PUBLIC
        if _PKCS12.match(data):
            return (
                "the private key is in a PKCS#12 file: convert it with openssl pkcs12 -in KEY.p12 -nocerts -out KEY.pem"
            )
    if label == OPENSSH and passphrase and "bcrypt" in str(error):
        return (
            "an encrypted private key in OpenSSH's form can only be read with the package bcrypt: install it, or take "
            "the passphrase off a copy of the key with ssh-keygen -p -N '' -f COPY"
        )
    cause = "the passphrase is wrong, or the key is damaged" if passphrase else "it is damaged or of an unknown form"
    return f"the private key cannot be read: {cause}"


def key_text(content: bytes) -> str:
    """The bytes of a key file as text: UTF-8, UTF-16 and UTF-32 decoded, all else (DER) in base64."""
    with suppress(UnicodeError):
        text = content.decode(json.detect_encoding(content))
        if "\0" not in text:
            return text
    return base64.b64encode(content).decode()


def plain_text(text: str) -> str:
    """Undo what JSON, editors and stores do to a key: escaped line breaks, a byte order mark, base64 of a PEM."""
    text = _ESCAPED_BREAK.sub("\n", text).replace("\ufeff", "")
    if "-----BEGIN" not in text:
        with suppress(ValueError):
            inner = key_text(base64.b64decode("".join(text.split()), validate=True))
            if "-----BEGIN" in inner or "PuTTY-User-Key-File" in inner:
                return inner
    return text


def _block(text: str) -> tuple[str, bytes]:
    """The label and the bytes of the private key alone; the label of DER is empty."""
    if len(text) > _LONGEST_TEXT:
        raise BinanceCredentialError("the private key is longer than any: paste the key alone")
    text = plain_text(text)
    block = _PRIVATE_PEM.search(text)
    if block is None and "PRIVATE KEY-----" not in text:
        words = next((words for mark, words in _OTHER_FORMS.items() if mark in text), None)
        if words or text.startswith(("ssh-", "ecdsa-", "sk-ssh-")):
            raise BinanceCredentialError(words or _IS_PUBLIC)
    if block is None and "-----BEGIN" not in text:
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except ValueError:
            raise BinanceCredentialError(
                "the private key is neither PEM nor base64: paste the whole key, with its BEGIN and END lines"
            ) from None
        if not data.startswith(b"openssh-key-v1"):
            return "", data
        return OPENSSH, _pem(OPENSSH, base64.b64encode(data).decode())
    if block is None or not block[2].isascii():
        raise BinanceCredentialError(
            "the private key cannot be read: paste the whole key, with its BEGIN and END lines, and nothing between"
        )
    return block[1], _pem(block[1], block[2])


def _pem(label: str, body: str) -> bytes:
    """A PEM with the line breaks it must have: some or all may have been lost to spaces."""
    words, headers = body.split(), []
    while len(words) > 1 and words[0].endswith(":"):  # "Proc-Type: 4,ENCRYPTED", of OpenSSL's own encryption
        headers.append(f"{words.pop(0)} {words.pop(0)}")
    lines = [f"-----BEGIN {label}-----", *headers, *([""] if headers else []), *words, f"-----END {label}-----", ""]
    return "\n".join(lines).encode()
