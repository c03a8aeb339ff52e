"""What deceives a reader of these endpoints, and the tests that would see it: none of them can go unnoticed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
RULE, DATASETS, LEDGER = "unit/test_liquidation_rule.py", "integration/test_datasets.py", "unit/exchange/test_ledger.py"
DECLARED = DATASETS, "test_the_declaration_is_the_sandboxs"
LOADED = DATASETS, "test_a_day_is_loaded_once_and_exact_and_again_to_the_same_bytes"
FORGOTTEN = DATASETS, "test_an_interval_beyond_the_memory_is_refused_or_a_claim"
TRAPS = {
    "entries named *_LIQUIDATION are no proof of a forced one": [(RULE, "test_levels")],
    "some liquidations leave no order": [
        ("integration/test_liquidation_report.py", "test_two_years_of_stories_are_told_as_they_were")
    ],
    "a row does not say whether it borrows or repays": [DECLARED, LOADED],
    "transfers are in seconds": [
        DECLARED,
        (DATASETS, "test_each_format_holds_every_row"),
        ("integration/test_sandbox_datasets.py", "test_transfers_are_in_seconds_unless_set"),
    ],
    "fromId is the greatest id, and pages are newest first": [
        (LEDGER, "test_a_window_takes_one_request_for_each_page_and_one_that_confirms"),
        (LEDGER, "test_a_cursor_in_the_middle_of_the_ids_loses_nothing"),
    ],
    "90 days are stated in few places only": [FORGOTTEN],
    "what is older is clamped in silence": [FORGOTTEN],
    "weights are other than documented": [
        ("integration/test_shared_limits.py", "test_a_low_limit_is_met_once_and_then_kept")
    ],
    "ids exceed what a double holds": [LOADED, (RULE, "test_evidence_names_each_record")],
    "a pair has three names": [DECLARED, LOADED],
    "a page's size has other defaults, and no documented limit": [DECLARED],
    "the order is documented for three endpoints only": [DECLARED],
    "memory gets shorter": [FORGOTTEN],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_has_its_tests(trap):
    for file, name in TRAPS[trap]:
        names = [node.name for node in ast.walk(ast.parse((TESTS / file).read_text())) if hasattr(node, "name")]
        assert name in names
