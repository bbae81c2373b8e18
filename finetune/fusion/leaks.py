"""Label leaks in the context: words that name the class are the label itself, and a gain from them is no finding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandloom.closed_form import ridge
from bandloom.command_line.console import logger
from bandloom.finetune.text.captions.words import ClassWords, names_classes

NAMED_SHARE = 0.05  # of the samples that may name their own class before it is said
NAMED_LIFT = 1.5  # times as often as they name other samples' classes; a report may speak of a class in passing
NEARLY_PERFECT = 0.95  # mean recall of text alone


@dataclass(frozen=True)
class Leaks:
    """What the check found.

    Args:
        named: share of the samples whose context holds a word of their own class.
        expected: the same share if contexts were dealt at random.
        example: one such context, or empty.
        text_only: mean recall, over classes that training has, of a linear probe on text alone on test samples.
    """

    named: float
    expected: float
    example: str
    text_only: float

    @property
    def warnings(self) -> list[str]:
        """Sentences to print and to keep; none when nothing was found."""
        said = []
        if self.named >= NAMED_SHARE and self.named > NAMED_LIFT * self.expected:
            said.append(
                f"the context names the class in {self.named:.0%} of the samples ({self.expected:.0%} by"
                f" chance), such as {self.example!r}; take class words out of it before you believe a gain"
            )
        if self.text_only >= NEARLY_PERFECT:
            said.append(
                f"a linear probe on the context alone reaches a mean recall of {self.text_only:.3f}: a"
                " name, a place or a habit of its writer tells the class; a gain from it is no finding"
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "named": self.named,
            "named_by_chance": self.expected,
            "example": self.example,
            "text_only_mean_recall": self.text_only,
            "warnings": self.warnings,
        }


def find_leaks(
    texts: Sequence[str],
    vectors: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    words: Sequence[ClassWords],
) -> Leaks:
    """Look for class words in contexts, and for classes in their vectors; what is found is warned of.

    Args:
        texts: contexts, N of them.
        vectors: ``(N, S, E)``, see :func:`bandloom.finetune.fusion.context.context_vectors`.
        labels: class indices ``(N,)``.
        train: rows that the probe is fitted on.
        test: rows that it is scored on.
        words: of the classes.
    """
    holds = names_classes(texts, words)  # (N, K)
    own = holds[np.arange(len(texts)), labels]
    share = np.bincount(labels, minlength=len(words)) / max(1, len(labels))
    example = texts[int(np.flatnonzero(own)[0])] if own.any() else ""
    flat = mean_vector(vectors)
    said = ridge(flat[train], labels[train], flat[test], len(words))
    recalls = [float((said[labels[test] == k] == k).mean()) for k in np.intersect1d(labels[train], labels[test])]
    leaks = Leaks(float(own.mean()), float(holds.mean(0) @ share), example, float(np.mean(recalls)))
    for warning in leaks.warnings:
        logger.warning("%s", warning)
    return leaks


def mean_vector(vectors: np.ndarray) -> np.ndarray:
    """Return the mean of a context's sentences ``(N, S, E)``, ``(N, E)``; zeros where there are none."""
    real = np.abs(vectors).max(2, keepdims=True) > 0
    return (vectors.sum(1) / np.maximum(real.sum(1), 1)).astype(np.float32)
