"""Settings that may change while the sandbox runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

CHOICES: dict[str, tuple[object, ...]] = {
    "unfiltered": ("cross", "all"),
    "total_of": ("window", "page", "account"),
    "beyond": ("empty", "last"),
    "beyond_memory": ("clamped", "refused"),
    "order": (None, "newest", "oldest", "id"),
    "from_id": ("after", "from"),
    "cursor_order": ("id", "time"),
    "time_unit": (None, "s", "ms"),
    **dict.fromkeys(("start_exclusive", "end_exclusive", "mixed_ids"), (False, True)),
}
# the least value of numbers that must not be less
LEAST = {
    **dict.fromkeys(("minute", "total_cap", "list_cap", "size_cap", "size_fixed", "window_grain_ms"), 1),
    **dict.fromkeys(("created_lag_ms", "strikes", "ban_seconds", "latency"), 0),
}
MAY_BE_NONE = {"default_window_ms", "max_span_ms", "retention_ms", "total_cap", "list_cap", "size_cap", "size_fixed"}


@dataclass
class Settings:
    """Settings of the exchange, for tests and for what Binance does not document.

    :param latency: seconds before each answer leaves.
    :param clock_offset_ms: how far the exchange's clock is ahead of this machine's.
    :param limit: weight per minute and endpoint for an IP address.
    :param uid_limit: weight per minute and endpoint for an account, where the endpoint counts by account.
    :param minute: length of that minute in seconds, shorter in fast tests.
    :param strikes: number of 429 responses before the address is banned (418).
    :param ban_seconds: length of a ban, which covers all endpoints.
    :param unfiltered: what a call without an isolated pair returns: "cross" rows or "all".
    :param default_window_ms: the window of a call without `startTime`; None: the dataset's.
    :param max_span_ms: longest window; a longer one is refused. None: the dataset's.
    :param retention_ms: how far back the exchange remembers; older rows are omitted. None: the dataset's.
    :param beyond_memory: a window that begins before that is "clamped" silently, or "refused".
    :param start_exclusive: a record at `startTime` does not belong to the window.
    :param end_exclusive: a record at `endTime` does not belong to the window.
    :param window_grain_ms: both bounds are truncated to multiples of this: 1000 is a window of whole seconds.
    :param created_lag_ms: the window filters by time of creation, up to this long before the row's time.
    :param total_cap: largest total that is stated.
    :param list_cap: most rows of a window that are served, the first in order.
    :param size_cap: most rows of a page, whatever is requested.
    :param size_fixed: number of rows of every page, whatever is requested.
    :param total_of: what a total counts: the rows of the "window", of the "page", or of the "account" at any time.
    :param beyond: what a page beyond the last holds: nothing ("empty"), or the "last" page again.
    :param order: of the rows: "newest" or "oldest" first, or by "id", greatest first. None: the dataset's.
    :param from_id: rows "after" `fromId`, or "from" it on.
    :param cursor_order: the first rows after `fromId`: those with the smallest "id" or the earliest "time".
    :param mixed_ids: ids of generated records do not increase with time.
    :param time_unit: unit of the times of generated transfers: "s" or "ms". None: the dataset's.
    """

    latency: float = 0.0
    clock_offset_ms: int = 0
    limit: int = 12_000
    uid_limit: int = 180_000
    minute: int = 60
    strikes: int = 1
    ban_seconds: int = 120
    unfiltered: str = "cross"
    default_window_ms: int | None = None
    max_span_ms: int | None = None
    retention_ms: int | None = None
    beyond_memory: str = "clamped"
    start_exclusive: bool = False
    end_exclusive: bool = False
    window_grain_ms: int = 1
    created_lag_ms: int = 0
    total_cap: int | None = None
    list_cap: int | None = None
    size_cap: int | None = None
    size_fixed: int | None = None
    total_of: str = "window"
    beyond: str = "empty"
    order: str | None = None
    from_id: str = "after"
    cursor_order: str = "id"
    mixed_ids: bool = False
    time_unit: str | None = None

    def change(self, **changes: Any) -> None:
        """Set some of them by name; an unknown name or a value of another type changes nothing."""
        unknown = sorted(set(changes) - {field.name for field in fields(self)})
        if unknown:
            raise ValueError(f"no such setting: {', '.join(unknown)}")
        for name, value in changes.items():
            _check(name, value)
        for name, value in changes.items():
            setattr(self, name, value)


def _check(name: str, value: object) -> None:
    if name in CHOICES:
        right = value in CHOICES[name] and isinstance(value, bool) == isinstance(CHOICES[name][0], bool)
    elif value is None:
        right = name in MAY_BE_NONE
    else:
        right = isinstance(value, int | float if name == "latency" else int) and not isinstance(value, bool)
        right = right and (name not in LEAST or value >= LEAST[name])  # type: ignore[operator]
    if not right:
        raise ValueError(f"{name} cannot be {value!r}")
