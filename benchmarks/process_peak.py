"""Runs a command line in a process of its own and says what it needed.

The peak is that of the process's own memory (VmHWM): ``ru_maxrss`` begins at what the process that started it held.
"""

import subprocess
import sys
from dataclasses import dataclass

CODE = """
import sys, time
began = time.perf_counter()
{body}
peak = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
print("NEEDED", peak, time.perf_counter() - began)
"""
COMMAND_LINE = """
from bandloom.cli import main
try:
    main({arguments!r})
except SystemExit as ended:
    assert ended.code == 0, ended.code
"""


@dataclass(frozen=True)
class Needed:
    """Peak resident memory and wall time of a process, its imports included."""

    mib: float
    seconds: float


def run_python(body: str, python: str = sys.executable) -> Needed:
    """Run Python code in a process of its own."""
    done = subprocess.run([python, "-c", CODE.format(body=body)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    kib, seconds = done.stdout.rsplit("NEEDED", 1)[1].split()
    return Needed(int(kib) / 1024, float(seconds))


def run_bandloom(*arguments: object) -> Needed:
    """Run a bandloom command line in a process of its own."""
    return run_python(COMMAND_LINE.format(arguments=[str(argument) for argument in arguments]))
