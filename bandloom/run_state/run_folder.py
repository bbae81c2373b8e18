"""A run folder: the resolved config, the environment, metrics, pictures and checkpoints of one run.

``metrics.jsonl`` has one schema: every line is ``{"time": s, "step": n, "kind": "train" | "score" | "event", ...}``.
"""

import contextlib
import json
import platform
import secrets
import shutil
import subprocess
import sys
import time
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from bandloom import __version__
from bandloom.command_line.config import Config, changed_by_resume, load_config, mark_of
from bandloom.command_line.console import logger
from bandloom.command_line.typed import typed_command, verb_of, verb_of_run
from bandloom.errors import MissingExtraError, RunFolderError
from bandloom.files.output import new_output, write_json
from bandloom.run_state.markers import RunMarkers

REPORTED_PACKAGES = (
    "numpy",
    "torch",
    "torchvision",
    "timm",
    "deepspeed",
    "webdataset",
    "blosc2",
    "rasterio",
    "onnx",
    "onnxruntime",
    "scikit-learn",
    "transformers",
    "tensorrt",
    "tensorrt-rtx",
)


class RunFolder:
    """One run's folder; only the main rank writes.

    Args:
        path: the folder.
        inside: the run that this one is a part of, when it is one; a launcher knows only that.
        goes_on: the user asked for this run to go on (``--resume``), with what may change changed.
    """

    def __init__(self, path: Path, inside: "RunFolder | None" = None, *, goes_on: bool = False) -> None:
        self.path, self.inside = path, inside
        self.goes_on = goes_on or (inside is not None and inside.goes_on)
        self._metrics: Any = None
        self._board: Any = None
        self._board_from: int | None = None
        self._wandb: Any = None

    @cached_property
    def markers(self) -> RunMarkers:
        """What this attempt says to a launcher, and hears from it."""
        return RunMarkers(self.path, inside=self.inside.path if self.inside else None)

    @property
    def checkpoint(self) -> Path:
        """The finished model in Hugging Face's layout, which the next stage reads."""
        return self.path / "checkpoint"

    @property
    def pictures(self) -> Path:
        """Where PNG files go."""
        return self.path / "pictures"

    def start(self, config: Config, *, from_scratch: bool | None = None, resume: bool = False) -> None:
        """Make the folder, or accept one that holds the same run.

        Raises:
            RunFolderError: the folder holds another config, or something that is no run.
        """
        held = self.path / "config.yaml"
        if from_scratch and held.exists():
            self._clear()
        if held.exists():
            self._check_verb()
            self._check_same(config, held, "remove it" if from_scratch is None else "pass --from-scratch to replace it")
        elif self.path.is_dir() and any(path.name not in _FOREIGN for path in self.path.iterdir()) and not resume:
            raise RunFolderError(f"{self.path} exists and is no run folder; choose a new name for --out.")
        self.path.mkdir(parents=True, exist_ok=True)
        self.pictures.mkdir(exist_ok=True)
        with new_output(held, overwrite=True) as temporary:
            temporary.write_text(config.to_yaml())
        write_json(self.path / "environment.json", environment())

    def log(self, step: int, kind: str, **values: Any) -> None:
        """Append one line to ``metrics.jsonl`` and, for numbers, to the TensorBoard events."""
        if self._metrics is None:
            self._metrics = (self.path / "metrics.jsonl").open("a")
        line = {"time": round(time.time(), 3), "step": step, "kind": kind, **values}
        self._metrics.write(json.dumps(line) + "\n")
        self._metrics.flush()
        numbers = {name: value for name, value in values.items() if type(value) in (int, float)}
        try:
            for name, value in numbers.items():
                self._tensorboard().add_scalar(f"{kind}/{name}", value, step)
        except OSError:
            self._board = None  # a full disk ends its thread for good: the next line opens another
            raise
        if self._wandb is not None and numbers:
            self._wandb.log({"step": step} | {f"{kind}/{name}": value for name, value in numbers.items()})

    def log_once(self, step: int, kind: str, **values: Any) -> None:
        """Append a line, unless an attempt that ended before it could say so has written it already."""
        written = [line for line in self.metrics(kind) if line["step"] == step]
        if not any(values.keys() <= line.keys() for line in written):
            self.log(step, kind, **values)

    def report_to(self, project: str) -> None:
        """Send what :meth:`log` gets to Weights & Biases too; every attempt at this run goes on with one run there.

        Raises:
            MissingExtraError: wandb is not installed.
        """
        try:
            import wandb  # type: ignore[import-not-found]
        except ModuleNotFoundError as cause:
            raise MissingExtraError("wandb", "wandb") from cause
        name = self.path / "wandb_id"
        if not name.exists():
            with new_output(name) as temporary:
                temporary.write_text(secrets.token_hex(8))
        config = yaml.safe_load((self.path / "config.yaml").read_text())
        self._wandb = wandb.init(
            project=project, id=name.read_text(), name=self.path.name, config=config, dir=str(self.path), resume="allow"
        )
        # its own counter cannot go back to the steps that a resumed run takes again
        self._wandb.define_metric("*", step_metric="step")

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``, of one kind when given."""
        return [line for line in read_lines(self.path / "metrics.jsonl") if kind is None or line["kind"] == kind]

    def forget_after(self, step: int) -> None:
        """Drop the lines of later steps: a resumed run takes these steps again."""
        path = self.path / "metrics.jsonl"
        self._board_from = step + 1
        if not path.exists():
            return
        kept = [line for line in read_lines(path) if line["step"] <= step or line["kind"] == "event"]
        self.close()
        with new_output(path, overwrite=True) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def close(self) -> None:
        """Close the metrics and the events; the next line opens them again."""
        writers, self._metrics, self._board = (self._metrics, self._board), None, None
        for writer in writers:
            if writer is not None:
                with contextlib.suppress(OSError):  # what a full disk kept from being written stays unwritten
                    writer.close()

    def end_report(self) -> None:
        """Tell Weights & Biases, where it listens, that this attempt is over."""
        if self._wandb is not None:
            self._wandb.finish()
            self._wandb = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tensorboard(self) -> Any:
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.path / "tensorboard"), purge_step=self._board_from)
        return self._board

    def _check_verb(self) -> None:
        """Refuse a folder that another verb made: its results would be replaced by those of this one."""
        before, now = verb_of_run(self.path), verb_of(typed_command())
        if before and now and before != now:
            raise RunFolderError(
                f"{self.path} holds what `bandloom {before}` made, which `bandloom {now}` would replace; choose another"
                " --out."
            )

    def _check_same(self, config: Config, held: Path, otherwise: str) -> None:
        before = load_config(type(config), held, held=True)
        changed = _differences(before.model_dump(mode="json"), config.model_dump(mode="json"))
        marks = {key: mark_of(type(config), key) for key in changed}
        later = {key: values for key, values in changed.items() if (mark := marks[key]) and mark.recorded}
        for key, (old, new) in changed.items():
            if marks[key] is None:
                raise RunFolderError(
                    f"{self.path} holds a run with another config ({key} was {old!r}, is {new!r}), and {key} cannot"
                    f" change on the way, as {', '.join(changed_by_resume(type(config)))} can; choose another --out, or"
                    f" {otherwise}."
                )
            if key in later and not self.goes_on:
                raise RunFolderError(
                    f"{self.path} holds a run with another config ({key} was {old!r}, is {new!r}); go on with the"
                    f" change by --resume {self.path} {key}={_text(new)}, choose another --out, or"
                    f" {otherwise}."
                )
        if later:
            self._note_changes(later)

    def _note_changes(self, changed: dict[str, tuple[Any, Any]]) -> None:
        """Append to ``changes.jsonl`` what is otherwise from the newest snapshot on; the run is not complete then."""
        step = max((int(path.name.rpartition("-")[2]) for path in self.path.glob("snapshots/step-*")), default=0)
        steps = changed.get("trainer.steps") or changed.get("steps")
        if steps and steps[1] < step:
            raise RunFolderError(
                f"{self.path} has done {step} steps, more than trainer.steps={steps[1]}; set it to {step} or more."
            )
        with (self.path / "changes.jsonl").open("a") as file:
            for key, (old, new) in changed.items():
                line = {"time": round(time.time(), 3), "step": step, "key": key, "was": old, "is": new}
                file.write(json.dumps(line) + "\n")
                logger.info("from step %d on %s is %r (it was %r)", step, key, new, old)
        (self.path / "DONE").unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove what a run wrote; a launcher's own files stay."""
        for path in self.path.iterdir():
            if path.name in _FOREIGN - {"saved", "DONE"}:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def what_is_computed(config: Config) -> dict[str, Any]:
    """Return the keys of a config that decide what a run computes, by dotted name."""
    changed = _differences({}, config.model_dump(mode="json"))
    return {
        key: new for key, (_, new) in changed.items() if (mark := mark_of(type(config), key)) is None or mark.recorded
    }


def _text(value: Any) -> str:
    """Return a value as an override has it."""
    return json.dumps(value).strip('"')


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines; a last line that a kill or a full disk cut off is left out."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


_FOREIGN = {"owner", "saved", "attempts", "KILL", "DONE", "logs", "slurm", "snapshot", "job.sh"}  # a launcher's


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    differences: dict[str, tuple[Any, Any]] = {}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(new, dict) and isinstance(old, dict | None):
            differences |= _differences(old or {}, new, f"{prefix}{key}.")
        elif old != new:
            differences[prefix + key] = (old, new)
    return differences


def environment() -> dict[str, Any]:
    """Return versions, platform, command and commit: what it takes to repeat a run."""
    packages = {}
    for name in REPORTED_PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "bandloom": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "command": typed_command() or sys.argv,
    }


def commit() -> str | None:
    """Return the git commit of the code that runs, with ``+`` when files were edited, or None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if (note := here / "SNAPSHOT.json").is_file():  # a copy that `bandloom slurm` made when the job was submitted
        made = json.loads(note.read_text())
        return made["commit"] and made["commit"][:12] + ("+" if made["difference"] else "")
    own = ["git", "-C", here, "ls-files", "--error-unmatch", "bandloom/__init__.py"]
    try:  # an environment may lie in somebody else's repository
        subprocess.run(own, capture_output=True, check=True)
        head = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "-C", here, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip()[:12] + ("+" if dirty.stdout.strip() else "")
