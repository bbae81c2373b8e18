"""A verb of this program in a process of its own, which ends with the one that started it, however that one ends."""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

ENDS_WITH = "BANDLOOM_ENDS_WITH"  # the process that a child ends with
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def child_command(words: Sequence[str]) -> list[str]:
    """Return the command line of a verb, for this interpreter and this code."""
    return [sys.executable, "-m", "bandloom.cli", *words]


def child_environment() -> dict[str, str]:
    """Return the environment of a process that :func:`end_with_parent` ends with this one."""
    return os.environ | {"PYTHONSAFEPATH": "1", ENDS_WITH: str(os.getpid())}


def end_with_parent() -> None:
    """Let the kernel ask this process to stop (SIGTERM) when the one that started it as a child ends; Linux alone."""
    parent = os.environ.pop(ENDS_WITH, None)  # what this process starts is nobody's child but its own
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)
    if str(os.getppid()) != parent:  # it ended before the kernel was told
        os.kill(os.getpid(), signal.SIGTERM)
