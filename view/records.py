"""Recognises the folders that stages leave and reads them as plain records, from files alone."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bandloom.errors import RunFolderError
from bandloom.run_state.run_folder import read_lines
from bandloom.scores import SCHEMA_VERSION, ScoreRecord, read_scores
from bandloom.view.repeat import build_command, export_command, predict_command, run_command
from bandloom.view.value_map import open_map

KINDS = {
    "shards": "Shards",
    "pretrain": "Pretraining",
    "finetune": "Fine-tuning",
    "probe": "Probe",
    "baselines": "Baselines",
    "evaluate": "Evaluation",
    "align": "Alignment",
    "bundle": "Bundle",
    "map": "Map",
    "run": "Run",
}
KNOWN_SCHEMAS = {
    "metrics.json": (("schema_version", SCHEMA_VERSION), ("schema", 1)),  # of scored rows; of other stages and before
    "bundle.json": (("schema_version", 2),),
    "manifest.json": (("version", 2),),
}


@dataclass(frozen=True)
class Record:
    """One folder (or map) of one stage.

    Args:
        path: where it is.
        kind: a key of ``KINDS``.
        config: the resolved config, empty where the stage has none.
        environment: versions, commit and command.
        lines: the lines of ``metrics.jsonl``; of shards, those of ``samples.jsonl``.
        scores: of what scored rows, their record.
        result: the stage's own record: metrics.json, bundle.json, manifest.json or a STAC item.
        pictures: PNG files, sorted by name.
        command: as it was typed, or where that was not kept, one that makes it again.
        typed: whether it was kept when it was made.
        quarantine: of shards, the inputs that gave no sample.
        thumbnails: of shards, a PNG by a sample's number.
    """

    path: Path
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    typed: bool = True
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    thumbnails: dict[int, Path] = field(default_factory=dict)
    scores: ScoreRecord | None = None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    def curve(self, kind: str, value: str) -> list[tuple[float, float]]:
        """Return ``(step, value)`` of the metric lines of a kind that hold a value."""
        return [
            (line["step"], line[value])
            for line in self.lines
            if line.get("kind") == kind and isinstance(line.get(value), int | float)
        ]


def read_record(path: Path, thumbnails: Path | None = None) -> Record:
    """Read what a stage left at ``path``.

    Args:
        path: a run folder, a bundle, a folder of shards or a map.
        thumbnails: a folder of ``NUMBER.png``, pictures of samples of a shard folder.

    Raises:
        RunFolderError: it is nothing that a stage leaves, it is damaged, or a newer version wrote it.
    """
    if not path.exists():
        raise RunFolderError(f"{path} does not exist; name a run folder, a bundle, a folder of shards or a map.")
    if path.is_file():
        return _map_record(path)
    if (path / "bundle.json").is_file():
        result = _known(path / "bundle.json")
        command, typed = _kept(result.get("provenance"), export_command(path, result))
        return Record(path, "bundle", result=result, command=command, typed=typed)
    if (path / "manifest.json").is_file():
        return _shards_record(path, thumbnails)
    if (path / "config.yaml").is_file() or (path / "metrics.json").is_file():
        return _run_record(path)
    raise RunFolderError(
        f"{path} is no run folder, bundle or folder of shards: it holds no config.yaml, bundle.json or manifest.json."
    )


def _run_record(path: Path) -> Record:
    try:  # an evaluation of an earlier version has scores and no config
        config = yaml.safe_load((path / "config.yaml").read_text()) or {} if (path / "config.yaml").is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise RunFolderError(f"{path / 'config.yaml'} is damaged ({cause}); restore it, or run it again.") from cause
    if not isinstance(config, dict):
        raise RunFolderError(f"{path / 'config.yaml'} holds no config; restore it, or run it again.")
    result = _known(path / "metrics.json") if (path / "metrics.json").is_file() else {}
    kinds = (("rows" in result, "finetune"), ("three_numbers" in result, "align"), ("objective" in config, "pretrain"))
    kind = next((kind for holds, kind in kinds if holds), "run")
    environment = _json(path / "environment.json") if (path / "environment.json").is_file() else {}
    verb = (environment.get("command") or ["", ""])[1:2]
    if kind == "finetune":  # other verbs score rows too
        named = verb[0] if verb and verb[0] in ("probe", "baselines", "evaluate") else kind
        kind = "evaluate" if "ground" in config or not config else named
    return Record(
        path,
        kind,
        config,
        environment,
        read_lines(path / "metrics.jsonl"),
        result,
        sorted((path / "pictures").glob("*.png")),
        run_command(environment),
        scores=read_scores(path / "metrics.json") if "rows" in result else None,
    )


def _shards_record(path: Path, thumbnails: Path | None) -> Record:
    result = _known(path / "manifest.json")
    if "version" not in result or "samples" not in result:
        raise RunFolderError(
            f"{path} is no folder of shards: its manifest.json is of something else; name what"
            " `bandloom shards build` wrote."
        )
    pictures = {int(path.stem): path for path in thumbnails.glob("*.png") if path.stem.isdigit()} if thumbnails else {}
    command, typed = _kept(result, build_command(path, result))
    return Record(
        path,
        "shards",
        lines=read_lines(path / "samples.jsonl"),
        result=result,
        command=command,
        typed=typed,
        quarantine=read_lines(path / "quarantine.jsonl"),
        thumbnails=dict(sorted(pictures.items())),
    )


def _map_record(path: Path) -> Record:
    item = path.with_suffix(".stac.json")
    if not item.is_file():
        raise RunFolderError(f"{path} has no STAC item {item.name} beside it; name a map that `bandloom predict` made.")
    tags = open_map(path).tags
    return Record(path, "map", result=_json(item), command=predict_command(path, tags), typed=bool(tags.get("COMMAND")))


def _kept(record: Any, made_up: list[str]) -> tuple[list[str], bool]:
    """Return the command that a record kept when it was made, or another that makes it again; and which it is."""
    command = record.get("command") if isinstance(record, dict) else None
    return ([str(word) for word in command], True) if command else (made_up, False)


def _known(path: Path) -> dict[str, Any]:
    """Return a record whose version this program knows."""
    members = _json(path)
    for key, known in KNOWN_SCHEMAS[path.name]:
        version = members.get(key, known)
        if not isinstance(version, int) or version > known:
            raise RunFolderError(f"{path} has {key} {version}, this version knows up to {known}; update bandloom.")
    return members


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as cause:
        raise RunFolderError(f"{path} is damaged ({cause}); restore it, or run its stage again.") from cause
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} holds no record; restore it, or run its stage again.")
    return content
