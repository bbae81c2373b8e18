"""One fit of a fusion model: a head on kept tokens, or image network and head together on chips as they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.command_line.console import track
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TRAIN, extent_role
from bandloom.finetune.fusion.config import FusionConfig
from bandloom.finetune.fusion.model import FusionHead, FusionModel, Kind
from bandloom.finetune.fusion.towers import make_tower
from bandloom.finetune.probes.frozen_features import halved
from bandloom.finetune.scores.scoring import evaluating
from bandloom.run_state.pulse import pulse
from bandloom.training.schedule import warm_cosine

A_BATCH, WARMUP = 32, 0.05  # chips at once without gradients; share of the steps that warms up


@dataclass(frozen=True)
class Chips:
    """What is known of each chip but its pixels.

    Args:
        indices: places in the shards, ``(N,)``.
        labels: class indices ``(N,)``.
        roles: 0 train, 1 validation, 2 test, 255 neither, ``(N,)``.
        blocks: of ground, ``(N,)`` uint64.
    """

    indices: np.ndarray
    labels: np.ndarray
    roles: np.ndarray
    blocks: np.ndarray

    def rows(self, role: int) -> np.ndarray:
        """Return the rows of a role."""
        return np.flatnonzero(self.roles == role)


def chips_of(data: TaskData) -> Chips:
    """Return the chips of labelled samples under their split."""
    entries = [data.shards.entries[int(i)] for i in data.indices]
    sides = [int(entry.side_px) for entry in entries]
    blocks = [
        data.split.blocks(entry, (entry.x_m, entry.y_m), (side, side))[side // 2, side // 2]
        for entry, side in zip(entries, sides, strict=True)
    ]
    return Chips(
        data.indices,
        np.array([entry.class_index for entry in entries], np.int64),
        np.array([extent_role(data.split, e, side) for e, side in zip(entries, sides, strict=True)], np.int64),
        np.array(blocks, np.uint64),
    )


class Images:
    """Chips as a network wants them: kept tokens while it is frozen, digital numbers while it trains.

    Args:
        config: network and mode.
        data: whose chips.
        statistics: reflectance is normalised by these where there is no checkpoint.
        device: where networks run.
    """

    def __init__(self, config: FusionConfig, data: TaskData, statistics: Any, device: torch.device) -> None:
        self.config, self.data, self.statistics, self.device = config, data, statistics, device
        self.frozen = config.image.mode == "frozen"
        self.tower = self.new_tower(0)
        self.tokens = self._all_tokens()  # of a network that trains, too: where its features start

    def new_tower(self, seed: int) -> Any:
        """Return the config's network, its random weights by ``seed``."""
        return make_tower(self.config.image, self.data.sensor, self.statistics, seed).to(self.device)

    def of(self, rows: np.ndarray, model: nn.Module) -> Any:
        """Return what a model takes: tokens ``(B, G, D)``, or digital numbers ``{gsd_m: (B, C, H, W)}``."""
        if isinstance(model, FusionModel):
            return self.groups(rows)
        return torch.from_numpy(self.tokens[rows]).float().to(self.device)

    def groups(self, rows: np.ndarray) -> dict[int, Tensor]:
        """Read chips."""
        chips = [self.data.read(int(self.data.indices[row])).groups for row in rows]
        return {gsd: torch.from_numpy(np.stack([chip[gsd] for chip in chips])).to(self.device) for gsd in chips[0]}

    def _all_tokens(self) -> np.ndarray:
        rows = np.arange(len(self.data.indices))
        with torch.no_grad(), evaluating(self.tower):
            parts = [halved(self.tower(self.groups(part))) for part in track(_batches(rows), "features of the images")]
        return np.concatenate(parts)


def fit(
    config: FusionConfig, kind: Kind, seed: int, chips: Chips, images: Images, sentences: np.ndarray, classes: int
) -> nn.Module:
    """Train one row's network on the training chips.

    Args:
        config: steps, rates and width.
        kind: how image and words are joined, or which of them alone.
        seed: of weights and batches.
        chips: labels and roles.
        images: pixels or kept tokens.
        sentences: ``(N, S, E)``, as this row is told.
        classes: K.

    Returns:
        ``(images.of(rows, model), sentences) -> (B, K)``, in evaluation.
    """
    train = chips.rows(TRAIN)
    model = _new_model(config, kind, seed, images, sentences.shape[2], classes, train).to(images.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    rng = np.random.default_rng([seed, 7])
    model.train()
    for step in range(config.steps):
        pulse(f"training {kind}")
        rows = rng.choice(train, min(config.batch_size, len(train)), replace=False)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * warm_cosine(step, config.steps, WARMUP * config.steps)
        logits = model(images.of(rows, model), _tensor(sentences[rows], images))
        loss = functional.cross_entropy(logits, torch.from_numpy(chips.labels[rows]).to(images.device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, images: Images, sentences: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return predicted classes of some rows, ``(M,)``."""
    parts: list[np.ndarray] = []
    for part in _batches(rows):
        pulse("scoring")
        parts.append(model(images.of(part, model), _tensor(sentences[part], images)).argmax(1).cpu().numpy())
    return np.concatenate(parts)


def image_and_head(model: nn.Module, images: Images) -> FusionModel:
    """Return a fitted row as image network and head."""
    if isinstance(model, FusionModel):
        return model
    if not isinstance(model, FusionHead):
        raise TypeError("a fit gives a FusionHead or a FusionModel")
    return FusionModel(images.tower, model)


def _new_model(
    config: FusionConfig, kind: Kind, seed: int, images: Images, text_dim: int, classes: int, train: np.ndarray
) -> nn.Module:
    held = images.tokens[train].astype(np.float32).reshape(-1, images.tokens.shape[-1])
    mean, std = torch.from_numpy(held.mean(0)), torch.from_numpy(held.std(0) + 1e-4)
    torch.manual_seed(seed + 1)
    head = FusionHead(kind, len(mean), text_dim, classes, config.width, mean, std)
    return head if images.frozen or kind == "text" else FusionModel(images.new_tower(seed), head)


def _tensor(values: np.ndarray, images: Images) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(images.device)


def _batches(rows: np.ndarray) -> Sequence[np.ndarray]:
    return [rows[first : first + A_BATCH] for first in range(0, len(rows), A_BATCH)]
