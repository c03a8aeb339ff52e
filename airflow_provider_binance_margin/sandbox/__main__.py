"""`python -m airflow_provider_binance_margin.sandbox`: a local Binance until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.sandbox.datasets import DATASETS
from airflow_provider_binance_margin.sandbox.sandbox import Sandbox
from airflow_provider_binance_margin.sandbox.stories import KINDS, checked_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    options = _parser().parse_args(argv)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with _sandbox(options) as sandbox, _told(sandbox, options.url_file):
            print(_welcome(sandbox), flush=True)
            stop.wait()
    except (OSError, ValueError) as error:
        print(f"binance-sandbox: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    about = f"A strict local Binance for the history of a margin account: {', '.join(DATASETS)}."
    parser = argparse.ArgumentParser(prog="binance-sandbox", description=about)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8099, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--home", type=Path, default=Path("~/.binance-sandbox"), help="where the API keys are kept")
    parser.add_argument("--seed", type=int, default=7, help="another seed is another history (default: %(default)s)")
    parser.add_argument("--start", type=date.fromisoformat, help="first UTC day of the history, as YYYY-MM-DD")
    parser.add_argument("--days", type=int, default=730, help="its length; it ends now at the latest")
    parser.add_argument("--no-history", dest="days", action="store_const", const=0, help="begin without records")
    stories = f"instead, stories told in all datasets: all, or some of {', '.join(KINDS)}, joined by commas"
    parser.add_argument("--stories", type=_kinds, help=stories)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="time before each answer")
    parser.add_argument("--clock-offset-ms", type=int, default=0, help="how far the exchange's clock is ahead")
    parser.add_argument("--limit", type=int, default=12_000, help="weight a minute on one endpoint")
    parser.add_argument("--unfiltered", choices=("cross", "all"), default="cross", help="rows without isolatedSymbol")
    parser.add_argument("--url-file", type=Path, help="a file that holds the URL while the sandbox serves")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    try:
        return checked_kinds("all" if text == "all" else text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _sandbox(options: argparse.Namespace) -> Sandbox:
    return Sandbox(
        host=options.host,
        port=options.port,
        home=options.home,
        seed=options.seed,
        start=options.start,
        days=options.days,
        stories=options.stories,
        latency=options.latency_ms / 1_000,
        clock_offset_ms=options.clock_offset_ms,
        limit=options.limit,
        unfiltered=options.unfiltered,
    )


@contextmanager
def _told(sandbox: Sandbox, url_file: Path | None) -> Iterator[None]:
    """The URL in a file for whoever waits for it, whole from its first moment, gone at the end.

    The file is a new one that takes the name: a link that stands there is replaced, not followed.
    """
    if url_file is None:
        yield
        return
    descriptor, new = tempfile.mkstemp(prefix=f".{url_file.name}.", dir=url_file.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(sandbox.url)
        Path(new).replace(url_file)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
    try:
        yield
    finally:
        url_file.unlink(missing_ok=True)


def _welcome(sandbox: Sandbox) -> str:
    exports = "\n".join(f"export {name}='{value}'" for name, value in sandbox.airflow_env().items())
    return (
        f"Binance sandbox on {sandbox.url} with {sandbox.count():,} records of the cross account\n"
        f"and isolated ones of {', '.join(sandbox.pairs) or 'no pair'}. Faults, log and more: {sandbox.url}/sandbox/\n"
        f"\n{exports}\n\nDatasets: {', '.join(DATASETS)}.\n\nCtrl-C ends it."
    )


if __name__ == "__main__":
    sys.exit(main())
