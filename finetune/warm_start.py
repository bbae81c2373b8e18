"""Fits the spectral part of a segmenter on single pixels first, in seconds, so that training starts where pixels end.

Chips hold thousands of pixels that resemble each other, so a network fed with chips learns spectra slowly; shuffled
pixels teach them at once. Fitting the head before the whole also protects pretrained features (LP-FT, Kumar et al.
2022, arXiv 2202.10054).
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.label_set import IGNORE_INDEX
from finetune.heads import SegmentHead
from finetune.model import TaskModel
from finetune.splits import TRAIN
from finetune.task_data import TaskData

PIXELS, BATCH, PEAK_LR = 60_000, 4096, 3e-2


def warm_start(model: TaskModel, data: TaskData, seed: int, steps: int = 600) -> float:
    """Fit the spectral part of the model's head on training pixels alone; returns the last loss.

    Args:
        model: a segmenter; a classifier is left as it is.
        data: its labels; only the training role is read.
        seed: of the pixels and their order: every rank does the same.
        steps: of :data:`BATCH` pixels each; 0 leaves the head as drawn.
    """
    if not steps or not isinstance(model.head, SegmentHead):
        return float("nan")
    spectra, labels = training_pixels(model, data, np.random.default_rng([seed, 11]))
    head = model.head
    layers = nn.Sequential(head.spectrum, head.classify_spectrum)
    optimizer = torch.optim.AdamW(layers.parameters(), lr=PEAK_LR, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros(())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR * min(1.0, (step + 1) / 20) * 0.5 * (1 + np.cos(np.pi * step / steps))
        picks = torch.randint(len(labels), (min(BATCH, len(labels)),), generator=generator)
        logits = layers(spectra[picks].T[None, :, None])  # (1, K, 1, N)
        loss = functional.cross_entropy(logits[0, :, 0].T, labels[picks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def training_pixels(model: TaskModel, data: TaskData, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return spectra ``(N, C)`` as the head sees them and class indices ``(N,)`` of training pixels."""
    spectra, labels = [], []
    each = max(1, PIXELS // max(1, len(data.indices_of(TRAIN))))
    for found in data.samples(TRAIN):
        known = np.flatnonzero(found.label != IGNORE_INDEX)
        picks = rng.choice(known, min(each, len(known)), replace=False)
        groups = {gsd: torch.from_numpy(group.astype(np.int32))[None] for gsd, group in found.groups.items()}
        pixels = model.pixel_bands(groups)[0].flatten(1).T  # (H * W, C)
        spectra.append(pixels[torch.from_numpy(picks)])
        labels.append(torch.from_numpy(found.label.ravel()[picks].astype(np.int64)))
    return torch.cat(spectra), torch.cat(labels)
