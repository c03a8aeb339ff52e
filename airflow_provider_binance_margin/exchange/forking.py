"""Fork safety: locks and other state that a forked child must not share with its parent."""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """State that a forked child must begin anew."""

    def renew(self) -> None:
        """Let go of what is the parent's."""


_locks: WeakSet[threading.RLock] = WeakSet()
_renewed: WeakSet[Renewable] = WeakSet()


def fork_safe_lock() -> threading.RLock:
    """Make a reentrant lock that is free in every forked child; what it guards is kept as it was."""
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def renew_in_children(owner: Renewable) -> None:
    """Have an object renewed in every forked child, as long as it lives."""
    _renewed.add(owner)


def _free_all() -> None:
    for lock in _locks:
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - as the standard library frees its own
    for owner in _renewed:
        owner.renew()


os.register_at_fork(after_in_child=_free_all)
