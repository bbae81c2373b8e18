"""What a folder that a stage left is, and what it says: plain records, read from files alone."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bandloom.errors import RunFolderError
from bandloom.run_folder import read_lines

KINDS = {
    "shards": "Shards",
    "pretrain": "Pretraining",
    "finetune": "Fine-tuning",
    "bundle": "Bundle",
    "map": "Map",
    "run": "Run",
}
KNOWN_SCHEMA = 1  # of a fine-tuning run's metrics.json


@dataclass(frozen=True)
class Record:
    """One folder (or map) of one stage.

    Args:
        path: where it is.
        kind: a key of ``KINDS``.
        config: the resolved config, empty where the stage has none.
        environment: versions, commit and command.
        lines: the lines of ``metrics.jsonl``.
        result: the stage's own record: metrics.json, bundle.json, manifest.json or a STAC item.
        pictures: PNG files, sorted by name.
    """

    path: Path
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    def curve(self, kind: str, value: str) -> list[tuple[float, float]]:
        """Return ``(step, value)`` of the metric lines of a kind that hold a value."""
        return [(line["step"], line[value]) for line in self.lines
                if line.get("kind") == kind and isinstance(line.get(value), int | float)]  # fmt: skip


def read_record(path: Path) -> Record:
    """Read what a stage left at ``path``.

    Raises:
        RunFolderError: it is nothing that a stage leaves, it is damaged, or a newer version wrote it.
    """
    if not path.exists():
        raise RunFolderError(f"{path} does not exist; name a run folder, a bundle, a folder of shards or a map.")
    if path.is_file():
        return _map_record(path)
    if (path / "bundle.json").is_file():
        return Record(path, "bundle", result=_json(path / "bundle.json"))
    if (path / "manifest.json").is_file():
        return _shards_record(path)
    if (path / "config.yaml").is_file():
        return _run_record(path)
    raise RunFolderError(f"{path} is no run folder, bundle or folder of shards: it holds no config.yaml, bundle.json or"
                         " manifest.json.")  # fmt: skip


def _run_record(path: Path) -> Record:
    try:
        config = yaml.safe_load((path / "config.yaml").read_text()) or {}
    except yaml.YAMLError as cause:
        raise RunFolderError(f"{path / 'config.yaml'} is damaged ({cause}).") from cause
    result = _json(path / "metrics.json") if (path / "metrics.json").is_file() else {}
    if result.get("schema", 0) > KNOWN_SCHEMA:
        raise RunFolderError(
            f"{path / 'metrics.json'} has schema {result['schema']}, this version knows {KNOWN_SCHEMA}; update it."
        )
    kind = "finetune" if "rows" in result else "pretrain" if "objective" in config else "run"
    environment = _json(path / "environment.json") if (path / "environment.json").is_file() else {}
    return Record(path, kind, config, environment, read_lines(path / "metrics.jsonl"), result,
                  sorted((path / "pictures").glob("*.png")))  # fmt: skip


def _shards_record(path: Path) -> Record:
    return Record(path, "shards", lines=read_lines(path / "quarantine.jsonl"), result=_json(path / "manifest.json"))


def _map_record(path: Path) -> Record:
    item = path.with_suffix(".stac.json")
    if not item.is_file():
        raise RunFolderError(f"{path} has no STAC item {item.name} beside it; name a map that `bandloom predict` made.")
    picture = path.with_suffix(".png")
    return Record(path, "map", result=_json(item), pictures=[picture] if picture.is_file() else [])


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as cause:
        raise RunFolderError(f"{path} is damaged ({cause}); restore it, or run its stage again.") from cause
    if not isinstance(found, dict):
        raise RunFolderError(f"{path} holds no record; restore it, or run its stage again.")
    return found
