"""How long ``bandloom --help`` takes to answer, against starting Python and doing nothing."""

import subprocess
import sys
import time

from benchmarks.harness import Figure


def run() -> list[Figure]:
    program = [sys.executable, "-m", "bandloom.cli", "--help"]
    nothing = [sys.executable, "-c", "pass"]
    best = {"program": float("inf"), "nothing": float("inf")}
    for _ in range(10):
        best["program"] = min(best["program"], _seconds(program))
        best["nothing"] = min(best["nothing"], _seconds(nothing))
    return [
        Figure(
            "help_start",
            best["program"],
            "s",
            "python -c pass",
            best["nothing"],
            note="best of 10, interleaved; the promise is under 0.5 s",
        ),
    ]


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began
