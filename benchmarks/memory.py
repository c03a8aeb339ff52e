"""How much memory a task takes over an empty one, for each format, and how large its temporary files are.

``python benchmarks/memory.py 1000000 .jsonl.gz .parquet``: records in one object, and formats (all of them if none is
named). Exchange and S3 server are processes of their own, as they are in life. A million records take minutes: the
package sends no more than a hundred requests a second, of a hundred records each.
"""

# ruff: noqa: E402 - the path to `scripts` comes before the imports
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts")]

from arena import BUCKET, arena
from records import DAY, START

from airflow_provider_binance_margin.lake.interval import iso
from airflow_provider_binance_margin.lake.layout import SUFFIXES

MIB = 1 << 20
#: the process that is measured
MEASURED = ROOT / "tests" / "integration" / "test_memory.py"
SECONDS = 1800


def main(records: int, suffixes: list[str]) -> None:
    """Print a line for each format."""
    with arena() as place:
        place.prepare(records, 0)
        # sqlite would prefer /var/tmp to a folder that is not named
        env = {**os.environ, **place.environment(), "TMPDIR": tempfile.gettempdir()}
        for suffix in suffixes:
            empty = {"s3_bucket": BUCKET, "s3_key": f"empty{suffix}", "start": "2025-01-01", "end": "2025-01-02"}
            full = {"s3_bucket": BUCKET, "s3_key": f"full{suffix}", "start": iso(START), "end": iso(START + DAY)}
            command = [sys.executable, str(MEASURED), json.dumps(empty), json.dumps(full)]
            done = subprocess.run(command, env=env, capture_output=True, check=True, timeout=SECONDS)
            told = json.loads(done.stdout)
            added, files, seconds = told["added"] / MIB, told["temporary"] / MIB, told["seconds"]
            print(
                f"{suffix:10} {told['result']['records']:>9,} records: {added:5.1f} MiB of memory more, "
                f"{files:6.1f} MiB of temporary files, {seconds:6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, sys.argv[2:] or list(SUFFIXES))
