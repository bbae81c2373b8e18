"""What an ensemble of three seeds and the average over eight symmetries gain on real sets, and what they cost.

Three trials a set, each of blocks and seeds of its own, nine trainings in all; scored on test blocks, temperatures
fitted on validation blocks. Every row is of the same trainings: the mean of single models, their ensemble, single
models over symmetries, and both. ``BANDLOOM_DATA`` names the folder of real sets, ``BANDLOOM_BERLIN`` the shards that
``bandloom demo --real`` leaves, ``BANDLOOM_RUNS`` where trainings are kept, and ``BANDLOOM_SETS`` the sets.
"""

import argparse
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
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
from bandloom.finetune.experiment import open_data
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.scores.calibration import fit_temperature, softmax
from bandloom.finetune.scores.evaluation import evaluate
from benchmarks.harness import Figure
from benchmarks.real_inputs import bandloom, write
from benchmarks.real_scenes import HERE, make_config

DATA = Path(os.environ.get("BANDLOOM_DATA", HERE.parent / "shared" / "data"))
RUNS = Path(os.environ.get("BANDLOOM_RUNS", HERE / "runs" / "ensembles"))
BERLIN = Path(os.environ.get("BANDLOOM_BERLIN", HERE / "demo" / "shards"))
SETS = tuple(os.environ.get("BANDLOOM_SETS", "flood,433D,berlin").split(","))
TRIALS, SEEDS, STEPS = 3, 3, 30
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


class Remembered:
    """A model's forward pass that runs once for the same chips, and adds up what each call would have taken."""

    def __init__(self, forward: Callable[[Mapping[int, Tensor]], Tensor]) -> None:
        self._forward = forward
        self._kept: dict[int, tuple[Tensor, float]] = {}
        self.seconds = 0.0

    def __call__(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return logits of chips of digital numbers ``{gsd_m: (B, C, H, W)}``."""
        key = 0
        for gsd_m, dn in sorted(groups.items()):
            key = key << 32 ^ zlib.crc32(np.ascontiguousarray(dn.numpy().astype(np.int32)), gsd_m)
        if key not in self._kept:
            began = time.process_time()
            logits = self._forward(groups)
            self._kept[key] = logits, time.process_time() - began
        logits, seconds = self._kept[key]
        self.seconds += seconds
        return logits


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
                note = f"by trial {gains}" if score != "seconds" else "of a core in the models, for the test blocks"
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
    clocks = [Remembered(model.forward) for model in models]
    for model, clock in zip(models, clocks, strict=True):
        model.forward = clock  # type: ignore[method-assign]
    ensemble = Ensemble(models).eval()
    scores = {
        "single": _mean([_scores(model, data, clocks) for model in models]),
        "ensemble of 3": _scores(ensemble, data, clocks),
        # of every model, so that which is the first does not matter
        "symmetry 8": _mean([_scores(Averaged(model).eval(), data, clocks) for model in models]),
        "both": _scores(Averaged(ensemble).eval(), data, clocks),
    }
    print(name, trial, scores, flush=True)
    return scores


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _config(name: str, trial: int) -> dict[str, Any]:
    options = argparse.Namespace(data=DATA, out=RUNS, encoder=None, steps=STEPS, head="linear")
    RUNS.mkdir(parents=True, exist_ok=True)
    config = _berlin(trial) if name == "berlin" else make_config(options, name, trial)
    return config | {
        "seeds": SEEDS,
        "trainer": config["trainer"] | {"seed": SEEDS * trial},
        "compare_random": False,
        "band_drops": False,
    }


def _berlin(trial: int) -> dict[str, Any]:
    engine = {"lr": 1e-3, "warmup_steps": 20, "betas": [0.9, 0.999]}
    return {
        "shards": str(BERLIN),
        "task": "segment",
        "size": "demo",
        "chip_px": 72,
        "baselines": [],
        "split": {"kind": "block", "seed": trial},
        "trainer": {"steps": STEPS, "batch_size": 8, "engine": engine},
    }


def _scores(model: Any, data: TaskData, clocks: Sequence[Remembered]) -> dict[str, float]:
    """Return scores on test blocks, at a temperature fitted on validation blocks."""
    seen = evaluate("validation", model, data, VAL)
    temperature = fit_temperature(seen.logits, seen.labels)
    began = sum(clock.seconds for clock in clocks)
    tested = evaluate("test", model, data, TEST, temperature=temperature)
    seconds = sum(clock.seconds for clock in clocks) - began
    shares = softmax(tested.logits / temperature, 1)
    truth = shares[np.arange(len(shares)), tested.labels]
    scores = tested.row.scores(data.label_set.names)
    return {
        **{title: scores[key] for title, key in SCORES.items()},
        "calibration error": tested.after.error,
        "negative log likelihood": float(-np.log(truth.clip(1e-12)).mean()),
        "seconds": seconds,
    }
