"""The parity gate: a model file that does not answer as torch does is not written into a bundle."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bandloom.block_scores import macro_f1
from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.command_line.console import logger
from bandloom.errors import BundleError
from bandloom.export.bundle.answers import decisions
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.bundle.record import Contract, ModelFile, Parity
from bandloom.export.from_torch.held_chips import BATCH, Chips
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.replay import compare, needed_agreement


@dataclass(frozen=True)
class Budget:
    """What a precision may differ from torch in fp32."""

    max_abs: float
    agreement: float
    score: float  # how much accuracy on labelled chips may fall, as a share


# for logits up to LOGITS, and in proportion beyond: rounding is relative. fp32: accumulated rounding of two
# implementations; the others are gated on classes and, where there are labels, score
LOGITS = 32.0
BUDGETS = {
    "fp32": Budget(1e-4, 0.9999, 0.0005),
    "fp16": Budget(0.1, 0.998, 0.001),
    "bf16": Budget(1.0, 0.98, 0.005),
    "int8": Budget(5.0, 0.93, 0.005),
}

ROUNDING = 1e-9  # of shares that are subtracted
MACRO_F1_SAID = 0.01  # a fall of the mean F1 of the classes that is warned of

# of further outputs: an ensemble's disagreement in nats, and distances, in proportion where they pass 1
EXTRA_BUDGETS = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.1}


def torch_logits(model: nn.Module, groups: Groups, batch: int = BATCH) -> np.ndarray:
    """Return the model's own answer, float32, through the road that training took."""
    answers = []
    with torch.inference_mode():
        for begin in range(0, len(next(iter(groups.values()))), batch):
            part = {g: torch.from_numpy(dn[begin : begin + batch].astype(np.int32)) for g, dn in groups.items()}
            answers.append(model.eval()(part).float().numpy())
    return np.concatenate(answers)


def measure(runner: Runner, expected: np.ndarray, chips: Chips, precision: str, contract: Contract) -> Parity:
    """Compare a runner with torch's ``expected`` logits on ``chips``."""
    budget = BUDGETS[precision]
    given = np.concatenate([runner.run(groups) for groups in chips.batches()])
    max_abs, agreement = compare(given, expected, contract)
    needed = needed_agreement(budget.agreement, decisions(contract, expected).size)
    return Parity(
        chips=len(chips),
        source=chips.source,
        max_abs=min(max_abs, 1e30),
        argmax_agreement=agreement,
        allowed_max_abs=budget.max_abs * max(1.0, float(np.abs(expected).max()) / LOGITS),
        required_agreement=needed,
        runtime=runner.name,
        score=accuracy(contract, given, chips.labels),
        torch_score=accuracy(contract, expected, chips.labels),
        macro_f1=mean_f1(contract, given, chips.labels),
        torch_macro_f1=mean_f1(contract, expected, chips.labels),
    )


def accuracy(contract: Contract, logits: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Return the share of labelled pixels (or chips, or yes and no of a class) that are right, None without labels."""
    if contract.answer.continuous or labels is None or logits.shape[:1] != labels.shape[:1]:
        return None
    if not (labels != IGNORE_INDEX).any():
        return None
    counted = labels != IGNORE_INDEX
    return float((decisions(contract, logits) == labels)[counted].mean())


def mean_f1(contract: Contract, logits: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Return the mean F1 of the classes that occur or are predicted; None without labels or of other answers."""
    if labels is None or contract.answer.several or accuracy(contract, logits, labels) is None:
        return None
    counted, classes = labels != IGNORE_INDEX, logits.shape[1]
    pairs = labels[counted].astype(np.int64) * classes + decisions(contract, logits)[counted]
    return float(macro_f1(np.bincount(pairs, minlength=classes**2).reshape(classes, classes)))


def labelled(labels: np.ndarray | None) -> int:
    """Return how many labels an accuracy is counted on."""
    return 0 if labels is None else int((labels != IGNORE_INDEX).sum())


def require(parity: Parity, precision: str, labels: int) -> None:
    """Refuse a model that is over its budget.

    Args:
        parity: what was measured.
        precision: of the file.
        labels: number of labels that its score was counted on; where they are so few that a single one would pass the
            budget, one may fall.

    Raises:
        BundleError: how far it is off, and what to do.
    """
    lost = 0.0 if parity.score is None or parity.torch_score is None else parity.torch_score - parity.score
    budget = 1 - needed_agreement(1 - BUDGETS[precision].score, labels) if labels else BUDGETS[precision].score
    if parity.passes and lost <= budget + ROUNDING:
        return
    fix = "report it with `bandloom doctor`" if precision == "fp32" else "leave this precision out"
    raise BundleError(
        f"the {precision} model fails its parity gate on {parity.runtime}: logits differ from torch by up to"
        f" {parity.max_abs:.3g} (allowed {parity.allowed_max_abs:g}), {parity.argmax_agreement:.5f} of the classes"
        f" agree (needed {parity.required_agreement:g}), accuracy falls by {lost:.4f} (allowed"
        f" {budget:.3g}); {fix}."
    )


def say_parity(model: ModelFile) -> None:
    """Say how far a file is from torch, and where a class is answered worse within an accuracy that is allowed."""
    parity = model.parity
    logger.info(
        "%s: max difference from torch %.2g (allowed %g), classes agree %.5f, on %d chips (%s)",
        model.file,
        parity.max_abs,
        parity.allowed_max_abs,
        parity.argmax_agreement,
        parity.chips,
        parity.source,
    )
    if parity.macro_f1_lost > MACRO_F1_SAID:
        logger.warning(
            "%s: accuracy falls by no more than is allowed, but the mean F1 of the classes from %.3f to %.3f: some"
            " class is answered worse; look at the scores of each before you use it",
            model.file,
            parity.torch_macro_f1,
            parity.macro_f1,
        )
