"""The model card of a published checkpoint: its own text, and data, scores and limits for other users.

A checkpoint's README says what the model is and, after fine-tuning, its scores beside baselines. Before it leaves
the machine, this adds what the run knows besides (frozen-feature probes and baselines, the curve over band subsets, the
data), the licence, and limits; and takes this machine's paths out.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandloom.run_state.run_folder import read_lines
from bandloom.scores import TITLES, scores_of

LIMITS = (
    "Scores hold for ground, seasons, sensors and processing levels like those of the data above. An encoder alone"
    " gives features, no map. Bands that are absent must be marked absent (digital number 0), never filled with zeros"
    " of reflectance. Not checked for any decision about people or property."
)


def published_card(checkpoint: Path, run: Path | None, licence: str, data_licence: str) -> str:
    """Return the card of a checkpoint as it is published.

    Args:
        checkpoint: a folder with ``README.md`` and ``config.json``.
        run: the run folder that it came from; None where there is none.
        licence: of the weights, as a hub names it, such as ``apache-2.0``.
        data_licence: of the training data, and whom to thank, in words.
    """
    head, body = _front_matter((checkpoint / "README.md").read_text())
    config = json.loads((checkpoint / "config.json").read_text())
    provenance = config.get("provenance") or {}
    lines = read_lines(run / "metrics.jsonl") if run else []
    metrics = run / "metrics.json" if run else None
    record = json.loads(metrics.read_text()) if metrics and metrics.is_file() else {}
    parts = {
        "Frozen features": _frozen(lines),
        "On fewer bands": _bands(record, lines),
        "Data": [*_data(provenance), "", f"Licence of the data: {data_licence}"],
        "Limits": [LIMITS],
        "Licence": [f"Weights: {licence}."],
    }
    for title, content in parts.items():
        if content and f"## {title}" not in body:
            body = body.rstrip() + "\n\n" + "\n".join([f"## {title}", "", *content]) + "\n"
    return without_paths(f"---\nlicense: {licence}\n{head}---\n{body}")


def without_paths(text: str) -> str:
    """Return text with absolute paths cut down to their last name: where data lay is nobody's business."""
    return re.sub(r"(?<![\w.:/])/(?:[\w.@+-]+/)+([\w.@+-]+)", r"\1", text)


def _front_matter(card: str) -> tuple[str, str]:
    """Return the lines between the card's first two ``---`` and what follows them."""
    match = re.match(r"---\n(.*?)---\n", card, re.DOTALL)
    if match is None:
        return "", card
    kept = [line for line in match[1].splitlines() if not line.startswith("license:")]
    return "".join(f"{line}\n" for line in kept), card[match.end() :]


def _frozen(lines: list[dict[str, Any]]) -> list[str]:
    """Return the last probes of a pretraining beside baselines."""
    last = _last_scores(lines)
    if not last:
        return []
    floors = {name.removeprefix("floor_"): value for name, value in last.items() if name.startswith("floor_")}
    rows = {
        "ridge regression": last["ridge"],
        "ten neighbours": last.get("knn"),
        **{f"baseline: {name.replace('_', ' ')}": value for name, value in floors.items()},
    }
    return _table("accuracy", rows, f"Probes of the frozen encoder on labelled tokens, step {last['step']}:")


def _bands(record: Mapping[str, Any], lines: list[dict[str, Any]]) -> list[str]:
    """Return accuracy over band subsets: of a fine-tuned model's maps or chips, or of an encoder's probe."""
    if record.get("bands"):
        bands = scores_of(record).bands
        score = bands[0].headline[0]
        rows = {"all" if band.kind == "model" else band.name: band.scores[score] for band in bands}
        return _table(TITLES.get(score, score), rows, "The other bands absent, nothing trained again:")
    last = _last_scores(lines)
    rows = {name.removeprefix("ridge_"): value for name, value in last.items() if name.startswith("ridge_")}
    if not rows:
        return []
    return _table("accuracy", {"all": last["ridge"], **rows}, "A ridge regression on features of these bands alone:")


def _last_scores(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return next((line for line in reversed(lines) if line.get("kind") == "score" and "ridge" in line), {})


def _table(head: str, rows: Mapping[str, Any], note: str) -> list[str]:
    cells = [f"| {name} | {value:.3f} |" for name, value in rows.items() if isinstance(value, int | float)]
    return [note, "", f"| | {head} |", "|---|---|", *cells]


def _data(provenance: Mapping[str, Any]) -> list[str]:
    """Return what the shards' manifest says, where it can still be read."""
    shards = Path(str(provenance.get("shards", "")))
    if not (shards / "manifest.json").is_file():
        return [f"Shards: {shards.name or 'not known'}."]
    manifest = json.loads((shards / "manifest.json").read_text())
    sources = manifest.get("sources") or {}
    splits = ", ".join(f"{name} {count:,}" for name, count in (manifest.get("splits") or {}).items())
    sensors, rule = ", ".join(manifest.get("sensors") or {}), manifest.get("split_rule", "not known")
    counted = f"{manifest['samples']:,} samples ({splits})"
    return [f"{counted} of {sensors}, inputs: {len(sources):,}; split: {rule}."]
