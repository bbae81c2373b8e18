"""Zero-shot accuracy on training words, unseen words and held-out classes, each beside chance.

Unseen words for seen classes: did it learn meanings, or the training captions by heart? Held-out classes among
themselves: can it tell new classes apart? Held-out classes among all: does it dare to say a new class at all, which is
what a user of new words needs? The first is often called zero-shot and is not.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bandloom.finetune.text.captions.words import TEMPLATES, ClassWords, readable, sentences

ClassVectors = Callable[[Mapping[str, Sequence[str]]], np.ndarray]


def word_accuracies(
    image: np.ndarray,
    classes: np.ndarray,
    words: Sequence[ClassWords],
    trained: Sequence[int],
    held_out: Sequence[int],
    vectors: ClassVectors,
    templates: Sequence[str] = TEMPLATES,
) -> dict[str, Any]:
    """Score test images by class words; every score is a mean over classes, so that rare ones count.

    Args:
        image: unit vectors of test samples, ``(N, D)``.
        classes: class index of each, ``(N,)``; -1 where there is none.
        words: of all classes.
        trained: indices of classes that training had samples of.
        held_out: indices of classes that training was kept from.
        vectors: prompts by class to class vectors; see :meth:`bandloom.finetune.text.aligned_model.Aligned.classes`.
        templates: sentences around the words.
    """
    held, seen = sorted(held_out), sorted(set(trained) - set(held_out))
    present = set(np.unique(classes).tolist())

    def prompts(index: int, own: Sequence[str]) -> list[str]:
        return sentences(own or [readable(words[index].name)], templates)

    known = {i: prompts(i, words[i].seen) for i in range(len(words))}
    fresh = {i: prompts(i, words[i].unseen or words[i].seen) for i in range(len(words))}

    def score(among: Sequence[int], wanted: Sequence[int], sentences_of: Mapping[int, Sequence[str]]) -> dict[str, Any]:
        scored = [i for i in wanted if i in present]
        if len(among) < 2 or not scored:
            return {"classes": len(among), "samples": 0}
        table = vectors({words[i].name: sentences_of[i] for i in among})
        rows = np.flatnonzero(np.isin(classes, scored))
        said = np.array(among)[(image[rows] @ table.T).argmax(1)]
        return class_mean(said, classes[rows], scored, len(among))

    return {
        "seen classes, training words": score(seen, seen, known),
        "seen classes, unseen words": score(seen, [i for i in seen if words[i].unseen], fresh),
        "held-out classes among themselves": score(held, held, known),
        "held-out classes among all": score([*seen, *held], held, known),
    }


def class_mean(said: np.ndarray, truth: np.ndarray, scored: Sequence[int], candidates: int) -> dict[str, Any]:
    """Return accuracy, its mean over classes, and chance.

    Args:
        said: class indices, ``(N,)``.
        truth: class indices, ``(N,)``.
        scored: the classes that the mean is over.
        candidates: how many classes could have been said.
    """
    recalls = [float((said[truth == i] == i).mean()) for i in scored if (truth == i).any()]
    return {
        "classes": candidates,
        "samples": len(truth),
        "accuracy": float((said == truth).mean()),
        "mean_recall": float(np.mean(recalls)),
        "chance": 1 / candidates,
    }
