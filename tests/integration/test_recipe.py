"""The recipe for another dataset, followed in a copy of the tree: two declarations, and its contract tests pass."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from programs import python

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_provider_binance_margin"
DECLARATION = """
DIVIDEND = Dataset(
    name="dividend",
    path="/sapi/v1/margin/dividend",
    columns={
        "divId": "integer",
        "asset": "string",
        "amount": "decimal",
        **{"isLate": "boolean", "status": "string", "note": "string"},
        "paidTime": "timestamp",
    },
    optional=("note",),
    time_field="paidTime",
    record_key=("divId", "amount"),
    weight=5,
    weight_kind="UID",
    params={"kind": "MARGIN"},
    pair_param="symbol",
    filters=("asset",),
    max_size=50,
    max_span=timedelta(days=3),
    memory=timedelta(days=45),
    not_final={"status": ("OPEN",)},
)
"""
SERVED = """
def _dividend(seed: int, scope: str, given: Mapping[str, Any]) -> dict[str, Any]:
    rng, asset = _random(seed, scope, given)
    paid = {"amount": f"{_amount(rng, asset):.8f}", "isLate": False, "status": "PAID"}
    return _present(divId=7_000_000 + seed, asset=asset, **paid, note=scope or None, paidTime=0)


DIVIDEND = Dataset(
    name="dividend",
    path="/sapi/v1/margin/dividend",
    fields={**_fields("divId:int asset amount"), "isLate": bool, **_fields("status note paidTime:int")},
    optional=frozenset({"note"}),
    time="paidTime",
    ids=("divId", "amount"),
    row=_dividend,
    scope=lambda row: str(row.get("note") or ""),
    weight=5,
    whose="UID",
    fixed={"kind": "MARGIN"},
    pair="symbol",
    filters={"asset": ()},
    most=50,
    longest=3 * DAY,
    memory=45 * DAY,
)
"""


def declare(path, text):
    """Put a declaration before the list of all, and list it."""
    source = path.read_text()
    before, marker, after = source.partition("\nDATASETS = {")
    assert marker
    listed, number = re.subn("LIQUIDATION_LOAN_REPAYMENT", "LIQUIDATION_LOAN_REPAYMENT, DIVIDEND", after, count=1)
    assert number == 1
    path.write_text(before + text + "\n" + marker + listed)


def test_two_declarations_are_all_of_a_dataset(tmp_path):
    assert len((DECLARATION + SERVED).splitlines()) <= 60
    for name in (PACKAGE, "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    declare(tmp_path / PACKAGE / "exchange" / "datasets.py", DECLARATION)
    declare(tmp_path / PACKAGE / "sandbox" / "datasets.py", SERVED)

    files = [f"tests/integration/test_{name}.py" for name in ("datasets", "sandbox_datasets")]
    chosen = ["-k", "dividend", "-n", "0", "-q", "-p", "no:cacheprovider"]
    done = python("-m", "pytest", *files, *chosen, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert re.search(r"\b[6-9][0-9] passed", done.stdout), done.stdout[-500:]
