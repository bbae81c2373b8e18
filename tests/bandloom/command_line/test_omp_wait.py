"""How OpenMP threads wait, asked of the very library that torch loads."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bandloom.command_line.omp_wait import WAIT_TURNS


def libgomp() -> Path:
    """Return the OpenMP library inside torch's folder."""
    spec = find_spec("torch")
    assert spec is not None
    assert spec.submodule_search_locations
    found = sorted(Path(spec.submodule_search_locations[0]).glob("lib/libgomp*.so*"))
    if not found:
        pytest.skip("this torch brings no GNU OpenMP")
    return found[0]


def turns(**environment: str) -> str:
    """Return how often a thread turns before it sleeps, in a process that the command line started in."""
    code = (
        "import ctypes, sys\nfrom bandloom.cli import main\n"
        "try: main(['--version'])\nexcept SystemExit: pass\n"
        "ctypes.CDLL(sys.argv[1])"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    said = subprocess.run(
        [sys.executable, "-c", code, str(libgomp())],
        env=clean | {"OMP_DISPLAY_ENV": "VERBOSE"} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    return next(line.partition("=")[2].strip(" '") for line in said.splitlines() if "GOMP_SPINCOUNT" in line)


def test_a_command_lets_waiting_threads_sleep_soon():
    assert turns() == WAIT_TURNS


@pytest.mark.parametrize(
    ("environment", "expected"), [({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")]
)
def test_an_environment_that_says_how_they_wait_is_left_alone(environment, expected):
    assert turns(**environment) == expected
