"""Few labels: a random forest and the fitted networks teach the networks again, on pixels that nobody labelled.

A forest with surroundings and the per-pixel networks err differently where labels are few. A forest does not compile,
so the networks learn what both think of unlabelled training ground, as soft labels (Hinton et al. 2015, 1503.02531).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bandloom.command_line.console import logger, track
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.own_bands import measured
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.model.near import PLANES
from bandloom.finetune.model.pixel_part import FIRST, PixelPart
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.training.fit_pixels import PixelFit, fit_pixels
from bandloom.finetune.training.linear_fit import Hide
from bandloom.finetune.training.pixel_network import LabelledPixels, PixelNetwork
from bandloom.run_state.pulse import alive

FEW = 50  # labelled pixels a class, in the mean, up to which this is done
FIRST_STEPS = 600  # of the networks that teach: so few validation pixels choose no step
PIXELS = 30_000
TREES = 200
LABELLED_SHARE = 0.25  # of the pixels that are fitted the second time


def few_labels(train: LabelledPixels, classes: int) -> bool:
    """Tell whether there are so few labelled pixels that a forest has something to add."""
    return not train.labels.is_floating_point() and len(train.labels) <= FEW * classes


def fit_taught(
    part: PixelPart,
    fresh: Mapping[str, Tensor],
    pixels: tuple[LabelledPixels, LabelledPixels | None],
    unlabelled: Tensor,
    first: PixelFit,
    how: tuple[int, int, Hide | None],
) -> PixelFit:
    """Fit a part again, taught by a forest and by itself.

    Args:
        part: fitted on labels; fitted again in place.
        fresh: its state before it was fitted.
        pixels: of training and of validation ground, or None.
        unlabelled: planes of other pixels of training ground, ``(N, F)``.
        first: how the part was fitted.
        how: seed, most steps, and what takes bands away, as of :func:`fit_pixels`.

    Returns:
        How it was fitted the second time; validation pixels choose steps and weights of that alone.
    """
    train, val = pixels
    taught = taught_pixels(part, first, train, unlabelled, how[0])
    part.load_state_dict(dict(fresh))
    logger.info("few labels: a forest and the first networks teach the networks on %d more pixels", len(unlabelled))
    return fit_pixels(part, taught, val, *how, FIRST)  # so few pixels would choose among more by chance


@torch.no_grad()
def taught_pixels(
    part: PixelPart, fit: PixelFit, train: LabelledPixels, unlabelled: Tensor, seed: int
) -> LabelledPixels:
    """Return labelled pixels with their classes, and unlabelled ones with what the teachers think, as ``(N, K)``."""
    from sklearn.ensemble import RandomForestClassifier

    last: Any = part.values[-1]
    classes = int(last.weight.shape[0])
    forest: Any = RandomForestClassifier(TREES, random_state=seed, n_jobs=1)
    seen, asked = (planes[:, : part.bands * PLANES].numpy() for planes in (train.planes, unlabelled))
    alive(lambda: forest.fit(seen, train.labels.numpy()), "fitting a forest")
    votes = torch.from_numpy(alive(lambda: forest.predict_proba(asked), "asking a forest")).float()
    networks = [PixelNetwork(part, name, seed, unlabelled[:0]) for name, weight in fit.weights.items() if weight]
    own = torch.stack([fit.weights[network.name] * network.logits(unlabelled) for network in networks]).sum(0)
    thought = functional.softmax(own, 1) / 2
    thought[:, torch.from_numpy(forest.classes_)] += votes / 2
    copies = max(1, round(len(unlabelled) * LABELLED_SHARE / len(train.labels)))
    known = functional.one_hot(train.labels, classes).float()
    return LabelledPixels(
        torch.cat([unlabelled, train.planes.repeat(copies, 1)]), torch.cat([thought, known.repeat(copies, 1)])
    )


@torch.no_grad()
def training_ground(model: TaskModel, data: TaskData, seed: int) -> Tensor:
    """Return planes of about :data:`PIXELS` measured pixels of training ground, labelled or not, ``(N, F)``."""
    rng, head = np.random.default_rng([seed, 12]), model.head
    windows: Any = getattr(head, "pixel").windows  # noqa: B009
    indices = data.indices_of(TRAIN).tolist()
    share, planes = max(1, PIXELS // max(1, len(indices))), []
    for index in track(indices, "unlabelled pixels"):
        entry, groups = data.shards.entries[index], data.own(data.read(index).groups)
        inside = measured(groups)
        inside &= data.split.roles(entry, (entry.x_m, entry.y_m), inside.shape) == TRAIN
        known = np.flatnonzero(inside)
        picks = torch.from_numpy(rng.choice(known, min(share, len(known)), replace=False))
        tensors = {gsd: torch.from_numpy(group.astype(np.int32))[None] for gsd, group in groups.items()}
        planes.append(windows.planes(model.pixel_bands(tensors), wide=True)[0].flatten(1)[:, picks].T)
    return torch.cat(planes)
