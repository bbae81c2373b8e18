"""Training snapshots: written under a temporary name by every rank, agreed, sealed by checksums, then renamed.

``RUN/snapshots/step-00001000/`` holds ``rank-0.safetensors`` ... and ``manifest.json``, and what the stage puts beside
them (pretraining: the encoder as a folder that fine-tuning reads). The newest folder whose manifest verifies is the
latest; a damaged one is passed over, and said. Content goes by parameter name, spread over the ranks, so another engine
or number of ranks can read it. No pickles.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bandloom.command_line.console import logger
from bandloom.errors import BandloomError, CheckpointError
from bandloom.files.output import sync, write_json
from bandloom.training.ranks import Ranks

MANIFEST = "manifest.json"
BEST = "best.json"


@dataclass(frozen=True)
class Snapshot:
    """One whole snapshot: its step, its folder and what the trainer said beside the tensors."""

    step: int
    folder: Path
    trainer: dict[str, Any]

    def load(self) -> dict[str, Tensor]:
        """Return all tensors of all ranks' files, by name."""
        from safetensors.torch import load_file

        state: dict[str, Tensor] = {}
        for file in sorted(self.folder.glob("rank-*.safetensors")):
            state.update(load_file(file))
        return state


class Snapshots:
    """The snapshots of one run; every method that writes or chooses is called by all ranks."""

    def __init__(self, folder: Path, ranks: Ranks, keep_last: int = 2, keep_every: int | None = None) -> None:
        self.folder, self.ranks, self.keep_last, self.keep_every = folder, ranks, keep_last, keep_every

    def save(
        self,
        step: int,
        state: Mapping[str, Tensor],
        trainer: Mapping[str, Any],
        beside: Callable[[Path], None] | None = None,
    ) -> bool:
        """Write a snapshot of each rank's share of the state. Returns whether it is in place, the same on all ranks.

        A failed save (a full disk, say) leaves nothing behind but a warning, and training goes on.

        Args:
            step: steps finished.
            state: this rank's share, tensors by name.
            trainer: plain JSON types; ``config`` among them.
            beside: rank 0 calls it with the snapshot's folder, to put more into it.
        """
        temporary = self.folder / f".tmp-step-{step:08d}"
        if self.ranks.rank == 0:
            self._sweep()
        self.ranks.barrier()
        failure = self._write_own(temporary, state, beside if self.ranks.rank == 0 else None)
        if not self.ranks.all(failure is None):
            return self._give_up(temporary, failure)
        if self.ranks.rank == 0:
            try:
                self._seal(temporary, self.path_of(step), step, trainer)
            except OSError as cause:
                failure = cause
        if not self.ranks.all(failure is None):
            return self._give_up(temporary, failure)
        if self.ranks.rank == 0:
            self._prune()
        self.ranks.barrier()
        return True

    def latest(self) -> Snapshot | None:
        """Return the newest snapshot that verifies; damaged ones are named and put aside."""
        newest = self.ranks.broadcast_text(self._newest_valid() if self.ranks.rank == 0 else "")
        if not newest:
            return None
        folder = self.folder / newest
        manifest = json.loads((folder / MANIFEST).read_text())
        return Snapshot(manifest["step"], folder, manifest["trainer"])

    def path_of(self, step: int) -> Path:
        """Return the folder of the snapshot of ``step``."""
        return self.folder / f"step-{step:08d}"

    def best(self) -> dict[str, Any] | None:
        """Return ``{"step", "score"}`` of the best snapshot so far, or None; rank 0 alone knows."""
        try:
            record = json.loads((self.folder / BEST).read_text())
            return (
                record if self.path_of(record["step"]).is_dir() and float(record["score"]) == record["score"] else None
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def mark_best(self, step: int, score: float) -> None:
        """Say that the snapshot of ``step`` is the best so far: it is kept until a better one comes."""
        if self.ranks.rank == 0:
            write_json(self.folder / BEST, {"step": step, "score": score})

    def _newest_valid(self) -> str:
        folders = sorted(self.folder.glob("step-*"), reverse=True)
        damaged = []
        for folder in folders:
            problem = verify(folder)
            if problem is None:
                self._put_aside(damaged)
                return folder.name
            logger.warning("the snapshot %s is passed over: %s", folder.name, problem)
            damaged.append(folder)
        return ""

    def _put_aside(self, damaged: list[Path]) -> None:
        """Rename damaged snapshots, so that they neither count as kept nor stand in the way of a new one."""
        for folder in damaged:
            aside = folder.with_name(f"damaged-{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(folder, aside)

    def _write_own(
        self, temporary: Path, state: Mapping[str, Tensor], beside: Callable[[Path], None] | None
    ) -> Exception | None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        try:
            temporary.mkdir(parents=True, exist_ok=True)
            file = temporary / f"rank-{self.ranks.rank}.safetensors"
            save_file(dict(state), file)
            sync(file)
            if beside is not None:
                beside(temporary)
        except (OSError, SafetensorError, BandloomError) as cause:
            return cause
        return None

    def _seal(self, temporary: Path, final: Path, step: int, trainer: Mapping[str, Any]) -> None:
        files = {file.name: sha256(file) for file in sorted(temporary.glob("rank-*.safetensors"))}
        if len(files) != self.ranks.world:
            raise OSError(f"{len(files)} files of {self.ranks.world} ranks are visible; is the folder shared?")
        manifest = {"schema": 1, "step": step, "world": self.ranks.world, "files": files, "trainer": dict(trainer)}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1))
        sync(temporary)
        if final.exists():
            self._remove(final)
        os.replace(temporary, final)
        sync(self.folder)

    def _give_up(self, temporary: Path, failure: Exception | None) -> bool:
        if failure is not None:
            logger.warning("a snapshot could not be written (%s); training goes on without it", failure)
        self.ranks.barrier()
        if self.ranks.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
        self.ranks.barrier()
        return False

    def _prune(self) -> None:
        folders = sorted(self.folder.glob("step-*"))
        best = self.best()
        for folder in folders[: -self.keep_last]:
            step = step_of(folder)
            kept_for_good = self.keep_every is not None and step % self.keep_every == 0
            if not kept_for_good and not (best and best["step"] == step):
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Remove a snapshot; it loses its name first, so that a kill in between leaves no half of one."""
        doomed = folder.with_name(f".tmp-old-{folder.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what an attempt that was killed in the middle of a save left behind."""
        for folder in self.folder.glob(".tmp-*"):
            shutil.rmtree(folder, ignore_errors=True)


def step_of(folder: Path) -> int:
    """Return the step that a snapshot's folder is of, finished or still being written."""
    return int(folder.name.rpartition("-")[2])


def verify(folder: Path) -> str | None:
    """Return what is wrong with a snapshot folder, or None when every checksum holds."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = dict(manifest["files"])
        if not isinstance(manifest["step"], int) or len(files) != manifest["world"]:
            return "its manifest does not list one file a rank"
        manifest["trainer"]["config"]
    except FileNotFoundError:
        return "it has no manifest"
    except (OSError, ValueError, KeyError, TypeError) as cause:
        return f"its manifest cannot be read ({cause!r})"
    for name, digest in files.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sha256(folder / name) != digest:
            return f"{name} differs from its checksum"
    return None


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_clean(snapshots: Snapshots) -> None:
    """Refuse to start anew over snapshots of which none is valid.

    What a save that was killed left behind is none: nothing had been promised yet.

    Raises:
        CheckpointError: with what to do.
    """
    if any(not path.name.startswith(".tmp-") for path in snapshots.folder.glob("*")):
        raise CheckpointError(
            f"{snapshots.folder} holds snapshots but none is valid; pass --from-scratch to start again and lose them,"
            " or choose another run folder."
        )
