"""How much an address has used up this minute on each endpoint, and what comes of using too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_binance_margin.sandbox.answers import BANNED, RefusedError

if TYPE_CHECKING:
    from airflow_provider_binance_margin.sandbox.settings import Settings


class Limits:
    """Weight used since the minute began, for each path by itself; bans hold for all paths."""

    def __init__(self) -> None:
        self._minute = -1
        self._used: dict[str, int] = {}
        self._strikes = 0
        self._banned_until = 0

    def used(self, path: str) -> int:
        """Weight used up on a path this minute."""
        return self._used.get(path, 0)

    def charge(self, path: str, weight: int, now: int, settings: Settings) -> None:
        """Count one request, and refuse it if the limit is broken or a ban is on."""
        if now < self._banned_until:
            raise self._ban(now)
        length = settings.minute * 1_000
        if now // length != self._minute:
            self._minute, self._used, self._strikes = now // length, {}, 0
        self._used[path] = self.used(path) + weight
        if self._used[path] <= settings.limit:
            return
        self._strikes += 1
        if self._strikes > settings.strikes:
            self._banned_until = now + settings.ban_seconds * 1_000
            raise self._ban(now)
        raise RefusedError(-1003, settings.limit, status=429, retry_after=seconds(length - now % length))

    def _ban(self, now: int) -> RefusedError:
        until = self._banned_until
        return RefusedError(-1003, status=418, msg=BANNED.format(until), retry_after=seconds(until - now))


def seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up."""
    return -(-milliseconds // 1_000)
