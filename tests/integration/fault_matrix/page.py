"""The matrix as a page of the docs."""

from __future__ import annotations

from itertools import groupby

HEAD = """\
# Fault matrix

Each cell is the outcome of a real run over real sockets: a fault of the sandbox, or of a proxy in front of an S3
server, and its effect on the hook, the operator, the sensor in each mode, or the event trigger. The test that checks
the page also writes it: `UPDATE_DOCS=1 python -m pytest tests/integration/test_fault_matrix.py`.
<!-- tests: tests/integration/test_fault_matrix.py::test_the_page_says_what_was_found -->

Every run also checks that no request was sent too early (`Retry-After`, end of a ban, backoff, poke interval), that
final errors were not retried, that messages hold no key, secret, signature or address, and that the bucket holds the
complete object or none.
<!-- tests: tests/integration/test_fault_matrix.py, tests/integration/fault_matrix/run.py -->

| outcome | meaning |
|---|---|
| records | all records of the exchange, each once, oldest first, byte for byte (sensor, event: their number) |
| as stated | a count asks for one row, which cannot reveal a wrong total: the number is the stated one |
| an error class | raised by the hook; `BinanceTransientError` and its subclasses may be retried |
| is retried | the task fails and is retried as configured, or when the exchange allows it |
| fails | `AirflowFailException`: no retry |
| looks again | the sensor polls again until its own timeout |
| polls again | the event trigger polls again with growing pauses; it never ends |
<!-- tests: tests/integration/test_fault_matrix.py::test_a_fault -->

A fault is met by one request ("once") or by all of them ("lasting").
"""
#: names the test behind the table above it
PROOF = "<!-- tests: tests/integration/test_fault_matrix.py::{} -->"
COLUMNS = {
    "hook": "hook",
    "operator": "operator",
    "poke": "sensor, poke",
    "reschedule": "sensor, reschedule",
    "deferrable": "sensor, deferrable",
    "event": "event trigger",
}


def page(found, stored):
    """The whole page."""
    lines = [HEAD]
    rows = {}
    for cell, one in sorted(found.items(), key=lambda item: list(COLUMNS).index(item[0].consumer)):
        rows.setdefault(cell.fault, {})[cell.consumer] = one.word
    from integration.fault_matrix.faults import FAULTS

    for group, faults in groupby(FAULTS, key=lambda fault: fault.group):
        lines += [f"## {group}", "", "| fault | |" + "".join(f" {name} |" for name in COLUMNS.values())]
        lines.append("|---|---|" + "---|" * len(COLUMNS))
        for fault in faults:
            words = "".join(f" {_code(rows[fault][consumer])} |" for consumer in COLUMNS)
            lines.append(f"| {fault.name} | {'lasting' if fault.lasts else 'once'} |{words}")
        lines += [PROOF.format("test_a_fault"), ""]
    lines += ["## S3", "", "| fault | operator | under the key |", "|---|---|---|"]
    lines += [f"| {fault.name} | {word} | {holds} |" for fault, (word, holds) in stored.items()]
    lines += [PROOF.format("test_a_fault_of_s3"), ""]
    lines += [f"{len(found)} runs against the exchange, {2 * len(stored)} against S3."]
    return "\n".join(lines) + "\n"


def _code(word):
    return f"`{word}`" if word.startswith("Binance") else word
