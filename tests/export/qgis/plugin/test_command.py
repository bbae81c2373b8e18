"""Running a command, on real processes: what is shown, how it is stopped, what is said when it fails."""

import os
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from bandloom.export.qgis.plugin.command import CommandError, environment, found, run


class Feedback:
    """Keeps what QGIS would show; cancels once a line holds ``until``."""

    def __init__(self, until: str = "") -> None:
        self.told: list[str] = []
        self.warned: list[str] = []
        self.tables: list[str] = []
        self.progress: list[float] = []
        self.until, self.cancelled = until, threading.Event()

    def pushInfo(self, line: str) -> None:
        self.told.append(line)
        if self.until and self.until in line:
            self.cancelled.set()

    def pushConsoleInfo(self, line: str) -> None:
        self.tables.append(line)

    def pushWarning(self, line: str) -> None:
        self.warned.append(line)

    def setProgress(self, percent: float) -> None:
        self.progress.append(percent)

    def isCanceled(self) -> bool:
        return self.cancelled.is_set()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_lines_and_progress_are_shown_and_what_was_said_is_returned():
    feedback = Feedback()
    code = (
        "print('2026-01-02 03:04:05 INFO strips of map.tif: 1 of 4, 1 min left');"
        "print('2026-01-02 03:04:05 WARNING this is odd'); print('tiles: 3 of 4');"
        "print('\\u2502 a   b \\u2502'); print('gr\\u00fcn: 12 ha')"
    )
    assert run(python(code), feedback).splitlines()[-1] == "grün: 12 ha"
    assert feedback.told == ["strips of map.tif: 1 of 4, 1 min left", "tiles: 3 of 4", "grün: 12 ha"]
    assert feedback.tables == ["\u2502\u00a0a\u00a0\u00a0\u00a0b\u00a0\u2502"]
    assert feedback.warned == ["this is odd"]
    assert feedback.progress == [25, 75]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import sys; sys.stderr.write('error: the map x is missing; name one.\\n'); sys.exit(2)",
            "the map x is missing",
        ),
        (
            "import sys; sys.stderr.write('Usage\\n\\u2502 No such option: --y \\u2502\\n'); sys.exit(2)",
            "No such option: --y",
        ),
        ("import sys; sys.exit(3)", "ended with code 3: it said nothing"),
    ],
)
def test_a_failure_is_the_commands_own_sentence(code, said):
    feedback = Feedback()
    with pytest.raises(CommandError, match=said):
        run(python(f"import sys; {code}"), feedback)
    assert not [line for line in feedback.warned if line.startswith("error: ")]  # said once


def test_more_than_a_pipe_holds_on_both_streams_is_read_to_its_end():
    code = "import sys\nfor n in range(20000): print('line', n); sys.stderr.write(f'other {n}\\n')"
    feedback = Feedback()
    assert len(run(python(code), feedback).splitlines()) == 20_000
    assert len(feedback.warned) == 20_000


def test_a_cancelled_command_is_asked_to_end_and_so_is_what_it_started(tmp_path):
    child = "import time; time.sleep(600)"
    code = f"""
import signal, subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", {child!r}])
signal.signal(signal.SIGTERM, lambda *_: (open({str(tmp_path / "tidied")!r}, "w").close(), sys.exit(1)))
print("begun", inner.pid, flush=True)
time.sleep(600)
"""
    feedback = Feedback("begun")
    began = time.monotonic()
    with pytest.raises(CommandError, match="stopped: bandloom was ended before it was finished"):
        run(python(code), feedback)
    assert time.monotonic() - began < 20
    assert (tmp_path / "tidied").exists()
    assert is_gone(int(feedback.told[0].split()[1]))


def test_a_command_that_does_not_listen_is_killed():
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    with pytest.raises(CommandError, match="stopped"):
        run(python(code), Feedback("deaf"), stop_s=0.5)


def is_gone(pid: int) -> bool:
    """Tell whether a process ends soon; one whose parent went first may wait to be collected."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_what_qgis_sets_for_its_own_python_does_not_reach_the_command():
    of_qgis = {"PYTHONHOME": "/qgis", "PYTHONPATH": "/qgis", "GDAL_DATA": "/qgis", "PROJ_LIB": "/qgis", "HOME": "/me"}
    kept = environment(of_qgis)
    assert kept["HOME"] == "/me"
    assert not {"PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "PROJ_LIB"} & set(kept)


def test_a_command_that_is_not_there_is_said_with_where_its_path_is_set(tmp_path):
    with pytest.raises(CommandError, match=r"'/none/bandloom' is not found; install it .* Providers > Bandloom"):
        found("/none/bandloom")
    own = tmp_path / "bandloom"
    own.write_text("#!/bin/sh\n")
    own.chmod(own.stat().st_mode | stat.S_IXUSR)
    assert found(f" {own} ") == str(own)
    with pytest.raises(CommandError, match="cannot be started"):
        run([os.fspath(tmp_path / "absent")], Feedback())
