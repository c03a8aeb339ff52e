"""The sandbox as a command, and its handles from another process."""

import contextlib
import json
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import httpx
import pytest

from airflow_provider_binance_margin.sandbox import Sandbox, SandboxControl

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
    out, err = process.communicate(timeout=10)
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
    assert abs(control.now_ms() - binance_sandbox.now_ms()) < 1000
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
            wait(asked, timeout=10)

    assert threading.active_count() <= before
