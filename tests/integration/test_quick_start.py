"""The quick start of the documentation does what it says: its commands are run, its output is compared."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "quick-start.md"
BLOCK = re.compile(r"<!-- (run|output) -->\n```\w+\n(.*?)```", re.DOTALL)
SECONDS = 300
#: the ports of the page, which may be in use here
PORTS = ("8099", "5555")


def blocks(text):
    """The page's commands, each with the lines that it is said to print."""
    found = []
    for kind, body in BLOCK.findall(text):
        if kind == "run":
            found.append((body, []))
        else:
            found[-1][1].extend(line for line in body.splitlines() if line.strip())
    return found


def free_ports(number):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [str(each.getsockname()[1]) for each in sockets]


def pattern(line):
    """A line of the page, where "…" stands for anything."""
    return re.compile(".*".join(map(re.escape, line.split("…"))))


def test_every_command_of_the_page_is_run():
    """Only the installation is not: the environment of the tests is there already."""
    text = PAGE.read_text()

    assert len(re.findall("^```bash", text, re.MULTILINE)) == len(blocks(text)) + 1
    assert all(port in text for port in PORTS)


@pytest.mark.slow
def test_the_quick_start_leads_to_the_first_object(tmp_path):
    """The commands, in one shell and an empty folder, print what the page says."""
    text = PAGE.read_text()
    for shown, used in zip(PORTS, free_ports(len(PORTS)), strict=True):
        # the sandbox's port is its default, which the page need not name
        text = re.sub(rf"\b{shown}\b", used, text)
        if shown == "8099":
            text = text.replace("binance-sandbox ", f"binance-sandbox --port {used} ")
    steps = blocks(text)
    script = "set -e\n" + "".join(f"{commands}echo '@@@'\n" for commands, _ in steps)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS", "PYTEST"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    environment = {**kept, "PATH": path, "HOME": str(tmp_path), "PYTHONWARNINGS": "", "NO_PROXY": "127.0.0.1"}

    with (tmp_path / "screen").open("w") as screen:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        process.wait(SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    said = (tmp_path / "screen").read_text()
    told = "".join(f"\n--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(tmp_path.glob("*.log")))

    assert process.returncode == 0, said + told
    parts = said.split("@@@\n")
    for (commands, expected), part in zip(steps, parts, strict=False):
        for line in expected:
            assert pattern(line).search(part), f"{line}\n--- is not what is printed by\n{commands}---\n{part}"
