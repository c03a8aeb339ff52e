"""The official HTTP provider, as one would use it: an auth class that signs, and either way to read pages."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.http.operators.http import HttpOperator
from measured import PATH, SIZE, lines, measured
from requests.auth import AuthBase

if TYPE_CHECKING:
    import requests


class BinanceAuth(AuthBase):
    """Signs each request anew."""

    def __init__(self, api_key: str, secret: str) -> None:
        self.api_key, self.secret = api_key, secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:  # noqa: D102 - as of AuthBase
        assert request.url is not None
        url = f"{request.url}&timestamp={int(time.time() * 1000)}"
        query = urlsplit(url).query
        request.url = f"{url}&signature={hmac.new(self.secret.encode(), query.encode(), hashlib.sha256).hexdigest()}"
        request.headers["X-MBX-APIKEY"] = self.api_key
        return request


def params(job: dict[str, Any], current: int) -> dict[str, Any]:
    """What is asked for."""
    return {"startTime": job["start"], "endTime": job["end"] - 1, "current": current, "size": SIZE}


def by_hook(job: dict[str, Any]) -> list[dict[str, Any]]:
    """A loop over HttpHook.run."""
    hook = HttpHook("GET", http_conn_id="binance_http", auth_type=BinanceAuth)
    rows: list[dict[str, Any]] = []
    current = 1
    while True:
        answer = hook.run(PATH, data=params(job, current)).json()
        rows += answer["rows"]
        if current * SIZE >= answer["total"]:
            return rows
        current += 1


def by_operator(job: dict[str, Any]) -> list[dict[str, Any]]:
    """HttpOperator with a pagination function."""

    def following(answer: requests.Response) -> dict[str, Any] | None:
        current = int(parse_qs(urlsplit(answer.url).query)["current"][0])
        return {"data": params(job, current + 1)} if current * SIZE < answer.json()["total"] else None

    read = HttpOperator(
        task_id="read",
        http_conn_id="binance_http",
        auth_type=BinanceAuth,
        method="GET",
        endpoint=PATH,
        data=params(job, 1),
        pagination_function=following,
        response_filter=lambda answers: [row for answer in answers for row in answer.json()["rows"]],
    )
    rows: list[dict[str, Any]] = read.execute({})
    return rows


def work(job: dict[str, Any]) -> None:
    """The whole task."""
    rows = (by_hook if os.environ["BENCHMARK_WAY"] == "hook" else by_operator)(job)
    body = gzip.compress(lines(rows), 6, mtime=0)
    S3Hook("aws_default").load_bytes(body, job["key"], job["bucket"], replace=True)


measured(work)
