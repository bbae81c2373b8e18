"""From native band groups to the one grid that a public encoder reads: coarser bands repeated, finer ones averaged."""

from collections.abc import Mapping, Sequence
from math import gcd

import torch
from torch import Tensor
from torch.nn import functional

from bandloom.rasters.values import NODATA, SATURATED
from bandloom.sensors import Sensor


def on_one_grid(
    groups: Mapping[int, Tensor], sensor: Sensor, slots: Sequence[str], gsd_m: int
) -> tuple[Tensor, Tensor]:
    """Return bands on a grid of ``gsd_m``: digital numbers ``(B, C, H, W)``, and where any was measured.

    A coarser sample is repeated over the pixels that it covers; finer ones are averaged, absent ones left aside.

    Args:
        groups: digital numbers ``{gsd_m: (B, C, H, W)}``.
        sensor: whose groups they are; it has every slot.
        slots: in the order of the channels.
        gsd_m: of the grid.
    """
    planes: dict[str, tuple[Tensor, Tensor]] = {}
    for group in sensor.groups:
        wanted = [slot for slot in group.slots if slot in slots]
        if not wanted:
            continue
        dn = groups[group.gsd_m].float()
        # slices rather than a list of indices, which engines may lack (GatherND)
        picked = [dn[:, group.slots.index(slot) : group.slots.index(slot) + 1] for slot in wanted]
        values, valid = _resampled(torch.cat(picked, dim=1), group.gsd_m, gsd_m)
        for place, slot in enumerate(wanted):
            planes[slot] = values[:, place : place + 1], valid[:, place : place + 1]
    values, valid = zip(*(planes[slot] for slot in slots), strict=True)
    return torch.cat(values, dim=1), torch.cat(valid, dim=1)


def _resampled(dn: Tensor, given_m: int, wanted_m: int) -> tuple[Tensor, Tensor]:
    """Bring ``(B, C, H, W)`` of one sampling to another, through the finest grid that both share."""
    shared_m = gcd(given_m, wanted_m)
    repeat, block = given_m // shared_m, wanted_m // shared_m
    if repeat > 1:
        dn = functional.interpolate(dn, (dn.shape[-2] * repeat, dn.shape[-1] * repeat), mode="nearest")
    valid = (dn > NODATA) & (dn < SATURATED)
    if block == 1:
        return dn, valid
    share = functional.avg_pool2d(valid.float(), block)
    mean = functional.avg_pool2d(torch.where(valid, dn, 0.0), block) / share.clamp(min=1e-6)
    return mean, share > 0
