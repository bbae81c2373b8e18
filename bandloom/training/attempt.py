"""One attempt at a run: ranks joined, the folder opened and claimed, stop requests heard, and how it ended noted.

Every stage that trains or scores has this skeleton::

    with Attempt(run, timeout_s=...) as attempt:
        setting = prepare(config, attempt.ranks)        # nothing is written yet
        attempt.open(config, from_scratch=from_scratch)
        attempt.code = train_and_score(setting, attempt)
    return attempt.code

One that only scores lets rank 0 work, ``attempt.alone(score)``, and says so itself when it is done:
``attempt.code = attempt.finish()``.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from bandloom import __version__
from bandloom.command_line.config import Config
from bandloom.command_line.console import logger
from bandloom.errors import ConfigError
from bandloom.files.output import full_disk_said
from bandloom.files.output_lock import locked
from bandloom.run_state.markers import EXIT_DONE, EXIT_STOPPED
from bandloom.run_state.pieces import Pieces, kept_in
from bandloom.run_state.pulse import EVERY_S, StopRequested, heard_by
from bandloom.run_state.run_folder import RunFolder, what_is_computed
from bandloom.run_state.trained_on import keep_data
from bandloom.training.ranks import Ranks

T = TypeVar("T")
OPENING = "opening the run folder"  # stage of the first beat
PIECES = "pieces"  # results of stages that are not all done yet
SCORING_TIMEOUT_S = 4 * 3600.0  # the other ranks wait while rank 0 scores


class Attempt:
    """See the module's first lines.

    Args:
        run: the run's folder.
        timeout_s: how long the other ranks wait while rank 0 works alone.
    """

    def __init__(self, run: RunFolder, timeout_s: float = 600.0) -> None:
        self.run, self.ranks, self.code = run, Ranks.from_environment(), EXIT_DONE
        self.markers = run.markers
        self._timeout_s, self._open, self._heard_at = timeout_s, ExitStack(), 0.0
        self._claimed = False

    def __enter__(self) -> Self:
        self.ranks.start(self._timeout_s)
        return self

    def open(
        self,
        config: Config,
        *,
        from_scratch: bool | None = None,
        made_of: Any = None,
        manifest: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the run folder, make this attempt its owner, and listen from now on; all ranks call it.

        Args:
            config: of the run.
            from_scratch: throw away what the folder holds; None: the verb has no such option.
            made_of: what results depend on beside the config, as plain JSON types: the shards' manifest, say.
            manifest: of the shards that are trained on, where the run goes on from snapshots.

        Raises:
            BusyOutputError: another process is opening the folder at this moment.
            ConfigError: the ranks were given different folders or configs.
            RunFolderError: the folder holds another run, or one of other shards, or belongs to an attempt, or to
                another process of this one, that is still at work.
        """
        self.markers.attempt = self.ranks.broadcast_text(self.markers.attempt)
        self._check_ranks_agree(config)
        if self.ranks.rank == 0:
            with self._entering():
                self.markers.lead()
                self.markers.check_free()
                self.run.start(config, from_scratch=from_scratch)
                if manifest is not None:
                    keep_data(self.run, manifest)
                if not self.markers.launched:
                    self.markers.begin_again()
                self.markers.claim()
                if not self.markers.launched:  # whoever looks next sees that this attempt is at work
                    self.speak(OPENING)
        self.ranks.barrier()
        self._claimed = True
        self._open.enter_context(self.markers.listening())
        self._open.enter_context(heard_by(self))
        pieces = Pieces(self.run.path / PIECES, [__version__, what_is_computed(config), made_of])
        self._open.enter_context(kept_in(pieces))

    @contextmanager
    def _entering(self) -> Iterator[None]:
        """Let one process at a time look whether the folder is free and claim it; a batch script has claimed it."""
        with ExitStack() as entry:
            if not self.markers.launched:
                with suppress(OSError):  # a folder whose parent is closed to us, as containers mount it, has no lock
                    self.run.path.absolute().parent.mkdir(parents=True, exist_ok=True)
                    entry.enter_context(locked(self.run.path))
            yield

    def _check_ranks_agree(self, config: Config) -> None:
        """Refuse ranks of one group that would train in different folders, or different things.

        Raises:
            ConfigError: on all ranks.
        """
        own = {"--out": str(Path(self.run.path).resolve())} | what_is_computed(config)
        given = [json.loads(text) for text in self.ranks.gather_texts(json.dumps(own, default=str))]
        for rank, other in enumerate(given):
            for key in sorted(given[0].keys() | other.keys()):
                if other.get(key) != given[0].get(key):
                    raise ConfigError(
                        f"rank {rank} was given {key} {other.get(key)!r} and rank 0 {given[0].get(key)!r}; the ranks of"
                        " one run have one folder and one config: start all of them with the same command."
                    )

    def alone(self, work: Callable[[], T]) -> T | None:
        """Let rank 0 work while the others wait; None on them.

        Raises:
            StopRequested: on all ranks, where rank 0 was asked to stop meanwhile.
        """
        result, stopped = None, False
        if self.ranks.rank == 0:
            try:
                result = work()
            except StopRequested:
                stopped = True
        if self.ranks.any(stopped):
            raise StopRequested
        return result

    def finish(self) -> int:
        """Mark a run that trains nothing as done, once its results are written; returns the exit code."""
        if self.ranks.rank == 0:
            self.markers.write_end("done", self.markers.step, EXIT_DONE)
        self.ranks.barrier()
        return EXIT_DONE

    def speak(self, stage: str) -> None:
        """Beat."""
        with full_disk_said("the heartbeat is not written"):
            self.markers.beat_stage(stage, self.ranks.rank)

    def hear(self, stage: str) -> None:
        """Beat and listen, a few times a second at most."""
        now = time.monotonic()
        if now - self._heard_at < EVERY_S:
            return
        self._heard_at = now
        self.speak(stage)
        if self.markers.stop_requested():
            raise StopRequested

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            if isinstance(cause, StopRequested):
                self._stopped()
            elif cause is not None and self._claimed:
                self.markers.fail(cause)
            elif cause is None and self.code == EXIT_DONE and self.ranks.rank == 0:
                shutil.rmtree(self.run.path / PIECES, ignore_errors=True)
        finally:
            self._open.close()
            self.run.close()
            self.ranks.stop()
        return isinstance(cause, StopRequested)

    def _stopped(self) -> None:
        self.code = EXIT_STOPPED
        if self.ranks.rank == 0:
            self.markers.write_end("stopped", self.markers.step, EXIT_STOPPED)
            logger.info("stopped on request; the same command goes on with what is not done yet")
