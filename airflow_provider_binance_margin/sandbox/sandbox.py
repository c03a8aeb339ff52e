"""A local Binance in a background thread of this process."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_binance_margin.sandbox.control import PREFIX, control
from airflow_provider_binance_margin.sandbox.exchange import DEFAULT, Exchange
from airflow_provider_binance_margin.sandbox.history import DAY, history
from airflow_provider_binance_margin.sandbox.keys import MAIN, open_keys
from airflow_provider_binance_margin.sandbox.server import Serving

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from airflow_provider_binance_margin.sandbox.answers import Answer
    from airflow_provider_binance_margin.sandbox.message import Request

ENVIRONMENT = {
    "hmac": "AIRFLOW_CONN_BINANCE_DEFAULT",
    "rsa": "AIRFLOW_CONN_BINANCE_RSA",
    "ed25519": "AIRFLOW_CONN_BINANCE_ED25519",
    "no-margin": "AIRFLOW_CONN_BINANCE_NO_MARGIN",
}


class Sandbox(Exchange):
    """A strict local Binance for a margin account's history; use it as a context manager.

    :param port: 0 takes a free one.
    :param host: an address of this machine's loopback; no other is served.
    :param home: the folder the keys are kept in; None makes a temporary one, removed at the end.
    :param seed: seed of the generated history.
    :param start: first UTC day of the history; None starts `days` before today.
    :param days: length of the history, which ends now at the latest; 0 for none.
    :param stories: fill all datasets with stories instead of forced liquidations alone: names of `stories.KINDS`, or
        "all".
    :param settings: see `Settings`; all can be changed while the sandbox runs.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        home: Path | str | None = None,
        seed: int = 7,
        start: date | None = None,
        days: int = 730,
        stories: str | Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.settings.change(**settings)
        self.url = ""
        self._address = (_loopback(host), port)
        self._home = None if home is None else Path(home).expanduser()
        self._invent_history(seed, start, days, stories)
        self._ending: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve; after `stop` again under the same address and with the same keys and records."""
        listener = _listen(*self._address)
        try:
            self._open_keys()
        except BaseException:
            listener.close()
            raise
        host, port = self._address = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._ending.append(self._serve_in_background(listener))

    def stop(self) -> None:
        """End all connections and the thread; log and records can still be read."""
        while self._ending:
            self._ending.pop()()

    def connection(self, name: str = "hmac") -> dict[str, Any]:
        """An Airflow connection for a key: "hmac", "rsa" or "ed25519" of one account, "second" or "no-margin"."""
        key = self.keys[name]
        base = {"conn_type": "binance", "host": self.url, "login": key.api_key}
        if key.secret is not None:
            return {**base, "password": key.secret, "extra": {}}
        return {**base, "extra": {"private_key": key.private_key}}

    def airflow_env(self) -> dict[str, str]:
        """The connections as Airflow reads them from the environment."""
        return {variable: json.dumps(self.connection(name)) for name, variable in ENVIRONMENT.items()}

    @property
    def latency(self) -> float:
        """Seconds before each answer."""
        return self.settings.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self.settings.change(latency=seconds)

    @property
    def clock_offset_ms(self) -> int:
        """Lead of the exchange's clock."""
        return self.settings.clock_offset_ms

    @clock_offset_ms.setter
    def clock_offset_ms(self, milliseconds: int) -> None:
        self.settings.change(clock_offset_ms=milliseconds)

    def _open_keys(self) -> None:
        if self.keys:
            return
        if self._home is None:
            home = Path(tempfile.mkdtemp(prefix="binance-sandbox-"))
            self._ending.append(lambda: shutil.rmtree(home, ignore_errors=True))
        else:
            home = self._home
        self.keys = open_keys(home)
        self._by_api_key = {key.api_key: key for key in self.keys.values()}

    def _invent_history(self, seed: int, start: date | None, days: int, stories: str | Sequence[str] | None) -> None:
        now = self.now_ms()
        first = now // DAY - days if start is None else start.toordinal() - EPOCH
        length = days + 1 if start is None and days else days
        if stories is None:
            self._book(DEFAULT, MAIN).load(history(seed, first, length, now))
        else:
            self.tell(stories, seed=seed, first_day=first, days=length)

    def _serve_in_background(self, listener: socket.socket) -> Callable[[], None]:
        runner, stop = asyncio.Runner(loop_factory=asyncio.new_event_loop), asyncio.Event()
        serving, loop = Serving(self._respond, self.now_ms), runner.get_loop()

        def run() -> None:
            with runner, listener:
                runner.run(serving.run(listener, stop))

        thread = threading.Thread(target=run, name="binance-sandbox", daemon=True)
        thread.start()

        def end() -> None:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

        return end

    def _respond(self, request: Request) -> tuple[Answer, float]:
        if request.path.startswith(PREFIX):
            return control(self, request), 0.0
        return self.answer(request), self.settings.latency


EPOCH = 719_163  # the ordinal of 1970-01-01


def _loopback(host: str) -> str:
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise ValueError(f"the sandbox serves this machine only, not {host}")
    return host


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    # else a delayed answer's body waits for the client's acknowledgement of its head, some 40 ms
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
