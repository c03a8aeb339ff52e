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
    """Behaviour of this exchange where a test wants it otherwise, or where the real one does not say.

    :param latency: seconds before each answer leaves.
    :param clock_offset_ms: how far the exchange's clock is ahead of this machine's.
    :param limit: weight an address may use up a minute on one endpoint.
    :param uid_limit: weight an account may use up a minute on an endpoint whose weight counts for the account.
    :param minute: length of such a minute in seconds; a shorter one spares a test the waiting.
    :param strikes: how many requests over the limit are answered with 429 before the address is banned (418).
    :param ban_seconds: length of such a ban, which holds for all endpoints.
    :param unfiltered: what a call without an isolated pair returns: "cross" rows or "all".
    :param default_window_ms: the window of a call without `startTime`; None: the dataset's.
    :param max_span_ms: longest window that may be asked for; a longer one is refused. None: the dataset's.
    :param retention_ms: how far back the exchange remembers; what is older is not there. None: the dataset's.
    :param beyond_memory: a window that begins before that is "clamped" in silence, or "refused".
    :param start_exclusive: a record at `startTime` does not belong to the window.
    :param end_exclusive: a record at `endTime` does not belong to the window.
    :param window_grain_ms: both ends are cut down to multiples of this: 1000 is a window of whole seconds.
    :param created_lag_ms: the window is one of times of creation, which lie up to this long before the row's time.
    :param total_cap: no greater total is stated.
    :param list_cap: of a window no more rows than these are served, the first in order.
    :param size_cap: no page has more rows, however many are asked for.
    :param size_fixed: every page is of so many rows, however many are asked for.
    :param total_of: what a total counts: the rows of the "window", of the "page", or of the "account" at any time.
    :param beyond: what a page beyond the last holds: nothing ("empty"), or the "last" page again.
    :param order: of the rows: "newest" or "oldest" first, or by "id", greatest first. None: the dataset's.
    :param from_id: rows "after" `fromId`, or "from" it on.
    :param cursor_order: which rows come first after `fromId`: of the least "id" or of the earliest "time".
    :param mixed_ids: made-up records have ids that do not rise with time.
    :param time_unit: of made-up transfers: "s" or "ms". None: the dataset's.
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
