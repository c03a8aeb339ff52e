"""Every fault met by every consumer over real sockets: right records or the right error, never early, never half."""

from __future__ import annotations

import gzip
import json
import os
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from integration.fault_matrix.consumers import as_lines
from integration.fault_matrix.faults import EVERY_CODE, FAULTS
from integration.fault_matrix.page import page
from integration.fault_matrix.run import Cell, run
from integration.fault_matrix.store import STORE_FAULTS, run_store

from airflow_provider_binance_margin.exchange.errors import ERRORS
from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.retry_policy import RetryPolicy
from airflow_provider_binance_margin.sensors.force_liquidation import ForceLiquidationSensor

pytestmark = pytest.mark.skipif(RetryPolicy is object, reason="retry policies are Airflow 3.3's")

CONSUMERS = ("hook", "operator", "poke", "reschedule", "deferrable", "event")
CELLS = [Cell(fault, consumer) for fault in FAULTS for consumer in CONSUMERS]
PAGE = Path(__file__).parents[2] / "docs" / "fault-matrix.md"


def new_bucket(s3_client, s3_url):
    """A bucket, with how Airflow is told of it."""
    name = f"matrix-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=name)
    extra = {"endpoint_url": s3_url, "region_name": "us-east-1"}
    conn = {"conn_type": "aws", "login": "test", "password": "test-secret-key", "extra": json.dumps(extra)}
    return SimpleNamespace(
        name=name,
        url=s3_url,
        client=s3_client,
        shown=json.dumps(conn),
        get=lambda key: s3_client.get_object(Bucket=name, Key=key)["Body"].read(),
    )


@pytest.fixture(scope="module")
def bucket(s3_client, s3_url):
    return new_bucket(s3_client, s3_url)


@pytest.fixture
def own_bucket(s3_client, s3_url):
    return new_bucket(s3_client, s3_url)


@pytest.fixture(scope="module")
def found(request, sandbox_home, bucket):
    """What the cells came to that are asked for here: all of them, where the page is."""
    asked = {item.callspec.params["cell"] for item in request.session.items if item.name.startswith("test_a_fault[")}
    whole = any(item.name == "test_the_page_says_what_was_found" for item in request.session.items)
    return run(CELLS if whole else [cell for cell in CELLS if cell in asked], sandbox_home, bucket)


@pytest.fixture(scope="module")
def stored(sandbox_home, bucket):
    """What the operator came to, for each fault of S3."""
    return run_store(sandbox_home, bucket)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_fault(found, cell):
    """It ends in the right records or the right error; nothing is sent early or in vain, and no secret is shown."""
    assert (cell.expected, []) == (found[cell].word, found[cell].wrong)


@pytest.mark.parametrize("fault", STORE_FAULTS, ids=lambda fault: fault.name)
def test_a_fault_of_s3(stored, fault):
    """The object is there whole or not at all, and the error says whether trying again can help."""
    assert (fault.outcome, fault.holds) == stored[fault]


#: what a reader could make of the rows, each of which the matrix must see
DEFECTS = {
    "none": lambda rows: rows,
    "doubled": lambda rows: [*rows[:7], *rows[6:]],
    "lost": lambda rows: rows[:-1],
    "altered": lambda rows: [{**rows[0], "avgPrice": rows[0]["avgPrice"] + "0"}, *rows[1:]],
    "retyped": lambda rows: [{**rows[0], "orderId": str(rows[0]["orderId"])}, *rows[1:]],
    "foreign": lambda rows: [*rows[:-1], {**rows[-1], "symbol": "XRPUSDT"}],
    "one more": lambda rows: [*rows, {**rows[-1], "orderId": rows[-1]["orderId"] + 1}],
    "disordered": lambda rows: [rows[1], rows[0], *rows[2:]],
}
each_defect = pytest.mark.parametrize("defect", DEFECTS)


def damaged(bucket, defect):
    """A bucket whose objects have a defect that nothing else tells of."""

    def get(key):
        rows = map(json.loads, gzip.decompress(bucket.get(key)).splitlines())
        return gzip.compress(as_lines(DEFECTS[defect](list(rows))))

    return SimpleNamespace(**{**vars(bucket), "get": get})


def word_of(consumer, home, bucket):
    (fault,) = (fault for fault in FAULTS if fault.name == "slow headers, in time")
    (found,) = run([Cell(fault, consumer)], home, bucket).values()
    assert not found.wrong
    return found.word


@each_defect
def test_the_matrix_sees_a_defect_of_what_the_hook_returns(monkeypatch, sandbox_home, own_bucket, defect):
    """Rows doubled, lost, altered, foreign or out of order are no records."""
    read = BinanceHook.force_liquidations
    monkeypatch.setattr(BinanceHook, "force_liquidations", lambda *a, **k: DEFECTS[defect](read(*a, **k)))

    assert word_of("hook", sandbox_home, own_bucket) == ("records" if defect == "none" else "WRONG RECORDS")


@each_defect
def test_the_matrix_sees_a_defect_of_what_the_operator_writes(sandbox_home, own_bucket, defect):
    """The same of an object's lines."""
    word = word_of("operator", sandbox_home, damaged(own_bucket, defect))

    assert word == ("records" if defect == "none" else "WRONG OBJECT")


@each_defect
def test_the_matrix_sees_a_defect_of_what_s3_holds(monkeypatch, sandbox_home, own_bucket, defect):
    """The same of an object whose upload met a fault of S3."""
    (fault,) = (fault for fault in STORE_FAULTS if fault.name == "slow, in time")
    monkeypatch.setattr("integration.fault_matrix.store.STORE_FAULTS", [fault])

    found = run_store(sandbox_home, damaged(own_bucket, defect))

    assert found == {fault: ("records", fault.holds if defect == "none" else "SOMETHING ELSE")}


@pytest.mark.parametrize("more", [0, 1, -1])
def test_the_matrix_sees_a_wrong_number(monkeypatch, sandbox_home, own_bucket, more):
    """A sensor that counts one too many or too few has not found the records."""
    wait = ForceLiquidationSensor.execute

    def execute(self, context):
        result = wait(self, context)
        return {**result, "total": result["total"] + more}

    monkeypatch.setattr(ForceLiquidationSensor, "execute", execute)

    assert word_of("poke", sandbox_home, own_bucket) == ("as stated" if more else "records")


def test_every_code_is_in_the_matrix():
    """A new code comes with its row."""
    assert set(ERRORS) == EVERY_CODE


def test_the_page_says_what_was_found(found, stored):
    """The table in the docs is this test's own result; ``UPDATE_DOCS=1`` writes it."""
    text = page(found, stored)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(text, encoding="utf-8")

    assert text == PAGE.read_text(encoding="utf-8")
