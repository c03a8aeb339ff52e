"""Programs that tests run beside themselves."""

from __future__ import annotations

import os
import subprocess
import sys


def run(*words, timeout=900, **options):
    """Run a program, which must succeed; what it printed is in the result."""
    words = [str(word) for word in words]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=timeout, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done


def python(*words, **options):
    """Run this Python, which must succeed."""
    return run(sys.executable, *words, **options)


def airflow_environment(home, **more):
    """This process's environment without anything of Airflow's and pytest's, and a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))}
    return {**kept, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", **more}
