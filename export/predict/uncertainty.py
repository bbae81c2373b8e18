"""How unsure a map is: entropy of the probabilities, and disagreement of an ensemble's members, as shares 0 to 1."""

import numpy as np

from bandloom.export.bundle.record import Contract


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
