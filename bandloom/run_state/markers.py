"""Marker files by which trainer, launcher and ``status`` tell each other what they do: no queue, no server.

A run folder holds what outlives an attempt (``owner``, ``saved``, ``KILL``, ``DONE``); each attempt has a folder of its
own for what belongs to it (``heartbeat``, ``STOP``, ``end``), so that an orphan of a lost node never writes over its
successor's::

    RUN/owner                          the attempt that may write; the last one to claim wins
    RUN/saved                          the newest whole checkpoint: step and seconds it took
    RUN/KILL                           end the run after a save
    RUN/DONE                           the run is complete
    RUN/attempts/ATTEMPT/worker        rank 0's node and process, where a launcher named the attempt
    RUN/attempts/ATTEMPT/heartbeat     rank 0's step, stage, time, rate, loss (other ranks: heartbeat.RANK)
    RUN/attempts/ATTEMPT/STOP          end this attempt after a save
    RUN/attempts/ATTEMPT/end           how the attempt ended, written before teardown

Every file is one line of JSON (``owner`` is the bare name) and appears whole or not at all.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import statistics
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from bandloom.errors import RunFolderError

EXIT_DONE = 0
EXIT_STOPPED = 75  # EX_TEMPFAIL: saved, run me again
BEAT_EVERY_S = 1.0
OTHER_RANKS_BEAT_EVERY_S = 5.0
LIVE_S = 60.0  # an attempt that beat this lately, and has not ended, is at work
TRAINING = "training"
MEDIAN_OVER_STEPS = 50


STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)  # HUP: the terminal is gone
_SIGNALLED: set[int] = set()  # this process, once it was asked by a signal
_LISTENS: list[int] = []  # the process that listens
_CLAIMED: set[tuple[int, Path, str]] = set()  # by this process: its number, run folder and attempt


def _remember(number: int, frame: FrameType | None) -> None:
    if os.getpid() == _LISTENS[0]:
        _SIGNALLED.add(_LISTENS[0])
    else:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


class RunMarkers:
    """The markers of one attempt at a run.

    Args:
        folder: the run folder.
        attempt: this attempt's name; by default what the launcher put in ``BANDLOOM_ATTEMPT``, else one made of host
            and process. Ranks that no launcher named must be given rank 0's ``attempt`` (broadcast it).
        inside: the run that this one is a part of, which is the one a launcher knows: who owns it owns this, what is
            asked of it is asked of this, and it hears of this one's beats and of an end that is no success.
    """

    def __init__(self, folder: str | Path, attempt: str | None = None, *, inside: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.launched = "BANDLOOM_ATTEMPT" in os.environ
        self.outer = None if inside is None else RunMarkers(inside)
        self.attempt = attempt or os.environ.get("BANDLOOM_ATTEMPT") or f"{socket.gethostname()}-{os.getpid()}"
        self._beaten = (0, 0.0)
        self._written_at: float | None = None
        self._step_s: deque[float] = deque(maxlen=MEDIAN_OVER_STEPS)
        self._last: dict[str, Any] = {"loss": None, "total": None}

    @property
    def attempt(self) -> str:
        """This attempt's name."""
        return self._attempt

    @attempt.setter
    def attempt(self, name: str) -> None:
        self._attempt = name
        if self.outer is not None:
            self.outer.attempt = name

    @property
    def attempt_folder(self) -> Path:
        """The folder of this attempt's own markers and logs."""
        return self.folder / "attempts" / self.attempt

    # ---- the fence

    def claim(self, attempt: str | None = None) -> None:
        """Make this attempt the run's owner; rank 0 calls it once, before anything is written.

        Under a launcher the batch script has claimed already, so this only checks: an orphan must not
        take the run back.

        Raises:
            RunFolderError: ``KILL`` asks for no further attempt, or another attempt was launched since.
        """
        self.attempt = attempt or self.attempt
        if self.kill_requested():
            raise RunFolderError(
                f"{self.folder / 'KILL'} asks that the run end; remove that file to let it go on "
                "(`bandloom slurm resume` does)."
            )
        self.attempt_folder.mkdir(parents=True, exist_ok=True)
        if self.outer is not None:
            self.outer.check_owner()
        if self.launched and self.outer is None and self.owner() is not None:
            self.check_owner()
        else:
            _write(self.folder / "owner", self.attempt + "\n")
        _CLAIMED.add((os.getpid(), self.folder.absolute(), self.attempt))

    def owner(self) -> str | None:
        """Return the attempt that may write, or None when nobody has claimed the run."""
        try:
            return (self.folder / "owner").read_text().strip() or None
        except FileNotFoundError:
            return None

    def is_owner(self) -> bool:
        """Tell whether this attempt may still write."""
        return self.owner() == self.attempt and (self.outer is None or self.outer.is_owner())

    def check_owner(self) -> None:
        """Stop an attempt that lost its run; every rank calls it before it writes a checkpoint.

        Raises:
            RunFolderError: another attempt owns the run.
        """
        if self.outer is not None:
            self.outer.check_owner()
        if self.owner() != self.attempt:
            raise RunFolderError(
                f"the run {self.folder} belongs to attempt {self.owner()} now, this is attempt {self.attempt}; "
                "nothing more is written here: let this process end."
            )

    def check_free(self) -> None:
        """Refuse a run that another attempt is at work on; one that a launcher started has been told that it is not.

        Raises:
            RunFolderError: the owner's process lives on this machine, or beat a moment ago from another.
        """
        owner = self.owner()
        ours = (os.getpid(), self.folder.absolute(), str(owner)) in _CLAIMED
        if self.launched or owner is None or (ours and owner == self.attempt):
            return
        folder = self.folder / "attempts" / str(owner)
        beat = read_marker(folder / "heartbeat")
        host, _, process = str(owner).rpartition("-")
        here = host == socket.gethostname() and (beat or {}).get("processes", _processes()) == _processes()
        earlier = process == str(os.getpid()) and not ours  # its number came again
        gone = here and process.isdecimal() and (earlier or not _lives(int(process)))
        if beat is None or gone or (folder / "end").exists() or time.time() - float(beat["time"]) > LIVE_S:
            return
        raise RunFolderError(
            f"attempt {owner} is at work on {self.folder} (step {beat['step']},"
            f" {time.time() - float(beat['time']):.0f} s ago); wait for it, end it with"
            f" `touch {folder / 'STOP'}`, or choose another --out."
        )

    def lead(self) -> None:
        """Be the one process that leads an attempt which a launcher named; rank 0 calls it, before anything is written.

        Whoever inherits its name by ``BANDLOOM_ATTEMPT``, as two trainings of one batch script do, is refused.

        Raises:
            RunFolderError: another process leads it, and is at work.
        """
        if not self.launched:
            return
        self.attempt_folder.mkdir(parents=True, exist_ok=True)
        with (self.attempt_folder / ".lead").open("a") as lock:
            with contextlib.suppress(
                OSError
            ):  # a file system without locks; a launcher seldom starts two at one moment
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._check_alone(read_marker(self.attempt_folder / "worker"))
            _write(self.attempt_folder / "worker", json.dumps(_this_process()) + "\n")

    def _check_alone(self, worker: dict[str, Any] | None) -> None:
        """Refuse to work beside the process that leads this attempt."""
        mine = _this_process()
        if worker is None or {**worker, "time": 0} == {**mine, "time": 0}:
            return
        here = (worker["host"], worker["processes"]) == (mine["host"], mine["processes"])
        told = [read_marker(self.attempt_folder / name) or {} for name in ("heartbeat", "end")]
        heard, ended = (float(record.get("time", 0.0)) for record in told)
        since = float(worker["time"])  # an end from before it is that of a process that led before
        lives = _lives(int(worker["process"])) if here else time.time() - max(heard, since) <= LIVE_S
        if ended >= since or not lives:
            return
        raise RunFolderError(
            f"process {worker['process']} of {worker['host']} is at work on {self.folder} under the same name,"
            f" BANDLOOM_ATTEMPT={self.attempt}; unset it to start another training, with an --out of its own."
        )

    def begin_again(self) -> None:
        """Forget how an earlier attempt of this name ended, or was asked to: process numbers come again."""
        for name in ("end", "STOP"):
            (self.attempt_folder / name).unlink(missing_ok=True)

    # ---- what the trainer says

    @property
    def step(self) -> int:
        """The steps finished when this attempt last beat."""
        return self._beaten[0]

    def beat(
        self,
        step: int,
        rank: int = 0,
        *,
        loss: float | None = None,
        total: int | None = None,
        step_s: float | None = None,
        force: bool = False,
    ) -> None:
        """Say that ``step`` is finished; costs nothing when called more often than it writes.

        Args:
            step: steps finished so far.
            rank: rank 0 writes once a second, the others every five seconds.
            loss: the last loss, for ``status``.
            total: the steps that the run will have, for the time left.
            step_s: this rank's own seconds for the step, without waiting for others; without it the time between beats.
            force: write now.
        """
        now = time.time()
        last_step, last_time = self._beaten
        self._beaten = (step, now)
        if step_s is not None:
            self._step_s.append(step_s)
        elif last_time and step > last_step:
            self._step_s.append((now - last_time) / (step - last_step))
        self._last = {"loss": loss, "total": total}
        self._write_beat(TRAINING, rank, force=force)

    def resumed(self, step: int, total: int) -> None:
        """Say where an attempt goes on."""
        self._beaten = (step, 0.0)
        self._last = {"loss": None, "total": total}

    def beat_stage(self, stage: str, rank: int = 0) -> None:
        """Say that a stage between or after the steps is at work: the step stays, the time goes on."""
        self._beaten = (self._beaten[0], time.time())
        self._write_beat(stage, rank, force=False)

    def _write_beat(self, stage: str, rank: int, *, force: bool) -> None:
        step, now = self._beaten
        every_s = BEAT_EVERY_S if rank == 0 else OTHER_RANKS_BEAT_EVERY_S
        if not force and self._written_at is not None and now - self._written_at < every_s:
            return
        self._written_at = now
        median_s = statistics.median(self._step_s) if self._step_s else None
        record = {
            "step": step,
            "stage": stage,
            "time": round(now, 3),
            "rank": rank,
            "node": _node(),
            "processes": _processes(),
            **self._last,
            "rate": round(1 / median_s, 4) if median_s else None,
            "step_s": median_s,
        }
        for pulse in (self, self.outer):
            if pulse is not None:
                name = "heartbeat" if rank == 0 else f"heartbeat.{rank}"
                _write(pulse.attempt_folder / name, json.dumps(record) + "\n")

    def saved(self, step: int, took_s: float | None = None) -> None:
        """Say that a whole checkpoint of ``step`` is in place: the launcher counts failures without progress by it."""
        _write(self.folder / "saved", json.dumps({"step": step, "took_s": took_s, "time": time.time()}) + "\n")

    def write_end(self, reason: str, step: int, code: int = 0, message: str = "") -> None:
        """Say how this attempt ended, before anything is torn down; rank 0 calls it (any rank may, for a failure).

        Args:
            reason: ``done``, ``stopped`` (saved on request, to go on later) or ``failed``.
            step: steps finished.
            code: the exit code that will follow.
            message: one line for ``status``.
        """
        record = {"reason": reason, "step": step, "code": code, "time": time.time(), "message": message[:400]}
        _write(self.attempt_folder / "end", json.dumps(record) + "\n")
        if self.outer is not None and reason != "done":
            self.outer.write_end(reason, step, code, message)
        if reason == "done" and self.is_owner():
            _write(self.folder / "DONE", json.dumps({"step": step, "attempt": self.attempt}) + "\n")

    def fail(self, cause: BaseException) -> None:
        """Say why, unless a rank that fell first has said so: the others then only see their connections close."""
        if not (self.attempt_folder / "end").exists():
            with contextlib.suppress(OSError):
                self.write_end("failed", self.step, 1, f"{type(cause).__name__}: {cause}")

    def done(self) -> bool:
        """Tell whether the run is complete."""
        return (self.folder / "DONE").exists()

    # ---- what the trainer is asked

    def listen(self) -> None:
        """Take SIGTERM, SIGUSR1 and SIGHUP as requests to stop; forked children (data workers) keep dying of them.

        A SIGHUP that ``nohup`` has told this process to ignore stays ignored.
        """
        _LISTENS[:] = [os.getpid()]
        for number in STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _remember)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for a while, and then leave the signals to whoever had them before: one who listens, too, is told."""
        before = {number: signal.getsignal(number) for number in STOPPING}
        self.listen()
        try:
            yield
        finally:
            if _remember not in before.values():
                _SIGNALLED.clear()
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop_requested(self) -> bool:
        """Tell whether this attempt shall save and end; combine it over the ranks before acting on it."""
        if os.getpid() in _SIGNALLED or (self.attempt_folder / "STOP").exists() or self.kill_requested():
            return True
        return self.outer is not None and self.outer.stop_requested()

    def kill_requested(self) -> bool:
        """Tell whether the run shall end after a save, with no further attempt."""
        return (self.folder / "KILL").exists() or (self.outer is not None and self.outer.kill_requested())


def read_marker(path: Path) -> dict[str, Any] | None:
    """Return the record in a marker file, or None where there is none (or it is half-written by another tool)."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _this_process() -> dict[str, Any]:
    """Return who this process is, and since when it works."""
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "processes": _processes(),
        "time": round(time.time(), 3),
    }


def _processes() -> str:
    """Return whose process numbers this process sees: containers may share a host's name and count from 1."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
