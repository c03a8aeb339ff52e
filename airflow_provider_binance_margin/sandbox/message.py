"""HTTP/1.1 as text: as little of it as an exchange needs."""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_binance_margin.sandbox.answers import Answer

LONGEST_HEAD = 64 * 1024
LONGEST_BODY = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    query: bytes
    headers: dict[str, str]
    body: bytes
    connection: int
    address: str = ""

    @property
    def is_last(self) -> bool:
        """True if the client wants the connection closed after the answer."""
        return "close" in self.headers.get("connection", "").lower()


class TooLargeError(ValueError):
    """A body beyond `LONGEST_BODY`."""


def take_request(buffer: bytearray, connection: int, address: str = "") -> Request | None:
    """Take the first request off the buffer once it is complete; what is no request, or too long, is a ValueError."""
    end = buffer.find(b"\r\n\r\n", 0, LONGEST_HEAD)
    if end < 0:
        if len(buffer) > LONGEST_HEAD:
            raise ValueError("head too long")
        return None
    line, *lines = bytes(buffer[:end]).split(b"\r\n")
    method, target, _ = line.split(b" ")
    pairs = [_header(line) for line in lines]
    headers = dict(pairs)
    length = _length(headers)
    if any([name for name, _ in pairs].count(name) > 1 for name in ("host", "origin", "content-length")):
        raise ValueError("a header twice")
    if len(buffer) < end + 4 + length:
        return None
    body = bytes(buffer[end + 4 : end + 4 + length])
    del buffer[: end + 4 + length]
    path, _, query = target.partition(b"?")
    words = sys.intern(method.decode("ascii")), sys.intern(path.decode("latin-1"))
    return Request(*words, query, headers, body, connection, address)


def _length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not text.isdecimal() or not text.isascii():
        raise ValueError("only bodies of stated length")
    if len(text) > len(str(LONGEST_BODY)) or int(text) > LONGEST_BODY:
        raise TooLargeError
    return int(text)


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("latin-1").partition(":")
    return name.lower(), value.strip()


def head(answer: Answer, now_ms: int, *, last: bool) -> bytes:
    """Status line and headers of an answer."""
    lines = [
        f"HTTP/1.1 {answer.status} {_phrase(answer.status)}",
        f"Date: {_date((now_ms + answer.date_offset_ms) // 1_000)}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        f"Connection: {'close' if last else 'keep-alive'}",
        f"x-mbx-uuid: {uuid.uuid4()}",
        *[f"{name}: {value}" for name, value in answer.headers],
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@lru_cache(maxsize=8)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=64)
def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
