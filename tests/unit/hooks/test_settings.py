"""A connection is used exactly as it says, or refused in words that show nothing of it."""

import asyncio
import base64
import json
import os
import traceback
from dataclasses import dataclass
from functools import cache

import pytest
from airflow.sdk import Connection
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from frames import shown_in_frames
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_binance_margin.exchange.errors import BinanceConfigError, BinanceCredentialError
from airflow_provider_binance_margin.hooks.settings import open_settings, read_settings, secrets_of

API_KEY = "api-key-of-this-test"
SECRET = "secret-of-this-test"
PASSPHRASE = "passphrase-of-this-test"


@dataclass
class Conn:
    """As much of an Airflow connection as is read."""

    host: str | None = None
    port: int | None = None
    login: str | None = API_KEY
    password: str | None = SECRET
    extra: str | None = None
    conn_id: str = "binance_default"

    @property
    def extra_dejson(self):
        return json.loads(self.extra) if self.extra else {}


def conn(**fields):
    extra = fields.pop("extra", {})
    return Conn(**fields, extra=extra if isinstance(extra, str) else json.dumps(extra))


def with_key(**extra):
    return conn(password=None, extra=extra)


@cache
def private_key(passphrase=None):
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def refusal(connection):
    """The text of the error, once it is sure that neither it nor a frame that it passed shows a secret."""
    with pytest.raises(BinanceConfigError) as caught:
        read_settings(connection)
    shown = "".join(traceback.format_exception(caught.value)) + shown_in_frames(caught.value)
    words = [word for secret in secrets_of(connection) for word in {secret, *secret.split()} if len(word) > 7]
    assert [word for word in words if "-----" not in word and word in shown] == []
    return str(caught.value)


# -- what is read ----------------------------------------------------------------------------------------------------


def test_a_connection_of_key_and_secret_is_enough():
    """All else has a default."""
    got = read_settings(conn())
    assert (got.base_url, got.recv_window, got.timeout, got.credentials.api_key, got.credentials.kind) == (
        "https://api.binance.com",
        5000,
        15,
        API_KEY,
        "HMAC",
    )


def test_every_field_is_read():
    """Host, port and all of the extra."""
    extra = {
        "private_key": private_key(PASSPHRASE),
        "private_key_passphrase": PASSPHRASE,
        "recv_window": 7_000,
        "timeout": 2.5,
    }
    got = read_settings(conn(host="https://api1.binance.com", port=8443, password=None, extra=extra))
    assert (got.base_url, got.recv_window, got.timeout, got.credentials.kind) == (
        "https://api1.binance.com:8443",
        7_000,
        2.5,
        "Ed25519",
    )


def test_airflows_own_connection_is_read():
    """From the JSON that users put into the environment."""
    fields = {"conn_type": "binance", "login": API_KEY, "password": SECRET}
    if hasattr(Connection, "from_json"):
        made = Connection.from_json(json.dumps({**fields, "extra": {"timeout": 3}}), "b")
    else:  # before Airflow 3.1
        made = Connection(conn_id="b", **fields, extra='{"timeout": 3}')
    assert (read_settings(made).timeout, secrets_of(made)) == (3, (API_KEY, SECRET))


def test_settings_show_no_secret():
    """Neither repr nor str."""
    got = read_settings(with_key(private_key=private_key(PASSPHRASE), private_key_passphrase=PASSPHRASE))
    assert [s for s in (API_KEY, PASSPHRASE, *private_key(PASSPHRASE).splitlines()) if s in f"{got!r} {got}"] == []


def test_the_secrets_are_all_that_no_log_may_show(tmp_path):
    """API key, secret, key text from wherever it is, and passphrase."""
    file = tmp_path / "key.pem"
    file.write_text(private_key(PASSPHRASE))
    extra = {"private_key_passphrase": PASSPHRASE}
    in_extra = read_settings(with_key(**extra, private_key=private_key(PASSPHRASE))).secrets
    in_file = read_settings(with_key(**extra, key_file=str(file))).secrets
    assert (set(read_settings(conn()).secrets), set(in_extra), set(in_file)) == (
        {API_KEY, SECRET},
        {API_KEY, private_key(PASSPHRASE), PASSPHRASE},
        {API_KEY, private_key(PASSPHRASE), PASSPHRASE},
    )


@pytest.mark.parametrize(
    "extra",
    ["{broken", "[1]", '"text"', "[" * 100_000, '{"private_key":5}'],
    ids=["cut", "list", "text", "deep", "number"],
)
def test_secrets_are_known_even_of_a_connection_that_cannot_be_used(extra):
    """What is wrong elsewhere must not keep login and password from being masked."""
    assert secrets_of(conn(extra=extra)) == (API_KEY, SECRET)


FORMS = {
    "pem": str,
    "escaped": lambda pem: pem.replace("\n", "\\n"),
    "base64": lambda pem: base64.b64encode(pem.encode()).decode(),
    "der": lambda pem: "".join(pem.splitlines()[1:-1]),
}


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("place", ["host", "key_file", "privateKey", "recv_window", "extra", "login", "password"])
def test_a_key_in_the_wrong_field_is_a_secret_all_the_same(place, write):
    """In whatever form a key is given."""
    text = write(private_key())
    fields = {place: text} if place in ("host", "extra", "login", "password") else {"extra": {place: text}}
    assert text in secrets_of(conn(**fields))


@pytest.mark.parametrize("text", ["MAIN", "api.binance.com", "/opt/keys/binance", "MYKEYS/" + "a" * 25, "M" * 48])
def test_a_path_or_a_host_is_no_secret(text):
    """Masked, they would be cut out of every log."""
    assert secrets_of(conn(host=text, extra={"key_file": text})) == (API_KEY, SECRET)


# -- hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port", "base_url"),
    [
        (None, None, "https://api.binance.com"),
        ("", None, "https://api.binance.com"),
        ("  ", None, "https://api.binance.com"),
        ("api1.binance.com", None, "https://api1.binance.com"),
        ("https://api-gcp.binance.com", None, "https://api-gcp.binance.com"),
        ("https://api.binance.com/", None, "https://api.binance.com"),
        (" HTTPS://API.Binance.COM ", None, "https://api.binance.com"),
        ("api.binance.com:8443", None, "https://api.binance.com:8443"),
        ("api.binance.com", 8443, "https://api.binance.com:8443"),
        ("api.binance.com:1", 8443, "https://api.binance.com:1"),
        ("https://203.0.113.9", None, "https://203.0.113.9"),
        ("https://[2001:DB8::1]", None, "https://[2001:db8::1]"),
        ("[2001:db8::1]:8443", None, "https://[2001:db8::1]:8443"),
        ("http://127.0.0.1:8080", None, "http://127.0.0.1:8080"),
        ("http://127.1.2.3", 80, "http://127.1.2.3"),
        ("https://api.binance.com:443", None, "https://api.binance.com"),
        ("https://api.binance.com", 443, "https://api.binance.com"),
        ("API.BINANCE.COM.:443/", None, "https://api.binance.com"),
        ("https://api.binance.com:80", None, "https://api.binance.com:80"),
        ("http://localhost.:80", None, "http://localhost"),
        ("http://127.0.0.1:443", None, "http://127.0.0.1:443"),
        ("https://[2001:db8:0:0::1]:443", None, "https://[2001:db8::1]"),
        ("http://localhost", 8080, "http://localhost:8080"),
        ("http://LocalHost:1", None, "http://localhost:1"),
        ("http://[::1]:8080", None, "http://[::1]:8080"),
        ("a" * 63 + ".test", None, "https://" + "a" * 63 + ".test"),
        ("xn--bcher-kva.example", None, "https://xn--bcher-kva.example"),
    ],
    ids=str,
)
def test_a_host_becomes_a_base_url(host, port, base_url):
    """Scheme, name and port, in one spelling."""
    assert read_settings(conn(host=host, port=port)).base_url == base_url


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("https://user@api.binance.com", "user or password"),
        ("https://user:pw-of-this-test@api.binance.com", "user or password"),
        ("https://@api.binance.com", "user or password"),
        ("https://api.binance.com\\@evil.test", "user or password"),
        ("https://evil.test#@api.binance.com", "no path"),
        ("ftp://api.binance.com", "https://"),
        ("file:///etc/passwd", "https://"),
        ("javascript://x", "https://"),
        ("://api.binance.com", "https://"),
        ("https://api.binance.com/sapi/v1", "no path"),
        ("api.binance.com/sapi", "no path"),
        ("https://api.binance.com//", "no path"),
        ("https://api.binance.com?a=1", "no path"),
        ("https://api.binance.com?", "no path"),
        ("https://api.binance.com#", "no path"),
        ("https://api.binance.com;x", "not the name"),
        ("https://", "not the name"),
        ("https://:443", "not the name"),
        ("api binance com", "not the name"),
        ("api..binance.com", "not the name"),
        (".binance.com", "not the name"),
        ("binance.com..", "not the name"),
        ("-api.binance.com", "not the name"),
        ("api_1.binance.com", "not the name"),
        ("*.binance.com", "not the name"),
        ("api.binance.com%2f", "not the name"),
        ("币安.com", "not the name"),
        ("api.binance\u017f.com", "not the name"),
        ("a" * 64 + ".test", "not the name"),
        ("a." * 127 + "test", "not the name"),
        ("[fe80::1%25eth0]", "not"),
        ("[::1", "not a URL"),
        ("::1", "not"),
        ("[v1.x]", "not"),
        ("api.binance.com:99999", "not a URL"),
        ("api.binance.com:x", "not a URL"),
        ("api.binance.com:-1", "not a URL"),
        ("https:api.binance.com", "not"),
        ("https://api.bin\u2100nce.com", "not"),
        ("http://api.binance.com", "in the clear"),
        ("http://localhost.evil.test", "in the clear"),
        ("http://127.0.0.1.evil.test", "in the clear"),
        ("http://0.0.0.0", "in the clear"),
        ("http://10.0.0.1", "in the clear"),
        ("http://[2001:db8::1]", "in the clear"),
        ("http://2130706433", "in the clear"),
    ],
    ids=str,
)
def test_a_host_that_is_no_plain_base_url_is_refused_in_words(host, words):
    """No user, path, query, zone or unencrypted way; and nothing that another reader would take for another host."""
    assert words in refusal(conn(host=host))


@pytest.mark.parametrize("port", [0, -1, 65_536, 10**9], ids=str)
def test_a_port_that_is_none_is_refused(port):
    """The connection's own port field is checked as the host's is; 0 is as good as not given."""
    if port == 0:
        assert read_settings(conn(port=port)).base_url == "https://api.binance.com"
    else:
        assert "port" in refusal(conn(port=port))


@pytest.mark.parametrize(
    ("host", "loopback", "foreign"),
    [
        (None, False, False),
        ("binance.com", False, False),
        ("api4.binance.com", False, False),
        ("notbinance.com", False, True),
        ("binance.com.evil.test", False, True),
        ("https://203.0.113.9", False, True),
        ("http://127.0.0.1:1", True, False),
        ("http://[::1]:1", True, False),
        ("localhost", True, False),
        ("localhost.evil.test", False, True),
    ],
    ids=str,
)
def test_it_is_known_whose_the_host_is(host, loopback, foreign):
    """This machine's, the exchange's, or a stranger's."""
    got = read_settings(conn(host=host))
    assert (got.is_loopback, got.is_foreign) == (loopback, foreign)


@pytest.mark.parametrize("host", ["http://10.0.0.1:8080", "http://sandbox.internal", "http://[2001:db8::1]:1"])
def test_a_sandbox_key_may_go_in_the_clear(host):
    """It opens nothing but a sandbox."""
    assert read_settings(conn(host=host, login="sandboxAbc")).base_url == host


@settings(deadline=None, max_examples=150)
@given(
    host=st.text(max_size=40) | st.from_regex(r"(https?://)?[\w.:@/\[\]%?#\\-]{0,20}", fullmatch=True),
    port=st.none() | st.integers(-10, 70_000),
)
def test_any_text_as_a_host_is_a_clean_base_url_or_our_own_error(host, port):
    """What is taken is lower-case ASCII, is read back to the same by anybody, and never goes out in the clear."""
    try:
        got = read_settings(conn(host=host, port=port)).base_url
    except BinanceConfigError:
        return
    assert (got.isascii(), got, read_settings(conn(host=got)).base_url) == (True, got.lower(), got)
    assert got.startswith(("https://", "http://127.", "http://localhost", "http://[::1]"))


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [private_key(), private_key().replace("\n", "\r\n"), "".join(private_key().splitlines()[1:-1])],
    ids=["pem", "crlf", "der"],
)
def test_a_key_file_is_read(tmp_path, text):
    """PEM or base64, as in the extra."""
    file = tmp_path / "key"
    file.write_bytes(text.encode())
    assert read_settings(with_key(key_file=str(file))).credentials.kind == "Ed25519"


CONTENTS = {
    "raw-der": base64.b64decode("".join(private_key().splitlines()[1:-1])),
    "utf-16": private_key().encode("utf-16"),
    "utf-16-without-mark": private_key().encode("utf-16-le"),
    "utf-8-with-mark": private_key().encode("utf-8-sig"),
    "windows": b"\xef\xbb\xbf  " + private_key().replace("\n", "\r\n  ").encode(),
    "base64-of-pem": base64.b64encode(private_key().encode()),
    "with-a-chain": private_key().encode()
    + (b"-----BEGIN CERTIFICATE-----\n" + b"QUJD\n" * 900 + b"-----END CERTIFICATE-----\n") * 9,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_key_file_is_read_as_other_systems_write_it(tmp_path, content):
    """Encodings of text, bytes that are none, and what stands behind the key."""
    file = tmp_path / "key"
    file.write_bytes(content)
    assert read_settings(with_key(key_file=str(file))).credentials.kind == "Ed25519"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_no_error_about_a_key_file_holds_its_bytes(tmp_path, encoding):
    """A UnicodeError would, and error trackers show it."""
    file = tmp_path / "key"
    file.write_bytes(private_key().replace("=", "").encode(encoding)[:-90] + "ÿ of-that-file".encode(encoding))
    with pytest.raises(BinanceCredentialError) as caught:
        read_settings(with_key(key_file=str(file)))
    shown = shown_in_frames(caught.value)
    assert [line for line in (private_key().splitlines()[1], "of-that-file") if line in shown] == []


BROKEN = {
    "secret-of-two-words": lambda: conn(password="two-words of-a-secret-here"),
    "key-without-end": lambda: with_key(private_key=private_key()[:-30]),
    "key-in-the-password": lambda: conn(password=private_key()),
    "wrong-passphrase": lambda: with_key(private_key=private_key(PASSPHRASE), private_key_passphrase="wrong-" + SECRET),
    "host": lambda: conn(host=f"https://{API_KEY}:{SECRET}@api.binance.com"),
    "extra": lambda: conn(extra='{"private_key": "' + SECRET),
    "number": lambda: conn(extra={"recv_window": SECRET}),
    "key-as-path": lambda: with_key(key_file=private_key()),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("way", ["settings", "hook", "trigger"])
def test_no_frame_of_an_error_holds_a_secret(way, broken, monkeypatch):
    """Airflow's own connection shows its password, so no frame may hold one, nor an error behind the error."""
    from airflow_provider_binance_margin.hooks.binance import BinanceHook
    from airflow_provider_binance_margin.triggers.client import fetch_settings

    plain = broken()
    fields = {"conn_id": "b", "conn_type": "binance", "host": plain.host, "login": plain.login}
    made = Connection(**fields, password=plain.password, extra=plain.extra)
    monkeypatch.setattr(BinanceHook, "get_connection", lambda *_: made)

    async def fetched(_):
        return made

    monkeypatch.setattr("airflow_provider_binance_margin.triggers.client._fetch", fetched)
    ways = {
        "settings": lambda: open_settings(made),
        "hook": lambda: BinanceHook("b").settings,
        "trigger": lambda: asyncio.run(fetch_settings("b")),
    }
    with pytest.raises(BinanceConfigError) as caught:
        ways[way]()
    shown = shown_in_frames(caught.value)
    assert ": {" in shown  # frames of ours were looked at
    words = [API_KEY, SECRET, PASSPHRASE, *private_key().split(), *private_key(PASSPHRASE).split()]
    assert [word for word in words if len(word) > 15 and "-----" not in word and word in shown] == []


def write_binary(path):
    path.write_bytes(b"\xff" + base64.b64decode("".join(private_key().splitlines()[1:-1])))


KEY_FILES = {
    "missing": (lambda path: None, "cannot be read"),  # noqa: ARG005
    "directory": (lambda path: path.mkdir(), "cannot be read"),
    "pipe": (os.mkfifo, "not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "binary": (write_binary, "cannot be read"),
    "empty": (lambda path: path.write_text(""), "is empty"),
    "blank": (lambda path: path.write_text(" \n\n"), "is empty"),
    "another-file": (lambda path: path.write_text("root:x:0:0:word-of-that-file"), "neither PEM nor base64"),
    "nul-bytes": (lambda path: path.write_bytes(bytes(1_000)), "cannot be read"),
    "large": (lambda path: path.write_text(private_key() + "\n" * 65_536), "larger than any key"),
    "huge": (lambda path: (path.touch(), os.truncate(path, 10**12)), "larger than any key"),
    "dangling-link": (lambda path: path.symlink_to(path.with_name("nothing")), "cannot be read"),
    "link-to-itself": (lambda path: path.symlink_to(path), "cannot be read"),
}


@pytest.mark.parametrize(("make", "words"), KEY_FILES.values(), ids=KEY_FILES)
def test_each_way_a_key_file_can_be_wrong_is_told_without_quoting_it(tmp_path, make, words):
    """Neither its content nor its path is shown: a path may name a secret too."""
    make(tmp_path / "key")
    connection = with_key(key_file=str(tmp_path / "key"))
    text = refusal(connection)
    assert (words in text, "word-of-that-file" in text, str(tmp_path) in text) == (True, False, False)


@pytest.mark.parametrize("path", ["\x00", "a" * 5_000, "\ud800"], ids=["nul", "long", "surrogate"])
def test_a_path_that_is_none_is_told(path):
    """What the file system does not even take."""
    assert "cannot be read" in refusal(with_key(key_file=path))


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        pytest.param(conn(login=None), "no API key", id="no-login"),
        pytest.param(conn(login=""), "no API key", id="empty-login"),
        pytest.param(conn(password=None), "neither", id="neither"),
        pytest.param(conn(password=""), "neither", id="empty-password"),
        pytest.param(conn(password=None, extra={"private_key": " "}), "neither", id="blank-key"),
        pytest.param(conn(extra={"private_key": private_key()}), "both", id="both"),
        pytest.param(
            conn(extra={"private_key": "k", "key_file": "/f"}), "both private_key and key_file", id="two-keys"
        ),
        pytest.param(conn(password=private_key()), "belongs into the extra", id="key-in-password"),
        pytest.param(
            conn(password=None, extra={"private_key": private_key(PASSPHRASE)}), "is encrypted", id="no-passphrase"
        ),
        pytest.param(
            conn(password=None, extra={"private_key": private_key(), "private_key_passphrase": PASSPHRASE}),
            "take the passphrase away",
            id="superfluous-passphrase",
        ),
        pytest.param(
            conn(extra={"private_key_passphrase": PASSPHRASE}), "an API secret has none", id="passphrase-of-a-secret"
        ),
    ],
)
def test_a_key_that_is_missing_or_too_much_is_told(connection, words):
    """As credential errors, which fail a task without retries."""
    with pytest.raises(BinanceCredentialError):
        read_settings(connection)
    assert words in refusal(connection)


@pytest.mark.parametrize("name", ["private_key", "key_file", "private_key_passphrase"])
@pytest.mark.parametrize("value", [5, True, ["a"], {"a": "b"}, 1.5], ids=repr)
def test_a_field_that_must_be_text_is_refused_as_anything_else(name, value):
    """The field is named, its value is not."""
    assert (
        refusal(with_key(**{"private_key": private_key(), name: value}))
        == f"the connection's extra {name} must be text"
    )


@pytest.mark.parametrize("blank", [None, "", "  "], ids=repr)
def test_a_blank_field_is_none(blank):
    """Forms send empty fields."""
    extra = dict.fromkeys(
        ["private_key", "key_file", "private_key_passphrase", "recv_window", "timeout", "weight_share"], blank
    )
    got = read_settings(conn(extra=extra))
    assert (got.credentials.kind, got.recv_window, got.timeout) == ("HMAC", 5000, 15)


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [(1, 1), (59_999, 59_999), ("7000", 7_000), (" 7000 ", 7_000), (7000.0, 7_000), ("7e3", 7_000)],
    ids=repr,
)
def test_a_receive_window_is_a_whole_number_of_milliseconds(given_value, expected):
    """As a number or as text, which is what a form sends."""
    got = read_settings(conn(extra={"recv_window": given_value})).recv_window
    assert (got, type(got)) == (expected, int)


@pytest.mark.parametrize(
    "bad",
    [0, -1, 60_000, 1.5, "x", True, False, "nan", "inf", "-inf", [], {}, "1,000", 10**400, "9" * 400, "0x10"],
    ids=lambda v: str(v)[:20],
)
def test_a_receive_window_that_is_none_is_refused(bad):
    """The range is named."""
    assert (
        refusal(conn(extra={"recv_window": bad}))
        == "the connection's extra recv_window must be a whole number from 1 to 59999"
    )


@pytest.mark.parametrize(("given_value", "expected"), [(0.1, 0.1), (600, 600), ("2.5", 2.5)], ids=repr)
def test_a_timeout_is_a_number_of_seconds(given_value, expected):
    """Fractions are allowed."""
    assert read_settings(conn(extra={"timeout": given_value})).timeout == expected


@pytest.mark.parametrize("bad", [0, -5, 601, "x", True, "nan", "inf", [1], 10**400], ids=lambda v: str(v)[:20])
def test_a_timeout_that_is_none_is_refused(bad):
    """No answer is waited for for ever."""
    assert refusal(conn(extra={"timeout": bad})) == "the connection's extra timeout must be a number from 0.1 to 600"


# -- extra -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra", ["{broken", "not json", "[1]", '"text"', "5", "[" * 100_000], ids=lambda text: text[:10]
)
@pytest.mark.parametrize("make", [Conn, Connection], ids=["plain", "airflow"])
def test_an_extra_that_is_no_json_object_is_refused(make, extra, caplog):
    """Airflow would take it for an empty one: a private key in it would be ignored without a word."""
    fields = {"conn_id": "b", "conn_type": "binance"} if make is Connection else {}
    assert "extra is not a JSON object" in refusal(
        make(**fields, host=None, login=API_KEY, password=SECRET, extra=extra)
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(["private_key", "key_file", "private_key_passphrase", "recv_window", "timeout"]) | st.text()


@settings(deadline=None, max_examples=200)
@given(
    login=st.none() | st.text() | st.just(API_KEY),
    password=st.none() | st.text() | st.just(SECRET),
    extra=st.dictionaries(names, json_values, max_size=4).map(json.dumps) | st.text(max_size=20),
)
def test_any_connection_is_usable_or_refused_with_our_own_error(login, password, extra):
    """Whatever stands in its fields; and no error shows a secret."""
    connection = Conn(login=login, password=password, extra=extra)
    text = ""
    try:
        read_settings(connection)
    except BinanceConfigError as error:
        text = str(error)
    assert [s for s in secrets_of(connection) if len(s) > 30 and s in text] == []


@pytest.mark.parametrize(("given_value", "expected"), [(None, 0.6), (0.05, 0.05), (0.95, 0.95), ("0.3", 0.3)], ids=repr)
def test_a_share_of_the_limits_is_a_part_of_one(given_value, expected):
    """A number or its text; 0.6 if it is left out."""
    assert read_settings(conn(extra={"weight_share": given_value})).weight_share == expected


@pytest.mark.parametrize("bad", [0, 0.04, 0.96, 1, 60, -0.5, "60 %", True, "nan", "inf", []], ids=str)
def test_a_share_of_the_limits_that_is_none_is_refused(bad):
    """The extra and its range are named."""
    assert (
        refusal(conn(extra={"weight_share": bad}))
        == "the connection's extra weight_share must be a number from 0.05 to 0.95"
    )
