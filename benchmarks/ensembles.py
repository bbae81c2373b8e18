"""What an ensemble of three seeds and the average over eight symmetries gain on real sets, and what they cost.

Three trials a set, each of blocks and seeds of its own, nine trainings in all; scored on test blocks, temperatures
fitted on validation blocks. Every row is of the same trainings: the mean of single models, their ensemble, the first
model over symmetries, and both. ``BANDLOOM_DATA`` names the folder of real sets, ``BANDLOOM_RUNS`` where trainings are
kept; sets that are not there are left out.
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.export.from_torch.ensemble import Ensemble
from bandloom.export.from_torch.export_run import checkpoint_of, contract_of_model, seeds_in
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.from_torch.torch_model import TorchRunner
from bandloom.export.runtimes.symmetry import Symmetric
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, VAL
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.scores.calibration import fit_temperature, softmax
from bandloom.finetune.scores.evaluation import evaluate
from bandloom.finetune.setting import open_data
from benchmarks.harness import Figure
from benchmarks.real_inputs import bandloom, write
from benchmarks.real_scenes import HERE, make_config

DATA = Path(os.environ.get("BANDLOOM_DATA", HERE.parent / "shared" / "data"))
RUNS = Path(os.environ.get("BANDLOOM_RUNS", HERE / "runs" / "ensembles"))
SETS = tuple(os.environ.get("BANDLOOM_SETS", "flood,433D").split(","))
TRIALS, SEEDS, STEPS = 3, 3, 100
SCORES = {"macro F1": "macro_f1", "mean IoU": "mean_iou"}


class Averaged(nn.Module):
    """A model, or an ensemble, averaged over the eight symmetries, behind the interface of a model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.chip_px, self.label_set, self.encoder = model.chip_px, model.label_set, model.encoder
        self._inner = Symmetric(TorchRunner(model, "cpu"), contract_of_model(model, default_tiling(model)))

    def forward(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return logits of chips of digital numbers ``{gsd_m: (B, C, H, W)}``."""
        return torch.from_numpy(self._inner.run({gsd_m: dn.numpy() for gsd_m, dn in groups.items()}))


def run() -> list[Figure]:
    """Return the scores of each way of averaging beside the mean of single models, over the trials."""
    figures: list[Figure] = []
    for name in SETS:
        trials = [_trial(name, trial) for trial in range(TRIALS)]
        for way in ("ensemble of 3", "symmetry 8", "both"):
            for score in (*SCORES, "calibration error", "negative log likelihood", "seconds"):
                values = [trial[way][score] for trial in trials]
                single = [trial["single"][score] for trial in trials]
                gains = ", ".join(f"{a - b:+.4f}" for a, b in zip(values, single, strict=True))
                note = f"by trial {gains}" if score != "seconds" else "of one look at the test blocks"
                unit = "s" if score == "seconds" else ""
                figures.append(
                    Figure(
                        f"ensembles: {name}, {way}, {score}",
                        float(np.mean(values)),
                        unit,
                        "single models",
                        float(np.mean(single)),
                        note=note,
                    )
                )
    return figures


def _trial(name: str, trial: int) -> dict[str, dict[str, float]]:
    place = RUNS / f"{name}-{trial}"
    config = _config(name, trial)
    if not (place / "DONE").exists():
        RUNS.mkdir(parents=True, exist_ok=True)
        bandloom("finetune", write(RUNS / f"{name}-{trial}.yaml", config), "--out", place)
    data = open_data(FinetuneConfig(**config))
    models = [load_task_model(checkpoint_of(folder)) for folder in (place, *seeds_in(place))]
    singles = [_scores(model, data) for model in models]
    ensemble = Ensemble(models).eval()
    return {
        "single": {key: float(np.mean([scores[key] for scores in singles])) for key in singles[0]},
        "ensemble of 3": _scores(ensemble, data),
        # of every model, so that which is the first does not matter
        "symmetry 8": _mean([_scores(Averaged(model).eval(), data) for model in models]),
        "both": _scores(Averaged(ensemble).eval(), data),
    }


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _config(name: str, trial: int) -> dict[str, Any]:
    options = argparse.Namespace(data=DATA, out=RUNS, encoder=None, steps=STEPS, head="linear")
    RUNS.mkdir(parents=True, exist_ok=True)
    config = make_config(options, name, trial)
    return config | {
        "seeds": SEEDS,
        "trainer": config["trainer"] | {"seed": SEEDS * trial},
        "compare_random": False,
        "band_drops": False,
    }


def _scores(model: Any, data: TaskData) -> dict[str, float]:
    """Return scores on test blocks, at a temperature fitted on validation blocks."""
    seen = evaluate("validation", model, data, VAL)
    temperature = fit_temperature(seen.logits, seen.labels)
    began = time.monotonic()
    tested = evaluate("test", model, data, TEST, temperature=temperature)
    seconds = time.monotonic() - began
    shares = softmax(tested.logits / temperature, 1)
    truth = shares[np.arange(len(shares)), tested.labels]
    scores = tested.row.scores(data.label_set.names)
    return {
        **{title: scores[key] for title, key in SCORES.items()},
        "calibration error": tested.after.error,
        "negative log likelihood": float(-np.log(truth.clip(1e-12)).mean()),
        "seconds": seconds,
    }
