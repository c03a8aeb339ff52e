"""Weight used up this minute, by address and by account, and the consequences of using too much."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_binance_margin.sandbox.answers import BANNED, RefusedError

if TYPE_CHECKING:
    from airflow_provider_binance_margin.sandbox.settings import Settings

HEADERS = {"IP": "X-SAPI-USED-IP-WEIGHT-1M", "UID": "X-SAPI-USED-UID-WEIGHT-1M"}


class Cost(NamedTuple):
    """Weight of one request, and who bears it."""

    path: str
    user: str
    weight: int
    limit: int
    address: str


class Limits:
    """Weight used since the minute began, for each path and each user of it by itself; bans hold for all paths.

    A user is an address ("IP") or an account ("UID"), as the path counts. Who insists is banned by address.
    """

    def __init__(self) -> None:
        self._minute = -1
        self._used: dict[tuple[str, str], int] = {}
        self._strikes: dict[str, int] = {}
        self._banned_until: dict[str, int] = {}

    def used(self, path: str, user: str) -> int:
        """Weight used up on a path this minute."""
        return self._used.get((path, user), 0)

    def charge(self, cost: Cost, now: int, settings: Settings) -> None:
        """Count one request, and refuse it if the limit is broken or a ban is on."""
        path, user, weight, limit, address = cost
        if now < self._banned_until.get(address, 0):
            raise self._ban(address, now)
        length = settings.minute * 1_000
        if now // length != self._minute:
            self._minute, self._used, self._strikes = now // length, {}, {}
        self._used[path, user] = self.used(path, user) + weight
        if self._used[path, user] <= limit:
            return
        self._strikes[address] = self._strikes.get(address, 0) + 1
        if self._strikes[address] > settings.strikes:
            self._banned_until[address] = now + settings.ban_seconds * 1_000
            raise self._ban(address, now)
        raise RefusedError(-1003, limit, status=429, retry_after=seconds(length - now % length))

    def _ban(self, address: str, now: int) -> RefusedError:
        until = self._banned_until[address]
        return RefusedError(-1003, status=418, msg=BANNED.format(until), retry_after=seconds(until - now))


def seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up."""
    return -(-milliseconds // 1_000)
