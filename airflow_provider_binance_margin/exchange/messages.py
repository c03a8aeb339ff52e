"""Messages between a call and its transport: a request or a wait one way, a reply the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """GET request. Its representation shows neither the query nor the headers."""

    url: str = field(repr=False)  # to be sent as it is: encoding it again would break the signature
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Wait:
    """Pause before the call goes on."""

    seconds: float  # its length at most
    reason: str = ""  # fit for a log; empty where it is only the pace
    until: Future[None] | None = field(default=None, repr=False)  # ends the wait as soon as it is done


@dataclass(frozen=True)
class Reply:
    """Answer, or failure of the transport."""

    status: int | None  # of HTTP; None when the transport failed
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)  # names in any case, or a multidict
    body: bytes = field(repr=False, default=b"")
    fault: str = ""  # the class name of the transport's fault, never its text: that holds the URL

    def header(self, name: str) -> str | None:
        """A header by its name, in whatever case; one that was sent several times is a list with commas."""
        return ", ".join(value for key, value in self.headers.items() if key.lower() == name) or None

    @property
    def is_cached(self) -> bool:
        """True when a cache states that it has kept the answer: what it tells of the time has passed."""
        return self.header("age") not in (None, "0")


Call: TypeAlias = Generator[Request | Wait, Reply | None, T]


def drive(call: Call[T], send: Callable[[Request], Reply], wait: Callable[[Wait], None]) -> T:
    """Do what a call asks for, until it returns; `AsyncClient.drive` awaits where this waits."""
    reply: Reply | None = None
    with closing(call):  # whatever ends it: its place among the requests in flight is free at once
        while True:
            try:
                step = call.send(reply)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # StopIteration does not know the generator's type
            if isinstance(step, Wait):
                wait(step)
                reply = None
            else:
                reply = send(step)
