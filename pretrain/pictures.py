"""Pictures of reconstructions, in true colour and short-wave infrared: visible tokens, prediction, target and error."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bandloom.model.embedding import unpatchify
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.pretrain.objectives.objective import Prediction
from bandloom.pretrain.objectives.pixels import normalise_target
from bandloom.training.device_batch import DeviceBatch

_TRUE_COLOUR, _SWIR = ("B04", "B03", "B02"), ("B12", "B8A", "B04")


@torch.no_grad()
def save_reconstructions(model: MaskedAutoencoder, batch: DeviceBatch, path: Path, most: int = 4) -> None:
    """Write one PNG: a row a sample, with what the encoder saw, what it filled in, the truth and the error.

    An objective that predicts no samples has nothing to show.
    """
    from matplotlib.figure import Figure

    was_training = model.training
    model.eval()
    prediction = model.predict(batch[:most])
    model.train(was_training)
    if prediction is None:
        return
    grid = model.encoder.grid(batch.groups)
    rows = [_panels(model, prediction, index, grid) for index in range(len(prediction.mask))]
    titles = list(rows[0])
    figure = Figure(figsize=(2.1 * len(titles), 2.2 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for number, (row, panels) in enumerate(zip(axes, rows, strict=True)):
        for axis, (title, picture) in zip(row, panels.items(), strict=True):
            axis.imshow(picture, cmap="magma" if picture.ndim == 2 else None, interpolation="nearest")
            axis.set_axis_off()
            if number == 0:
                axis.set_title(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _panels(
    model: MaskedAutoencoder, prediction: Prediction, index: int, grid: tuple[int, int]
) -> dict[str, np.ndarray]:
    target, valid = prediction.target[index : index + 1], prediction.valid[index : index + 1]
    shown = prediction.samples[index : index + 1]
    hidden = prediction.mask[index : index + 1, :, None]
    if model.config.target_norm != "none":  # the model predicts shapes within a token: show the target alike
        target = normalise_target(target, valid, prediction.layout, model.config.target_norm)
    panels: dict[str, np.ndarray] = {}
    for name, slots in (("true colour", _TRUE_COLOUR), ("SWIR", _SWIR)):
        planes = [_planes(model, prediction, t, grid, slots) for t in (target, shown, hidden.expand_as(target).float())]
        if any(plane is None for plane in planes):
            continue
        truth, predicted, mask = (plane for plane in planes if plane is not None)
        low, high = np.percentile(truth, (1, 99))
        stretch = [np.clip((p - low) / max(high - low, 1e-6), 0, 1) for p in (truth, predicted)]
        panels[f"seen, {name}"] = np.where(mask > 0, 0.5, stretch[0])
        panels[f"filled in, {name}"] = np.where(mask > 0, stretch[1], stretch[0])  # visible tokens are not paid for
        panels[f"true, {name}"] = stretch[0]
    error = (shown - target).abs() * valid * hidden
    panels["error, hidden tokens"] = error.mean(-1).reshape(grid).cpu().numpy()
    return panels


def _planes(
    model: MaskedAutoencoder, prediction: Prediction, samples: Tensor, grid: tuple[int, int], slots: tuple[str, ...]
) -> np.ndarray | None:
    """Return ``(H, W, 3)`` of three slots at the finest of their grids, or None when the sensor lacks one."""
    held = {slot.slot: slot for slot in prediction.layout.slots}
    if any(slot not in held for slot in slots):
        return None
    side = max(held[slot].side for slot in slots)
    planes = []
    for name in slots:
        slot = held[name]
        plane = unpatchify(samples[..., slot.start : slot.stop], slot.side, grid[0])[0, 0]
        planes.append(plane.repeat_interleave(side // slot.side, 0).repeat_interleave(side // slot.side, 1))
    return torch.stack(planes, -1).float().cpu().numpy()
