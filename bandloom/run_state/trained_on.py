"""Which shards a run is trained on: others under the same path are refused, or noted where the run is resumed."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bandloom.command_line.console import logger
from bandloom.errors import RunFolderError
from bandloom.files.output import write_json
from bandloom.run_state.run_folder import RunFolder

DATA = "data.json"
_KEYS = ("samples", "side_px", "splits", "sensors", "statistics", "label_set")  # of a manifest; repacking keeps them

_OF_LABELS = ("quantity", "labelled")  # asked since runs note them


def keep_data(run: RunFolder, manifest: Mapping[str, Any]) -> None:
    """Note what a run is trained on; where it was trained on something else so far, say so.

    Args:
        run: just opened; one that is resumed (``--resume``) goes on, and the change is noted with its step.
        manifest: of the shards.

    Raises:
        RunFolderError: the same command found other samples than it began with.
    """
    now = {
        "samples": manifest.get("samples"),
        "digest": _digest(manifest, _KEYS),
        "labels": _digest(manifest, _OF_LABELS),
        "content": content_of(manifest),
    }
    path = run.path / DATA
    before = _read(run)
    step = max((int(path.name.rpartition("-")[2]) for path in run.path.glob("snapshots/step-*")), default=0)
    if before and step and any(_differ(before.get(key), now[key]) for key in ("digest", "labels", "content")):
        if not run.goes_on:
            raise RunFolderError(
                f"{run.path} has trained {step} steps on other shards ({before['samples']} samples; there are"
                f" {now['samples']} now, or their statistics, pixels or labels differ); put those back, go on with"
                f" these by --resume {run.path}, choose another --out, or pass --from-scratch to replace it."
            )
        logger.warning(
            "from step %d on the run trains on other shards (%s samples, it had %s)",
            step,
            now["samples"],
            before["samples"],
        )
        with (run.path / "changes.jsonl").open("a") as file:
            line = {"time": round(time.time(), 3), "step": step, "key": "shards", "was": before, "is": now}
            file.write(json.dumps(line) + "\n")
    if before != now:
        write_json(path, now)


def content_of(manifest: Mapping[str, Any]) -> str | None:
    """Return a digest of what the samples hold, pixels and labels alike, which a change of codec keeps.

    Args:
        manifest: of shards; None for one that was written before manifests named their files.
    """
    return manifest.get("content") or manifest.get("files", {}).get("samples.jsonl")


def _differ(before: str | None, now: str | None) -> bool:
    return bool(before and now) and before != now  # a run that noted less is not asked for more


def _digest(manifest: Mapping[str, Any], keys: Sequence[str]) -> str:
    told = json.dumps([manifest.get(key) for key in keys], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _read(run: RunFolder) -> dict[str, Any] | None:
    try:
        record = json.loads((run.path / DATA).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"samples", "digest"} <= record.keys() else None
