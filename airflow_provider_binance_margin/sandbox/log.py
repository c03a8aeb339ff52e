"""Log of requests: one small entry for each that reached the exchange."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from airflow_provider_binance_margin.sandbox.keys import ApiKey
    from airflow_provider_binance_margin.sandbox.message import Request
    from airflow_provider_binance_margin.sandbox.scene import Scene

SIGNATURE = re.compile(rb"(^|&)signature=[^&]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One request and what became of it.

    :param time: the exchange's clock at its arrival, in ms.
    :param query: what was asked, without the signature.
    :param current: the page asked for, on an endpoint that has pages.
    :param key: the name of the API key ("hmac"), never the key.
    :param status: the status answered; 0 when the connection was reset instead.
    :param fault: the names of the faults that took part, joined by "+".
    :param connection: the number of the connection, counted from 1.
    :param dataset: the name of the dataset asked for, if any.
    """

    time: int
    method: str
    path: str
    query: str
    current: int | None
    key: str
    status: int
    fault: str
    connection: int
    dataset: str = ""

    @property
    def params(self) -> dict[str, str]:
        """Parameters of the request, by name."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def as_dict(self) -> dict[str, Any]:
        """The entry for JSON."""
        return asdict(self)


def logged(request: Request, scene: Scene, key: ApiKey | None, status: int) -> Entry:
    """The entry for a request that has been answered."""
    return Entry(
        time=scene.now,
        method=request.method,
        path=request.path,
        query=SIGNATURE.sub(b"", request.query).decode("latin-1"),
        current=scene.current,
        key=key.name if key else "",
        status=status,
        fault="+".join(scene.played),
        connection=request.connection,
        dataset=scene.dataset.name if scene.dataset else "",
    )
