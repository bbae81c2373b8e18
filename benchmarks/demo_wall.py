"""How long the first command takes: a fresh clone, a fresh environment, every stage, against what is promised."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import HERE, Figure


def run() -> list[Figure]:
    """Clone the last commit, ``make demo`` in it, then the quick demo; needs the package index, as a user does."""
    with tempfile.TemporaryDirectory() as place:
        clone = Path(place) / "bandloom"
        subprocess.run(["git", "clone", "-q", str(HERE.parent), str(clone)], check=True)
        whole = _seconds(["make", "demo", f"PYTHON={sys.executable}"], clone)
        quick = _seconds([".venv/bin/bandloom", "demo", "--quick", "--out", "quick"], clone)
    return [
        Figure("demo_wall", whole, "s", "the promised 10 minutes", 600, "<= 1", "set-up included"),
        Figure("demo_wall --quick", quick, "s", "the promised 2 minutes", 120, "<= 1", "in the same environment"),
    ]


def _seconds(command: list[str], folder: Path) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=folder, check=True)
    return time.monotonic() - began
