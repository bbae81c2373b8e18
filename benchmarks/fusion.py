"""Does context in words raise land-cover accuracy? Every way of joining beside its controls, over three seeds.

Four contexts: notes that hint at the class without naming it, notes that know nothing, and metadata sentences, on
generated chips; and metadata sentences on real Sentinel-2 chips (``../shared/data``, where it is there). Text through
MiniLM. ``FUSION_OUT=FOLDER`` keeps chips, shards and runs, so that a second call only reads; ``FUSION_STEPS``,
``FUSION_SCENES`` and ``FUSION_SEEDS`` make a smaller trial. About eight minutes on one core.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from bandloom.finetune.fusion.config import FusionConfig
from bandloom.finetune.fusion.run import fusion
from bandloom.run_state.run_folder import RunFolder
from bandloom.scores import ScoreRecord, read_scores
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth.chips import write_chips
from benchmarks.harness import Figure
from benchmarks.planted_context import habitual, hinting, write_context

SCENES = int(os.environ.get("FUSION_SCENES", "12"))
STEPS = int(os.environ.get("FUSION_STEPS", "200"))
SEEDS = int(os.environ.get("FUSION_SEEDS", "3"))
SIDE_PX, CHIP_PX, WRONG = 360, 24, 0.4
REAL = Path(__file__).parent.parent.parent / "shared" / "data" / "lulc_chips32"
REAL_SIDE_PX = 36


def run() -> list[Figure]:
    """Run every study and set each row beside the image alone."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("FUSION_OUT", temporary))
        studies = _studies(folder)
        reports = {name: _report(folder / "runs" / name, config) for name, config in studies.items()}
    return [figure for name, report in reports.items() for figure in _figures(name, report)]


def _studies(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the config of each study by its name."""
    chips = _generated(folder)
    shards = ShardSet(chips)
    if shards.label_set is None:
        raise RuntimeError("the generated chips have classes")
    keys = [entry.key for entry in shards.entries]
    names = [shards.label_set.names[int(entry.class_index or 0)] for entry in shards.entries]
    notes = {"hints": hinting(names, WRONG, 0), "habits": habitual(len(keys), 0)}
    found: dict[str, dict[str, Any]] = {}
    for name, own in notes.items():
        write_context(folder / f"{name}.csv", dict(zip(keys, own, strict=True)))
        found[name] = {"shards": chips, "context": {"source": "csv", "path": folder / f"{name}.csv"}}
    found["metadata"] = {"shards": chips, "context": {"source": "metadata"}}
    if REAL.is_dir():
        out = folder / "real"
        if not out.exists():
            build([str(REAL)], out, BuildOptions(side_px=REAL_SIDE_PX, class_folders=True))
        found["metadata-of-real-chips"] = {
            "shards": out,
            "context": {"source": "metadata"},
            "split": {"block_m": 600, "buffer_m": 0},
        }
    return found


def _generated(folder: Path) -> Path:
    out = folder / "generated"
    if not out.exists():
        if not (folder / "chips").exists():
            write_chips(folder / "chips", SCENES, SIDE_PX, 70, CHIP_PX)
        label_set = str(folder / "chips" / "label_set.yaml")
        build(
            [str(folder / "chips" / "chips")],
            out,
            BuildOptions(side_px=CHIP_PX, class_folders=True, label_set=label_set),
        )
    return out


def _report(path: Path, config: dict[str, Any]) -> ScoreRecord:
    if (path / "metrics.json").exists():
        return read_scores(path / "metrics.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    encoder = os.environ.get("BANDLOOM_ENCODER")
    whole = {
        "image": {"checkpoint": encoder, "size": "demo"},
        "steps": STEPS,
        "seeds": SEEDS,
        "split": {"block_m": 1200},
        **config,
    }
    if fusion(FusionConfig.model_validate(whole), RunFolder(path)):
        raise SystemExit(f"{path} was stopped; run the benchmark again")
    return read_scores(path / "metrics.json")


def _figures(study: str, report: ScoreRecord) -> list[Figure]:
    rows = {row.name: row for row in report.rows}
    warnings = (report.leaks or {}).get("warnings", [])
    alone, leaks = rows["image only"].scores, "; ".join(warnings) or "no leak found"
    verdicts = {verdict.partition(":")[0]: verdict for verdict in report.verdicts}
    figures = []
    for name, row in rows.items():
        if name == "image only":
            continue
        low, high = row.interval_95.get("macro_f1", (float("nan"), float("nan")))
        over = row.over_image_95 or (float("nan"), float("nan"))
        note = (
            f"{row.scored_on} test chips in {row.blocks} blocks, {len(row.seeds)} seeds; accuracy"
            f" {row.scores['overall']:.3f} (image only {alone['overall']:.3f}); 95 %: {low:.3f} to {high:.3f}, over the"
            f" image alone {over[0]:+.3f} to {over[1]:+.3f}"
        )
        if name.endswith(", real text"):
            note += f"; {verdicts[name.partition(',')[0]]}; {leaks}"
        figures.append(
            Figure(
                f"fusion {study}: {name}, macro-F1",
                row.scores["macro_f1"],
                "share",
                "image only",
                alone["macro_f1"],
                "",
                note,
            )
        )
    return figures
