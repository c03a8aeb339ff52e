"""Writes constraints.txt anew: the newest versions of all that the project and its extras need, a plain pin a line."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from typing import TYPE_CHECKING

from packaging.markers import Marker, default_environment

from setup_env import CONSTRAINTS, ROOT, find_uv

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = "# What demo and tests install, on any Python from 3.11 on. Made by `make constraints`."
SECONDS = 600
# for every Python at once, and nothing about where it was found
_NEWEST = ["--universal", "--python-version", "3.11", "--all-extras", "pyproject.toml", "-"]
_PLAIN = ["--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
_PIN = re.compile(r"([a-z0-9][a-z0-9.-]*==[^\s;]+)(?: ; ([^;]+))?")
_PYTHONS = ("3.11.0", "3.11.99", "3.12.99", "3.13.99", "3.14.99", "3.15.99")
_PLATFORMS = ("linux", "darwin")


def main() -> int:
    """Write the newest versions of all."""
    # the environment is made with uv, and no package depends on it
    pins = plain_pins(_NEWEST, "uv\n")
    CONSTRAINTS.write_text("\n".join([HEADER, *pins, ""]))
    print(f"{CONSTRAINTS.name}: {len(pins)} pins")
    return 0


def plain_pins(words: Sequence[str], more: str) -> list[str]:
    """What goes together, as nothing but pins.

    :param words: what to resolve, as options of `uv pip compile`
    :param more: further requirements, a line each; read where the words hold "-"
    """
    command = [find_uv(), "pip", "compile", "--quiet", "--upgrade", *_PLAIN, *words]
    found = subprocess.run(
        command, cwd=ROOT, input=more, stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=True
    )
    lines = found.stdout.splitlines()
    if strange := [line for line in lines if not _PIN.fullmatch(line)]:
        raise SystemExit(f"These are no plain pins: {strange}")
    return sorted(filter(None, map(_shortest, lines)))


def _shortest(line: str) -> str:
    """The pin without a marker that always holds where the project runs; nothing when it never does."""
    match = _PIN.fullmatch(line)
    assert match is not None
    pin, marker = match.groups()
    if not marker:
        return pin
    holds = [Marker(marker).evaluate(each) for each in _environments()]
    return pin if all(holds) else line if any(holds) else ""


def _environments() -> list[dict[str, str]]:
    here = {name: str(value) for name, value in default_environment().items()}
    return [
        {**here, "python_full_version": full, "python_version": full[:4], "sys_platform": platform}
        for full, platform in product(_PYTHONS, _PLATFORMS)
    ]


if __name__ == "__main__":
    sys.exit(main())
