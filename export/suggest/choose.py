"""Chooses places to label: unsure ones, spread over the spectra that there are, and apart on the ground."""

import numpy as np

POOL = 20  # candidates a point: the most unsure of them are spread, so that outliers of no doubt are not chosen


def thinned(xy: np.ndarray, worth: np.ndarray, apart_m: float) -> np.ndarray:
    """Return the indices of the most unsure candidate of every square of ``apart_m`` metres, the most unsure first.

    Args:
        xy: ``(N, 2)`` in metres.
        worth: ``(N,)``, how unsure the model is; candidates of none are left out.
        apart_m: side of a square.
    """
    order = np.argsort(-worth, kind="stable")
    order = order[worth[order] > 0]
    squares = np.floor(xy[order] / max(apart_m, 1e-6)).astype(np.int64)
    _, first = np.unique(squares, axis=0, return_index=True)
    return order[np.sort(first)]


def far_from(xy: np.ndarray, taken: np.ndarray, apart_m: float) -> np.ndarray:
    """Tell which places ``(N, 2)`` lie ``apart_m`` metres or more from all of ``taken`` ``(M, 2)``: ``(N,)`` bool."""
    far = np.ones(len(xy), bool)
    for place in taken:
        far &= ((xy - place) ** 2).sum(axis=1) >= apart_m**2
    return far


def spread(
    xy: np.ndarray,
    worth: np.ndarray,
    features: np.ndarray,
    count: int,
    apart_m: float,
    seed: int,
    labelled: np.ndarray | None = None,
) -> np.ndarray:
    """Return the indices of ``count`` places or fewer, in the order in which they help.

    Drawn one by one with odds of how unsure the model is times the squared distance from the nearest place chosen
    before (k-means++, Arthur and Vassilvitskii 2007; of uncertain samples as in BADGE, Ash et al. 2020, 1906.03671).

    Args:
        xy: ``(N, 2)`` in metres.
        worth: ``(N,)``, how unsure the model is, 0 or more.
        features: ``(N, F)``, what makes two places differ, such as their spectra; each is scaled to its deviation.
        count: how many to choose.
        apart_m: the least distance between two.
        seed: of the draws.
        labelled: ``(M, F)`` features of places that have labels, from which the first one differs already.
    """
    deviation = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    nearest = np.full(len(xy), np.inf)
    for one in () if labelled is None else (labelled - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1):
        nearest = np.minimum(nearest, ((scaled - one) ** 2).sum(axis=1))
    random, chosen, left = np.random.default_rng(seed), [], np.ones(len(xy), bool)
    while len(chosen) < count and left.any():
        odds = np.where(left, worth * np.where(np.isfinite(nearest), nearest, 1.0), 0.0)
        if not odds.sum() > 0:  # all that is left looks like what was chosen
            odds = np.where(left, worth + 1e-12, 0.0)
        picked = int(random.choice(len(xy), p=odds / odds.sum()))
        chosen.append(picked)
        nearest = np.minimum(nearest, ((scaled - scaled[picked]) ** 2).sum(axis=1))
        left &= far_from(xy, xy[picked : picked + 1], apart_m)
        left[picked] = False
    return np.array(chosen, np.int64)
