"""Answers that are wrong in what they say: pages that are edited after the exchange has made them."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.answers import JSON, Answer, dumps
from airflow_provider_binance_margin.sandbox.invent import invent
from airflow_provider_binance_margin.sandbox.pages import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_margin.sandbox.scene import Scene

    Serve = Callable[[], Answer]

OK = 200


def is_page(scene: Scene, answer: Answer) -> bool:
    """True for an answer with records, rather than a refusal."""
    return (
        scene.dataset is not None
        and answer.status == OK
        and answer.body[:1] in {b"{", b"["}
        and b'"code"' not in answer.body[:8]
    )


def edited(scene: Scene, serve: Serve, change: Callable[[dict[str, Any]], object]) -> Answer:
    """The answer with its page changed; a bare list is given as the rows of a page without a total."""
    answer = serve()
    if not is_page(scene, answer):
        return answer
    content = json.loads(answer.body)
    whole = content if isinstance(content, dict) else {"rows": content}
    change(whole)
    return replace(answer, body=dumps(whole if isinstance(content, dict) else whole["rows"]))


def change_page(scene: Scene, serve: Serve, *, change: Callable[[dict[str, Any]], object]) -> Answer:
    """A page to which something is done."""
    return edited(scene, serve, change)


def change_total(scene: Scene, serve: Serve, *, value: Any = None, off: int = 1) -> Answer:
    """A total that is `value`, or wrong by `off`."""
    return edited(scene, serve, lambda page: page.update(total=page["total"] + off if value is None else value))


def shorten(scene: Scene, serve: Serve, *, n: int = 1) -> Answer:
    """A page without its last rows."""
    return edited(scene, serve, lambda page: page.update(rows=page["rows"][:-n]))


def repeat(scene: Scene, serve: Serve) -> Answer:
    """The page before this one."""
    before = replace(scene.asked, current=max(1, scene.asked.current - 1))
    return _other_page(scene, serve, before)


def first_page(scene: Scene, serve: Serve) -> Answer:
    """A page as if no page, and no `fromId`, had been asked for."""
    return _other_page(scene, serve, replace(scene.asked, current=1, from_id=None))


def _other_page(scene: Scene, serve: Serve, asked: Any) -> Answer:
    answer = serve()
    return replace(answer, body=page(asked, scene.settings).body) if is_page(scene, answer) else answer


def add_twin(scene: Scene, serve: Serve) -> Answer:
    """A second row under the last row's id, which differs in another field."""
    dataset = scene.dataset
    assert dataset is not None
    texts = [name for name, kind in dataset.fields.items() if kind is str and name not in dataset.ids]
    field = next(name for name in ("executedQty", "amount", "interest", *texts) if name in texts)
    return edited(
        scene, serve, lambda page: page["rows"].extend([{**row, field: "0.00000001"} for row in page["rows"][-1:]])
    )


def more_rows(scene: Scene, serve: Serve, *, n: int = 1, row: Any = None) -> Answer:
    """`n` rows more than there are on the page: those that follow, then made-up ones; or `n` times `row`."""
    asked = scene.asked

    def rows(page_rows: list[Any]) -> list[Any]:
        if row is not None:
            return [row] * n
        place = (asked.current - 1) * asked.size + len(page_rows)
        next_ones = asked.book.cut(asked.scope, asked.start, asked.end, place, place + n)
        more = [asked.dataset.packing.unpack(each) for each in next_ones]
        made = invent(asked.dataset, n=n - len(more), at=asked.start, step_ms=0, isolated_symbol=asked.pair)
        return [*more, *made]

    return edited(scene, serve, lambda page: page["rows"].extend(rows(page["rows"])))


def add_key(scene: Scene, serve: Serve, *, key: str, value: Any, at: str = "end") -> Answer:
    """A page in which a key stands twice, with `value` at the "start" or at the "end"."""
    answer = serve()
    if not is_page(scene, answer):
        return answer
    pair = dumps({key: value})[1:-1]
    body = answer.body
    return replace(answer, body=b"{%s,%s" % (pair, body[1:]) if at == "start" else b"%s,%s}" % (body[:-1], pair))


def add_field(scene: Scene, serve: Serve, *, field: str | None = None, value: Any = 0, at: str = "end") -> Answer:
    """A first row in which a field (the id, if not said) stands twice."""
    assert scene.dataset is not None
    pair = dumps({field or _number(scene): value})[1:-1]
    return _first_row(
        scene, serve, lambda row: b"{%s,%s" % (pair, row[1:]) if at == "start" else b"%s,%s}" % (row[:-1], pair)
    )


def huge_number(
    scene: Scene, serve: Serve, *, digits: int = 5_000, literal: str | None = None, field: str | None = None
) -> Answer:
    """A first row of which a field (the id, if not said) is an integer of so many digits, or any JSON literal."""
    name = field or _number(scene)
    mark = "a number of that name is not in any row"

    def enlarge(row: bytes) -> bytes:
        text = dumps({**json.loads(row), name: mark})
        return text.replace(dumps(mark), (literal or "9" * digits).encode())

    return _first_row(scene, serve, enlarge)


def _number(scene: Scene) -> str:
    assert scene.dataset is not None
    return next(name for name in scene.dataset.ids if scene.dataset.fields[name] is int)


def _first_row(scene: Scene, serve: Serve, change: Callable[[bytes], bytes]) -> Answer:
    """The answer with the text of its first row changed, which no JSON writer would write."""
    answer = serve()
    if not is_page(scene, answer):
        return answer
    content = json.loads(answer.body)
    rows = content["rows"] if isinstance(content, dict) else content
    if not rows:
        return answer
    row = dumps(rows[0])
    return replace(answer, body=answer.body.replace(row, change(row), 1))


def compress(_: Scene, serve: Serve, *, encoding: str = "gzip") -> Answer:
    """A body that is compressed although that was not asked for."""
    answer = serve()
    body = gzip.compress(answer.body) if encoding == "gzip" else zlib.compress(answer.body)
    return replace(answer, body=body, headers=(*answer.headers, ("Content-Encoding", encoding)))


def second_answer(scene: Scene, serve: Serve, *, seconds: float = 0.0, status: int = OK, content: Any = None) -> Answer:
    """An answer that is followed by another, unasked one: a page without records, if not said."""
    answer = serve()
    if content is None:
        content = [] if scene.dataset is not None and scene.dataset.is_list else {"rows": [], "total": 0}
    return replace(answer, unasked=Answer(status, dumps(content), JSON), later=seconds)
