"""The quick start of the documentation, as its reader does it: its commands, and what they are said to print."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "quick-start.md"
BLOCK = re.compile(r"(?:<!-- (run|output) -->\n)?```(bash|text)\n(.*?)```", re.DOTALL)
SECONDS = 600
#: the ports of the page, which may be in use here
PORTS = ("8099", "5555", "8080")


def steps(text, *, install=False):
    """The page's commands, each with the lines that it is said to print; with those that install, or without."""
    found = []
    for kind, language, body in BLOCK.findall(text):
        if kind == "output":
            found[-1][1].extend(line for line in body.splitlines() if line.strip())
        elif language == "bash" and (kind == "run" or install):
            found.append((body, []))
    return found


def free_ports(number):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [str(each.getsockname()[1]) for each in sockets]


def on_free_ports(text):
    """The page with ports that are free here."""
    for shown, used in zip(PORTS, free_ports(len(PORTS)), strict=True):
        # the sandbox's port is its default, which the page need not name
        text = re.sub(rf"\b{shown}\b", used, text)
        if shown == "8099":
            text = text.replace("binance-sandbox ", f"binance-sandbox --port {used} ")
    return text


def pattern(lines):
    """What is printed, where "…" stands for anything in a line, and alone for any lines."""
    told = [r"(.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n" for line in lines]
    return re.compile("".join(told))


def printed(text):
    return "".join(f"{line}\n" for line in text.splitlines() if line.strip())


def follow(folder, *, install=False, path="", **environment):
    """Type the page's commands into one shell in an empty folder, and hold what is printed against the page."""
    todo = steps(on_free_ports(PAGE.read_text()), install=install)
    script = "set -e\n" + "".join(f"{commands}echo '@@@'\n" for commands, _ in todo)
    foreign = ("AIRFLOW", "AWS", "PYTEST", "VIRTUAL_ENV", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = os.pathsep.join(filter(None, [path, kept["PATH"]]))
    with (folder / "screen").open("w") as screen:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env={**kept, "PATH": path, "HOME": str(folder), "NO_PROXY": "127.0.0.1", **environment},
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
    said = (folder / "screen").read_text()
    told = "".join(f"\n--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(folder.glob("*.log")))

    assert process.returncode == 0, said + told
    for (commands, expected), part in zip(todo, said.split("@@@\n"), strict=False):
        if expected:
            shown = "\n".join(expected)
            assert pattern(expected).fullmatch(printed(part)), f"{shown}\n--- is not what\n{commands}--- print:\n{part}"
