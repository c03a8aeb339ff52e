"""An exchange of plain functions: a clock that is moved by hand, and a call driven without a socket."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.exchange.call import Caller
from airflow_provider_binance_margin.exchange.credentials import load_credentials
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.messages import Reply, Request, drive


class FakeClock:
    """Wall clock and monotonic clock, which differ, and move only when somebody sleeps."""

    def __init__(self):
        self.wall, self.mono = 1_760_000_000.0, 5_000.0

    def time(self):
        return self.wall

    def monotonic(self):
        return self.mono

    def sleep(self, seconds):
        self.wall += seconds
        self.mono += seconds


@dataclass
class Rig:
    """A caller on a host of its own, with everything that it sent and waited for."""

    clock: FakeClock
    host: Host
    caller: Caller
    sent: list = field(default_factory=list)
    waits: list = field(default_factory=list)

    def drive(self, call, answer):
        """Do what a call asks for: `answer` is a function of the request, or a list of replies, the last for ever."""
        replies = iter(answer) if isinstance(answer, list) else None

        def wait(pause):
            assert pause.seconds > 0
            self.waits.append(pause.seconds)
            self.clock.sleep(pause.seconds)

        def send(request):
            assert isinstance(request, Request)
            self.sent.append(SimpleNamespace(url=request.url, headers=request.headers, at=self.clock.mono))
            return next(replies) if replies else answer(request)

        return drive(call, send, wait)

    def call(self, answer, **params):
        return self.drive(self.caller.call(params), answer)

    @property
    def urls(self):
        return [request.url for request in self.sent]


@pytest.fixture
def rig():
    clock = FakeClock()
    host = Host("https://exchange.test", clock)
    credentials = load_credentials("key", secret="s3cr3t")
    return Rig(clock, host, Caller(host, credentials, "/sapi/v1/thing", 1, json.loads))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def ok():
    """The answer of an exchange that is content."""
    return Reply(200, {}, b'{"fine":true}')


@pytest.fixture
def refusal():
    """An error of the exchange, as it comes over the wire."""

    def make(status=400, code=None, msg="something 203.0.113.9", **headers):
        names = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return Reply(status, names, json.dumps({"code": code, "msg": msg}).encode())

    return make
