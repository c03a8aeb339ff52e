"""Control plane: `/sandbox/...` over HTTP, without a key, for programs on this machine.

Web pages in a browser here are kept out: by the Host (a name that was rebound to this address), by Origin and
Sec-Fetch-Site, and by a content type that a page of another site cannot send unasked.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from airflow_provider_binance_margin.sandbox.answers import Answer, reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_margin.sandbox.exchange import Exchange
    from airflow_provider_binance_margin.sandbox.message import Request

PREFIX = "/sandbox/"


def control(exchange: Exchange, request: Request) -> Answer:
    """Handle a request to `/sandbox/...`; an error is answered with 400."""
    stranger = _stranger(request)
    if stranger:
        return reply({"error": f"the sandbox's control plane refuses this {stranger}"}, 403)
    if request.method == "POST" and _content_type(request) != "application/json":
        return reply({"error": "the sandbox's control plane takes application/json only"}, 415)
    action = ACTIONS.get((request.method, request.path.removeprefix(PREFIX)))
    if action is None:
        return reply({"error": f"there is no {request.method} {request.path}"}, 404)
    try:
        query = dict(parse_qsl(request.query.decode("ascii")))
        content = json.loads(request.body) if request.body else {}
        return reply(action(exchange, query, content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return reply({"error": f"{type(error).__name__}: {error}"}, 400)


def _stranger(request: Request) -> str | None:
    """The header by which a request is a web page's, or comes under another machine's name."""
    headers = request.headers
    host = headers.get("host", "")
    if not _is_loopback(host):
        return "Host"
    if headers.get("origin", f"http://{host}") != f"http://{host}":
        return "Origin"
    return None if headers.get("sec-fetch-site", "none") in {"none", "same-origin"} else "Sec-Fetch-Site"


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _interval(query: dict[str, str]) -> dict[str, Any]:
    names = {"startTime": "start_ms", "endTime": "end_ms"}
    times: dict[str, Any] = {ours: int(query[theirs]) for theirs, ours in names.items() if theirs in query}
    return {**times, "isolated_symbol": query.get("isolatedSymbol"), **_where(query)}


def _where(query: dict[str, str]) -> dict[str, str]:
    return {name: query[name] for name in ("dataset", "account") if name in query}


def _put(exchange: Exchange, query: dict[str, str], content: Any) -> Any:
    """A list is loaded, an object is the options of `add`."""
    if isinstance(content, list):
        return {"loaded": exchange.load(content, **_where(query))}
    return exchange.add(**{**_where(query), **content})


def _set(exchange: Exchange, content: dict[str, Any]) -> dict[str, Any]:
    exchange.settings.change(**content)
    return vars(exchange.settings)


def _health(exchange: Exchange) -> dict[str, Any]:
    return {"status": "ok", "now_ms": exchange.now_ms(), "requests": len(exchange.requests)}


ACTIONS: dict[tuple[str, str], Callable[[Exchange, dict[str, str], Any], Any]] = {
    ("GET", "health"): lambda exchange, _, __: _health(exchange),
    ("GET", "records"): lambda exchange, query, _: exchange.records(**_interval(query)),
    ("POST", "records"): _put,
    ("DELETE", "records"): lambda exchange, query, _: exchange.clear(**_where(query)),
    ("GET", "count"): lambda exchange, query, _: {"count": exchange.count(**_interval(query))},
    ("GET", "stories"): lambda exchange, _, __: list(map(asdict, exchange.stories())),
    ("POST", "stories"): lambda exchange, _, content: list(map(asdict, exchange.tell(**content))),
    ("POST", "faults"): lambda exchange, _, content: exchange.fault(**content),
    ("DELETE", "faults"): lambda exchange, _, __: exchange.clear_faults(),
    ("GET", "log"): lambda exchange, _, __: [entry.as_dict() for entry in exchange.requests],
    ("DELETE", "log"): lambda exchange, _, __: exchange.clear_log(),
    ("GET", "settings"): lambda exchange, _, __: vars(exchange.settings),
    ("POST", "settings"): lambda exchange, _, content: _set(exchange, content),
    ("POST", "reset"): lambda exchange, _, __: exchange.reset(),
}
