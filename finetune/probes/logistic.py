"""Logistic regression on frozen features, its strength of regularisation C chosen on validation labels.

The protocol of torchgeo-bench: features as the encoder gives them, the whole training set at once by L-BFGS, the best
of a grid of C on validation labels, then a fit on training and validation labels together. It is written in torch, and
not taken from scikit-learn, so that a hundred thousand chips take minutes on a card; a test compares the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bandloom.run_state.pulse import pulse

STRENGTHS = tuple(np.logspace(-6, 4, 40).tolist())  # torchgeo-bench 0.4.0: eval.c_range [-6, 4, 40]
MOST_STEPS, LAST_STEPS = 2000, 4000  # of a fit of the sweep, and of the last one (METHODOLOGY.md)
Judge = Callable[[np.ndarray], float]  # how good scores (M, K) of the validation rows are


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression.

    Args:
        weight: ``(D, K)``.
        bias: ``(K,)``; minus or plus infinity where a class was never or always there.
        several: whether each class is a yes or no by itself.
    """

    weight: Tensor
    bias: Tensor
    several: bool

    @torch.no_grad()
    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return probabilities ``(M, K)`` of features ``(M, D)``."""
        parts = []
        for start in range(0, len(rows), 65536):
            part = torch.as_tensor(rows[start : start + 65536], dtype=self.weight.dtype, device=self.weight.device)
            logits = part @ self.weight + self.bias
            parts.append((logits.sigmoid() if self.several else logits.softmax(1)).cpu().numpy())
        return np.concatenate(parts)


@dataclass(frozen=True)
class Swept:
    """What a sweep chose: the regression, its C, and how good each C was on validation labels."""

    model: Logistic
    strength: float
    judged: tuple[float, ...]


def swept_logistic(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    judge: Judge,
    *,
    several: bool = False,
    strengths: Sequence[float] = STRENGTHS,
    merge: bool = True,
    device: torch.device | str = "cpu",
) -> Swept:
    """Fit a regression for every C, and return the one that validation labels prefer; of equals the smallest C.

    Args:
        train: features ``(N, D)`` and targets ``(N, K)`` of noughts and ones.
        val: the same of validation rows.
        judge: how good scores of the validation rows are.
        several: any number of classes a row, in place of one.
        strengths: values of C, rising.
        merge: fit the chosen C again on training and validation rows together.
        device: where it is fitted.
    """
    judged: list[float] = []
    best, last = None, None
    for strength in strengths:
        pulse("logistic regressions")
        last = fit_logistic(*train, strength, several=several, start=last, device=device)
        judged.append(judge(last.scores(val[0])))
        best = last if best is None or judged[-1] > max(judged[:-1]) else best
    chosen = strengths[int(np.argmax(judged))]
    if merge:
        rows, targets = (np.concatenate(pair) for pair in zip(train, val, strict=True))
        best = fit_logistic(rows, targets, chosen, several=several, start=best, device=device, steps=LAST_STEPS)
    if best is None:
        raise ValueError("a sweep needs at least one value of C")
    return Swept(best, float(chosen), tuple(judged))


def fit_logistic(
    rows: np.ndarray,
    targets: np.ndarray,
    strength: float,
    *,
    several: bool = False,
    start: Logistic | None = None,
    device: torch.device | str = "cpu",
    steps: int = MOST_STEPS,
) -> Logistic:
    """Minimise cross-entropy plus ``|weight|^2 / (2 C)``, summed over rows, as scikit-learn's does.

    Args:
        rows: features ``(N, D)``.
        targets: ``(N, K)`` of noughts and ones.
        strength: C.
        several: sigmoids in place of a softmax.
        start: where to start from, such as the fit of the last C; the answer is the same.
        device: where it is fitted, in float64 on a CPU and float32 on a card.
        steps: most steps of L-BFGS.
    """
    dtype = torch.float64 if torch.device(device).type == "cpu" else torch.float32
    features, wanted = (torch.as_tensor(array, dtype=dtype, device=device) for array in (rows, targets))
    taught = wanted.any(0) & ~(wanted > 0).all(0) if several else wanted.any(0)  # others have no finite optimum
    wanted = wanted[:, taught]
    weight = torch.zeros(features.shape[1], wanted.shape[1], dtype=dtype, device=device)
    bias = torch.zeros(wanted.shape[1], dtype=dtype, device=device)
    if start is not None:
        known = start.bias[taught]
        weight, bias = start.weight[:, taught].clone(), torch.where(known.isfinite(), known, 0.0)
    if wanted.shape[1]:
        weight, bias = _minimised(features, wanted, weight, bias, strength, several, steps)
    every = torch.zeros(features.shape[1], len(taught), dtype=dtype, device=device)
    offset = torch.full((len(taught),), -torch.inf, dtype=dtype, device=device)
    every[:, taught], offset[taught] = weight, bias
    offset[~taught & (torch.as_tensor(targets, device=device) > 0).all(0)] = torch.inf
    return Logistic(every, offset, several)


def _minimised(
    features: Tensor, wanted: Tensor, weight: Tensor, bias: Tensor, strength: float, several: bool, steps: int
) -> tuple[Tensor, Tensor]:
    """Return weight and bias at the minimum.

    It is found on centred and rescaled features, where the loss curves about alike in all directions; the penalty stays
    that of the weights of the features as they are, so the minimum is the same and is reached in fewer steps.
    """
    count, classes, penalty = len(features), wanted.argmax(1), 1 / strength / len(features)
    mean = features.mean(0)
    scale = (features.var(0, correction=0) / 4 + penalty).sqrt()[:, None]
    scaled = (features - mean) / scale[:, 0]
    inner, offset = (weight * scale).requires_grad_(), (bias + mean @ weight).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [inner, offset],
        max_iter=steps,
        tolerance_grad=1e-7,
        tolerance_change=1e-8,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = scaled @ inner + offset
        if several:
            error = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / count
        else:
            error = functional.cross_entropy(logits, classes)
        loss = error + 0.5 * penalty * (inner / scale).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = (inner / scale).detach()
    return found, offset.detach() - mean @ found
