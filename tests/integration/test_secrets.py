"""The secret, the private key, its passphrase, the API key and the signatures are shown nowhere."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import traceback
from urllib.parse import unquote

import pytest
from frames import shown_in_frames
from versions import needs

from airflow_provider_binance_margin.sandbox import Sandbox

PASSPHRASE = "correct-horse-battery-staple"
RESTRICTIONS = "/sapi/v1/account/apiRestrictions"


class RecordingSandbox(Sandbox):
    """A sandbox that remembers the signatures it was sent, which its own log leaves out."""

    def __init__(self, **options):
        super().__init__(**options)
        self.signatures = set()

    def answer(self, request):
        self.signatures |= set(re.findall(r"signature=([^&]+)", request.query.decode()))
        return super().answer(request)


@pytest.fixture
def sandbox(sandbox_home):
    with RecordingSandbox(days=0, home=sandbox_home) as exchange:
        yield exchange


@pytest.fixture
def everything_logged():
    """All that any logger writes, at any level, unmasked."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
    loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
    before = [(each, each.level, each.propagate, each.disabled) for each in loggers]
    for each in loggers:
        each.setLevel(logging.DEBUG)
        each.propagate, each.disabled = True, False
    logging.getLogger().addHandler(handler)
    yield text
    logging.getLogger().removeHandler(handler)
    for each, level, propagate, disabled in before:
        each.setLevel(level)
        each.propagate, each.disabled = propagate, disabled


class Shown:
    """What a user could come to see."""

    def __init__(self):
        self.text = []

    def add(self, what):
        self.text.append(str(what))
        self.text.append(repr(what))

    def add_error(self, error):
        """An error with its traceback and what its frames hold, and those that it came of."""
        if error is not None:
            self.text.append(shown_in_frames(error))
        while error is not None:
            self.add(error)
            self.text += traceback.format_exception(error)
            self.text += [repr(error.args), repr(vars(error))]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

    @contextlib.contextmanager
    def errors(self):
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            self.add_error(error)


def encrypted(pem):
    from cryptography.hazmat.primitives import serialization as s

    key = s.load_pem_private_key(pem.encode(), None)
    kind = s.BestAvailableEncryption(PASSPHRASE.encode())
    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, kind).decode()


def secrets_of(conn):
    extra = conn.get("extra") or {}
    pem = (extra.get("private_key") or "").strip()
    lines = [line.strip() for line in pem.splitlines() if "-----" not in line]
    return {conn["login"], conn.get("password"), PASSPHRASE, pem, *lines} - {None, ""}


FAULTS = [
    ("reset", {}),
    ("html", {}),
    ("cut", {}),
    ("-1021", {"path": None}),
    ("429", {"retry_after": 300, "times": None}),
    ("error", {"code": -9999, "msg": "strange", "times": None}),
    ("403", {"times": None}),
    ("500", {}),
    ("-1021", {"path": None, "times": None}),
    ("error", {"code": -1022, "times": None}),
    ("error", {"code": -2015, "status": 401, "msg": "Invalid API-key, request ip: 10.1.2.3", "times": None}),
    ("redirect", {"times": None}),
    ("418", {"times": None, "retry_after": 900}),
]


def breakages(conn, tmp_path):
    """Ways to break a connection, none of which is sent."""
    extra = conn.get("extra") or {}
    yield {**conn, "host": "http://127.0.0.1:9"}
    yield {**conn, "host": f"https://{conn['login']}:{PASSPHRASE}@127.0.0.1"}
    yield {**conn, "host": "http://api.binance.com", "login": conn["login"].removeprefix("sandbox")}
    yield {**conn, "password": "x" * 40, "extra": {**extra, "private_key": extra.get("private_key") or "x" * 40}}
    yield {**conn, "extra": {**extra, "recv_window": conn["login"]}}
    yield {**conn, "extra": json.dumps(extra)[:-5] + conn["login"]}
    if "private_key" not in extra:
        yield {**conn, "password": "w" + conn["password"][1:]}
        yield {**conn, "password": "-----BEGIN PRIVATE KEY-----" + conn["password"]}
        return
    pem = extra["private_key"]
    file = tmp_path / "key.pem"
    file.write_text(pem[:-60] + "\n")
    yield {**conn, "extra": {"key_file": str(file)}}
    yield {**conn, "extra": {"key_file": pem}}
    yield {**conn, "extra": {"private_key": pem[: len(pem) // 2]}}
    if len(pem) > 1000:
        return  # of an RSA key: to read it takes long
    locked = encrypted(pem)
    yield {**conn, "extra": {"private_key": locked, "private_key_passphrase": PASSPHRASE + "?"}}
    yield {**conn, "extra": {"private_key": locked}}
    yield {**conn, "extra": {"private_key": pem, "private_key_passphrase": PASSPHRASE}}
    yield {**conn, "extra": {"private_key": locked, "private_key_passphrase": PASSPHRASE}}


@needs("airflow.sdk.BaseHook")  # before 3.1 the task runner, run in a test, logs what it is handed as it is
@pytest.mark.parametrize("key", ["hmac", "rsa", "ed25519"])
def test_nothing_secret_is_shown(  # noqa: PLR0915 - one story, searched as a whole
    key, operator, connect, run_task, api, sandbox, serve, day, tmp_path, monkeypatch, everything_logged, capfd
):
    """Through hook and task runner, in successes and all failures: no log, error, XCom, field or state holds one."""
    from airflow_provider_binance_margin.hooks import base, binance, hosts
    from airflow_provider_binance_margin.hooks.redaction import _masked

    _masked.clear()
    shown, conn = Shown(), sandbox.connection(key)
    elsewhere = serve(lambda handler: (shown.add(handler.path), shown.add(dict(handler.headers)), (200, {}, b"{}"))[-1])
    sandbox.add(n=120, at=day.ms[0])
    secrets = secrets_of(conn)

    def use(broken):
        """Everything that can be done with a connection."""
        hosts._hosts.clear()
        extra = broken.get("extra") or {}
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_DEFAULT", json.dumps(broken))
        api.conns["binance_default"] = {**broken, "extra": extra if isinstance(extra, str) else json.dumps(extra)}
        secrets.update(secrets_of({**broken, "extra": extra if isinstance(extra, dict) else {}}))
        hook = binance.BinanceHook()
        shown.add(hook.test_connection())
        with shown.errors():
            shown.add(hook._get(RESTRICTIONS, weight=1, decode=base.json_object))
        with shown.errors():
            shown.add(vars(hook))
            shown.add(hook.settings)
        hook.close()

    runs = []

    def run(*tries, **options):
        hosts._hosts.clear()
        for try_number in tries:
            task = operator(s3_key="{start}{end}.jsonl", **options)
            runs.append(try_number)
            done = run_task(task, interval=day.interval, retries=1, try_number=try_number, clear_number=len(runs))
            for what in (done.state, done.result, done.xcom, done.final):
                shown.add(what)
            shown.add_error(done.error)

    connect(key)
    run(1)
    run(1, isolated_symbol="BTCUSDT", max_workers=2)
    for fault, options in FAULTS if key == "hmac" else FAULTS[-6:]:
        more = {"location": f"{elsewhere}/sapi/v1/x"} if fault == "redirect" else {}
        sandbox.fault(fault, **options, **more)
        run(1)
        if "times" in options:
            sandbox.fault(fault, **{**options, **more, "path": RESTRICTIONS})
            use(conn)
        sandbox.clear_faults()
    for broken in breakages(conn, tmp_path):
        use(broken)
        if broken["host"] != "http://127.0.0.1:9":
            run(2)

    shown.text.append(everything_logged.getvalue())
    shown.text += capfd.readouterr()
    shown.add(api.calls)
    text = "\n".join(shown.text)
    signatures = sandbox.signatures | {unquote(each) for each in sandbox.signatures}
    assert len(signatures) > 10
    assert "forceLiquidationRec" in text  # the HTTP library's own log is among it
    found = {secret for secret in secrets | signatures if len(secret) > 6 and secret in text}
    places = [text[max(0, text.index(each) - 300) : text.index(each) + 40] for each in found]
    assert found == set(), "\n-----\n".join(places)
    assert "10.1.2.3" not in text
