"""Locks that a forked child finds free, whatever the parent's other threads were doing at the fork."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

_locks: WeakSet[threading.RLock] = WeakSet()


def fork_safe_lock() -> threading.RLock:
    """Make a reentrant lock that is free in every forked child; what it guards is kept as it was."""
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def _free_all() -> None:
    for lock in _locks:
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - as the standard library frees its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)
