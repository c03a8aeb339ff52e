"""What one process knows of a host: one knowledge however the host is written, and one that outlives a fork."""

import json
import os
import select
import threading
import time
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.exchange.errors import BinanceBannedError, BinanceError
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.rate_limiter import Limit
from airflow_provider_binance_margin.hooks import hosts, redaction
from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.hooks.hosts import shared_host
from airflow_provider_binance_margin.hooks.settings import read_settings

LIMIT = Limit("/p", "IP", "")


def host_of(url):
    """The host of a connection that names it so."""
    extra = {"login": "sandbox-key", "password": "secret", "extra_dejson": {}, "conn_id": "c"}
    return read_settings(SimpleNamespace(host=url, port=None, **extra)).host


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://api.binance.com", "https://api.binance.com:443"),
        ("https://api.binance.com", "HTTPS://API.Binance.COM"),
        ("https://api.binance.com", "https://api.binance.com./"),
        ("https://api.binance.com", "https://api.binance.com.:443"),
        ("http://127.0.0.1", "http://127.0.0.1:80"),
        ("http://[::1]:80", "http://[0:0::1]"),
        ("https://xn--bcher-kva.example", "XN--Bcher-kva.example"),
    ],
)
def test_a_host_is_one_however_it_is_written(one, other):
    """A ban heard under one spelling holds under each."""
    host_of(one).record_throttle(418, "600", banned_until_ms=None)
    with pytest.raises(BinanceBannedError):
        next(host_of(other).acquire(1, 60.0))


@pytest.mark.parametrize(
    "other",
    ["http://api.binance.com", "https://api.binance.com:80", "https://api1.binance.com", "http://api.binance.com:443"],
)
def test_other_hosts_are_others(other):
    """Scheme, name and port tell them apart."""
    assert host_of("https://api.binance.com") is not host_of(other)


def in_child(act, seconds=30.0):
    """What a forked child comes to; None if it is not done in time."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(send, str(act()).encode())
        finally:
            os._exit(0)
    os.close(send)
    try:
        ready, _, _ = select.select([receive], [], [], seconds)
        return os.read(receive, 1_000).decode() if ready else None
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(receive)


LOCKS = {
    "registry": lambda _: hosts._lock,
    "host": lambda host: host._lock,
    "places": lambda host: host.in_flight._lock,
}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_a_child_does_not_wait_for_a_lock_of_its_parent(lock):
    """Another thread holds it at the fork; the child goes on, and knows of the ban."""
    host = shared_host("https://exchange.test")
    host.record_throttle(418, "600", banned_until_ms=None)
    held, done = threading.Event(), threading.Event()

    def hold():
        with lock(host):
            held.set()
            done.wait(30)

    def act():
        redaction.mask(["a-secret-of-the-child"])
        try:
            next(shared_host("https://exchange.test").acquire(1, 60.0))
        except BinanceBannedError as error:
            with host.in_flight.place(LIMIT, 1, 1) as turn:
                host.record_throttle(429, "1", banned_until_ms=None)
                return f"{turn is None} {500 < error.retry_after <= 600}"

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        assert in_child(act) == "True True"
    finally:
        done.set()
        thread.join()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("closed", [False, True])
def test_a_child_has_connections_of_its_own(closed, sandbox, monkeypatch):
    """A hook made before the fork works in both, and each gets the answers to its own requests."""
    monkeypatch.setenv("AIRFLOW_CONN_B", json.dumps({**sandbox.connection(), "extra": "{}"}))
    sandbox.add(n=3, at=1_760_000_000_000)
    sandbox.add(n=5, at=1_765_000_000_000)
    hook = BinanceHook("b")

    def totals(start):
        window = {"start_time": start, "end_time": start + 60_000}
        return {hook.force_liquidation_page(**window)["total"] for _ in range(10)}

    assert totals(1_760_000_000_000) == {3}
    assert sandbox.connections == 1
    if closed:
        hook.close()
        assert "closed" in in_child(lambda: raised(lambda: totals(1_760_000_000_000)))
        return
    with hook._closed._condition:  # as a thread that waits holds it for a moment
        assert in_child(lambda: totals(1_765_000_000_000)) == "{5}"
    assert totals(1_760_000_000_000) == {3}
    assert sandbox.connections == 2
    hook.close()


def raised(act):
    """The error that an act ends in."""
    try:
        return act()
    except BinanceError as error:
        return error


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_masks_what_its_parent_was_about_to_mask(monkeypatch):
    """A secret counts as known to the masker once it is, not before."""
    from versions import secrets_masker

    masked, real = [], secrets_masker().add_mask

    def add_mask(secret, name=None):
        masked.append(secret)
        if len(masked) == 1:
            seen.append(in_child(lambda: redaction.mask(["a-secret-of-both"]) or len(masked)))
        return real(secret, name)

    seen = []
    monkeypatch.setattr(type(secrets_masker()), "add_mask", lambda _, *args: add_mask(*args))
    redaction.mask(["a-secret-of-both"])
    assert int(seen[0]) > 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_wait_for_requests_of_its_parent():
    """What is in flight at the fork is the parent's, and what waits there too; both go on where they are."""
    host = Host("https://exchange.test", time)
    with host.in_flight.place(LIMIT, 1, 1) as own, host.in_flight.place(LIMIT, 1, 1) as queued:

        def act():
            with host.in_flight.place(LIMIT, 1, 1) as turn:
                return turn is None

        assert in_child(act) == "True"
        assert (own, queued.done()) == (None, False)
