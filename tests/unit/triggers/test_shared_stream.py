"""A stream that many follow: one source for all on an event loop, and nobody's end is another's."""

from __future__ import annotations

import asyncio
import os
import threading
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.triggers import shared_stream
from airflow_provider_binance_margin.triggers.shared_stream import shared


class Numbers:
    """A source of numbers, published when told to."""

    def __init__(self):
        self.started = self.ended = 0
        self.orders = None

    async def __call__(self, publish):
        self.started += 1
        self.orders = asyncio.Queue()
        try:
            while True:
                order = await self.orders.get()
                if isinstance(order, Exception):
                    raise order
                publish(order)
        finally:
            await asyncio.sleep(0)  # it may take a while to tidy up
            self.ended += 1

    async def tell(self, *orders):
        while self.orders is None:  # noqa: ASYNC110 - until it has started
            await asyncio.sleep(0)
        for order in orders:
            self.orders.put_nowait(order)
        for _ in range(20):
            await asyncio.sleep(0)


async def follow(source, seen, key="key", pause=None):
    async with shared(key, source) as items:
        async for item in items:
            seen.append(item)
            if pause is not None:
                await pause.wait()


async def started(*jobs):
    tasks = [asyncio.create_task(job) for job in jobs]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def stop(*tasks):
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def source():
    yield (source := Numbers())
    assert source.started == source.ended
    assert {} == shared_stream._streams


def test_who_joins_late_hears_the_latest_and_then_each(source):
    early, late = [], []

    async def scene():
        tasks = await started(follow(source, early))
        await source.tell(1, 2)
        tasks += await started(follow(source, late))
        await source.tell(3)
        await stop(*tasks)

    asyncio.run(scene())
    assert ([1, 2, 3], [2, 3], 1) == (early, late, source.started)


def test_who_is_slow_misses_nothing(source):
    slow, quick = [], []

    async def scene():
        go_on = asyncio.Event()
        tasks = await started(follow(source, slow, pause=go_on), follow(source, quick))
        await source.tell(1, 2, 3)
        assert ([1], [1, 2, 3]) == (slow, quick)
        go_on.set()
        await source.tell()
        await stop(*tasks)

    asyncio.run(scene())
    assert [1, 2, 3] == slow


@pytest.mark.parametrize("cancelled", [0, 1, 2])
def test_who_is_cancelled_ends_nobody_elses_wait(source, cancelled):
    """Not even the first, for whom the source was started; the last to go waits until it has tidied up."""
    seen = [[], [], []]

    async def scene():
        tasks = await started(*(follow(source, each) for each in seen))
        await source.tell(1)
        await stop(tasks.pop(cancelled))
        await source.tell(2)
        assert (0, [False, False]) == (source.ended, [task.done() for task in tasks])
        await stop(*tasks)
        assert 1 == source.ended

    asyncio.run(scene())
    assert [[1], [1, 2], [1, 2]] == sorted(seen)


def test_an_error_reaches_each_and_who_comes_after_begins_anew(source):
    seen, again = [], []

    async def scene():
        tasks = await started(follow(source, seen), follow(source, seen))
        await source.tell(1, ValueError("refused"))
        assert ["refused"] * 2 == [str(end) for end in await asyncio.gather(*tasks, return_exceptions=True)]
        source.orders = None
        tasks = await started(follow(source, again))
        await source.tell(2)
        await stop(*tasks)

    asyncio.run(scene())
    assert ([1, 1], [2], 2) == (seen, again, source.started)


def test_who_comes_while_the_last_goes_begins_anew(source):
    """It never follows a source that is being cancelled."""
    seen = []

    async def scene():
        (first,) = await started(follow(source, seen))
        await source.tell(1)
        first.cancel()
        await asyncio.sleep(0)  # the source is told to end, and has not
        (second,) = await started(follow(source, seen))
        await source.tell(2)
        await stop(first, second)

    asyncio.run(scene())
    assert ([1, 2], 2) == (seen, source.started)


async def one_item(source, key="key"):
    async with shared(key, source) as items, asyncio.timeout(20):
        await source.tell("here")
        return await anext(items)


def test_a_loop_made_anew_and_one_beside_have_sources_of_their_own():
    """In tests, loops follow each other; in a worker, two may run in two threads."""
    sources, found = [Numbers() for _ in range(4)], []
    asyncio.run(one_item(sources[0]))
    asyncio.run(one_item(sources[1]))
    meet = threading.Barrier(2)

    def run(source):
        async def scene():
            async with shared("key", source):
                await asyncio.to_thread(meet.wait, 20)
                found.append(await one_item(source))

        asyncio.run(scene())

    threads = [threading.Thread(target=run, args=(source,)) for source in sources[2:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert (["here"] * 2, [1] * 4) == (found, [source.started for source in sources])
    assert {} == shared_stream._streams


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_follow_its_parents_stream(source):
    """Its loop is another, so that it starts a source itself, and the parent's goes on."""
    outcome, seen = SimpleNamespace(), []

    async def scene():
        tasks = await started(follow(source, seen))
        await source.tell(1)
        if not (child := os.fork()):
            try:
                ok = asyncio.run(one_item(Numbers())) == "here"
            except BaseException:  # noqa: BLE001 - a child must not go on with the parent's test
                ok = False
            os._exit(0 if ok else 1)
        outcome.status = (await asyncio.to_thread(os.waitpid, child, 0))[1]
        await source.tell(2)
        await stop(*tasks)

    asyncio.run(scene())
    assert (0, [1, 2]) == (outcome.status, seen)
