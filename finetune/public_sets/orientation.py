"""Do labels lie on their images as they are, or turned or mirrored? Told by how well classes explain the pixels."""

from collections.abc import Sequence

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX

FEWEST = 5  # samples that tell
BETTER, AGREE = 1.5, 0.8  # times as much explained as by labels as they are, in this share of the samples
_TURNS = ("as they are", "turned by 90 degrees", "turned by 180 degrees", "turned by 270 degrees")


def better_orientation(samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> str | None:
    """Return how labels would fit their images better, or None where they fit as they are, or nothing tells.

    Args:
        samples: an image plane ``(H, W)`` and class indices ``(H, W)``, 255 unknown, of square samples.
    """
    told = [shares for image, label in samples if (shares := _explained(image, label)) is not None]
    if len(told) < FEWEST:
        return None
    shares = np.stack(told)  # (N, 8)
    best = int(shares.mean(0).argmax())
    wins = (shares[:, best] > BETTER * shares[:, 0]).mean()
    if best == 0 or shares.mean(0)[best] < BETTER * shares.mean(0)[0] or wins < AGREE:
        return None
    turn = _TURNS[best % 4]
    return turn if best < 4 else "mirrored" if best == 4 else f"mirrored and {turn}"


def _explained(image: np.ndarray, label: np.ndarray) -> np.ndarray | None:
    """Return the share of an image's variance that classes explain, ``(8,)`` by turn and mirror of the labels."""
    if label.shape[0] != label.shape[1] or image.shape != label.shape:
        return None
    shares = [_share(image, np.rot90(side, turn)) for side in (label, np.fliplr(label)) for turn in range(4)]
    return np.array(shares) if np.isfinite(shares).all() else None


def _share(image: np.ndarray, label: np.ndarray) -> float:
    known = (label != IGNORE_INDEX) & np.isfinite(image)
    values, classes = image[known], label[known]
    if len(np.unique(classes)) < 2 or values.std() == 0:
        return float("nan")
    counts = np.bincount(classes)
    means = np.bincount(classes, values) / np.maximum(counts, 1)
    return float((counts * (means - values.mean()) ** 2).sum() / ((values - values.mean()) ** 2).sum())
