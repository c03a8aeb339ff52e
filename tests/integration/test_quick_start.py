"""The quick start of the documentation: what `tests/system` runs of it is all of it."""

from __future__ import annotations

import re

from quick_start import PAGE, PORTS, steps


def test_every_command_of_the_page_is_run():
    """No block is left out for a word too many in its mark."""
    text = PAGE.read_text()
    shown = len(re.findall("^```bash", text, re.MULTILINE))

    assert shown == len(steps(text, install=True)) == len(steps(text)) + 1
    assert all(port in text for port in PORTS)
