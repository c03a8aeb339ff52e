"""Every fault met by every consumer over real sockets: right records or the right error, never early, never half."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from integration.fault_matrix.faults import EVERY_CODE, FAULTS
from integration.fault_matrix.page import page
from integration.fault_matrix.run import Cell, run
from integration.fault_matrix.store import STORE_FAULTS, run_store

from airflow_provider_binance_margin.exchange.errors import MEANINGS
from airflow_provider_binance_margin.retry_policy import RetryPolicy

pytestmark = pytest.mark.skipif(RetryPolicy is object, reason="retry policies are Airflow 3.3's")

CONSUMERS = ("hook", "operator", "poke", "reschedule", "deferrable", "event")
CELLS = [Cell(fault, consumer) for fault in FAULTS for consumer in CONSUMERS]
PAGE = Path(__file__).parents[2] / "docs" / "fault-matrix.md"


@pytest.fixture(scope="module")
def bucket(s3_client, s3_url):
    """A bucket, with how Airflow is told of it."""
    import json

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


def test_every_code_is_in_the_matrix():
    """A new code comes with its row."""
    assert set(MEANINGS) == EVERY_CODE


def test_the_page_says_what_was_found(found, stored):
    """The table in the docs is this test's own result; ``UPDATE_DOCS=1`` writes it."""
    text = page(found, stored)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(text, encoding="utf-8")

    assert text == PAGE.read_text(encoding="utf-8")
