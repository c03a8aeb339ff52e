"""A backfill is created once, whatever Airflow answers while its file database is locked."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx
import pytest

from local_stack import AirflowApi, ApiError, Backfill, StackError
from local_stack import backfill as module

FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
DATES = [f"2026-01-0{day}T00:00:00Z" for day in (1, 2, 3)]
PATIENCE = 0.2


class FakeAirflow:
    """As much of the REST API as a backfill meets; `trouble` is what the next POSTs do instead of succeeding."""

    def __init__(self, *trouble):
        self.trouble = list(trouble)
        self.backfills = {}
        self.runs = []
        self.paused = True
        self.parsed = 0
        self.seen = []

    def __call__(self, request):
        path = request.url.path.removeprefix("/api/v2/")
        self.seen.append(f"{request.method} {path}")
        handler = {
            "POST backfills/dry_run": lambda: {"backfills": [{"logical_date": each} for each in DATES]},
            "POST backfills": self.create,
            "GET backfills": lambda: {"backfills": [{"id": each} for each in self.backfills]},
            "GET dags/d/dagRuns": lambda: {"dag_runs": self.runs},
            "PATCH dags/d": lambda: self.pause(json.loads(request.content)),
            "GET dags/d": lambda: {"last_parsed_time": self.parsed},
            "GET dags/d/details": lambda: {"last_parsed_time": self.parsed, "file_token": "token"},
            "PUT parseDagFile/token": self.parse,
        }.get(self.seen[-1])
        if handler:
            answer = handler()
            return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)
        number = int(path.split("/")[1])
        if self.backfills[number] == "closed":
            return httpx.Response(409)
        self.backfills[number] = "closed"
        return httpx.Response(200, json={})

    def create(self):
        if "open" in self.backfills.values():
            return httpx.Response(409, text="another is running")
        assert self.paused
        trouble = self.trouble.pop(0) if self.trouble else ""
        if trouble == "refused":
            return httpx.Response(400, text="no such thing")
        if trouble == "locked":
            return httpx.Response(503, text="locked")
        number = len(self.backfills) + 1
        self.backfills[number] = "open"
        if trouble == "no runs":
            return httpx.Response(500, text="locked")
        self.runs = [{"logical_date": each, "state": "queued"} for each in DATES]
        if trouble == "answer lost":
            raise httpx.ReadError("reset")
        return {"id": number}

    def pause(self, change):
        self.paused = change["is_paused"]
        return {}

    def parse(self):
        self.parsed += 1
        return httpx.Response(201, json=None)


@pytest.fixture
def start(monkeypatch):
    monkeypatch.setattr(module, "RUNS_SECONDS", PATIENCE)
    monkeypatch.setattr(module, "PAUSE", 0.01)

    def start(airflow):
        api = AirflowApi("http://127.0.0.1:1", transport=httpx.MockTransport(airflow))
        backfill = Backfill(api, "d", FIRST, LAST)
        backfill.start()
        return backfill

    return start


@pytest.mark.parametrize(
    ("trouble", "made"),
    [
        ([], 1),
        (["locked"], 1),
        (["locked", "locked"], 1),
        (["answer lost"], 1),
        (["no runs"], 2),
        (["no runs", "locked"], 2),
    ],
)
def test_it_is_there_once(start, trouble, made):
    airflow = FakeAirflow(*trouble)
    backfill = start(airflow)
    assert len(airflow.backfills) == made
    assert list(airflow.backfills.values()).count("open") == 1
    assert not airflow.paused
    assert airflow.parsed == 1
    assert backfill.intervals == DATES


def test_a_refusal_is_told_at_once(start):
    airflow = FakeAirflow("refused")
    with pytest.raises(ApiError, match="no such thing"):
        start(airflow)
    assert airflow.seen.count("POST backfills") == 1


def test_a_lock_that_stays_is_told(start):
    with pytest.raises(ApiError, match="locked"):
        start(FakeAirflow(*["locked"] * 9))


def test_it_is_followed_to_its_end(start):
    airflow = FakeAirflow()
    backfill = start(airflow)
    told = []

    def step():
        waiting = [run for run in airflow.runs if run["state"] == "queued"]
        if waiting:
            waiting[0]["state"] = "success"

    states = backfill.wait(20, lambda states, total: told.append((states["success"], total)), meanwhile=step)
    assert states == {"success": 3}
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert airflow.backfills == {1: "open"}  # a cancelled one's runs could not be cleared and run again


def test_one_that_does_not_end_is_told(start):
    with pytest.raises(StackError, match="not done"):
        start(FakeAirflow()).wait(0.05)
