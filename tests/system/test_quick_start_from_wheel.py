"""The quick start as a stranger does it: installation, the first object, a takeover that is found, and the page."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from quick_start import follow

ROOT = Path(__file__).parents[2]


def test_the_page_is_there_in_fifteen_minutes(tmp_path):
    """The page's commands to the letter, with the wheel of this code in place of the index's, and pinned versions."""
    dist, folder = tmp_path / "dist", tmp_path / "stranger"
    folder.mkdir()
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(dist), str(ROOT)]
    subprocess.run(build, check=True, timeout=120, stdout=subprocess.DEVNULL)
    began = time.monotonic()

    follow(folder, install=True, PIP_FIND_LINKS=str(dist), PIP_CONSTRAINT=str(ROOT / "constraints.txt"))

    took = time.monotonic() - began
    print(f"from nothing to the page: {took:.0f} s")  # noqa: T201 - the figure is wanted
    assert (folder / "venv").is_dir()
