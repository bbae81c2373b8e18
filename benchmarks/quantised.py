"""What static int8 costs trained models, and whether a short training with quantised layers wins any of it back.

``BANDLOOM_RUNS=RUN,RUN python -m benchmarks.harness quantised`` takes runs of ``bandloom finetune`` with their shards.
Each is scored on its own test ground: in fp32, in static int8 (Q/DQ pairs, ranges from calibration chips), and in
static int8 after as many further steps with and without quantisation in the forward pass. The steps without are the
baseline: what more training gains is no merit of quantisation.
"""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.export.bundle.answers import decisions
from bandloom.export.bundle.record import Contract
from bandloom.export.from_torch.export_run import checkpoint_of, contract_of_model, ground_of, load_model
from bandloom.export.from_torch.held_chips import Chips, Ground, held_chips
from bandloom.export.from_torch.parity import torch_logits
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.from_torch.write_model import write_file
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.experiment import Experiment, open_data
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.training.batches import make_loss, training_steps
from bandloom.training.loader_state import BEGINNING
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from benchmarks.harness import Figure

STEPS, BATCH = int(os.environ.get("BANDLOOM_STEPS", "60")), int(os.environ.get("BANDLOOM_BATCH", "8"))
CHIPS, LR_SHARE = int(os.environ.get("BANDLOOM_CHIPS", "64")), 0.1
WEIGHT_STEPS, VALUE_STEPS = 64, 127  # as write_int8 has them: weights of seven bits, values of eight


@dataclass(frozen=True)
class Trained:
    """A run's model, what its numbers mean, and the test chips that it is scored on."""

    path: Path
    model: TaskModel
    config: FinetuneConfig
    contract: Contract
    ground: Ground
    chips: Chips


def run() -> list[Figure]:
    figures = []
    for place in os.environ["BANDLOOM_RUNS"].split(","):
        trained = open_run(Path(place))
        fp32 = macro_f1(trained, torch_logits(trained.model, trained.chips.groups))
        static = int8_score(trained, trained.model)
        figures.append(_figure(trained, "static", static, "fp32", fp32, ""))
        if not STEPS:
            continue
        plain = int8_score(trained, more_steps(trained, lambda model: _as_it_is()))
        ways: dict[str, Callable[[TaskModel], Any]] = {"quantised training": fake_quantised}
        for name, way in ways.items():
            score = int8_score(trained, more_steps(trained, way))
            note = f"fp32 {fp32:.4f}, static int8 {static:.4f}; {STEPS} steps of {BATCH} chips, lr a tenth"
            figures.append(_figure(trained, name, score, "as many plain steps, then static int8", plain, note))
    return figures


def _figure(trained: Trained, name: str, value: float, rival: str, other: float, note: str) -> Figure:
    about = f"{len(trained.chips)} chips ({trained.chips.source}), macro-F1 of test ground"
    return Figure(f"quantised {trained.path.name} {name}", value, "macro-F1", rival, other, "", f"{about}; {note}")


def open_run(path: Path) -> Trained:
    """Return a run's model with the chips of its test ground."""
    model, provenance = load_model(checkpoint_of(path))
    ground = ground_of(path, provenance)
    if ground.config is None or ground.shards is None:
        raise SystemExit(f"{path} does not say what it was trained on; pass a run of `bandloom finetune`.")
    contract = contract_of_model(model, default_tiling(model))
    config = FinetuneConfig(**{**ground.config, "shards": ground.shards})
    return Trained(path, model, config, contract, ground, held_chips(contract, ground, CHIPS, part_px=model.chip_px))


def int8_score(trained: Trained, model: TaskModel) -> float:
    """Return the score of a model that is quantised as ``bandloom export --precision int8`` does."""
    with TemporaryDirectory() as folder:
        write_file(Path(folder), model, trained.contract, "fp32", trained.ground)
        runner = write_file(Path(folder), model, trained.contract, "int8", trained.ground)
        return macro_f1(trained, np.concatenate([runner.run(groups) for groups in trained.chips.batches()]))


def macro_f1(trained: Trained, logits: np.ndarray) -> float:
    """Return the macro-F1 of labelled pixels, or chips."""
    labels = trained.chips.labels
    if labels is None:
        raise SystemExit(f"{trained.path} has no labelled test ground here.")
    known = labels != IGNORE_INDEX
    return float(f1_score(labels[known], decisions(trained.contract, logits)[known], average="macro"))


def more_steps(trained: Trained, way: Callable[[TaskModel], Any]) -> TaskModel:
    """Return a copy of the model after further steps inside ``way``; the same chips whatever the way."""
    config, model = trained.config, copy.deepcopy(trained.model)
    engine_config = config.trainer.engine.with_changes(lr=config.trainer.engine.lr * LR_SHARE, warmup_steps=1)
    trainer = config.trainer.with_changes(steps=STEPS, batch_size=BATCH, engine=engine_config, workers=1)
    data = open_data(config)
    experiment = Experiment(
        config.with_changes(trainer=trainer), data, model.chip_px, Ranks(0, 0, 1, torch.device("cpu"))
    )
    engine = make_engine(model.train(), engine_config, experiment.ranks, STEPS, model.encoder.config.depth)
    loss, batches = make_loss(experiment), training_steps(experiment, BEGINNING)
    with way(model):
        for step in range(STEPS):
            engine.train_step(next(batches).batch.split(engine_config.accumulate), loss, step)
    return model.eval()


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def fake_quantised(model: TaskModel) -> Iterator[None]:
    """Round weights and inputs of the encoder's linear layers as int8 will, and let gradients pass as if it did not."""
    layers = [layer for layer in model.encoder.blocks.modules() if isinstance(layer, nn.Linear)]  # type: ignore[union-attr]
    for layer in layers:
        largest = torch.zeros(())

        def forward(values: Tensor, layer: nn.Linear = layer, largest: Tensor = largest) -> Tensor:
            largest.copy_(torch.maximum(largest * 0.99, values.detach().abs().max()))
            scale = layer.weight.detach().abs().amax(1, keepdim=True).clamp(min=1e-8) / WEIGHT_STEPS
            rounded = _rounded(values, largest / VALUE_STEPS, VALUE_STEPS)
            return functional.linear(rounded, _rounded(layer.weight, scale, WEIGHT_STEPS), layer.bias)

        layer.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _rounded(values: Tensor, scale: Tensor, steps: int) -> Tensor:
    rounded = (values / scale).round().clamp(-steps, steps) * scale
    return values + (rounded - values).detach()
