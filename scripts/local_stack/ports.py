"""Free ports: picked, tried, and picked again."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from local_stack.processes import ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPBACK = "127.0.0.1"
_TAKEN = ("address already in use", "address in use", "errno 98", "errno 48")

T = TypeVar("T")


def free_ports(count: int) -> list[int]:
    """So many different ports that nobody listens on at this moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def lost_its_port(error: ProcessError) -> bool:
    """Whether a program ended because somebody else took its port in the meantime."""
    said = error.log.lower()
    return any(sign in said for sign in _TAKEN)


def with_free_ports(
    count: int, start: Callable[..., T], *, tries: int = 4, pick: Callable[[int], list[int]] = free_ports
) -> T:
    """Call `start` with free ports, and again with others as long as it loses them to somebody else."""
    for _ in range(tries - 1):
        try:
            return start(*pick(count))
        except ProcessError as error:
            if not lost_its_port(error):
                raise
    return start(*pick(count))
