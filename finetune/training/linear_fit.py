"""Fits the linear map of a pixel's bands: regularised logistic regression of classes, or ridge regression of values."""

from collections.abc import Callable

import torch
from torch import Tensor

from bandloom.finetune.model.pixel_part import PixelPart
from bandloom.finetune.training.pixel_network import LabelledPixels, pixel_loss
from bandloom.finetune.training.weigh import best_one
from bandloom.run_state.pulse import pulse

PIXELS = 20_000  # what more of them would change is less than what regularisation does
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)  # C of scikit-learn: the loss's sum over pixels, against half the squared map
ITERATIONS = 200
Hide = Callable[[Tensor, torch.Generator], Tensor]  # takes bands away from planes (B, F): sets them to 0


def fit_linear(
    part: PixelPart, train: LabelledPixels, val: LabelledPixels, seed: int, hide: Hide | None = None
) -> Tensor:
    """Fit the part's linear map; validation pixels choose how strongly it is held down.

    Args:
        part: whose ``linear`` is set.
        train: pixels to fit on, of which at most :data:`PIXELS` are drawn.
        val: pixels that choose among :data:`STRENGTHS`, by macro-F1 of classes and by the error of values.
        seed: of the choice of pixels, and of ``hide``.
        hide: what takes bands away; fitted on pixels with all of them and on the same with fewer.

    Returns:
        The map's outputs on the validation pixels, ``(N, K)``.
    """
    rows, labels = _drawn(part, train, seed, hide)
    centre, scale = rows.mean(0), 1 / rows.std(0).clamp_min(1e-6)
    layer = part.linear[0]
    classes = int(layer.weight.shape[0])  # type: ignore[arg-type, union-attr]
    seen, maps, outputs, last = val.planes[:, : part.bands].double(), [], [], None
    for strength in STRENGTHS:
        pulse("a linear map")
        last = minimised((rows - centre) * scale, labels, classes, strength, last)
        weight = last[0] * scale  # of bands as they come
        maps.append((weight, last[1] - weight @ centre))
        outputs.append((seen @ weight.T + maps[-1][1]).float())
    best = best_one(outputs, val.labels)
    with torch.no_grad():
        layer.weight.copy_(maps[best][0][..., None, None])  # type: ignore[operator, union-attr]
        layer.bias.copy_(maps[best][1])  # type: ignore[operator, union-attr]
    return outputs[best]


def minimised(
    rows: Tensor, labels: Tensor, classes: int, strength: float, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the one map ``(K, F)`` and bias ``(K,)`` of least regularised loss, in double precision.

    Args:
        rows: ``(N, F)`` double.
        labels: class indices, shares of classes ``(N, K)``, or values.
        classes: K.
        strength: C, as of scikit-learn's LogisticRegression; the bias is free.
        start: map and bias to begin at, as those of the strength before; None: zeros.
    """
    count, mean = len(rows), rows.mean(0)
    held = 1 / (strength * count)
    # bands that go together bend the loss along a few directions; on rows without that, it takes a tenth of the steps
    spread = (rows - mean).T @ (rows - mean) / (4 * count) + held * torch.eye(rows.shape[1], dtype=torch.float64)
    factor = torch.linalg.cholesky(spread)
    mixing = torch.linalg.inv(factor)
    apart = (rows - mean) @ mixing.T
    first, level = start or (rows.new_zeros(classes, rows.shape[1]), rows.new_zeros(classes))
    inner = (first @ factor).requires_grad_()
    bias = (level + first @ mean).requires_grad_()
    solver = torch.optim.LBFGS(
        [inner, bias], max_iter=ITERATIONS, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = pixel_loss(apart @ inner.T + bias, labels) + held / 2 * (inner @ mixing).square().sum()
        value.backward()
        return value

    solver.step(loss)
    weight = (inner @ mixing).detach()
    return weight, bias.detach() - weight @ mean


def _drawn(part: PixelPart, train: LabelledPixels, seed: int, hide: Hide | None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randperm(len(train.labels), generator=generator)[:PIXELS]
    planes, labels = train.planes[picks], train.labels[picks]
    rows = [planes] if hide is None else [planes, hide(planes, generator)]
    labels = labels.repeat(len(rows), *[1] * (labels.ndim - 1))
    return torch.cat(rows)[:, : part.bands].double(), labels.double() if labels.is_floating_point() else labels
