"""The testbed of pretraining objectives: frozen scenes whose classes are decided by surroundings, and their parts.

Scenes of the generator's second kind of ground (``surroundings``), 480 pixels a side: 64 to pretrain on, of which the
first 12 are labelled, 8 to choose on and 12 to report on. Nothing that is chosen looks at the last 12. See
docs/decisions/testbed.md for what local features and a supervised network reach here.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.classes.label_set import IGNORE_INDEX, majority_classes
from bandloom.model.statistics import Statistics
from bandloom.rasters.values import dn_to_reflectance
from bandloom.sensors import SLOTS
from bandloom.shards.synth import SENSOR, label_set, synthesise

SIDE_PX, FIRST_SEED, TOKEN_M = 480, 20_000, 60
PRETRAINED_ON, LABELLED = 64, range(12)
VALIDATION, TEST = range(64, 72), range(72, 84)
SCENES = 84
CHIP_TOKENS = 12  # a chip of 720 m, what an encoder sees at once
CLASSES = len(label_set("surroundings"))
CACHE = Path(os.environ.get("BANDLOOM_TESTBED", "/tmp/bandloom-testbed"))

Groups = dict[int, torch.Tensor]


@dataclass(frozen=True)
class Chips:
    """Chips of 720 m with the class of every token.

    Args:
        groups: digital numbers ``{gsd_m: (N, C, h, w)}``.
        classes: ``(N, 144)`` class index of a token's majority, 255 where it has none.
    """

    groups: Groups
    classes: np.ndarray


@cache
def scenes() -> tuple[Groups, np.ndarray]:
    """Return all scenes ``{gsd_m: (N, C, H, W)}`` and token classes ``(N, 80, 80)``; made once a machine."""
    file = CACHE / f"scenes-{FIRST_SEED}-{SCENES}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(max(1, len(os.sched_getaffinity(0)) - 1)) as pool:
            made = list(pool.map(scene_of, range(FIRST_SEED, FIRST_SEED + SCENES)))
        arrays: dict[str, Any] = {str(gsd): np.stack([groups[gsd] for groups, _ in made]) for gsd in made[0][0]}
        np.savez(file.with_suffix(".part.npz"), classes=np.stack([classes for _, classes in made]), **arrays)
        file.with_suffix(".part.npz").rename(file)
    with np.load(file) as held:
        groups = {int(name): torch.from_numpy(held[name].astype(np.int32)) for name in held.files if name != "classes"}
        return groups, held["classes"]


def scene_of(seed: int) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Make one scene: native groups and the classes of its tokens."""
    scene = synthesise(SIDE_PX, seed, cloud_fraction=0.0, ground="surroundings")
    indices = label_set("surroundings").index_of(scene.label)
    return scene.groups, majority_classes(indices[None], TOKEN_M // 10)[0]


@cache
def statistics() -> Statistics:
    """Return mean and deviation of the scenes that are pretrained on."""
    mean, std = {}, {}
    for group in SENSOR.groups:
        values = dn_to_reflectance(scenes()[0][group.gsd_m][:PRETRAINED_ON].numpy())
        for index, slot in enumerate(group.slots):
            mean[slot], std[slot] = float(np.nanmean(values[:, index])), float(np.nanstd(values[:, index]))
    return Statistics(mean={slot: mean[slot] for slot in SLOTS}, std={slot: std[slot] for slot in SLOTS})


def tiles(which: range) -> Chips:
    """Cut scenes into chips side by side, 36 a scene."""
    last = SIDE_PX * 10 // TOKEN_M - CHIP_TOKENS
    places = [(s, y, x) for s in which for y in range(0, last + 1, 12) for x in range(0, last + 1, 12)]
    return cut(np.array(places))


def chips_of_classes(which: range, a_class: int, seed: int) -> tuple[Chips, np.ndarray]:
    """Draw chips by the class in their middle: as many of every class as there are, ``a_class`` at most.

    Returns:
        The chips, and the class index of the four tokens in the middle of each ``(N,)``.
    """
    rng = np.random.default_rng([seed, 4])
    middle = CHIP_TOKENS // 2
    last = SIDE_PX * 10 // TOKEN_M - CHIP_TOKENS
    classes = scenes()[1]
    places, labels = [], []
    grid = np.stack(np.meshgrid(np.array(which), range(last + 1), range(last + 1), indexing="ij"), -1).reshape(-1, 3)
    at = [classes[grid[:, 0], grid[:, 1] + middle - y, grid[:, 2] + middle - x] for y in (0, 1) for x in (0, 1)]
    pure = np.all([one == at[0] for one in at], axis=0)
    for index in range(CLASSES):
        rows = np.flatnonzero(pure & (at[0] == index))
        picked = rng.choice(rows, min(a_class, len(rows)), replace=False)
        places.append(grid[picked])
        labels.append(np.full(len(picked), index))
    return cut(np.concatenate(places)), np.concatenate(labels)


def cut(places: np.ndarray) -> Chips:
    """Cut the chips whose first tokens lie at ``(scene, row, column)``, ``(N, 3)``."""
    groups, classes = scenes()
    cuts = {}
    for gsd, group in groups.items():
        side, step = CHIP_TOKENS * TOKEN_M // gsd, TOKEN_M // gsd
        cuts[gsd] = torch.stack(
            [group[s, :, y * step : y * step + side, x * step : x * step + side] for s, y, x in places.tolist()]
        )
    tokens = [classes[s, y : y + CHIP_TOKENS, x : x + CHIP_TOKENS].ravel() for s, y, x in places.tolist()]
    return Chips(cuts, np.stack(tokens))


def draw_tokens(classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw labelled tokens: indices into ``classes.ravel()``, without replacement."""
    usable = np.flatnonzero(classes.ravel() != IGNORE_INDEX)
    return np.random.default_rng([seed, 2, count]).choice(usable, min(count, len(usable)), replace=False)
