"""What each precision of a trained model costs in score, on the labelled test ground of its own run.

``BANDLOOM_RUN=runs/landcover make bench NAME=parity_table`` takes a run of ``bandloom finetune``, its shards included;
without it the demo's segmenter is trained, which takes some minutes. A precision over its budget is written down, not
refused: this is the table behind the gate of ``bandloom export``.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from bandloom.errors import BundleError
from bandloom.export.bundle.record import Contract, Parity
from bandloom.export.from_torch.audit_fp16 import audit_ranges
from bandloom.export.from_torch.export_run import PRECISIONS, checkpoint_of, contract_of_model, ground_of, load_model
from bandloom.export.from_torch.held_chips import Chips, held_chips
from bandloom.export.from_torch.parity import BUDGETS, measure, torch_logits
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.from_torch.write_model import FILES, layers_in_fp32, write_file
from bandloom.export.runtimes.onnx_runner import Runner, Unavailable
from bandloom.export.runtimes.openvino_runner import OpenVinoRunner
from bandloom.finetune.model.task_model import TaskModel
from benchmarks.harness import Figure

MOST_CHIPS = int(os.environ.get("BANDLOOM_CHIPS", "400"))
STEPS = 150


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        trained = Path(os.environ.get("BANDLOOM_RUN") or _train(Path(folder)))
        model, provenance = load_model(checkpoint_of(trained))
        contract = contract_of_model(model, default_tiling(model))
        ground = ground_of(trained, provenance)
        chips = held_chips(contract, ground, MOST_CHIPS)
        if chips.labels is None:
            raise SystemExit(f"{trained} has no labelled ground here: its shards must be where its config.yaml says.")
        expected = torch_logits(model, chips.groups)
        largest = max(audit_ranges(model, [chips]).values())
        figures = []
        for precision in PRECISIONS:
            half = precision in ("fp16", "bf16")
            wide = layers_in_fp32(model, contract, [chips], precision, ground) if half else ()
            plain = write_file(Path(folder), model, contract, precision, ground, wide)
            for runner in (plain, *_openvino(Path(folder) / FILES[precision], precision)):
                try:
                    parity = measure(runner, expected, chips, precision, contract)
                except BundleError as cause:
                    print(f"{precision} on {runner.name}: {cause}")
                    continue
                figures.append(_figure(precision, parity, chips, model, contract, largest))
    return figures


def _figure(
    precision: str, parity: Parity, chips: Chips, model: TaskModel, contract: Contract, largest: float
) -> Figure:
    budget = BUDGETS[precision]
    score, of_torch = parity.score or 0.0, parity.torch_score or 0.0
    labels = 0 if chips.labels is None else int((chips.labels != 255).sum())
    note = (
        f"{contract.task} of {model.label_set.name}, {len(chips)} chips ({chips.source}), {labels} labels; score"
        f" {score:.5f}, torch fp32 {of_torch:.5f}; logits differ by {parity.max_abs:.3g} at most (allowed"
        f" {budget.max_abs:g}), {parity.argmax_agreement:.5f} of the classes agree (needed {budget.agreement:g});"
        f" {'within' if parity.passes else 'OUTSIDE'} both; largest intermediate {largest:.4g}"
    )
    lost = 100 * (of_torch - score)
    name = f"parity_table {precision}, {parity.runtime}"
    return Figure(name, lost, "points of score lost", "allowed", 100 * budget.score, "<= 1", note)


def _openvino(path: Path, precision: str) -> list[Runner]:
    """Return OpenVINO on the same file, where it is installed and takes it."""
    try:
        return [OpenVinoRunner(path, precision)]
    except Unavailable as cause:
        print(f"{precision}: {cause}")
        return []


def _train(folder: Path) -> Path:
    """Train the demo's segmenter from random weights: the ground is synthetic, the training is real."""
    config = {
        "shards": str(folder / "shards"),
        "task": "segment",
        "size": "demo",
        "chip_px": 72,
        "trainer": {"steps": STEPS, "batch_size": 16, "engine": {"lr": 2e-3, "warmup_steps": 20}},
    }
    (folder / "segment.yaml").write_text(yaml.safe_dump(config))
    _type("shards", "synth", "--out", folder / "data", "--scenes", "16", "--size", "480")
    _type(
        "shards",
        "build",
        folder / "data/scenes",
        "--labels",
        folder / "data/labels",
        "--label-set",
        folder / "data/label_set.yaml",
        "--out",
        folder / "shards",
    )
    _type("finetune", folder / "segment.yaml", "--out", folder / "run")
    return folder / "run"


def _type(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "bandloom.cli", *map(str, words)], check=True)
