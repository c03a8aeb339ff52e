"""Signatures are what the exchange expects, and each way a key can be wrong is told apart without showing it."""

import base64
import contextlib
import hashlib
import hmac
import os
import subprocess
import sys
import threading
import time
import traceback
from functools import cache
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from frames import shown_in_frames
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_binance_margin.exchange import credentials, private_key
from airflow_provider_binance_margin.exchange.credentials import key_text, load_credentials
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError, BinanceCredentialError
from airflow_provider_binance_margin.exchange.private_key import load_block

DOCS_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
DOCS_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
ORDER = "side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
PAYLOAD = b"recvWindow=5000&timestamp=1499827319559"
PASSPHRASE = "correct horse"


@cache
def key_of(kind):
    return {
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "EC": lambda: ec.generate_private_key(ec.SECP256K1()),
        "DSA": lambda: dsa.generate_private_key(1024),
        "Ed448": ed448.Ed448PrivateKey.generate,
        "X25519": x25519.X25519PrivateKey.generate,
    }[kind]()


@cache
def data_of(kind, encoding="PEM", form="PKCS8", passphrase=None):
    formats = {
        "PKCS8": PrivateFormat.PKCS8,
        "PKCS1": PrivateFormat.TraditionalOpenSSL,
        "OpenSSH": PrivateFormat.OpenSSH,
    }
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key_of(kind).private_bytes(getattr(Encoding, encoding), formats[form], encryption)


def pem(kind, form="PKCS8", passphrase=None):
    return data_of(kind, "PEM", form, passphrase).decode()


def der(kind, form="PKCS8", passphrase=None):
    if form == "OpenSSH":  # its bytes are no DER, but bare base64 all the same
        return "".join(pem(kind, form).splitlines()[1:-1])
    return base64.b64encode(data_of(kind, "DER", form, passphrase)).decode()


def public(kind, encoding="PEM"):
    return key_of(kind).public_key().public_bytes(getattr(Encoding, encoding), PublicFormat.SubjectPublicKeyInfo)


def verify(kind, signature):
    """Raises unless the signature is the key's own."""
    raw = base64.b64decode(unquote(signature), validate=True)
    if kind == "RSA":
        key_of(kind).public_key().verify(raw, PAYLOAD, PKCS1v15(), SHA256())
    else:
        key_of(kind).public_key().verify(raw, PAYLOAD)


def refusal(*args, **kwargs):
    """The text of the error, once it is sure that neither it, its traceback nor its frames show what was given."""
    with pytest.raises(BinanceCredentialError) as caught:
        load_credentials(*args, **kwargs)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + shown_in_frames(caught.value)
    given_texts = [*args, *(value for value in kwargs.values() if value)]
    pieces = [piece for text in given_texts for piece in {text, *text.replace("\\n", "\n").split()} if len(piece) > 7]
    assert [piece for piece in pieces if piece in shown] == []
    return str(caught.value)


# -- signatures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        pytest.param(
            f"symbol=LTCBTC&{ORDER}", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71", id="H1-ascii"
        ),
        pytest.param(
            f"symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&{ORDER}",
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
            id="H2-percent-encoded",
        ),
    ],
)
def test_an_hmac_signature_is_the_one_the_exchange_publishes(payload, signature):
    """The exchange's two printed examples come out letter for letter."""
    credentials = load_credentials(DOCS_KEY, secret=DOCS_SECRET)
    assert (credentials.kind, credentials.sign(payload.encode())) == ("HMAC", signature)


RFC8032 = [
    pytest.param(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        id="rfc8032-1",
    ),
    pytest.param(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        id="rfc8032-2",
    ),
    pytest.param(
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        id="rfc8032-3",
    ),
]


@pytest.mark.parametrize(("seed", "message", "signature"), RFC8032)
def test_an_ed25519_signature_is_the_one_of_the_standard(seed, message, signature):
    """RFC 8032's own vectors come out, in base64 and percent-encoded."""
    # PKCS#8 of an Ed25519 key is this prefix and its 32 bytes
    text = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420" + seed)).decode()
    signed = load_credentials("key", private_key=text).sign(bytes.fromhex(message))
    assert base64.b64decode(unquote(signed)).hex() == signature


@pytest.mark.parametrize("kind", ["RSA", "Ed25519"])
def test_a_signature_can_stand_in_a_query_as_it_is(kind):
    """It holds no character that a query would have to encode again."""
    signatures = {load_credentials("key", private_key=pem(kind)).sign(str(i).encode()) for i in range(20)}
    assert [s for s in signatures if set(s) & set("+/=&?# ")] == []


NO_BREAKS = {
    "as-it-is": lambda text: text,
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "old-mac-cr": lambda text: text.replace("\n", "\r"),
    "backslash-n": lambda text: text.replace("\n", "\\n"),
    "backslashes-twice": lambda text: text.replace("\n", "\\\\n"),
    "backslash-r-backslash-n": lambda text: text.replace("\n", "\\r\\n"),
    "spaces": lambda text: text.replace("\n", " "),
    "tabs": lambda text: text.replace("\n", "\t"),
    "no-breaks-at-all": lambda text: text.replace("\n", ""),
    "indented": lambda text: "".join(f"    {line}\n" for line in text.splitlines()),
    "blank-around": lambda text: f"\n \n{text}\n\n  ",
    "blank-lines-within": lambda text: text.replace("\n", "\n\n"),
    "words-before": lambda text: f"Bag Attributes\n    localKeyID: 01\n{text}",
    "byte-order-mark": lambda text: "\ufeff" + text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64-of-crlf": lambda text: base64.encodebytes(text.replace("\n", "\r\n").encode()).decode(),
    "base64-of-utf-16": lambda text: base64.b64encode(text.encode("utf-16")).decode(),
}


@pytest.mark.parametrize("broken", NO_BREAKS.values(), ids=NO_BREAKS)
@pytest.mark.parametrize("kind", ["RSA", "Ed25519"])
def test_a_pem_is_read_however_its_line_breaks_were_carried(kind, broken):
    """Forms, JSON, environment variables and editors change line breaks: the key is the same."""
    credentials = load_credentials("key", private_key=broken(pem(kind)))
    verify(kind, credentials.sign(PAYLOAD))
    assert credentials.kind == kind


FORMS = [
    pytest.param("RSA", "PKCS8", None, id="rsa-pkcs8"),
    pytest.param("RSA", "PKCS1", None, id="rsa-pkcs1"),
    pytest.param("RSA", "PKCS8", PASSPHRASE, id="rsa-pkcs8-encrypted"),
    pytest.param("RSA", "OpenSSH", None, id="rsa-openssh"),
    pytest.param("Ed25519", "OpenSSH", None, id="ed25519-openssh"),
    pytest.param("Ed25519", "PKCS8", None, id="ed25519"),
    pytest.param("Ed25519", "PKCS8", PASSPHRASE, id="ed25519-encrypted"),
]


@pytest.mark.parametrize("write", [pem, der, lambda *how: der(*how) + "\n", lambda *how: "\n".join(der(*how))])
@pytest.mark.parametrize(("kind", "form", "passphrase"), FORMS)
def test_a_key_is_read_in_every_form_the_exchange_and_openssl_write(write, kind, form, passphrase):
    """PEM or base64 DER, PKCS#8 or RSA's PKCS#1, plain or encrypted."""
    credentials = load_credentials("key", private_key=write(kind, form, passphrase), passphrase=passphrase)
    verify(kind, credentials.sign(PAYLOAD))
    assert credentials.kind == kind


ENCODED = {
    "utf-8": lambda text: text.encode(),
    "utf-8-bom": lambda text: text.encode("utf-8-sig"),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "utf-16-be-bom": lambda text: ("\ufeff" + text).encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
    "base64": lambda text: base64.encodebytes(text.encode()),
}


@pytest.mark.parametrize("encode", ENCODED.values(), ids=ENCODED)
@pytest.mark.parametrize(("kind", "form", "passphrase"), FORMS)
def test_a_key_is_read_in_every_encoding_of_a_file(encode, kind, form, passphrase):
    """Editors and shells of other systems write UTF-16."""
    text = key_text(encode(pem(kind, form, passphrase)))
    verify(kind, load_credentials("key", private_key=text, passphrase=passphrase).sign(PAYLOAD))


@pytest.mark.parametrize(("kind", "form", "passphrase"), FORMS)
def test_a_key_is_read_from_the_bytes_of_its_der(kind, form, passphrase):
    """A file need not be text at all."""
    text = key_text(base64.b64decode(der(kind, form, passphrase)))
    verify(kind, load_credentials("key", private_key=text, passphrase=passphrase).sign(PAYLOAD))


@pytest.mark.parametrize("broken", ["\n", "\\n", "\r\n", "\\r\\n", " "], ids=repr)
def test_openssls_own_encrypted_pkcs1_is_read(broken):
    """Its PEM has headers inside, which a lost line break must not mix with the key."""
    text = pem("RSA", "PKCS1", PASSPHRASE)
    assert "DEK-Info" in text
    credentials = load_credentials("key", private_key=text.replace("\n", broken), passphrase=PASSPHRASE)
    verify("RSA", credentials.sign(PAYLOAD))


def test_surrounding_white_space_is_no_part_of_a_key_or_secret():
    """What a paste adds around is taken off."""
    credentials = load_credentials(f" {DOCS_KEY}\n", secret=f"\t{DOCS_SECRET} \n")
    expected = hmac.new(DOCS_SECRET.encode(), PAYLOAD, hashlib.sha256).hexdigest()
    assert (credentials.api_key, credentials.sign(PAYLOAD)) == (DOCS_KEY, expected)


@pytest.mark.parametrize("blank", [None, "", " ", "\n\t "], ids=repr)
def test_a_blank_secret_beside_a_private_key_is_none(blank):
    """A form that sends white space for an empty field does not make two keys of one."""
    assert load_credentials("key", secret=blank, private_key=pem("Ed25519")).kind == "Ed25519"


@pytest.mark.parametrize("blank", [None, "", " ", "\n\t "], ids=repr)
def test_a_blank_private_key_beside_a_secret_is_none(blank):
    """The same the other way round."""
    assert load_credentials("key", secret="s", private_key=blank).kind == "HMAC"


# -- each way a key can be wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("api_key", [None, "", "  ", "\n"], ids=repr)
def test_no_api_key_is_an_error_that_names_the_login(api_key):
    """The form's field is named."""
    with pytest.raises(BinanceCredentialError, match=r"no API key.*login"):
        load_credentials(api_key, secret="s")


@pytest.mark.parametrize(
    "api_key",
    ["ключ-ключ-ключ", "two words here", "line\nbreak-in-it", "a\x00b-control", "zero\u200bwidth-key"],
    ids=repr,
)
def test_an_api_key_with_characters_no_key_has_is_an_error(api_key):
    """It would otherwise break the request's header, or be refused for a reason nobody sees."""
    assert "characters that no API key has" in refusal(api_key, secret=DOCS_SECRET)


def test_a_secret_and_a_private_key_are_one_too_many():
    """Which one signs is the user's to say."""
    assert refusal(DOCS_KEY, secret=DOCS_SECRET, private_key=pem("Ed25519")).startswith("both")


def test_a_passphrase_beside_a_secret_is_one_too_many():
    """A secret has none: the passphrase shows that a private key was meant."""
    text = refusal(DOCS_KEY, secret=DOCS_SECRET, passphrase="p4ss")
    assert text.startswith("a passphrase is given, but an API secret has none")
    assert "p4ss" not in text


@pytest.mark.parametrize("secret", [None, "", "   "], ids=repr)
def test_neither_a_secret_nor_a_private_key_is_an_error_that_names_the_fields(secret):
    """The error says where each of them belongs."""
    text = refusal(DOCS_KEY, secret=secret)
    assert ("password" in text, "private_key" in text, "key_file" in text) == (True, True, True)


@pytest.mark.parametrize("broken", NO_BREAKS.values(), ids=NO_BREAKS)
@pytest.mark.parametrize(("kind", "form", "passphrase"), FORMS)
def test_a_private_key_in_the_password_is_told_where_it_belongs(broken, kind, form, passphrase):
    """It would otherwise be taken for an HMAC secret and be refused as a wrong signature."""
    assert "belongs into the extra private_key" in refusal(DOCS_KEY, secret=broken(pem(kind, form, passphrase)))


#: worthless keys, made for this test
OPENSSH_LOCKED = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABDauJJaew
4/m04kJqIq9XleAAAAAQAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIPPmS4Gwk+kU48Ez
tcGm2GXVZ7qiCoQUQ9cAx10+67IFAAAAkK2QUEl/xtD6NdnUTuTQYTq4fhVDqycTFh1Snb
pb7rXqI1Po/aSBt+M+kR/FIrMSVwGUcl47vEt/9tayBrN4B0HuHejAw4KRyabOmTjT2519
yZ03AViy73r8sdmEtOzySdLN9OzcU9M7RFIrPTE8sjRn+JBqnnKLGrM6Er9EMWtVFkAz+T
rfZZm0di6qY8u33A==
-----END OPENSSH PRIVATE KEY-----
"""
PUTTY = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: x\nPublic-Lines: 2\nAAAAC3NzaC1lZDI1NTE5AAAA\n"


def openssh_ec():
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def pkcs12():
    container = serialize_key_and_certificates(b"key", key_of("RSA"), None, None, NoEncryption())
    return base64.b64encode(container).decode()


WRONG_KEYS = {
    "openssh-locked": (lambda: OPENSSH_LOCKED, "is encrypted"),
    "openssh-damaged": (lambda: pem("RSA", "OpenSSH").replace(pem("RSA", "OpenSSH").splitlines()[3], ""), "cannot be"),
    "openssh-ec": (openssh_ec, "of a kind the exchange does not take"),
    "openssh-public": (lambda: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPPmS4Gwk user@host", "public key"),
    "openssh-public-rfc4716": (
        lambda: "---- BEGIN SSH2 PUBLIC KEY ----\nAAAAC3NzaC1lZDI1NTE5AAAAIPPmS4Gwk\n---- END SSH2 PUBLIC KEY ----",
        "public key",
    ),
    "putty": (lambda: PUTTY, "puttygen"),
    "putty-base64": (lambda: base64.b64encode(PUTTY.encode()).decode(), "puttygen"),
    "pkcs12": (pkcs12, "openssl pkcs12"),
    "pgp": (lambda: pem("Ed25519").replace("PRIVATE KEY", "PGP PRIVATE KEY BLOCK"), "PGP key"),
    "json-web-key": (lambda: '{"kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0"}', "JSON Web Key"),
    "public-base64-of-pem": (lambda: base64.b64encode(public("Ed25519")).decode(), "public key"),
    "too-long": (lambda: pem("Ed25519").replace("\nM", "\n" + "M" * 20_000, 1), "cannot be read"),
    "far-too-long": (lambda: pem("Ed25519") + "\n" * 300_000 + "x", "longer than any"),
    "public-pem-ed25519": (lambda: public("Ed25519").decode(), "public key"),
    "public-pem-rsa": (lambda: public("RSA").decode(), "public key"),
    "public-pem-rsa-pkcs1": (
        lambda: key_of("RSA").public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode(),
        "public key",
    ),
    "public-pem-on-one-line": (lambda: public("Ed25519").decode().replace("\n", " "), "public key"),
    "public-der": (lambda: base64.b64encode(public("Ed25519", "DER")).decode(), "public key"),
    "ec": (lambda: pem("EC"), "of a kind the exchange does not take"),
    "ec-sec1": (lambda: pem("EC", "PKCS1"), "of a kind the exchange does not take"),
    "ec-der": (lambda: der("EC"), "of a kind the exchange does not take"),
    "dsa": (lambda: pem("DSA"), "of a kind the exchange does not take"),
    "ed448": (lambda: pem("Ed448"), "of a kind the exchange does not take"),
    "x25519": (lambda: pem("X25519"), "of a kind the exchange does not take"),
    "garbage": (lambda: "this is no key at all, whatever!", "neither PEM nor base64"),
    "garbage-base64": (lambda: base64.b64encode(b"thirty-two bytes of no key at all").decode(), "cannot be read"),
    "an-hmac-secret": (lambda: DOCS_SECRET, "cannot be read"),
    "non-ascii": (lambda: "ключключключ", "neither PEM nor base64"),
    "lone-surrogate": (lambda: "MC4CAQ\ud800AwBQYDK2Vw", "neither PEM nor base64"),
    "lone-surrogate-in-pem": (lambda: pem("Ed25519").replace("\nM", "\nM\ud800", 1), "cannot be read"),
    "non-ascii-in-pem": (lambda: pem("Ed25519").replace("\nM", "\nMé", 1), "cannot be read"),
    "truncated-pem": (lambda: pem("RSA")[:800], "cannot be read"),
    "truncated-body": (lambda: pem("RSA").replace(pem("RSA").splitlines()[3], ""), "cannot be read"),
    "truncated-der": (lambda: der("RSA")[:800], "cannot be read"),
    "cut-inside-a-base64-group": (lambda: der("RSA")[:801], "neither PEM nor base64"),
    "no-end-line": (lambda: pem("Ed25519").partition("-----END")[0], "cannot be read"),
    "begin-line-only": (lambda: "-----BEGIN PRIVATE KEY-----", "cannot be read"),
    "empty-pem": (lambda: "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----", "cannot be read"),
    "dashes": (lambda: "-----BEGIN ", "cannot be read"),
    "certificate": (lambda: pem("Ed25519").replace("PRIVATE KEY", "CERTIFICATE"), "this is a certificate"),
    "encrypted-without-passphrase": (lambda: pem("RSA", "PKCS8", PASSPHRASE), "is encrypted"),
    "encrypted-der-without-passphrase": (lambda: der("Ed25519", "PKCS8", PASSPHRASE), "is encrypted"),
    "encrypted-pkcs1-without-passphrase": (lambda: pem("RSA", "PKCS1", PASSPHRASE), "is encrypted"),
}


@pytest.mark.parametrize(("text", "words"), WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_each_way_a_private_key_can_be_wrong_is_told_in_its_own_words(text, words):
    """The error says which it is, and quotes nothing of the key."""
    assert words in refusal(DOCS_KEY, private_key=text())


@pytest.mark.parametrize("write", [pem, der])
@pytest.mark.parametrize("kind", ["RSA", "Ed25519"])
@pytest.mark.parametrize(
    ("locked", "passphrase", "words"),
    [
        pytest.param(PASSPHRASE, "another horse", "the passphrase is wrong", id="wrong"),
        pytest.param(PASSPHRASE, "x" * 2000, "the passphrase is wrong", id="too-long"),
        pytest.param(PASSPHRASE, "non-äscii-wrong", "the passphrase is wrong", id="non-ascii"),
        pytest.param(PASSPHRASE, "surrogate-\ud800-wrong", "the passphrase is wrong", id="lone-surrogate"),
        pytest.param(PASSPHRASE, "", "is encrypted", id="empty"),
        pytest.param(None, PASSPHRASE, "take the passphrase away", id="superfluous"),
    ],
)
def test_each_way_a_passphrase_can_be_wrong_is_told_in_its_own_words(write, kind, locked, passphrase, words):
    """Missing, wrong and superfluous are three different things to do."""
    assert words in refusal(DOCS_KEY, private_key=write(kind, "PKCS8", locked), passphrase=passphrase)


def test_a_secret_that_is_no_text_is_refused_as_a_key():
    """A lone surrogate, which JSON can carry, cannot be encoded: an error of ours, not of the encoder's."""
    assert "characters" in refusal(DOCS_KEY, secret="long-secret-\ud800-text")


def test_a_passphrase_may_hold_any_character():
    """It is taken as UTF-8 and white space in it counts."""
    passphrase = " pässwörd 币 "
    assert (
        load_credentials("key", private_key=pem("Ed25519", "PKCS8", passphrase), passphrase=passphrase).kind
        == "Ed25519"
    )


@settings(deadline=None, max_examples=50)
@given(st.text(), st.text() | st.none())
def test_any_text_as_a_key_is_an_error_of_ours(text, passphrase):
    """Whatever is pasted, nothing but a credential error comes out of it."""
    with pytest.raises(BinanceCredentialError):
        load_credentials("key", private_key=f"{text}!", passphrase=passphrase)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["RSA", "Ed25519"]), st.integers(0, 2_000), st.binary(max_size=3))
def test_a_damaged_key_is_an_error_of_ours_or_still_a_key(kind, place, scratch):
    """Wherever a key is damaged, the loader neither crashes nor lets a library's error out."""
    raw = bytearray(data_of(kind, "DER"))
    place %= len(raw)
    raw[place : place + len(scratch)] = scratch
    with contextlib.suppress(BinanceCredentialError):
        load_credentials("key", private_key=base64.b64encode(raw).decode())


# -- encrypted keys --------------------------------------------------------------------------------------------------

#: with 4,000,000 rounds of PBKDF2
SLOW_TO_OPEN = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGcMFgGCSqGSIb3DQEFDTBLMCoGCSqGSIb3DQEFDDAdBAhYvsxfloXj9QIDPQkA
MAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAEqBBAlgLeBYQVVviq97OqimKoMBEAV
aUMez/AOhuWyLDBLVchD4re3Ky+5DDDw2VEq15IAaShRAIRYGjb3ta+rDSjNjd5g
cVZ4TKOZKn+kUNa0l1yi
-----END ENCRYPTED PRIVATE KEY-----
"""
ITS_PASSPHRASE = "pass-of-this-key"


@pytest.fixture
def processes(monkeypatch):
    """The programs that were started."""
    started, run = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: (started.append(args[0]), run(*args, **kwargs))[1])
    return started


def test_other_threads_go_on_while_a_key_is_decrypted(processes, monkeypatch):
    """Deriving what opens it takes long and holds the interpreter: it is done in another process, never in this one."""
    passphrases = []

    def recorded(label, data, passphrase):
        passphrases.append(passphrase)
        return load_block(label, data, passphrase)

    for module in (credentials, private_key):
        monkeypatch.setattr(module, "load_block", recorded)
    assert load_credentials("key", private_key=SLOW_TO_OPEN, passphrase=ITS_PASSPHRASE).kind == "Ed25519"
    assert (len(processes), set(passphrases)) == (1, {None})


@pytest.mark.parametrize(
    ("passphrase", "kept"), [(PASSPHRASE, "key"), ("another horse", "refusal")], ids=["right", "wrong"]
)
def test_an_encrypted_key_is_opened_once_however_many_ask(processes, passphrase, kept):
    """At once and later; a passphrase that is wrong is not tried again either."""
    text, got = pem("Ed25519", "PKCS8", PASSPHRASE), []

    def work():
        try:
            got.append(load_credentials(f"once-{kept}", private_key=text, passphrase=passphrase).sign(PAYLOAD))
        except BinanceCredentialError as error:
            got.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()
    assert (len(got), len(set(got)), len(processes)) == (21, 1, 1)
    assert ("passphrase is wrong" in got[0]) == (kept == "refusal")


def test_another_key_passphrase_or_api_key_is_another_matter(processes):
    """What was opened for one is never given to the next."""
    one = load_credentials("first", private_key=pem("Ed25519", "PKCS8", "a"), passphrase="a")
    with pytest.raises(BinanceCredentialError):
        load_credentials("first", private_key=pem("Ed25519", "PKCS8", "a"), passphrase="b")
    other = load_credentials("second", private_key=pem("Ed25519", "PKCS8", "a"), passphrase="a")
    third = load_credentials("first", private_key=pem("RSA", "PKCS8", "a"), passphrase="a")
    assert (one.api_key, other.api_key, third.kind, len(processes)) == ("first", "second", "RSA", 4)


def test_what_is_remembered_of_encrypted_keys_is_bounded_and_names_no_secret():
    """The oldest are forgotten, and the names of what is kept are hashes."""
    from airflow_provider_binance_margin.exchange.credentials import _MOST_OPENED, _opened

    for number in range(_MOST_OPENED + 10):
        with contextlib.suppress(BinanceCredentialError):
            load_credentials(f"key-{number}", private_key="no key at all!", passphrase="passphrase")
    assert (len(_opened), {len(name) for name in _opened}) == (_MOST_OPENED, {64})
    assert [name for name in _opened if b"key-" in name or b"passphrase" in name] == []


@pytest.mark.parametrize("executable", ["", None, "/nonexistent/python", "/bin/true", "/bin/cat"])
def test_a_key_is_decrypted_where_no_process_can_be_made(monkeypatch, executable):
    """Slower for other threads, but right."""
    monkeypatch.setattr(sys, "executable", executable)
    api_key = f"without-{executable}"
    credentials = load_credentials(api_key, private_key=pem("Ed25519", "PKCS8", PASSPHRASE), passphrase=PASSPHRASE)
    verify("Ed25519", credentials.sign(PAYLOAD))
    with pytest.raises(BinanceCredentialError, match="passphrase is wrong"):
        load_credentials(api_key, private_key=pem("Ed25519", "PKCS8", PASSPHRASE), passphrase="another")


def test_a_key_that_takes_too_long_to_decrypt_is_refused(monkeypatch):
    """With the cure; it is not decrypted in this process instead, where all would stand still for as long."""

    def endless(arguments, *, timeout, **_):
        raise subprocess.TimeoutExpired(arguments, timeout)

    monkeypatch.setattr(subprocess, "run", endless)
    with pytest.raises(BinanceConfigError, match=r"takes more than 120 s to decrypt.*fewer rounds"):
        load_credentials("slow", private_key=SLOW_TO_OPEN, passphrase=ITS_PASSPHRASE)


def test_no_secret_is_an_argument_or_in_the_environment_of_the_process(monkeypatch):
    """Others on the machine may list both."""
    run, calls = subprocess.run, []

    def recorded(arguments, **options):
        calls.append((arguments, options["env"]))
        return run(arguments, **options)

    monkeypatch.setattr(subprocess, "run", recorded)
    text = pem("RSA", "PKCS8", "passphrase-for-this")
    load_credentials("api-key-for-this", private_key=text, passphrase="passphrase-for-this")
    shown = repr(calls)
    assert [s for s in ("passphrase-for-this", "api-key-for-this", *text.splitlines()[1:-1]) if s in shown] == []


def test_a_child_of_a_process_that_was_opening_a_key_opens_its_own():
    """A fork takes the lock along as it is, held by a thread that the child does not have."""
    from airflow_provider_binance_margin.exchange.credentials import _opening

    with _opening:
        child = os.fork()
        if not child:
            try:
                load_credentials("forked", private_key=pem("Ed25519", "PKCS8", "a"), passphrase="a")
                os._exit(0)
            finally:
                os._exit(1)
        deadline = time.monotonic() + 20
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        if not ended[0]:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert ended == (child, 0)


def test_an_older_cryptographys_words_for_a_missing_passphrase_are_understood(monkeypatch):
    """It raises a ValueError for OpenSSH's form, where newer ones raise a TypeError as for all others."""

    def load(data, password):
        raise ValueError("Key is password-protected.")

    monkeypatch.setattr(serialization, "load_ssh_private_key", load)
    assert "is encrypted" in refusal(DOCS_KEY, private_key=OPENSSH_LOCKED)


def test_an_encrypted_openssh_key_needs_bcrypt_and_says_so():
    """It is not a dependency; with it such a key is read."""
    try:
        import bcrypt  # noqa: F401
    except ImportError:
        text = refusal(DOCS_KEY, private_key=OPENSSH_LOCKED, passphrase=ITS_PASSPHRASE)
        assert ("bcrypt" in text, "ssh-keygen -p" in text) == (True, True)
    else:
        assert load_credentials("key", private_key=OPENSSH_LOCKED, passphrase=ITS_PASSPHRASE).kind == "Ed25519"


# -- nothing is shown ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "write"),
    [
        pytest.param("secret", lambda: DOCS_SECRET, id="hmac"),
        pytest.param("private_key", lambda: pem("RSA"), id="rsa"),
        pytest.param("private_key", lambda: pem("Ed25519"), id="ed25519"),
    ],
)
def test_credentials_show_nothing_of_themselves(field, write):
    """Neither repr nor str holds the API key or anything of what signs."""
    credentials = load_credentials(DOCS_KEY, **{field: write()})
    shown = f"{credentials!r} {credentials!s} {credentials}"
    secrets = [DOCS_KEY, *write().splitlines()]
    assert [secret for secret in secrets if secret in shown] == []
