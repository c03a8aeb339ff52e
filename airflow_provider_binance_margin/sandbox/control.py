"""The same handles for another process: `/sandbox/...` over HTTP, without a key, for peers on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from airflow_provider_binance_margin.sandbox.answers import Answer, reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_margin.sandbox.exchange import Exchange
    from airflow_provider_binance_margin.sandbox.message import Request

PREFIX = "/sandbox/"


def control(exchange: Exchange, request: Request) -> Answer:
    """Do what a request to `/sandbox/...` asks for; what cannot be done is told in a 400."""
    action = ACTIONS.get((request.method, request.path.removeprefix(PREFIX)))
    if action is None:
        return reply({"error": f"there is no {request.method} {request.path}"}, 404)
    try:
        query = dict(parse_qsl(request.query.decode("ascii")))
        content = json.loads(request.body) if request.body else {}
        return reply(action(exchange, query, content))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return reply({"error": f"{type(error).__name__}: {error}"}, 400)


def _interval(query: dict[str, str]) -> dict[str, Any]:
    names = {"startTime": "start_ms", "endTime": "end_ms"}
    times: dict[str, Any] = {ours: int(query[theirs]) for theirs, ours in names.items() if theirs in query}
    return {**times, "isolated_symbol": query.get("isolatedSymbol")}


def _put(exchange: Exchange, content: Any) -> Any:
    """A list is loaded, an object is the options of `add`."""
    return {"loaded": exchange.load(content)} if isinstance(content, list) else exchange.add(**content)


def _set(exchange: Exchange, content: dict[str, Any]) -> dict[str, Any]:
    exchange.settings.change(**content)
    return vars(exchange.settings)


def _health(exchange: Exchange) -> dict[str, Any]:
    return {"status": "ok", "now_ms": exchange.now_ms(), "requests": len(exchange.requests)}


ACTIONS: dict[tuple[str, str], Callable[[Exchange, dict[str, str], Any], Any]] = {
    ("GET", "health"): lambda exchange, _, __: _health(exchange),
    ("GET", "records"): lambda exchange, query, _: exchange.records(**_interval(query)),
    ("POST", "records"): lambda exchange, _, content: _put(exchange, content),
    ("DELETE", "records"): lambda exchange, _, __: exchange.clear(),
    ("GET", "count"): lambda exchange, query, _: {"count": exchange.count(**_interval(query))},
    ("POST", "faults"): lambda exchange, _, content: exchange.fault(**content),
    ("DELETE", "faults"): lambda exchange, _, __: exchange.clear_faults(),
    ("GET", "log"): lambda exchange, _, __: [entry.as_dict() for entry in exchange.requests],
    ("DELETE", "log"): lambda exchange, _, __: exchange.clear_log(),
    ("GET", "settings"): lambda exchange, _, __: vars(exchange.settings),
    ("POST", "settings"): lambda exchange, _, content: _set(exchange, content),
    ("POST", "reset"): lambda exchange, _, __: exchange.reset(),
}
