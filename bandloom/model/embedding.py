"""The token embedding: one weight a slot on its Sentinel-2 grid, carried over by area to samples of any other grid."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.errors import SceneError
from bandloom.model.statistics import Statistics
from bandloom.model.stem import FilterStem
from bandloom.model.token_layout import TokenLayout, area_overlap, reference_layout, token_layout
from bandloom.rasters.values import NODATA, OFFSET, SATURATED, SCALE
from bandloom.sensors import SLOTS, Sensor
from bandloom.training.device_memory import constant


def patchify(pixels: Tensor, side: int) -> Tensor:
    """Cut ``(B, C, H, W)`` into tokens of ``side * side`` samples a band: ``(B, T, C * side * side)``, T row by row."""
    b, c, h, w = pixels.shape
    blocks = pixels.reshape(b, c, h // side, side, w // side, side)  # (B, C, rows, side, columns, side)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(b, (h // side) * (w // side), c * side * side)


def unpatchify(samples: Tensor, side: int, rows: int) -> Tensor:
    """Undo :func:`patchify`: ``(B, T, C * side * side)`` with ``rows`` token rows back to ``(B, C, H, W)``."""
    b, t, s = samples.shape
    c, columns = s // side**2, t // rows
    blocks = samples.reshape(b, rows, columns, c, side, side).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(b, c, rows * side, columns * side)


def carry_over(weight: Tensor, given: TokenLayout, wanted: TokenLayout) -> Tensor:
    """Carry a weight on the samples of ``given`` over to the samples of ``wanted``, by area overlap.

    Embedding ``wanted``'s samples with the result is the same number as resampling them by area to ``given``'s grid and
    embedding those: ``sum(w * (A x A^T)) = sum((A^T w A) * x)``.

    Args:
        weight: ``(D, S_given)``.
        given: layout that holds every slot of ``wanted``.
        wanted: layout of the samples that arrive.

    Returns:
        ``(D, S_wanted)``.
    """
    if given == wanted:
        return weight
    source = {slot.slot: slot for slot in given.slots}
    parts = []
    for slot in wanted.slots:
        own = source[slot.slot]
        square = weight[:, own.start : own.stop].reshape(-1, own.side, own.side)
        if own.side != slot.side:
            overlap = constant(weight.device, area_overlap, own.side, slot.side).to(weight)  # (own, arriving)
            square = overlap.T @ square @ overlap
        parts.append(square.reshape(weight.shape[0], -1))
    return torch.cat(parts, dim=1)


class TokenEmbedding(nn.Module):
    """Embed the native samples of a token as the sum over its present bands.

    ``token = scale * sum(weight * sample) + sum(absent vectors)``, ``scale = sqrt(all samples / present samples)``,
    so that a sensor with few bands gives tokens of the same size; no norm follows, or it would undo the scale. Where
    there is a stem, what its filters say of the token is added.

    Args:
        embed_dim: D, the width of a token.
        token_m: metres of ground a token covers.
        statistics: of reflectance by slot, by which samples are normalised.
        stem_filters: number of filters of the stem; 0: none.
    """

    def __init__(self, embed_dim: int, token_m: int, statistics: Statistics, stem_filters: int = 0) -> None:
        super().__init__()
        self.token_m = token_m
        self.statistics = statistics
        self.layout = reference_layout(token_m)
        self.weight = nn.Parameter(torch.empty(embed_dim, self.layout.samples))
        self.absent = nn.Parameter(torch.zeros(len(SLOTS), embed_dim))
        mean, std = (torch.from_numpy(array) for array in statistics.arrays())
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.reset_parameters()
        self.stem = FilterStem(stem_filters, embed_dim, token_m) if stem_filters else None

    mean: Tensor
    std: Tensor

    def reset_parameters(self) -> None:
        """Start every slot with the same output variance: its weights' deviation is 1 / side of its sample grid."""
        # samples normalised by 2 sigma have a deviation of 1/2; 13 slots together then give tokens of deviation 1
        gain = 2.0 / len(SLOTS) ** 0.5
        with torch.no_grad():
            for slot in self.layout.slots:
                self.weight[:, slot.start : slot.stop].normal_(std=gain / slot.side)
            self.absent.normal_(std=0.02)

    def samples(self, groups: Mapping[int, Tensor], sensor: Sensor) -> tuple[Tensor, Tensor]:
        """Cut native groups into tokens of normalised samples.

        Args:
            groups: digital numbers by gsd in metres, ``(B, C, H, W)`` each, of any integer type or float.
            sensor: whose groups they are.

        Returns:
            Samples ``(B, T, S)`` float32, 0 where absent, and their validity ``(B, T, S)`` bool.

        Raises:
            SceneError: a group is missing, has other bands, or does not tile into tokens.
        """
        self.statistics.require(sensor.slots)
        check_groups({gsd: tuple(group.shape) for gsd, group in groups.items()}, sensor, self.token_m)
        dn = torch.cat([patchify(groups[g.gsd_m].float(), self.token_m // g.gsd_m) for g in sensor.groups], dim=-1)
        valid = (dn > NODATA) & (dn < SATURATED)
        slot = constant(self.mean.device, slot_of_sample, sensor, self.token_m)
        value = ((dn - OFFSET) / SCALE - self.mean[slot]) / (2 * self.std[slot])
        return torch.where(valid, value, 0.0), valid

    def forward(self, samples: Tensor, valid: Tensor, sensor: Sensor) -> Tensor:
        """Embed samples ``(B, T, S)`` with their validity ``(B, T, S)`` into tokens ``(B, T, D)``."""
        layout = token_layout(sensor, self.token_m)
        weight = carry_over(self.weight, self.layout, layout)
        matrix, reference = (
            constant(samples.device, make, of).to(samples.dtype)
            for make, of in ((_share_matrix, layout), (_samples_of_slots, self.layout))
        )
        share = valid.to(samples.dtype) @ matrix  # (B, T, 13), 1 where a slot is complete
        present = (share * reference).sum(-1, keepdim=True)  # (B, T, 1) in reference samples
        scale = (self.layout.samples / present.clamp(min=1.0)).sqrt()
        absent = (share == 0).to(samples.dtype)
        there = torch.where(valid, samples, 0.0)
        tokens = nn.functional.linear(there, weight) * scale + absent @ self.absent
        return tokens if self.stem is None else tokens + self.stem(there, share, sensor)


def slot_of_sample(sensor: Sensor, token_m: int) -> np.ndarray:
    """Return the index into ``SLOTS`` of every sample of a token, ``(S,)`` int64."""
    return token_layout(sensor, token_m).slot_of_sample()


def _share_matrix(layout: TokenLayout) -> Tensor:
    """Return ``(S, 13)`` float32: what each sample adds to the share of its slot that is present."""
    matrix = torch.zeros(layout.samples, len(SLOTS))
    for slot in layout.slots:
        matrix[slot.start : slot.stop, SLOTS.index(slot.slot)] = 1.0 / slot.side**2
    return matrix


def _samples_of_slots(layout: TokenLayout) -> Tensor:
    """Return how many samples of a token each slot has, ``(13,)`` float32."""
    counts = torch.zeros(len(SLOTS))
    for slot in layout.slots:
        counts[SLOTS.index(slot.slot)] = slot.side**2
    return counts


def check_groups(shapes: Mapping[int, tuple[int, ...]], sensor: Sensor, token_m: int) -> None:
    """Check that native groups fit the sensor and tile into tokens; shapes end in ``(C, H, W)``.

    Raises:
        SceneError: what differs, with the expected and the given shape.
    """
    expected = {group.gsd_m: len(group.bands) for group in sensor.groups}
    given = {gsd: shape[-3] for gsd, shape in shapes.items()}
    if expected != given:
        raise SceneError(
            f"sensor {sensor.name!r} has the band groups {expected} (gsd in metres: bands), got {given};"
            " name the sensor the pixels come from."
        )
    extents = {(shape[-2] * gsd, shape[-1] * gsd) for gsd, shape in shapes.items()}
    if len(extents) > 1:
        raise SceneError(f"the band groups cover different ground: {sorted(extents)} metres; cut them to one window.")
    height_m, width_m = extents.pop()
    if height_m % token_m or width_m % token_m:
        raise SceneError(
            f"a chip of {height_m} x {width_m} m does not tile into tokens of {token_m} m;"
            f" pad or crop it to multiples of {token_m} m."
        )
