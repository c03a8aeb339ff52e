"""An account on an exchange, as a model in virtual time: days pass in milliseconds, and every moment can be chosen."""

from __future__ import annotations

import asyncio
import itertools
import json
import selectors
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

from airflow_provider_binance_margin.exchange.credentials import load_credentials
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.messages import Reply
from airflow_provider_binance_margin.exchange.scope import Scope
from airflow_provider_binance_margin.hooks.settings import Settings
from airflow_provider_binance_margin.lake.interval import ms, parse
from airflow_provider_binance_margin.triggers.client import AsyncClient
from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationEventTrigger
from airflow_provider_binance_margin.triggers.poller import RecordPoller

START = 1_770_000_000.0
HOUR = 3_600_000


class VirtualSelector(selectors.DefaultSelector):
    """Does not wait: it moves the clock."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise AssertionError("everything waits for something that will never come")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time."""

    def __init__(self):
        self.virtual = VirtualSelector()
        super().__init__(self.virtual)

    def time(self):
        return self.virtual.now


def run(coroutine):
    """Run to the end, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


class LoopClock:
    """The running loop's time, as wall clock (which may be wrong) and as monotonic clock."""

    def __init__(self, ahead=0.0):
        self.ahead = ahead

    def time(self):
        return START + self.monotonic() + self.ahead

    def monotonic(self):
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return 0.0


@dataclass
class Model:
    """The exchange: records appear when their time has come, `wrong` may answer in its place."""

    latency: float = 0.05
    clock_ahead: float = 0.0
    wrong: object = None
    records: list = field(default_factory=list)
    sent: list = field(default_factory=list)
    ids: object = field(default_factory=itertools.count)

    def __post_init__(self):
        self.clock = LoopClock()
        self.host = Host("http://model", LoopClock(self.clock_ahead))
        self.credentials = load_credentials("a" * 64, secret="b" * 64)

    def now_ms(self):
        return int(self.clock.time() * 1000)

    def add(self, time=None, *, appears=None):
        """One record of this time (ms), to be seen from `appears` (seconds of the loop) on."""
        now = self.clock.monotonic()
        self.records.append((self.now_ms() if time is None else time, now if appears is None else appears))

    async def answer(self, request):
        await asyncio.sleep(self.latency)
        self.sent.append(self.clock.monotonic())
        url = urlsplit(request.url)
        reply = self.wrong(url) if self.wrong else None
        if reply is None:
            reply = self.page(url)
        await asyncio.sleep(self.latency)
        return reply

    def page(self, url):
        if url.path == "/api/v3/time":
            return Reply(200, {}, b'{"serverTime":%d}' % self.now_ms())
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if not -5000 <= int(asked["timestamp"]) - self.now_ms() < 1000:
            return Reply(400, {}, b'{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}')
        start, end, now = int(asked["startTime"]), int(asked["endTime"]), self.clock.monotonic()
        seen = sorted((time for time, appears in self.records if appears <= now and start <= time <= end), reverse=True)
        rows = [{"orderId": 1, "symbol": "BTCUSDT", "isIsolated": False, "updatedTime": time} for time in seen[:1]]
        return Reply(200, {}, json.dumps({"rows": rows, "total": len(seen)}).encode())


class ModelClient(AsyncClient):
    """A client of the model, without a socket."""

    def __init__(self, model):
        settings = ModelSettings("http://model", model.credentials, 5000, 15.0)
        object.__setattr__(settings, "model", model)
        super().__init__(settings, SimpleNamespace(send=model.answer))


class ModelSettings(Settings):
    """Its connection, with the model's clock."""

    @property
    def host(self):
        return self.model.host


@dataclass(frozen=True)
class ModelPoller(RecordPoller):
    """A poller of the model."""

    model: Model | None = None

    @asynccontextmanager
    async def connect(self):
        yield ModelClient(self.model)


class Store(dict):
    """An asset's state store, as far as Airflow's own is asked."""

    def __init__(self):
        super().__init__()
        self.broken = None

    async def aget(self, key, default=None):
        await asyncio.sleep(0.01)
        if self.broken:
            raise self.broken
        return json.loads(self[key]) if key in self else default

    async def aset(self, key, value):
        await asyncio.sleep(0.01)
        if self.broken:
            raise self.broken
        self[key] = json.dumps(value)


class Watcher:
    """An event trigger on the model, as the triggerer runs one: it can be killed and started again."""

    def __init__(self, model, store=None, **options):
        self.model, self.store, self.options = model, store, options
        self.events = []
        self.task = None

    def start(self):
        model = self.model

        class Trigger(ForceLiquidationEventTrigger):
            def poller(self):
                return ModelPoller(FORCE_LIQUIDATION, "c", Scope(), self.poll_interval, self.max_span, model)

        trigger = Trigger(**{"poll_interval": 5, **self.options})
        trigger.asset_state_store = self.store
        self.task = asyncio.create_task(self.follow(trigger))
        return self

    async def follow(self, trigger):
        async for event in trigger.run():
            self.events.append(Announced(asyncio.get_running_loop().time(), event.payload))

    async def kill(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def restart(self):
        await self.kill()
        self.start()


@dataclass
class Announced:
    """An event, and when it came (seconds of the loop)."""

    at: float
    payload: dict

    def holds(self, time):
        return ms(parse(self.payload["start"])) <= time < ms(parse(self.payload["end"]))


def scene(story, *, model=None, store=True, **options):
    """Tell a story (a coroutine function of model and watcher) around a running watcher; the watcher afterwards."""
    model = model or Model()
    watcher = Watcher(model, Store() if store is True else store, **options)

    async def tell():
        watcher.start()
        await story(model, watcher)
        alive = not watcher.task.done()
        await watcher.kill()
        assert alive, "the trigger has ended, and Airflow would start it again, for ever"

    run(tell())
    return watcher
