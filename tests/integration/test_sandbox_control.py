"""The sandbox as a command, and its handles from another process."""

import contextlib
import json
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from airflow_provider_binance_margin.sandbox import Sandbox, SandboxControl
from airflow_provider_binance_margin.sandbox.__main__ import _told as told

pytest_plugins = ["airflow_provider_binance_margin.sandbox.pytest_plugin"]

AT = 1_760_000_000_000
COMMAND = [sys.executable, "-m", "airflow_provider_binance_margin.sandbox", "--port", "0"]


@pytest.fixture
def control(binance_sandbox):
    return SandboxControl(binance_sandbox.url)


@contextlib.contextmanager
def running(folder, *arguments):
    """The command in a process of its own, and the URL it has written."""
    url_file = folder / "url"
    options = ["--home", folder / "home", "--url-file", url_file, *arguments]
    with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while process.poll() is None and not url_file.exists():
                time.sleep(0.02)
            yield process, url_file.read_text() if process.poll() is None else ""
        finally:
            if process.poll() is None:
                process.kill()


def ended(process, number):
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_records_can_be_added_read_counted_and_cleared(control, binance_sandbox):
    added = control.add(n=3, at=AT, qty="1.00000000")
    control.add({"updatedTime": AT + 9, "symbol": "ETHUSDT", "isIsolated": True})

    assert control.records(AT, AT + 3) == added == binance_sandbox.records(AT, AT + 3)
    assert control.count(AT, AT + 2) == 2
    assert control.count(AT, AT + 10, "ETHUSDT") == 1
    assert control.load(added) == 3
    assert binance_sandbox.count() == 6
    control.clear()
    assert binance_sandbox.count() == 0


def test_faults_log_and_settings_can_be_reached(control, binance_sandbox):
    control.fault("503", times=2)
    url = binance_sandbox.url + "/api/v3/ping"

    with httpx.Client(trust_env=False) as http:
        assert http.get(url).status_code == 503
        control.clear_faults()
        assert http.get(url).status_code == 200

    assert control.requests == binance_sandbox.requests
    assert control.connections == 1
    control.clear_log()
    assert control.requests == []
    assert control.settings(latency=0.001, clock_offset_ms=-5000)["latency"] == 0.001
    assert binance_sandbox.clock_offset_ms == -5000
    assert binance_sandbox.now_ms() <= control.now_ms() <= binance_sandbox.now_ms()
    control.reset()
    assert binance_sandbox.clock_offset_ms == 0


def test_what_cannot_be_done_is_told(control, binance_sandbox):
    with pytest.raises(ValueError, match="no such fault"):
        control.fault("430")
    with pytest.raises(ValueError, match="no such setting"):
        control.settings(speed=3)
    with pytest.raises(ValueError, match="KeyError"):
        control.load([{"updatedTime": 1}])
    assert httpx.put(binance_sandbox.url + "/sandbox/log", trust_env=False).status_code == 404


HOSTS = [
    "evil.example",
    "evil.example:8099",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "192.0.2.1",
    "",
    "a@b c",
    "[::",
]
PAGES = [
    *[{"Host": host} for host in HOSTS],
    {"Origin": "http://evil.example"},
    {"Origin": "https://127.0.0.1"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
ACTIONS = [("GET", "log"), ("GET", "records"), ("POST", "reset"), ("POST", "records"), ("DELETE", "records")]


@pytest.mark.parametrize("headers", PAGES, ids=str)
@pytest.mark.parametrize(("method", "action"), ACTIONS)
def test_a_web_page_controls_nothing(binance_sandbox, headers, method, action):
    """A page of another site, a rebound name, another server on this machine: refused, and nothing is done."""
    binance_sandbox.add(at=AT)
    url = f"{binance_sandbox.url}/sandbox/{action}"
    headers = {"Content-Type": "application/json", **headers}

    answer = httpx.request(method, url, headers=headers, trust_env=False)

    assert (answer.status_code, list(answer.json())) == (403, ["error"])
    assert binance_sandbox.count() == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_what_a_page_can_post_unasked_is_refused(binance_sandbox, kind):
    """The content types that a browser sends to another site without asking it first."""
    binance_sandbox.add(at=AT)
    headers = {} if kind is None else {"Content-Type": kind}

    answer = httpx.post(f"{binance_sandbox.url}/sandbox/reset", content=b"{}", headers=headers, trust_env=False)

    assert answer.status_code == 415
    assert binance_sandbox.count() == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9:1", "[::1]:8099"])
def test_programs_of_this_machine_are_let_in(binance_sandbox, host):
    """By whatever name this machine has for itself, and a page of the sandbox's own address."""
    for headers in ({}, {"Origin": f"http://{host}"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        answer = httpx.get(f"{binance_sandbox.url}/sandbox/log", headers={"Host": host, **headers}, trust_env=False)

        assert answer.status_code == 200


@pytest.mark.parametrize("length", ["16777217", "9" * 30, "-1", "+1", "1_0", "٣", "1.0"])
@pytest.mark.parametrize("path", ["/sandbox/records", "/sapi/v1/margin/forceLiquidationRec"])
def test_a_body_has_a_limit(binance_sandbox, path, length):
    """It is refused by the length that it states, before it is read."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(httpx.URL(binance_sandbox.url).netloc.decode().split(":"), timeout=10) as peer:
        peer.sendall(head.encode() + b"[" * 200_000)

        answer = b"".join(iter(lambda: peer.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 413 " if length[0] in "19" and length.isdecimal() else b"HTTP/1.1 400 ")


def test_what_is_nested_too_deep_is_told(binance_sandbox):
    url, headers = f"{binance_sandbox.url}/sandbox/records", {"Content-Type": "application/json"}

    answer = httpx.post(url, content=b"[" * 200_000, headers=headers, trust_env=False)

    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (400, "RecursionError")


def test_more_records_than_a_body_holds_are_loaded(control, binance_sandbox):
    (record,) = control.add(at=AT)

    assert control.load({**record, "orderId": number, "note": "x" * 600} for number in range(25_000)) == 25_000
    assert binance_sandbox.count() == 25_001


def test_proxies_are_not_asked(control, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert SandboxControl(control.url).health()["status"] == "ok"


def test_airflow_connections_are_ready_made(binance_sandbox):
    """One for each key, with a secret or a private key, never both."""
    found = {name: json.loads(value) for name, value in binance_sandbox.airflow_env().items()}

    assert list(found) == [f"AIRFLOW_CONN_BINANCE_{name}" for name in ("DEFAULT", "RSA", "ED25519", "NO_MARGIN")]
    assert {each["host"] for each in found.values()} == {binance_sandbox.url}
    assert all(each["login"].startswith("sandbox") for each in found.values())
    assert found["AIRFLOW_CONN_BINANCE_DEFAULT"] == binance_sandbox.connection("hmac")
    assert ["password" in each for each in found.values()] == [True, False, False, True]
    assert ["private_key" in each["extra"] for each in found.values()] == [False, True, True, False]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_end(tmp_path, number):
    """It says where it is and how to connect, ends with 0, and its keys are its owner's alone."""
    with running(tmp_path, "--days", "30", "--seed", "3") as (process, url):
        assert SandboxControl(url).count(0, 2**60) > 100
        status, out, err = ended(process, number)

    assert (status, err) == (0, "")
    assert not (tmp_path / "url").exists()
    assert f"Binance sandbox on {url} with " in out
    line = next(line for line in out.splitlines() if line.startswith("export AIRFLOW_CONN_BINANCE_DEFAULT='"))
    connection = json.loads(line.partition("=")[2].strip("'"))
    assert (connection["conn_type"], connection["host"]) == ("binance", url)
    home = tmp_path / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in home.iterdir()} == {0o600}


def test_the_url_file_is_a_file_of_its_own(tmp_path):
    """Links that somebody has put where it is written, or beside, lead nowhere."""
    folder = tmp_path / "shared"
    folder.mkdir()
    (precious := tmp_path / "precious").write_text("precious")
    for name in ("url", "url.new", ".url.new"):
        (folder / name).symlink_to(precious)

    with told(SimpleNamespace(url="http://127.0.0.1:1"), folder / "url"):
        assert not (folder / "url").is_symlink()
        assert (folder / "url").read_text() == "http://127.0.0.1:1"

    assert precious.read_text() == "precious"
    assert sorted(file.name for file in folder.iterdir()) == [".url.new", "url.new"]
    (folder / "taken").mkdir()
    with pytest.raises(OSError), told(SimpleNamespace(url="http://127.0.0.1:1"), folder / "taken"):
        pass
    assert sorted(file.name for file in folder.iterdir()) == [".url.new", "taken", "url.new"]


def test_the_command_keeps_its_keys_and_can_begin_empty(tmp_path):
    with running(tmp_path, "--no-history") as (process, url):
        assert SandboxControl(url).count(0, 2**60) == 0
        first = ended(process, signal.SIGTERM)[1]
    with running(tmp_path, "--no-history", "--latency-ms", "1", "--limit", "5") as (process, url):
        told = SandboxControl(url).settings()
        second = ended(process, signal.SIGTERM)[1]

    assert (told["latency"], told["limit"]) == (0.001, 5)
    assert [line.partition('"login"')[2] for line in first.splitlines()] == [
        line.partition('"login"')[2] for line in second.splitlines()
    ]


def test_the_command_says_why_it_cannot_serve(tmp_path, binance_sandbox):
    port = binance_sandbox.url.rpartition(":")[2]
    for options in (["--port", port], ["--host", "192.0.2.1"]):
        done = subprocess.run([*COMMAND, "--home", tmp_path, *options], capture_output=True, text=True, check=False)

        assert done.returncode == 1
        assert done.stderr.startswith("binance-sandbox: ")
        assert "Traceback" not in done.stderr


def test_the_sandbox_comes_up_again_where_it_was(tmp_path, monkeypatch):
    """An exchange that was down has the same address, keys and records; a temporary home is removed at the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sandbox = Sandbox(days=0)
    with sandbox:
        url, keys = sandbox.url, sandbox.keys
        sandbox.add(n=2, at=AT)
        with httpx.Client(trust_env=False) as http:
            http.get(url + "/api/v3/ping")
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    with sandbox:
        assert (sandbox.url, sandbox.keys, sandbox.count()) == (url, keys, 2)
        assert httpx.get(url + "/api/v3/ping", trust_env=False).status_code == 200
    assert [] == list(tmp_path.iterdir())


def test_it_serves_the_other_loopback_too():
    try:
        sandbox = Sandbox(days=0, host="::1")
        sandbox.start()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    try:
        assert httpx.get(sandbox.url + "/api/v3/ping", trust_env=False).status_code == 200
    finally:
        sandbox.stop()


def test_it_can_end_in_the_middle_of_anything():
    """Clients coming in, waiting or being served see their connection end; no socket or thread is left."""

    def ask(url):
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(url + "/api/v3/time", trust_env=False)

    before = threading.active_count()
    for round_ in range(5):
        with Sandbox(days=0) as sandbox, ThreadPoolExecutor(5) as pool:
            sandbox.fault("slow-head", seconds=60, times=None)
            asked = [pool.submit(ask, sandbox.url) for _ in range(5)]
            time.sleep(0.01 * round_)
            sandbox.stop()
            wait(asked, timeout=60)

    assert threading.active_count() <= before


def test_the_snippet_of_the_docs_runs():
    """Records of two datasets, a fault and a connection, as its comments say."""
    page = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    names = {}

    exec(page.partition("## In your tests\n\n```python\n")[2].partition("```")[0], names)

    sandbox = names["sandbox"]
    counts = sandbox.count(), sandbox.count(dataset="interest", isolated_symbol="ETHUSDT")
    assert (*counts, names["connection"]["conn_type"]) == (250, 40, "binance")
