"""Stream of items that is made once per event loop, however many follow it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeAlias, TypeVar

T = TypeVar("T")

#: publishes items for as long as it runs
Source: TypeAlias = Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Item:
    """One item, or the error that ended the stream, and the one after it."""

    value: Any = None
    error: Exception | None = None
    following: _Item | None = None


class _Stream:
    """A running source, its newest items, and an event that the next will set."""

    def __init__(self, source: Source[Any]) -> None:
        self.before_last = self._last = _Item()
        self.has_grown = asyncio.Event()
        self.users = 0
        self.task = asyncio.create_task(self._run(source))

    async def _run(self, source: Source[Any]) -> None:
        try:
            await source(lambda value: self._append(_Item(value)))
        except Exception as error:  # noqa: BLE001 - each follower raises it
            self._append(_Item(error=error))

    def _append(self, item: _Item) -> None:
        self.before_last, self._last.following, self._last = self._last, item, item
        self.has_grown.set()
        self.has_grown = asyncio.Event()


_streams: dict[Hashable, _Stream] = {}


class shared(Generic[T]):  # noqa: N801 - used as a function is
    """Follow an endless stream in an ``async with``: first its latest item, if there is one, then each as it comes.

    :param key: followers on one event loop with equal keys share one stream
    :param source: runs for the first of them, is cancelled with the last, and raises in each
    """

    def __init__(self, key: Hashable, source: Source[T]) -> None:
        self._key, self._source = key, source

    async def __aenter__(self) -> Self:
        self._key = (asyncio.get_running_loop(), self._key)
        if self._key not in _streams:
            _streams[self._key] = _Stream(self._source)
        del self._source  # it may hold the trigger that came first
        self._stream = _streams[self._key]
        self._stream.users += 1
        self._at = self._stream.before_last
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while self._at.following is None:
            await self._stream.has_grown.wait()
        self._at = self._at.following
        if self._at.error is not None:
            raise self._at.error
        return self._at.value  # type: ignore[no-any-return]  # the source's

    async def __aexit__(self, *_: object) -> None:
        self._stream.users -= 1
        if not self._stream.users:
            del _streams[self._key]
            self._stream.task.cancel()
            await asyncio.wait([self._stream.task])
