"""Has Debian's package manager install programs, where this is root on a Debian; servers are not started."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from setup_env import SetupError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POLICY = Path("/usr/sbin/policy-rc.d")
_NO_STARTS = "#!/bin/sh\nexit 101\n"
_APT = [
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    "-q",
    "-o",
    "DPkg::Lock::Timeout=120",
    "-o",
    "Acquire::http::Timeout=60",
]
_APT_SECONDS = 300


class NotHereError(SetupError):
    """The programs are not on this machine and cannot be brought here."""


def install(missing: Callable[[], list[str]], say: Callable[[str], None]) -> None:
    """Install the packages that are missing, and see to it that none is then."""
    wanted = missing()
    if not wanted:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise NotHereError(f"{' and '.join(wanted)} must be installed first: this is not root on a Debian.")
    say(f"installing {' and '.join(wanted)}")
    with no_service_starts():
        run([*_APT, "update"], seconds=_APT_SECONDS, check=False, quiet=True)
        done = run(
            [*_APT, "install", "-y", "--no-install-recommends", *wanted], seconds=_APT_SECONDS, check=False, quiet=True
        )
    if done.returncode or missing():
        raise NotHereError(f"{done.stdout[-2000:]}{done.stderr[-2000:]}\napt-get could not install {wanted}.")


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Debian's packages start their servers when they are installed, unless this file says no."""
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text(_NO_STARTS)
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink()
