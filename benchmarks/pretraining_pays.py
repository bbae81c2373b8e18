"""Does pretraining pay? The pretrained encoder beside random weights, raw samples and random convolutional features.

Scenes of the frozen generator: 65 to pretrain on, 10 of them labelled and 5 more to choose on, 15 unseen to score on. A
token's label is its majority class. Probed and fine-tuned (LP-FT) at 100 to 10,000 labelled tokens, over three seeds of
weights, order and labels. Every probed row is the best of the same sweep, chosen on the validation scenes: the layer,
and a ridge (penalty by cross-validation) or a RandomForest.

``python -m benchmarks.pretraining_pays --help`` runs one variant, as docs/decisions/objective.md did.
"""

import argparse
import copy
import json
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from bandloom.classes.label_set import IGNORE_INDEX, majority_classes
from bandloom.closed_form import fit_ridge, ridge
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import DecoderConfig, ObjectiveConfig
from bandloom.pretrain.loss import MaskedLoss
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.rasters.values import dn_to_reflectance
from bandloom.sensors import SLOTS, Sensor
from bandloom.shards.synth import SENSOR, label_set, synthesise
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import PlainLoss
from benchmarks.harness import Figure
from benchmarks.token_baselines import TokenFeatures, random_conv_tokens, swept_accuracy

SCENES, SIDE_PX, FIRST_SEED = 80, 480, 1000
PRETRAINED_ON, LABELLED, VALIDATED = 65, 10, 15
COUNTS = (100, 300, 1_000, 10_000)
SEEDS = (0, 1, 2)
PROBE_BASELINES = ["raw", "random", "random + raw", "random conv", "random conv + raw"]
CHIP_TOKENS, BATCH = 12, 24
CPU = Ranks(0, 0, 1, torch.device("cpu"))

Groups = dict[int, torch.Tensor]


def run(steps: int = 1000, size: str = "demo") -> list[Figure]:
    """Run all seeds and return the figures; the table also goes to the console as it grows."""
    return figures_of(
        [evaluate(seed, steps, size) for seed in SEEDS], f"{size} encoder, {steps} steps of {BATCH} chips"
    )


def figures_of(tables: list[dict[str, dict[str, dict[int, float]]]], setting: str) -> list[Figure]:
    """Return the figures of one table a seed."""
    figures = []
    for how, own, rivals in (
        (
            "probe",
            ["pretrained", "pretrained + raw"],
            ["raw", "random", "random + raw", "random conv", "random conv + raw"],
        ),
        ("finetune", ["pretrained"], ["random"]),
    ):
        for count in COUNTS:
            best = max(own, key=lambda name: _mean(tables, how, name, count))
            rival = max(rivals, key=lambda name: _mean(tables, how, name, count))
            margins = [table[how][best][count] - table[how][rival][count] for table in tables]
            rows = ", ".join(f"{n} {_mean(tables, how, n, count):.3f}" for n in own + rivals)
            figures.append(
                Figure(
                    f"pretraining_pays {how} {count}",
                    _mean(tables, how, best, count),
                    "accuracy",
                    f"best of {', '.join(rivals)}",
                    _mean(tables, how, rival, count),
                    ">= 1",
                    note=f"{rows}; margin a seed {', '.join(f'{m:+.3f}' for m in margins)}; {setting}",
                )
            )
    return figures


def evaluate(
    seed: int, steps: int, size: str, *, tuned: bool = True, **options: Any
) -> dict[str, dict[str, dict[int, float]]]:
    """Pretrain once and score every contender at every number of labels: ``{how: {contender: {count: accuracy}}}``."""
    torch.manual_seed(seed)
    groups, labels = scenes()
    encoder = Encoder(EncoderConfig.of_size(size, token_m=options.get("token_m", 60)), statistics())
    untrained = copy.deepcopy(encoder)
    losses = pretrain(encoder, groups, steps, seed, **options)
    print(f"seed {seed}: loss {np.mean(losses[:50]):.4f} to {np.mean(losses[-50:]):.4f}", flush=True)
    chips, targets = tiles(groups, labels, range(LABELLED), encoder.config.token_m)
    unseen, wanted = tiles(groups, labels, range(PRETRAINED_ON, SCENES), encoder.config.token_m)
    held, held_targets = tiles(groups, labels, range(LABELLED, VALIDATED), encoder.config.token_m)
    picks = {n: pick(targets.ravel(), n, seed) for n in COUNTS}
    parts = (chips, held, unseen)
    depth = encoder.config.depth
    layers = {"raw": [TokenFeatures(*(token_features(encoder, part, None) for part in parts))]}
    for name, model in (("random", untrained), ("pretrained", encoder)):
        own = [
            TokenFeatures(*(token_features(model, part, layer) for part in parts))
            for layer in sorted({depth // 3, 2 * depth // 3, depth - 1})
        ]
        layers |= {name: own, f"{name} + raw": [_joined_with(item, layers["raw"][0]) for item in own]}
    conv = TokenFeatures(*(_conv_tokens(part, encoder.config.token_m // 10) for part in parts))
    layers |= {"random conv": [conv], "random conv + raw": [_joined_with(conv, layers["raw"][0])]}
    table: dict[str, dict[str, dict[int, float]]] = {"probe": {}, "finetune": {}}
    for name, candidates in layers.items():
        table["probe"][name] = {
            n: swept_accuracy(
                candidates, targets.ravel(), rows, held_targets.ravel(), wanted.ravel(), IGNORE_INDEX, seed
            )
            for n, rows in picks.items()
        }
        print(f"seed {seed} probe {name}: {table['probe'][name]}", flush=True)
    for name, model in (("random", untrained), ("pretrained", encoder)) if tuned else ():
        table["finetune"][name] = {
            n: finetune(model, chips, targets, rows, unseen, wanted, seed) for n, rows in picks.items()
        }
        print(f"seed {seed} finetune {name}: {table['finetune'][name]}", flush=True)
    return table


def pretrain(
    encoder: Encoder, groups: Groups, steps: int, seed: int, lr: float = 1.5e-3, token_m: int = 60, **objective: Any
) -> list[float]:
    """Pretrain in place on random 720 m crops of the first scenes; returns the losses."""
    model = MaskedAutoencoder(encoder, DecoderConfig.for_encoder(encoder.config), ObjectiveConfig(**objective))
    engine = make_engine(model, EngineConfig(lr=lr, warmup_steps=min(200, steps // 5)), CPU, steps)
    loss, rng = MaskedLoss(model, [SENSOR]), np.random.default_rng([seed, 1])
    losses, began = [], time.monotonic()
    for step in range(steps):
        batch = random_crops(groups, rng)
        losses.append(engine.train_step([batch], loss, step).loss)
        if (step + 1) % 500 == 0:
            print(f"step {step + 1}: loss {np.mean(losses[-100:]):.4f}, {time.monotonic() - began:.0f} s", flush=True)
    return losses


@cache
def scenes() -> tuple[Groups, np.ndarray]:
    """Return all scenes ``{gsd: (N, C, H, W)}`` and class indices ``(N, H, W)``."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(_scene, range(FIRST_SEED, FIRST_SEED + SCENES)))
    groups = {gsd: torch.from_numpy(np.stack([m.groups[gsd] for m in made]).astype(np.int32)) for gsd in made[0].groups}
    return groups, np.stack([label_set().index_of(m.label) for m in made])


def _scene(seed: int) -> Any:
    return synthesise(SIDE_PX, seed)


@cache
def statistics() -> Statistics:
    """Return mean and deviation of the pretraining scenes."""
    groups, _ = scenes()
    mean, std = {}, {}
    for group in SENSOR.groups:
        values = dn_to_reflectance(groups[group.gsd_m][:PRETRAINED_ON].numpy())
        for index, slot in enumerate(group.slots):
            mean[slot], std[slot] = float(np.nanmean(values[:, index])), float(np.nanstd(values[:, index]))
    return Statistics(mean={s: mean[s] for s in SLOTS}, std={s: std[s] for s in SLOTS})


def tiles(groups: Groups, labels: np.ndarray, which: range, token_m: int) -> tuple[Groups, np.ndarray]:
    """Cut scenes into 720 m chips; returns ``{gsd: (N, C, h, w)}`` and majority classes of tokens ``(N, T)``."""
    side_m = CHIP_TOKENS * 60
    starts = range(0, SIDE_PX * 10 - side_m + 1, side_m)
    corners = [(y, x) for y in starts for x in starts]

    def cut(images: Any, gsd: int) -> list[Any]:
        n = side_m // gsd
        part = images[which.start : which.stop]
        return [part[..., y // gsd : y // gsd + n, x // gsd : x // gsd + n] for y, x in corners]

    chips = {gsd: torch.cat(cut(group, gsd)) for gsd, group in groups.items()}
    pixel = np.concatenate(cut(labels, 10))
    return chips, majority_classes(pixel, token_m // 10).reshape(len(pixel), -1)


def random_crops(groups: Groups, rng: np.random.Generator) -> DeviceBatch:
    side_m, corners = CHIP_TOKENS * 60, (SIDE_PX * 10 - CHIP_TOKENS * 60) // 60 + 1
    picks = [
        (rng.integers(PRETRAINED_ON), rng.integers(corners) * 60, rng.integers(corners) * 60, rng.integers(8))
        for _ in range(BATCH)
    ]
    cut = {}
    for gsd, group in groups.items():
        n = side_m // gsd
        crops = [group[s, :, y // gsd : y // gsd + n, x // gsd : x // gsd + n] for s, y, x, _ in picks]
        turned = [
            torch.rot90(c.flip(-1) if d > 3 else c, int(d) % 4, (-2, -1))
            for c, (*_, d) in zip(crops, picks, strict=True)
        ]
        cut[gsd] = torch.stack(turned)
    draws = rng.integers(0, 2**63, BATCH).astype(np.uint64)
    return DeviceBatch(SENSOR, cut, tuple(map(str, range(BATCH))), draws, None, None)


def _joined_with(first: TokenFeatures, second: TokenFeatures) -> TokenFeatures:
    return TokenFeatures(*(np.concatenate(pair, 1) for pair in zip(first, second, strict=True)))


def _conv_tokens(groups: Groups, token_px: int) -> np.ndarray:
    found = statistics()
    slots = [slot for group in SENSOR.groups for slot in group.slots]
    mean, std = (np.array([values[slot] for slot in slots]) for values in (found.mean, found.std))
    pixels = {gsd: group.numpy().astype(np.uint16) for gsd, group in groups.items()}
    return random_conv_tokens(pixels, SENSOR, mean, std, token_px)


@torch.no_grad()
def token_features(encoder: Encoder, groups: Groups, layer: int | None, sensor: Sensor = SENSOR) -> np.ndarray:
    """Return features of every token ``(N * T, D)``; layer None gives the raw samples."""
    encoder.eval()
    parts = []
    for part in _parts(groups):
        if layer is None:
            parts.append(encoder.samples(part, sensor)[0])
        else:
            parts.append(encoder.forward_intermediates(part, sensor, [layer])[0])
    return torch.cat(parts).flatten(0, 1).float().numpy()


def features(
    encoder: Encoder, chips: Groups, unseen: Groups, layer: int | None, sensor: Sensor = SENSOR
) -> tuple[np.ndarray, np.ndarray]:
    """Return token features of labelled and unseen chips, ``(N, D)``; layer None gives the raw samples."""
    return token_features(encoder, chips, layer, sensor), token_features(encoder, unseen, layer, sensor)


def pick(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    usable = np.flatnonzero(labels != IGNORE_INDEX)
    return np.random.default_rng([seed, 2, count]).choice(usable, min(count, len(usable)), replace=False)


def ridge_accuracy(
    features: tuple[np.ndarray, ...], labels: np.ndarray, rows: np.ndarray, wanted: np.ndarray, scored: np.ndarray
) -> float:
    """Return the accuracy on scored tokens of a ridge regression fitted on the labelled ``rows``."""
    train, test = features[0][rows], features[1]
    mean, std = train.mean(0), train.std(0) + 1e-6
    found = ridge((train - mean) / std, labels[rows], (test - mean) / std, int(labels[rows].max()) + 1)
    return round(float((found == wanted)[scored].mean()), 4)


class _Joined(nn.Module):
    """The encoder and a linear map of its features joined with raw samples, which starts as the fitted probe."""

    def __init__(self, encoder: Encoder, chips: Groups, labels: np.ndarray, rows: np.ndarray, sensor: Sensor) -> None:
        super().__init__()
        self.sensor, classes = sensor, int(labels[rows].max()) + 1
        self.encoder = copy.deepcopy(encoder).eval()
        with torch.no_grad():
            joined = torch.cat([self.features(part) for part in _parts(chips)]).flatten(0, 1).numpy()[rows]
        mean, std = joined.mean(0), joined.std(0) + 1e-6
        weights = torch.from_numpy(fit_ridge((joined - mean) / std, labels[rows], classes)).float()
        self.mean, self.std = nn.Buffer(torch.from_numpy(mean)), nn.Buffer(torch.from_numpy(std))
        self.head = nn.Linear(len(mean), classes)
        self.head.weight.data, self.head.bias.data = weights[:-1].T.contiguous(), weights[-1]
        self.scale = nn.Parameter(torch.tensor(5.0))  # of one-hot regression to logits

    def features(self, groups: Groups) -> torch.Tensor:
        return torch.cat([self.encoder(groups, self.sensor), self.encoder.samples(groups, self.sensor)[0]], -1)

    def forward(self, groups: Groups) -> torch.Tensor:
        return self.scale * self.head((self.features(groups) - self.mean) / self.std)


def finetune(
    encoder: Encoder,
    chips: Groups,
    labels: np.ndarray,
    rows: np.ndarray,
    unseen: Groups,
    wanted: np.ndarray,
    seed: int,
    steps: int = 60,
    sensor: Sensor = SENSOR,
) -> float:
    """Fit the head alone, then train everything a little (LP-FT, Kumar et al. 2022, arXiv 2202.10054).

    Returns the accuracy on unseen tokens.
    """
    torch.manual_seed(seed)
    model = _Joined(encoder, chips, labels.ravel(), rows, sensor)
    chosen = np.full(labels.size, IGNORE_INDEX)
    chosen[rows] = labels.ravel()[rows]
    chosen = torch.from_numpy(chosen.reshape(len(labels), math.isqrt(labels.shape[1]), -1)).long()
    used = np.flatnonzero((chosen != IGNORE_INDEX).flatten(1).any(1).numpy())
    rng = np.random.default_rng([seed, 3])
    engine = make_engine(model, EngineConfig(lr=1e-4, warmup_steps=20, betas=(0.9, 0.999)), CPU, steps)
    model.train()
    for step in range(steps):
        picks, turn = rng.choice(used, min(BATCH, len(used)), replace=False), int(rng.integers(8))
        batch = {gsd: _turned(group[picks], turn) for gsd, group in chips.items()}
        engine.train_step([(batch, _turned(chosen[picks], turn).flatten())], PlainLoss(_token_loss), step)
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(part).argmax(-1) for part in _parts(unseen)]).numpy()
    return round(float((found == wanted)[wanted != IGNORE_INDEX].mean()), 4)


def _token_loss(module: nn.Module, batch: tuple[Groups, torch.Tensor]) -> torch.Tensor:
    groups, classes = batch
    logits = module(groups).flatten(0, 1).float()
    return F.cross_entropy(logits, classes, ignore_index=IGNORE_INDEX, label_smoothing=0.05)


def _turned(images: torch.Tensor, turn: int) -> torch.Tensor:
    """Turn and mirror ``(..., H, W)`` by one of the eight symmetries of a square."""
    turned = torch.rot90(images, turn % 4, (-2, -1))
    return turned.flip(-1) if turn > 3 else turned


def _parts(groups: Groups) -> list[Groups]:
    count = len(next(iter(groups.values())))
    return [{gsd: group[i : i + 64] for gsd, group in groups.items()} for i in range(0, count, 64)]


def _mean(tables: list[dict[str, dict[str, dict[int, float]]]], how: str, name: str, count: int) -> float:
    return float(np.mean([table[how][name][count] for table in tables]))


def main() -> None:
    """Run one variant on one seed and print its table as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tuned", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--token-m", type=int, default=60)
    parser.add_argument("--kind", default="pixels")
    parser.add_argument("--target-norm", default="none")
    parser.add_argument("--mask-ratio", type=float, default=0.75)
    parser.add_argument("--mask-block", type=int, default=1)
    parser.add_argument("--band-dropout", type=float, default=0.4)
    options = vars(parser.parse_args())
    seed, steps, size = (options.pop(name) for name in ("seed", "steps", "size"))
    print(json.dumps(options | evaluate(seed, steps, size, **options)))


if __name__ == "__main__":
    main()
