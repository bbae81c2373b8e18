"""Training state on disk: written under a temporary name by every rank, agreed, sealed by checksums, then renamed.

``RUN/snapshots/step-00001000/`` holds ``rank-0.safetensors`` ... and ``manifest.json``. The newest folder whose
manifest verifies is the latest; a damaged one is passed over, and said. Content goes by parameter name, spread over the
ranks, so another number of ranks can read it. No pickles.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bandloom.console import logger
from bandloom.errors import CheckpointError
from bandloom.output import sync
from bandloom.ranks import Ranks

MANIFEST = "manifest.json"


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
    """The snapshots of one run."""

    def __init__(self, folder: Path, ranks: Ranks, keep_last: int = 2, keep_every: int | None = None) -> None:
        self.folder, self.ranks, self.keep_last, self.keep_every = folder, ranks, keep_last, keep_every

    def save(self, step: int, state: Mapping[str, Tensor], trainer: Mapping[str, Any]) -> bool:
        """Write a snapshot; every rank calls it with the same state. Returns whether it is in place.

        A failed save (a full disk, say) leaves nothing behind but a warning, and training goes on.
        """
        final = self.folder / f"step-{step:08d}"
        temporary = self.folder / f".tmp-step-{step:08d}"
        if self.ranks.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
        self.ranks.barrier()
        failure = self._write_own(temporary, state)
        if not self.ranks.all(failure is None):
            return self._give_up(temporary, failure)
        if self.ranks.rank == 0:
            try:
                self._seal(temporary, final, step, trainer)
            except OSError as cause:
                failure = cause
        if not self.ranks.all(failure is None):
            return self._give_up(temporary, failure)
        if self.ranks.rank == 0:
            self._prune()
        self.ranks.barrier()
        return True

    def latest(self) -> Snapshot | None:
        """Return the newest snapshot that verifies; damaged ones are named in a warning and passed over."""
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            problem = verify(folder)
            if problem is None:
                manifest = json.loads((folder / MANIFEST).read_text())
                return Snapshot(manifest["step"], folder, manifest["trainer"])
            logger.warning("the snapshot %s is passed over: %s", folder.name, problem)
        return None

    def holds(self, step: int) -> bool:
        """Tell whether there is a snapshot of ``step``."""
        return (self.folder / f"step-{step:08d}").is_dir()

    def any_left(self) -> bool:
        """Tell whether the folder holds anything at all, valid or not."""
        return self.folder.is_dir() and any(self.folder.iterdir())

    def _write_own(self, temporary: Path, state: Mapping[str, Tensor]) -> Exception | None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        names = sorted(state)[self.ranks.rank :: self.ranks.world]
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            file = temporary / f"rank-{self.ranks.rank}.safetensors"
            save_file({name: state[name] for name in names}, file)
            sync(file)
        except (OSError, SafetensorError) as cause:
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
            shutil.rmtree(final)
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
        for folder in folders[: -self.keep_last]:
            if self.keep_every is None or int(folder.name.removeprefix("step-")) % self.keep_every:
                shutil.rmtree(folder)


def verify(folder: Path) -> str | None:
    """Return what is wrong with a snapshot folder, or None when every checksum holds."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = manifest["files"]
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

    Raises:
        CheckpointError: with what to do.
    """
    if snapshots.any_left():
        raise CheckpointError(
            f"{snapshots.folder} holds snapshots but none is valid; pass --from-scratch to start again and lose them,"
            " or choose another run folder."
        )
