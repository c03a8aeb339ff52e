"""Answers, and the exchange's refusals with their exact texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

JSON = "application/json;charset=UTF-8"
HTML = "text/html"

TEXTS = {
    -1003: "Too much request weight used; current limit is {} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1100: "Illegal characters found in parameter '{}'; legal range is '{}'.",
    -1101: "Duplicate values for a parameter detected.",
    -1102: "Mandatory parameter '{}' was not sent, was empty/null, or malformed.",
    -1104: "Not all sent parameters were read; read '{}' parameter(s) but was sent '{}'.",
    -1105: "Parameter '{}' was empty.",
    -1121: "Invalid symbol.",
    -1127: "More than {} hours between startTime and endTime.",
    -1131: "recvWindow must be less than 60000",
    -2014: "API-key format invalid.",
    -2015: "Invalid API-key, IP, or permissions for action.",
    -3003: "Margin account does not exist.",
    -3011: "Your input date is invalid.",
    -4047: "Time interval must be within 0-{} days",
    -11001: "Isolated margin account does not exist.",
}
AHEAD = "Timestamp for this request was 1000ms ahead of the server's time."
BANNED = (
    "Way too much request weight used; IP banned until {}. Please use WebSocket Streams for live updates to avoid bans."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, and how it leaves: after `wait` seconds, the body in `pieces` over `spread` seconds.

    `sent` is how many bytes of the body get out before the connection is reset: None is all of them and no reset,
    -1 is a reset before the head. `unasked` is a second answer that follows after `later` seconds. `date_offset_ms` is
    how far the clock of whoever answers is ahead of the exchange's.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    wait: float = 0.0
    pieces: int = 1
    spread: float = 0.0
    sent: int | None = None
    unasked: Answer | None = None
    later: float = 0.0
    date_offset_ms: int = 0


class RefusedError(Exception):
    """The exchange refuses a request with one of its codes."""

    def __init__(
        self, code: int, *about: object, status: int = 400, msg: str | None = None, retry_after: int | None = None
    ) -> None:
        self.code = code
        self.status = 401 if code in {-2014, -2015} else status
        self.msg = TEXTS[code].format(*about) if msg is None else msg
        self.retry_after = retry_after
        super().__init__(f"{code} {self.msg}")

    def answer(self) -> Answer:
        """The refusal as it is sent."""
        return refusal(self.status, self.code, self.msg, self.retry_after)


def dumps(content: Any) -> bytes:
    """JSON as the exchange writes it: without blanks, letters of all scripts as they are."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def reply(content: Any, status: int = 200) -> Answer:
    """An answer that says `content` in JSON."""
    return Answer(status, dumps(content))


def refusal(status: int, code: int, msg: str, retry_after: object = None) -> Answer:
    """An error object, with a Retry-After header unless that is None."""
    return Answer(status, dumps({"code": code, "msg": msg}), headers=waiting(retry_after))


def html(status: int, title: str, retry_after: object = None) -> Answer:
    """A page of the proxy in front of the exchange."""
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><center><h1>{title}</h1></center></body>\r\n</html>"
    return Answer(status, page.encode(), HTML, waiting(retry_after))


def wrong_method(method: str, path: str, now: int) -> Answer:
    """Refusal of a method, as the framework behind the exchange words it."""
    message = f"Request method '{method}' not supported"
    content = {"timestamp": now, "status": 405, "error": "Method Not Allowed", "message": message, "path": path}
    return reply(content, 405)


def waiting(retry_after: object) -> tuple[tuple[str, str], ...]:
    """The Retry-After header, or nothing; a header for each value of a list."""
    values = retry_after if isinstance(retry_after, list | tuple) else [] if retry_after is None else [retry_after]
    return tuple(("Retry-After", str(value)) for value in values)
