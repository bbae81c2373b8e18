"""Children of this program, in real processes: they end with the one that started them, however that one ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bandloom.command_line.child import ENDS_WITH, child_command, child_environment, end_with_parent

CHILD = (
    "from bandloom.command_line.child import end_with_parent; end_with_parent();"
    " import os, time; print(os.getpid(), flush=True); time.sleep(600)"
)
PARENT = (
    # whoever runs the tests in the background lets its children ignore these
    "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " signal.signal(signal.SIGHUP, signal.SIG_DFL); from bandloom.command_line.child import child_environment as env;"
    " subprocess.run([sys.executable, '-c', sys.argv[1]], env=env())"
)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells a child of its parent's end on Linux")


def lives(process: int) -> bool:
    """Tell whether a process is there and no zombie."""
    stat = Path(f"/proc/{process}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGINT])
def test_a_child_ends_with_its_parent_whatever_ends_that(number):
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert lives(child)
        parent.send_signal(number)
        try:
            parent.wait(20)
        finally:
            parent.kill()
    for _ in range(200):
        if not lives(child):
            break
        time.sleep(0.05)
    assert not lives(child)


def test_a_child_whose_parent_is_gone_already_ends_at_once():
    environment = os.environ | {ENDS_WITH: str(2**22 + 1)}  # above every process number
    done = subprocess.run([sys.executable, "-c", CHILD], env=environment, stdout=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"")


def test_what_nobody_started_as_a_child_and_what_a_child_starts_are_left_alone(monkeypatch):
    monkeypatch.delenv(ENDS_WITH, raising=False)
    end_with_parent()
    assert child_environment()[ENDS_WITH] == str(os.getpid())
    words = "from bandloom.command_line.child import *; import os; end_with_parent(); print(ENDS_WITH in os.environ)"
    done = subprocess.run(
        [sys.executable, "-c", f"import os; {words}"], env=child_environment(), stdout=subprocess.PIPE, text=True
    )
    assert done.stdout == "False\n"


def test_a_verb_is_such_a_child():
    environment = os.environ | {ENDS_WITH: str(2**22 + 1)}
    done = subprocess.run(child_command(["doctor"]), env=environment, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"")
