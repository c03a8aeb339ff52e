"""The matrix as a page of the docs."""

from __future__ import annotations

from itertools import groupby

HEAD = """\
# What happens when something goes wrong

Each cell of these tables is the outcome of a real run over real sockets: a fault of the sandbox (or of a proxy in front
of an S3 server), met by the hook, the operator, the sensor in each of its modes, or the event trigger. The page is
written by the test that checks it: `UPDATE_DOCS=1 python -m pytest tests/integration/test_fault_matrix.py`.

In every cell, too: the log of requests shows that nothing was sent before its time (a Retry-After, a ban's end, a
backoff or a poke interval) and that what cannot be helped was not asked again; messages hold no key, secret, signature
or address; and the bucket holds the whole object or none.

| outcome | meaning |
|---|---|
| records | the records of the exchange, each once and oldest first, byte by byte (sensor, event: their number) |
| as stated | a wrong total cannot be told from one row: the number is the one that was stated |
| a class of error | raised by the hook; a `BinanceTransientError` (or a class below it) may be tried again |
| is retried | the task fails and is retried as it is configured, or when the exchange said |
| fails | `AirflowFailException`: no retry |
| looks again | the sensor goes on looking until its own timeout |
| polls again | the event trigger goes on polling, ever more rarely; it never ends |

"once" is a fault of one request, "lasting" one that does not pass.
"""
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
        lines.append("")
    lines += ["## S3", "", "| fault | operator | under the key |", "|---|---|---|"]
    lines += [f"| {fault.name} | {word} | {holds} |" for fault, (word, holds) in stored.items()]
    lines += ["", f"{len(found)} runs against the exchange, {2 * len(stored)} against S3."]
    return "\n".join(lines) + "\n"


def _code(word):
    return f"`{word}`" if word.startswith("Binance") else word
