"""No HTTP library's log shows a signature or a key."""

from __future__ import annotations

import base64
import logging
import secrets
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_binance_margin.hooks.redaction import _masked, hush_http_loggers, mask

SIGNATURE = "Zm9v%2BYmFy%2F%3D%3D"
HEX = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"


@pytest.fixture(autouse=True)
def _hushed():
    hush_http_loggers()


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    """The masker of this process, without what other tests have told it."""
    from versions import secrets_masker

    monkeypatch.setattr(secrets_masker(), "patterns", set())
    monkeypatch.setattr(secrets_masker(), "replacer", None)
    _masked.clear()
    yield
    _masked.clear()


@pytest.mark.parametrize("signature", [SIGNATURE, HEX])
@pytest.mark.parametrize(
    "message",
    [
        "GET /x?a=1&signature={0} HTTP/1.1",
        "GET /x?signature={0}&a=1",
        "'https://h/x?a=1&SIGNATURE={0}'",
        '"https://h/x?a=1&signature={0}"',
        "url(https://h/x?signature={0})",
        "b'GET /x?signature={0}'",
        "Redirecting https://h/x?signature={0} -> https://i/x?signature={0}",
    ],
)
@pytest.mark.parametrize(
    "name", ["urllib3.connectionpool", "httpx", "httpcore.http11", "urllib3.util.retry", "requests"]
)
def test_a_signature_is_cut_out(caplog, name, message, signature):
    """Whatever surrounds it, the signature goes and the rest stays, at every level."""
    text = message.format(signature)
    with caplog.at_level(logging.DEBUG, logger=name):
        logging.getLogger(name).debug(text.replace("%", "%%"))
        logging.getLogger(name).error("%s", text)

    assert text.replace(signature, "***") in caplog.messages[1]
    assert signature not in caplog.text
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    "message",
    [
        "X-MBX-APIKEY: {0}",
        "headers={{'X-MBX-APIKEY': '{0}', 'Accept': 'x'}}",
        "request_headers=[(b'X-MBX-APIKEY', b'{0}'), (b'Accept', b'x')]",
        "x-mbx-apikey={0}",
        '{{"x-mbx-apikey": "{0}"}}',
    ],
)
def test_an_api_key_is_cut_out(caplog, message):
    """A header that holds the API key is logged without it."""
    with caplog.at_level(logging.DEBUG, logger="httpcore.http11"):
        logging.getLogger("httpcore.http11").debug("%s", message.format("K" * 64))

    assert "K" * 64 not in caplog.text
    assert "***" in caplog.text


def test_what_holds_no_secret_is_left_as_it_is(caplog):
    """Other records keep their text and their arguments."""
    with caplog.at_level(logging.DEBUG, logger="httpx"):
        logging.getLogger("httpx").info("%d of %s", 5, "100%")

    assert (("5 of 100%",), (5, "100%")) == ((caplog.messages[0],), caplog.records[0].args)


def test_a_record_that_cannot_be_formatted_does_no_harm(caplog):
    """A library's own mistake in a log call must not become an error of the call."""
    with caplog.at_level(logging.DEBUG, logger="httpx"):
        logger = logging.getLogger("httpx")
        previous, logging.raiseExceptions = logging.raiseExceptions, False
        handlers = list(logging.getLogger().handlers)
        try:
            for handler in handlers:
                logging.getLogger().removeHandler(handler)
            logger.info("%d", "no number")
        finally:
            logging.raiseExceptions = previous
            for handler in handlers:
                logging.getLogger().addHandler(handler)


def test_hushing_twice_filters_once():
    """Every hook hushes; the filters do not pile up."""
    before = list(logging.getLogger("urllib3.connectionpool").filters)

    hush_http_loggers()

    assert before == logging.getLogger("urllib3.connectionpool").filters


def test_every_logger_of_the_http_libraries_is_covered():
    """Loggers that the libraries have today are all filtered, since a filter does not reach down to children."""
    import aiohttp  # noqa: F401
    import httpcore  # noqa: F401
    import httpx  # noqa: F401
    import requests  # noqa: F401
    import urllib3  # noqa: F401

    libraries = ("aiohttp", "urllib3", "requests", "httpx", "httpcore")
    names = [n for n in logging.root.manager.loggerDict if n.split(".")[0] in libraries]
    loggers = [logging.getLogger(n) for n in names if isinstance(logging.root.manager.loggerDict[n], logging.Logger)]
    bare = [
        logger.name for logger in loggers if not any(type(f).__name__ == "_SignatureFilter" for f in logger.filters)
    ]

    #: these write nothing about requests that are sent
    assert {
        "aiohttp",
        "aiohttp.access",
        "aiohttp.server",
        "aiohttp.web",
        "aiohttp.websocket",
        "urllib3",
        "urllib3.util",
        "urllib3.response",
        "urllib3.poolmanager",
        "urllib3.http2",
        "urllib3.http2.connection",
    } >= set(bare)


def redacted(text):
    from versions import redact

    return redact(text)


@pytest.mark.parametrize("part", ["whole", "line", "stripped"])
def test_a_key_text_is_masked_as_a_whole_and_line_by_line(part):
    """Of a key, each line is masked, since libraries and people print parts of it."""
    lines = [f"{'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7' + str(i)}" for i in range(3)]
    pem = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(lines) + "\n-----END PRIVATE KEY-----\n"

    mask([pem])

    shown = {"whole": f"it is {pem}!", "line": f"it is {lines[1]}!", "stripped": f"it is {pem.strip()}!"}[part]
    assert not any(line in redacted(shown) for line in lines)


def test_a_key_on_one_line_is_masked():
    r"""A key whose line breaks are written as \\n is masked by its parts too."""
    pem = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIJm0Q3xvb4Z\\n-----END PRIVATE KEY-----"

    mask([pem])

    assert "MC4CAQAwBQYDK2VwBCIEIJm0Q3xvb4Z" not in redacted("line MC4CAQAwBQYDK2VwBCIEIJm0Q3xvb4Z of it")


def test_a_key_with_other_line_ends_is_masked():
    """A key that was edited elsewhere, with carriage returns, or lost its line breaks to spaces, is masked too."""
    first, second = "MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAA", "MC4CAQAwBQYDK2VwBCIEIBBBBBBBBBBB"

    mask([f"-----BEGIN PRIVATE KEY-----\r\n{first}\r\n-----END PRIVATE KEY-----\r\n"])
    mask([f"-----BEGIN PRIVATE KEY----- {second} -----END PRIVATE KEY-----"])

    assert (first not in redacted(f"x {first} y"), second not in redacted(f"x {second} y")) == (True, True)


@cache
def pem_of(kind):
    key = {
        "rsa": lambda: rsa.generate_private_key(65537, 4096),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def chain(lines):
    """Certificates, as they stand behind the key in a file of a web server."""
    body = "\n".join(secrets.token_hex(32) for _ in range(lines))
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


SPELLINGS = {
    "lines": lambda text: text,
    "escaped": lambda text: text.replace("\n", "\\n"),
    "escaped-twice": lambda text: text.replace("\n", "\\\\n"),
    "windows": lambda text: text.replace("\n", "\r\n"),
    "spaces": lambda text: text.replace("\n", " "),
    "one-line": lambda text: text.replace("\n", ""),
    "bare-base64": lambda text: "".join(text.splitlines()[1:-1]),
    "indented": lambda text: text.replace("\n", "\n    "),
    "base64-of-pem": lambda text: base64.b64encode(text.encode()).decode(),
    "with-a-chain": lambda text: text + chain(1_200),
    "behind-a-chain": lambda text: chain(1_200) + text,
    "cut": lambda text: text[:-25],
}


@pytest.mark.parametrize("given", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_no_line_of_a_key_is_logged_however_it_is_given_and_written(kind, given):
    """Given in one spelling, written in another: each line is masked, of all that a log may hold of it."""
    text = given(pem_of(kind))

    mask([text])

    lines = [line for line in pem_of(kind).splitlines()[1:-1] if len(line) >= 16]
    for written in (pem_of(kind), pem_of(kind).replace("\n", "\\n"), pem_of(kind).replace("\n", " "), *lines):
        shown = redacted(f"it is {written}!")
        assert [line for line in lines if line in shown] == []


LONG = {
    "chain": lambda: pem_of("ed25519") + chain(1_200),
    "certificates-only": lambda: chain(1_200),
    "words": lambda: " ".join(secrets.token_hex(16) for _ in range(1_200)),
    "words-as-a-key": lambda: pem_of("ed25519").replace(
        "\nM", "\nM" + "\n".join(secrets.token_hex(16) for _ in range(1_200))
    ),
    "one-word": lambda: secrets.token_hex(500_000),
    "keys": lambda: pem_of("ed25519") * 500,
    "begins-only": lambda: "-----BEGIN PRIVATE KEY-----\n" * 30_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_few_values_are_handed_to_the_masker(text):
    """It compiles all that it knows anew for each: 1,200 lines would take minutes."""
    mask([text()])

    assert len(_masked) < 100
    assert max(map(len, _masked), default=0) <= 4_096
