"""What can go wrong: each kind is a function around the exchange's own answer.

It is given the scene (who asks for what) and `serve`, which gives the answer of whatever stands behind it: the next
fault, in the end the exchange. It may answer without asking, change the records before or after, or change the answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.answers import BANNED, TEXTS, Answer, dumps, html, refusal
from airflow_provider_binance_margin.sandbox.book import ALL, CROSS
from airflow_provider_binance_margin.sandbox.endpoints import RECORDS, RECORDS_PARAMS, Visit, Window, page, window
from airflow_provider_binance_margin.sandbox.invent import invent
from airflow_provider_binance_margin.sandbox.rules import ALWAYS, parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_margin.sandbox.book import Book
    from airflow_provider_binance_margin.sandbox.settings import Settings

    Serve = Callable[[], Answer]
    Kind = Callable[..., Answer]


@dataclass
class Scene:
    """One request as a fault sees it."""

    path: str
    query: bytes
    current: int | None
    book: Book
    settings: Settings
    now: int
    played: list[str] = field(default_factory=list)

    @cached_property
    def window(self) -> Window:
        """What is asked for; refused as the exchange would refuse it."""
        params = parameters(self.query, (*RECORDS_PARAMS, *ALWAYS))
        return window(Visit(self.book, self.settings, self.now, params))


# Answers instead of the exchange's


def _error(
    _: Scene, __: Serve, *, status: int = 400, code: int = -1000, msg: str | None = None, retry_after: Any = None
) -> Answer:
    known = TEXTS.get(code, "An unknown error occurred while processing the request.")
    text = known.format(1, 1) if msg is None else msg
    return refusal(status, code, text, retry_after)


def _banned(scene: Scene, _: Serve, *, retry_after: Any = 120, msg: str = BANNED) -> Answer:
    seconds = retry_after if isinstance(retry_after, int) else 120
    return refusal(418, -1003, msg.format(scene.now + seconds * 1_000), retry_after)


def _page(_: Scene, __: Serve, *, status: int = 200, title: str = "Maintenance", retry_after: Any = None) -> Answer:
    return html(status, title, retry_after)


def _redirect(_: Scene, __: Serve, *, location: str, status: int = 302) -> Answer:
    return replace(html(status, "302 Found"), headers=(("Location", location),))


def _reset(_: Scene, __: Serve) -> Answer:
    return Answer(0, b"", sent=-1)


# Ways for an answer to leave


def _reset_body(_: Scene, serve: Serve) -> Answer:
    answer = serve()
    return replace(answer, sent=len(answer.body) // 2)


def _cut(_: Scene, serve: Serve, *, keep: float = 0.5) -> Answer:
    answer = serve()
    return replace(answer, body=answer.body[: int(len(answer.body) * keep)])


def _slow_head(_: Scene, serve: Serve, *, seconds: float = 1.0) -> Answer:
    return replace(serve(), wait=seconds)


def _slow_body(_: Scene, serve: Serve, *, seconds: float = 1.0, pieces: int = 2) -> Answer:
    return replace(serve(), spread=seconds, pieces=pieces)


# Wrong pages


def _edited(_: Scene, serve: Serve, *, change: Callable[[dict[str, Any]], object]) -> Answer:
    answer = serve()
    if answer.status != 200 or b'"rows"' not in answer.body:  # noqa: PLR2004
        return answer
    content = json.loads(answer.body)
    change(content)
    return replace(answer, body=dumps(content))


def _total(scene: Scene, serve: Serve, *, value: Any = None, off: int = 1) -> Answer:
    return _edited(scene, serve, change=lambda page: page.update(total=page["total"] + off if value is None else value))


def _short(scene: Scene, serve: Serve, *, n: int = 1) -> Answer:
    return _edited(scene, serve, change=lambda page: page.update(rows=page["rows"][:-n]))


def _repeat(scene: Scene, serve: Serve) -> Answer:
    asked = scene.window
    before = page(scene.book, replace(asked, current=max(1, asked.current - 1)))
    return _edited(scene, serve, change=lambda content: content.update(rows=json.loads(before.body)["rows"]))


def _add_twin(page: dict[str, Any]) -> None:
    page["rows"] += [{**row, "executedQty": "0.00000001"} for row in page["rows"][-1:]]


# A moving account


def _moving(serve: Serve, move: Callable[[], object], when: str) -> Answer:
    if when == "before":
        move()
        return serve()
    answer = serve()
    move()
    return answer


def _enter(scene: Scene, serve: Serve, *, n: int = 1, at: Any = "head", when: str = "before") -> Answer:
    asked = scene.window
    time = {"head": _head(scene), "middle": (asked.start + asked.end) // 2, "tail": asked.start}.get(at, at)
    where: dict[str, Any] = {} if asked.scope in {CROSS, ALL} else {"symbol": asked.scope, "isolated": True}

    def move() -> None:
        for record in invent(n=n, at=time, step_ms=0, **where):
            scene.book.add(record)

    return _moving(serve, move, when)


def _leave(scene: Scene, serve: Serve, *, n: int = 1, at: str = "head", when: str = "before") -> Answer:
    asked = scene.window

    def move() -> None:
        for _ in range(n):
            scene.book.take(asked.scope, asked.start, asked.end, newest=at == "head")

    return _moving(serve, move, when)


def _update(scene: Scene, serve: Serve, *, at: str = "tail", when: str = "before") -> Answer:
    asked = scene.window

    def move() -> None:
        record = scene.book.take(asked.scope, asked.start, asked.end, newest=at == "head")
        if record is not None:
            scene.book.add({**record, "updatedTime": _head(scene)})

    return _moving(serve, move, when)


def _head(scene: Scene) -> int:
    """The newest moment of the window that has come."""
    return max(scene.window.start, min(scene.window.end, scene.now))


BUSY = TEXTS[-1003].format(12_000)
RESTRICTED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms."
)
HERE = {"path": RECORDS}

KINDS: dict[str, tuple[Kind, dict[str, Any]]] = {
    "error": (_error, {}),
    "429": (_error, {"status": 429, "code": -1003, "msg": BUSY, "retry_after": 1}),
    "418": (_banned, {}),
    "451": (_error, {"status": 451, "code": 0, "msg": RESTRICTED}),
    "-1021": (_error, {"code": -1021, **HERE}),
    "html": (_page, {}),
    "403": (_page, {"status": 403, "title": "403 ERROR The request could not be satisfied."}),
    "500": (_page, {"status": 500, "title": "500 Internal Server Error"}),
    "502": (_page, {"status": 502, "title": "502 Bad Gateway"}),
    "503": (_page, {"status": 503, "title": "503 Service Temporarily Unavailable"}),
    "504": (_page, {"status": 504, "title": "504 Gateway Time-out"}),
    "error-200": (_error, {"status": 200}),
    "redirect": (_redirect, {}),
    "reset": (_reset, {}),
    "reset-body": (_reset_body, {}),
    "cut": (_cut, {}),
    "slow-head": (_slow_head, {}),
    "slow-body": (_slow_body, {}),
    "rows-null": (_edited, {"change": lambda page: page.update(rows=None), **HERE}),
    "no-total": (_edited, {"change": lambda page: page.pop("total"), **HERE}),
    "total": (_total, HERE),
    "short": (_short, HERE),
    "empty": (_edited, {"change": lambda page: page.update(rows=[]), **HERE}),
    "repeat": (_repeat, HERE),
    "duplicate": (_edited, {"change": lambda page: page["rows"].extend(page["rows"][-1:]), **HERE}),
    "twin": (_edited, {"change": _add_twin, **HERE}),
    "enter": (_enter, HERE),
    "leave": (_leave, HERE),
    "update": (_update, HERE),
}
