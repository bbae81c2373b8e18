"""How unsure a map is, as shares 0 to 1: entropy, disagreement of an ensemble, and how unlike training ground is."""

import numpy as np

from bandloom.export.bundle.record import Contract, Familiar


def share_of_entropy(shares: np.ndarray) -> np.ndarray:
    """Return the entropy of probabilities ``(K, ...)`` as a share of the largest there can be, log K.

    Args:
        shares: sum to one along the first axis.
    """
    held = np.where(shares > 0, shares, np.float32(1))
    entropy = -(held * np.log(held)).sum(axis=0)
    return np.clip(entropy / np.log(max(len(shares), 2)), 0, 1)


def share_of_disagreement(contract: Contract, nats: np.ndarray) -> np.ndarray:
    """Return a disagreement in nats as a share of the largest there can be: the log of members or of classes.

    Of M members that are each sure of another class it is log M, and never more than log K of K classes.
    """
    return np.clip(nats / np.log(min(contract.members, max(len(contract.get_label_set()), 2))), 0, 1)


BEYOND = 0.01  # the share of held-out training ground that lies farther than what is called unlike it
MOST_UNLIKE = 0.05  # of a scene; of held-out training ground it is BEYOND, of other scenes of its kind 0 to 0.04


def share_farther(familiar: Familiar, distances: np.ndarray) -> np.ndarray:
    """Return the share of held-out training ground that lies farther from the training ground than each distance."""
    quantiles = np.array(familiar.quantiles)
    return 1 - np.interp(distances, quantiles, np.linspace(0, 1, len(quantiles)))


def unlike_line(share: float) -> str:
    """Say how much of a scene is unlike the training ground, and what that means where it is much."""
    said = (
        f"unlike training: {share:.1%} of the measured ground lies farther from the training ground than"
        f" {1 - BEYOND:.0%} of held-out training ground does"
    )
    return (
        said if share <= MOST_UNLIKE else f"{said}; the model was not trained for such a scene, so do not trust its map"
    )
