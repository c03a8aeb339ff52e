"""What may be set while the sandbox runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

DAY_MS = 86_400_000


@dataclass
class Settings:
    """How this exchange behaves where a test wants it otherwise, or where the real one does not say.

    :param latency: seconds before each answer leaves.
    :param clock_offset_ms: how far the exchange's clock is ahead of this machine's.
    :param limit: weight an address may use up a minute on one endpoint.
    :param minute: length of such a minute in seconds; a shorter one spares a test the waiting.
    :param strikes: how many requests over the limit are answered with 429 before the address is banned (418).
    :param ban_seconds: length of such a ban, which holds for all endpoints.
    :param unfiltered: what a call without `isolatedSymbol` returns: "cross" rows or "all".
    :param default_window_ms: the window of a call without `startTime`.
    :param max_span_ms: longest window that may be asked for; a longer one is refused with -1127.
    :param retention_ms: how far back the exchange remembers; what is older is not there.
    """

    latency: float = 0.0
    clock_offset_ms: int = 0
    limit: int = 12_000
    minute: int = 60
    strikes: int = 1
    ban_seconds: int = 120
    unfiltered: str = "cross"
    default_window_ms: int = 7 * DAY_MS
    max_span_ms: int | None = None
    retention_ms: int | None = None

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
    if name == "unfiltered":
        right = value in {"cross", "all"}
    elif value is None:
        right = name in {"max_span_ms", "retention_ms"}
    else:
        right = isinstance(value, int | float if name == "latency" else int) and not isinstance(value, bool)
        right = right and (name != "minute" or value > 0)  # type: ignore[operator]
    if not right:
        raise ValueError(f"{name} cannot be {value!r}")
