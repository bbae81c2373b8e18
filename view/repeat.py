"""The command that makes a folder again, from the folder's own files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# of a shard build: the option's name where it is not that of its record, and what it is by default
RENAMED = {"side_px": "side"}
PROGRAMS = ("bandloom", "cli", "__main__")  # the console command, and `python -m bandloom.cli`
DEFAULTS = {
    "side_px": 240,
    "codec": "default",
    "min_valid": 0.0,
    "max_cloud": 1.0,
    "atmosphere": "none",
    "label_field": "class",
}


def run_command(environment: Mapping[str, Any]) -> list[str]:
    """Return the command that a run folder remembers: the program's, or that of Python code which called it."""
    typed = [str(word) for word in environment.get("command") or []]
    program = "bandloom" if typed and Path(typed[0]).stem in PROGRAMS else "python"
    return [] if not typed else ["bandloom", *typed[1:]] if program == "bandloom" else ["python", *typed]


def build_command(path: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Return the build of a shard folder; more than three inputs are named as ``SCENES``."""
    sources = [str(source["source"]) for source in (manifest.get("sources") or {}).values() if source.get("source")]
    options: list[str] = []
    for name, value in (manifest.get("options") or {}).items():
        flag = "--" + (RENAMED.get(name) or name).replace("_", "-")
        if value is True:
            options.append(flag)
        elif value not in (None, False, DEFAULTS.get(name)):
            options += [flag, str(value)]
    named = sources if 0 < len(sources) <= 3 else ["SCENES"]
    return ["bandloom", "shards", "build", *named, *options, "--out", str(path)]


def export_command(path: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the export of a bundle."""
    precisions = ",".join(dict.fromkeys(str(model["precision"]) for model in record.get("models") or []))
    run = str((record.get("provenance") or {}).get("checkpoint", "RUN"))
    more = ["--precision", precisions] if precisions not in ("", "fp32") else []
    return ["bandloom", "export", run, "--out", str(path), *more]


def predict_command(path: Path, tags: Mapping[str, str]) -> list[str]:
    """Return the prediction of a map, or of what changed between two: as it was given, where the map says."""
    typed = _list(tags.get("COMMAND", "[]"))
    if typed:
        return typed
    dates = [_record(tags[name]) for name in ("BEFORE", "AFTER") if name in tags]
    scenes = ["--change", *map(_scene, dates)] if len(dates) == 2 else [_scene(tags)]
    return ["bandloom", "predict", tags.get("BUNDLE", "BUNDLE"), *scenes, "--out", str(path)]


def _scene(tags: Mapping[str, str]) -> str:
    return str(_record(tags.get("SCENE_PROVENANCE", "{}")).get("source") or tags.get("SCENE", "SCENE"))


def _record(text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _list(text: str) -> list[str]:
    try:
        items = json.loads(text)
    except ValueError:
        return []
    return [str(word) for word in items] if isinstance(items, list) else []
