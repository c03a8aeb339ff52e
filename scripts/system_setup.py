"""Brings what the tests of Airflow's pages need, Debian's Chromium and its driver; without it those are skipped."""

from __future__ import annotations

import sys

from debian import NotHereError, install
from local_stack.browser import browser_programs

PACKAGES = ("chromium", "chromium-driver")


def missing_packages() -> list[str]:
    """Debian's packages whose programs are not there."""
    return [package for package, program in zip(PACKAGES, browser_programs(), strict=True) if not program]


def say(text: str) -> None:
    """Tell what is going on."""
    print(f"system: {text}", flush=True)


def main() -> int:
    """Run from the command line; a machine that cannot have a browser is no failure."""
    try:
        install(missing_packages, say)
    except NotHereError as error:
        say(f"{error}\nsystem: tests with a browser will be skipped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
