"""A subprocess of the `bandloom` command: its lines and progress as they come, its end when cancelled, its error."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

# what QGIS sets for its own Python and its own GDAL and PROJ, and what another Python must not read
OF_QGIS = ("PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA")
ERROR = "error: "  # what the command's one sentence begins with
POLL_S = 0.1
STOP_S = 20.0  # a command ends sooner when it is asked to; one that does not is killed
_COUNT = re.compile(r": (\d+) of (\d+)\b")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) ")
_TABLE = tuple("\u2500\u2501\u2502\u2503\u250f\u2513\u2517\u251b\u2521\u2514\u250c")  # what lines of tables begin with
_KEPT = 400  # characters of what was said, where no sentence says what is wrong


class CommandError(Exception):
    """The command failed, was stopped, or is not there; the text is one sentence for the user."""


def found(command: str) -> str:
    """Return the path of a command.

    Raises:
        CommandError: there is none of that name.
    """
    path = shutil.which(os.path.expanduser(command.strip()))
    if path is None:
        raise CommandError(
            f"the command {command.strip() or 'bandloom'!r} is not found; install it with pip install"
            " 'bandloom[fetch,vector]', and write its path at Settings > Options > Processing > Providers > Bandloom."
        )
    return path


def environment(of: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the command: this one's, without what belongs to QGIS's own Python."""
    kept = {name: value for name, value in of.items() if name not in OF_QGIS}
    return {**kept, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "120"}


def run(words: Sequence[str], feedback: Any, stop_s: float = STOP_S) -> str:
    """Run a command to its end and return what it wrote to its output.

    Args:
        words: the path of the command and what is typed after it.
        feedback: QGIS's, which is shown every line and the progress, and says when the user cancels.
        stop_s: how long a cancelled command may take to end before it is killed.

    Raises:
        CommandError: it cannot be started, failed, or was cancelled.
    """
    try:
        process: subprocess.Popen[str] = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(os.environ),
            encoding="utf-8",
            errors="replace",
            **_apart(),
        )
    except OSError as cause:
        raise CommandError(f"{words[0]} cannot be started ({cause}); check the path of the command.") from cause
    said, wrong = _Lines(process.stdout), _Lines(process.stderr)
    try:
        while process.poll() is None:
            _show(said, wrong, feedback)
            if feedback.isCanceled():
                _end(process, stop_s)
                raise CommandError("stopped: bandloom was ended before it was finished.")
            time.sleep(POLL_S)
    finally:
        _end(process, stop_s)
        said.join()
        wrong.join()
        _show(said, wrong, feedback)
    if process.returncode:
        raise CommandError(_sentence(wrong.lines, process.returncode))
    return "\n".join(said.lines)


class _Lines:
    """The lines of a stream, read in a thread of its own; ``fresh`` gives those that were not given yet."""

    def __init__(self, stream: Any) -> None:
        self.lines: list[str] = []
        self._new: queue.Queue[str] = queue.Queue()
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                self._new.put(line.rstrip())

    def fresh(self) -> list[str]:
        lines = []
        while not self._new.empty():
            lines.append(self._new.get())
        self.lines += lines
        return lines

    def join(self) -> None:
        self._thread.join(STOP_S)


def _show(said: _Lines, wrong: _Lines, feedback: Any) -> None:
    for line in said.fresh():
        level = _STAMP.match(line)
        text = _STAMP.sub("", line)
        if text.startswith(_TABLE):
            feedback.pushConsoleInfo(text.replace(" ", "\u00a0"))  # the log would draw spaces together
        elif level and level[1] == "WARNING":
            feedback.pushWarning(text)
        else:
            feedback.pushInfo(text)
        count = _COUNT.search(text)
        if count and int(count[2]):
            feedback.setProgress(100 * int(count[1]) / int(count[2]))
    for line in wrong.fresh():
        if not line.startswith(ERROR):  # it becomes the error itself
            feedback.pushWarning(line)


def _apart() -> dict[str, Any]:
    """Return what puts the command and what it starts into a group of their own, without a window."""
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)}
    return {"start_new_session": True}


def _end(process: subprocess.Popen[str], stop_s: float) -> None:
    """Ask the command and what it started to end; kill them if they do not."""
    if process.poll() is not None:
        return
    _send(process, signal.SIGTERM)
    try:
        process.wait(stop_s)
    except subprocess.TimeoutExpired:
        _send(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()


def _send(process: subprocess.Popen[str], number: int) -> None:
    if os.name == "nt":
        process.terminate()
    else:
        os.killpg(process.pid, number)


def _sentence(lines: Sequence[str], code: int) -> str:
    """Return what a command says is wrong: its one sentence, else the end of what it said."""
    for line in reversed(lines):
        if line.startswith(ERROR):
            return line[len(ERROR) :]
    text = " ".join(word for line in lines for word in line.strip(" \u2502\u256d\u256e\u2570\u256f\u2500").split())
    return f"bandloom ended with code {code}: {text[-_KEPT:] or 'it said nothing'}"
