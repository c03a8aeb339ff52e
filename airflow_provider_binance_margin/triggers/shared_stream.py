"""Async generator that runs once per event loop, however many consume it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Stream:
    """A running generator.

    :param last: the latest item and the future of the next; each future holds an item and the future after it
    """

    last: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    users: int = 0
    task: asyncio.Task[None] | None = None

    async def pump(self, source: AsyncGenerator[Any, None]) -> None:
        following = self.last
        try:
            async with aclosing(source) as items:
                async for item in items:
                    self.last, following = following, asyncio.get_running_loop().create_future()
                    self.last.set_result((item, following))
        except Exception as error:  # noqa: BLE001 - each consumer raises it
            following.set_exception(error)


_streams: dict[Hashable, _Stream] = {}


async def shared(key: Hashable, source: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """Yield the items of an endless generator: first the latest, if there is one, then each as it comes.

    :param key: consumers of one event loop with equal keys share one generator
    :param source: makes the generator for the first of them; it is closed with the last
    """
    key = (asyncio.get_running_loop(), key)
    stream = _streams.setdefault(key, _Stream())
    stream.users += 1
    try:
        stream.task = stream.task or asyncio.create_task(stream.pump(source()))
        following = stream.last
        while True:
            item, following = await asyncio.shield(following)  # a consumer that is cancelled cancels its own wait
            yield item
    finally:
        stream.users -= 1
        if not stream.users:
            del _streams[key]
            if stream.task is not None:
                stream.task.cancel()
                await asyncio.wait([stream.task])
