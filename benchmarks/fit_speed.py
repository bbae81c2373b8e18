"""Steps a second of a head's per-pixel networks: fitted on shuffled pixels, and inside a model that trains on chips.

The baseline is the code of before, kept here: 1 x 1 convolutions on a row of pixels with torch's dropout, every band
copied to the 10 m grid before its layer, and windows by average pooling.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.finetune.model.native_bands import BandGroup, stacked
from bandloom.finetune.model.near import PLANES, WIDE_PLANES, WINDOWS_PX
from bandloom.finetune.model.pixel_part import PixelPart
from bandloom.finetune.training.fit_pixels import fit_pixels
from bandloom.finetune.training.pixel_network import BATCH, DROP, EVERY, PEAK_LR, LabelledPixels
from bandloom.training.schedule import warm_cosine
from benchmarks.harness import Figure

BANDS, CLASSES, PIXELS, STEPS, ROUNDS = 13, 12, 60_000, 100, 4
CHIPS, SIDE_PX = 16, 72


def run() -> list[Figure]:
    """Fit the same networks both ways, turn by turn, in processor time of one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    part, pixels = PixelPart(BANDS, CLASSES).eval(), _pixels()  # the three networks of before alone
    groups = [
        BandGroup(torch.randn(CHIPS, count, SIDE_PX // f, SIDE_PX // f), f) for count, f in ((4, 1), (6, 2), (3, 6))
    ]
    own, before = _best(lambda: fit_pixels(part, pixels, None, 0, STEPS), lambda: fit_before(part, pixels, STEPS))
    own_chips, before_chips = _best(
        lambda: part(groups)[0].sum().backward(), lambda: logits_before(part, groups).sum().backward()
    )
    note = f"{BANDS} bands, {CLASSES} classes, one thread's processor time, best of {ROUNDS} interleaved"
    rival = "the code of before"
    return [
        Figure(
            "fit_speed",
            STEPS / own,
            "steps/s",
            rival,
            STEPS / before,
            ">= 3",
            f"a step of two networks, and of the coded one every second time, on {BATCH} shuffled pixels; {note}",
        ),
        Figure(
            "fit_speed_chips",
            1 / own_chips,
            "steps/s",
            rival,
            1 / before_chips,
            note=f"the per-pixel part of a step on {CHIPS} chips of {SIDE_PX} pixels, forward and backward; {note}",
        ),
    ]


def _best(*calls: Callable[[], Any]) -> list[float]:
    best = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for index, call in enumerate(calls):
            began = time.process_time()
            call()
            best[index] = min(best[index], time.process_time() - began)
    return best


def _pixels() -> LabelledPixels:
    planes = torch.randn(PIXELS, BANDS * WIDE_PLANES)
    return LabelledPixels(planes, torch.randint(0, CLASSES, (PIXELS,)))


def fit_before(part: PixelPart, pixels: LabelledPixels, steps: int) -> None:
    """Fit the three networks one by one, as it was done."""
    bands, near = pixels.planes[:, :BANDS], pixels.planes[:, : BANDS * PLANES]
    part.code.fit(bands[::3])
    part.windows.fit(near)
    inputs = {"values": bands, "coded": bands, "near": near}
    for name, rows in inputs.items():
        network = getattr(part, name)
        layers = [part.code] if name == "coded" else [part.windows] if name == "near" else []
        for layer in network:
            layers += [layer, nn.Dropout(DROP[name])] if isinstance(layer, nn.GELU) and DROP[name] else [layer]
        _fit_before(nn.Sequential(*layers), rows, pixels.labels, steps // EVERY[name], PEAK_LR[name])


def _fit_before(layers: nn.Module, rows: Tensor, labels: Tensor, steps: int, peak_lr: float) -> None:
    optimizer = torch.optim.AdamW(layers.parameters(), lr=peak_lr, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = warm_cosine(step, steps, 20, peak_lr)
        picks = torch.randint(len(labels), (BATCH,), generator=generator)
        logits = layers(rows[picks].T[None, :, None])  # (1, K, 1, N)
        loss = functional.cross_entropy(logits[0, :, 0].T, labels[picks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def logits_before(part: PixelPart, groups: list[BandGroup]) -> Tensor:
    """Return the mean of the networks' logits with every band copied to the 10 m grid first."""
    pixels = stacked(groups)
    climbed = (pixels.unsqueeze(2) - part.code.lower[:, :, None, None]) * part.code.scale[:, :, None, None]
    coded = part.coded(climbed.clamp(0, 1).flatten(1, 2))
    return (part.values(pixels) + coded + part.near(part.windows(planes_before(pixels)))) / 3


def planes_before(pixels: Tensor) -> Tensor:
    """Return what :meth:`Near.planes` does, by average pooling of each window by itself."""
    planes = [pixels]
    for side in WINDOWS_PX:
        mean = _pooled(pixels, side)
        planes += [mean, (_pooled(pixels.square(), side) - mean.square()).clamp_min(0).sqrt()]
    return torch.cat(planes, dim=1)


def _pooled(pixels: Tensor, side: int) -> Tensor:
    half = side // 2
    down = functional.avg_pool2d(pixels, (side, 1), stride=1, padding=(half, 0), count_include_pad=False)
    return functional.avg_pool2d(down, (1, side), stride=1, padding=(0, half), count_include_pad=False)
