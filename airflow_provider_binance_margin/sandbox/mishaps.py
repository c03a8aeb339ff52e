"""Faults by kind: each is a middleware around the exchange.

It gets the scene (the request and its account) and `serve`, which returns the answer of the next fault or, at
last, of the exchange. It may answer without calling that, change records before or after, or change the answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_margin.sandbox import edits
from airflow_provider_binance_margin.sandbox.answers import BANNED, TEXTS, Answer, html, refusal
from airflow_provider_binance_margin.sandbox.invent import invent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_binance_margin.sandbox.edits import Serve
    from airflow_provider_binance_margin.sandbox.scene import Scene


class Kind(NamedTuple):
    """Kind of fault: its function, preset options, and the answers that it applies to.

    `to` is "any", "signed" (any, but of the default dataset if nothing is said), "records" (answers of a dataset),
    "pages" (of one with pages) or "total" (of one that states it).
    """

    play: Callable[..., Answer]
    preset: Mapping[str, Any] = {}
    to: str = "any"


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


def _page(
    _: Scene,
    __: Serve,
    *,
    status: int = 200,
    title: str = "Maintenance",
    retry_after: Any = None,
    date_offset_ms: int = 0,
) -> Answer:
    return replace(html(status, title, retry_after), date_offset_ms=date_offset_ms)


def _redirect(_: Scene, __: Serve, *, location: str = "http://portal.invalid/login", status: int = 302) -> Answer:
    return replace(html(status, "302 Found"), headers=(("Location", location),))


def _proxy_login(_: Scene, __: Serve) -> Answer:
    answer = html(407, "407 Proxy Authentication Required")
    return replace(answer, headers=(("Proxy-Authenticate", 'Basic realm="proxy"'),))


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


# A moving account


def _moving(serve: Serve, move: Callable[[], object], when: str) -> Answer:
    if when == "before":
        move()
        return serve()
    answer = serve()
    move()
    return answer


def _enter(scene: Scene, serve: Serve, *, n: int = 1, at: Any = "head", when: str = "before") -> Answer:
    scene.asked  # noqa: B018 - a refused request moves nothing
    return _moving(serve, lambda: _come(scene, n, at), when)


def _leave(scene: Scene, serve: Serve, *, n: int = 1, at: str = "head", when: str = "before") -> Answer:
    scene.asked  # noqa: B018
    return _moving(serve, lambda: _go(scene, n, at), when)


def _swap(
    scene: Scene, serve: Serve, *, n: int = 1, leave: str = "head", enter: Any = "tail", when: str = "before"
) -> Answer:
    scene.asked  # noqa: B018

    def move() -> None:
        _go(scene, n, leave)
        _come(scene, n, enter)

    return _moving(serve, move, when)


def _come(scene: Scene, n: int, at: Any) -> None:
    """New records at the head, in the middle or at the tail of the window, or at a moment."""
    asked = scene.asked
    time = {"head": _head(scene), "middle": (asked.start + asked.end) // 2, "tail": asked.start}.get(at, at)
    wanted = {name: value for name, value in asked.filters.items() if name in asked.dataset.fields}
    fields: dict[str, Any] = {
        name: int(value) if asked.dataset.fields[name] is int else value for name, value in wanted.items()
    }
    for record in invent(asked.dataset, n=n, at=time, step_ms=0, isolated_symbol=asked.pair, **fields):
        asked.book.add(record)


def _go(scene: Scene, n: int, at: str) -> None:
    asked = scene.asked
    for _ in range(n):
        asked.book.take(asked.scope, asked.start, asked.end, newest=at == "head")


def _update(scene: Scene, serve: Serve, *, at: str = "tail", to: Any = "head", when: str = "before") -> Answer:
    """A record that gets another time: the window's head, `before` or `after` it (another window), or a moment."""
    asked = scene.asked

    def move() -> None:
        record = asked.book.take(asked.scope, asked.start, asked.end, newest=at == "head")
        if record is not None:
            step = 1_000 if asked.dataset.in_seconds or asked.dataset.whole_seconds else 1
            moments = {"head": _head(scene), "before": asked.start - step, "after": asked.end + step}
            asked.book.add(asked.dataset.moved(record, moments.get(to, to)))

    return _moving(serve, move, when)


def _head(scene: Scene) -> int:
    """The newest moment of the window that has come."""
    return max(scene.asked.start, min(scene.asked.end, scene.now))


BUSY = TEXTS[-1003].format(12_000)
RESTRICTED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms."
)
PAGES = {
    "202": "202 Accepted",
    "400": "400 Bad Request",
    "403": "403 ERROR The request could not be satisfied.",
    "404": "404 Not Found",
    "405": "405 Not Allowed",
    "500": "500 Internal Server Error",
    "502": "502 Bad Gateway",
    "503": "503 Service Temporarily Unavailable",
    "504": "504 Gateway Time-out",
}

KINDS: dict[str, Kind] = {
    "error": Kind(_error),
    "429": Kind(_error, {"status": 429, "code": -1003, "msg": BUSY, "retry_after": 1}),
    "418": Kind(_banned),
    "451": Kind(_error, {"status": 451, "code": 0, "msg": RESTRICTED}),
    "-1021": Kind(_error, {"code": -1021}, "signed"),
    "html": Kind(_page),
    **{status: Kind(_page, {"status": int(status), "title": title}) for status, title in PAGES.items()},
    "407": Kind(_proxy_login),
    "error-200": Kind(_error, {"status": 200}),
    "redirect": Kind(_redirect),
    "reset": Kind(_reset),
    "reset-body": Kind(_reset_body),
    "cut": Kind(_cut),
    "slow-head": Kind(_slow_head),
    "slow-body": Kind(_slow_body),
    "gzip": Kind(edits.compress),
    "second-answer": Kind(edits.second_answer),
    "rows-null": Kind(edits.change_page, {"change": lambda page: page.update(rows=None)}, "records"),
    "no-total": Kind(edits.change_page, {"change": lambda page: page.pop("total")}, "total"),
    "total": Kind(edits.change_total, to="total"),
    "short": Kind(edits.shorten, to="records"),
    "empty": Kind(edits.change_page, {"change": lambda page: page.update(rows=[])}, "records"),
    "repeat": Kind(edits.repeat, to="pages"),
    "first-page": Kind(edits.first_page, to="records"),
    "duplicate": Kind(edits.change_page, {"change": lambda page: page["rows"].extend(page["rows"][-1:])}, "records"),
    "twin": Kind(edits.add_twin, to="records"),
    "more-rows": Kind(edits.more_rows, to="records"),
    "rows-twice": Kind(edits.add_key, {"key": "rows", "value": []}, "total"),
    "total-twice": Kind(edits.add_key, {"key": "total", "value": 0}, "total"),
    "field-twice": Kind(edits.add_field, to="records"),
    "huge-number": Kind(edits.huge_number, to="records"),
    "enter": Kind(_enter, to="records"),
    "leave": Kind(_leave, to="records"),
    "swap": Kind(_swap, to="records"),
    "update": Kind(_update, to="records"),
}
