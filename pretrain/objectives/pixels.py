"""The pixel objective, the default: SmoothL1 on native samples of hidden tokens by band group, valid samples alone."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bandloom.model.token_layout import TokenLayout, area_overlap, reference_layout, token_layout
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.objective import Decoded, Objective, Prediction
from bandloom.sensors import Sensor
from bandloom.training.device_memory import constant
from bandloom.training.step_loss import LossSums


class NativePixels(Objective):
    """Predict the samples of all thirteen slots on Sentinel-2's grids; other sensors' grids by area."""

    def __init__(self, config: ObjectiveConfig, token_m: int) -> None:
        super().__init__()
        self.config, self.token_m = config, token_m
        self.layout = reference_layout(token_m)
        self.outputs = self.layout.samples

    def forward(self, decoded: Decoded) -> LossSums:
        """Return the loss's terms, one a band group."""
        return pixel_loss(self.predict(decoded), self.config)

    def terms(self, sensor: Sensor) -> int:
        """Return the number of band groups."""
        return len(token_layout(sensor, self.token_m).by_gsd())

    def counts(self, valid: Tensor, mask: Tensor, sensor: Sensor) -> Tensor:
        """Return the number of hidden, valid samples by band group."""
        counted = valid & mask[..., None]
        parts = token_layout(sensor, self.token_m).by_gsd().values()
        return torch.stack([counted[..., part].sum() for part in parts])

    def predict(self, decoded: Decoded) -> Prediction:
        """Return predicted samples of all tokens beside the true ones."""
        layout = token_layout(decoded.sensor, self.token_m)
        samples = self.to_sensor(decoded.outputs.float(), decoded.sensor)
        return Prediction(samples, decoded.samples, decoded.valid, decoded.mask, layout)

    def to_sensor(self, samples: Tensor, sensor: Sensor) -> Tensor:
        """Resample predictions on the reference grids ``(B, T, S_reference)`` to a sensor's grids, by area."""
        wanted = token_layout(sensor, self.token_m)
        if wanted == self.layout:
            return samples
        source = {slot.slot: slot for slot in self.layout.slots}
        parts = []
        for slot in wanted.slots:
            own = source[slot.slot]
            square = samples[..., own.start : own.stop].unflatten(-1, (own.side, own.side))
            if own.side != slot.side:
                overlap = constant(samples.device, area_overlap, slot.side, own.side).to(samples)  # (wanted, own)
                square = overlap @ square @ overlap.T
            parts.append(square.flatten(-2))
        return torch.cat(parts, dim=-1)


def pixel_loss(prediction: Prediction, objective: ObjectiveConfig) -> LossSums:
    """Return the SmoothL1 loss on hidden, valid samples, one term a band group; the loss is the mean of their means.

    Band groups (the native grids) count alike, or 144 samples at 10 m would drown 3 at 60 m (arXiv 2508.10894).
    """
    counted = prediction.valid & prediction.mask[..., None]
    target = normalise_target(prediction.target, prediction.valid, prediction.layout, objective.target_norm)
    error = F.smooth_l1_loss(prediction.samples, target, beta=objective.beta, reduction="none")
    sums, counts = [], []
    for part in prediction.layout.by_gsd().values():
        weight = counted[..., part].to(error.dtype)
        sums.append((error[..., part] * weight).sum())
        counts.append(weight.sum())
    return LossSums(torch.stack(sums), torch.stack(counts))


def normalise_target(target: Tensor, valid: Tensor, layout: TokenLayout, how: str) -> Tensor:
    """Normalise targets by their own token: not at all, over each slot, or over each band group.

    Args:
        target: ``(B, T, S)``, normalised reflectance.
        valid: ``(B, T, S)`` bool.
        layout: which sample is which.
        how: ``none``, ``group`` (each native grid of a token by its own mean and deviation) or ``token`` (all samples).

    Returns:
        ``(B, T, S)``.
    """
    if how == "none":
        return target
    parts = list(layout.by_gsd().values()) if how == "group" else [slice(0, layout.samples)]
    return torch.cat([_standardise(target[..., part], valid[..., part]) for part in parts], dim=-1)


def _standardise(target: Tensor, valid: Tensor) -> Tensor:
    weight = valid.to(target.dtype)
    count = weight.sum(-1, keepdim=True).clamp(min=1.0)
    mean = (target * weight).sum(-1, keepdim=True) / count
    variance = ((target - mean).square() * weight).sum(-1, keepdim=True) / count
    return (target - mean) / (variance + 1e-6).sqrt()
