"""One per-pixel network while it is fitted on rows of pixels: its steps, its running mean, and its best step."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.finetune.model.near import PLANES
from bandloom.finetune.model.pixel_part import NETWORKS, PixelPart
from bandloom.training.schedule import warm_cosine

BATCH = 4096
PEAK_LR = {"values": 3e-2, "coded": 1e-2, "near": 2e-2, "wide": 2e-2}  # as dropout, chosen on training ground
EVERY = {"values": 1, "coded": 2, "near": 1, "wide": 1}  # steps between two of a network's
DROP = {"values": 0.0, "coded": 0.3, "near": 0.3, "wide": 0.3}
LOOK_STEPS, PATIENCE = 100, 6  # validation is scored this often, and may go on this many times without a gain
AVERAGED_STEPS = 100  # weights are scored and kept as their running mean over so many steps, or the last tenth


@dataclass(frozen=True)
class LabelledPixels:
    """Planes ``(N, F)`` of ``Near.planes``, wide ones too; classes or values ``(N,)``, or shares of classes ``(N, K)``.

    Of validation pixels the block of each, ``(N,)``, too.
    """

    planes: Tensor
    labels: Tensor
    blocks: np.ndarray | None = None


def pixel_loss(output: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of outputs ``(N, K)``: cross entropy of classes or their shares, squared error of values."""
    if labels.ndim == 2:
        return functional.cross_entropy(output, labels)
    if labels.is_floating_point():
        return functional.mse_loss(output[:, 0], labels)
    return functional.cross_entropy(output.T[None], labels[None])  # classes before pixels: four times as fast


@dataclass
class PixelNetwork:
    """One of a part's networks while it is fitted: as matrices on rows of pixels, which is what a 1 x 1 layer is."""

    part: PixelPart
    name: str
    seed: int
    planes: Tensor
    stopped: bool = False
    best_loss: float = float("inf")
    best_step: int = 0
    last_loss: float = float("inf")
    best: list[Tensor] = field(default_factory=list)
    best_logits: Tensor = field(default_factory=lambda: torch.zeros(()))

    def __post_init__(self) -> None:
        network: nn.Module = getattr(self.part, self.name)
        self.rows = self.inputs(self.planes)  # once for all steps: (N, F)
        self.own = list(network.parameters())  # untouched until the best is kept
        flat = nn.utils.parameters_to_vector(self.own).detach()  # in a row: one tensor to zero, to step and to average
        self.flat, self.flat_gradient, self.flat_average = flat, torch.zeros_like(flat), flat.clone()
        flat.grad = self.flat_gradient
        self.weights = [weight.requires_grad_() for weight in self._cut(flat)]
        for weight, gradient in zip(self.weights, self._cut(self.flat_gradient), strict=True):
            weight.grad = gradient
        self.average = self._cut(self.flat_average)
        self.optimizer = torch.optim.AdamW([flat], lr=PEAK_LR[self.name], weight_decay=1e-4, fused=True)
        self.random = np.random.default_rng([self.seed, NETWORKS.index(self.name)])

    def step(self, rows: Tensor, labels: Tensor, step: int, steps: int) -> None:
        """Take one step on a batch of :meth:`inputs`, ``(B, F)``."""
        self.optimizer.param_groups[0]["lr"] = warm_cosine(step, steps, 20, PEAK_LR[self.name])
        loss = pixel_loss(self._forward(rows, self.weights, DROP[self.name]), labels)
        self.flat_gradient.zero_()
        loss.backward()
        self.optimizer.step()
        if steps - step <= EVERY[self.name]:
            self.last_loss = float(loss.detach())
        share = max(1 / AVERAGED_STEPS, 10 / (step + 10))
        self.flat_average.lerp_(self.flat, share)

    @torch.no_grad()
    def look(self, val: LabelledPixels, step: int) -> None:
        """Keep the averaged weights if validation has never been better; stop after long enough without that."""
        logits = self.logits(val.planes)
        loss = float(pixel_loss(logits, val.labels))
        if not self.best or loss < self.best_loss:
            self.best_loss, self.best_step, self.best = loss, step, copy.deepcopy(self.average)
            self.best_logits = logits
        self.stopped = step - self.best_step >= PATIENCE * LOOK_STEPS

    @torch.no_grad()
    def logits(self, planes: Tensor) -> Tensor:
        """Return outputs ``(N, K)`` of the averaged weights."""
        return torch.cat([self._forward(self.inputs(rows), self.average, 0.0) for rows in planes.split(BATCH)])

    @torch.no_grad()
    def keep_best(self) -> None:
        """Put the best averaged weights into the network."""
        self.average = self.best or self.average
        for weight, kept in zip(self.own, self.average, strict=True):
            weight.copy_(kept)

    @torch.no_grad()
    def inputs(self, planes: Tensor) -> Tensor:
        """Return what the network sees of planes ``(N, F)``."""
        if self.name == "wide":
            return self.part.surroundings.rows(planes)
        if self.name == "near":
            return self.part.windows.rows(planes[:, : self.part.bands * PLANES])
        bands = planes[:, : self.part.bands]
        return bands if self.name == "values" else self.part.code(bands[..., None, None])[..., 0, 0]

    def _cut(self, flat: Tensor) -> list[Tensor]:
        """Return each weight as a part of all of them in a row."""
        parts = flat.split([weight.numel() for weight in self.own])
        return [part.view(weight.shape) for part, weight in zip(parts, self.own, strict=True)]

    def _forward(self, rows: Tensor, weights: Sequence[Tensor], drop: float) -> Tensor:
        for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            rows = functional.gelu(functional.linear(rows, weight.flatten(1), bias))
            if drop:
                rows = rows * self._dropout(rows.shape, drop)
        return functional.linear(rows, weights[-2].flatten(1), weights[-1])

    def _dropout(self, shape: torch.Size, drop: float) -> Tensor:
        """Return 0 for dropped numbers and 1 / (1 - drop) for others, from random bytes: a tenth of torch's time.

        Bytes are drawn eight at a time, and read as whole numbers rather than bools, which are slow to become floats.
        """
        limit, count = round(256 * drop), shape.numel()
        drawn = self.random.integers(0, 2**64 - 1, -(-count // 8), dtype=np.uint64, endpoint=True)
        kept = drawn.view(np.uint8)[:count] >= limit
        return torch.from_numpy(kept.view(np.int8)).view(shape).to(torch.float32) * (256 / (256 - limit))
