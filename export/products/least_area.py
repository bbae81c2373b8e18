"""Least area: patches that are too small take the class that most of their border is shared with."""

import numpy as np

from bandloom.export.products.patches import NOTHING, Patches, joined, summed

JUST_BELOW = 1 - 1e-9  # areas are sums of floats


def absorb_small(patches: Patches, least_ha: float) -> tuple[np.ndarray, np.ndarray]:
    """Give patches below ``least_ha`` to their neighbours, until none is left that has any.

    In each round a small patch takes the class with which it shares most of its border, counting neighbours that are
    large enough; where all neighbours are small, the largest for some way around stands for a large one. Patches that
    came to be of one class are one patch.

    Returns:
        ``(N,)`` the new patch of each old one, and ``(M,)`` the class of each new patch.
    """
    of, kind, hectares = np.arange(len(patches.kind)), patches.kind.copy(), patches.hectares
    borders, lengths = patches.borders, patches.lengths
    while True:
        small = (hectares < least_ha * JUST_BELOW) & (kind != NOTHING)
        kept = small[borders].any(axis=1)
        borders, lengths = borders[kept], lengths[kept]
        if not len(borders):
            return of, kind
        takers, kinds = _choices(borders, lengths, kind, small, hectares)
        kind[takers] = kinds
        same = kind[borders[:, 0]] == kind[borders[:, 1]]
        patch = joined(len(kind), *borders[same].T)
        hectares, new_kind = np.bincount(patch, hectares), np.empty(patch.max() + 1, kind.dtype)
        new_kind[patch] = kind
        borders, lengths = summed(patch[borders], lengths)
        of, kind = patch[of], new_kind


def _choices(
    borders: np.ndarray, lengths: np.ndarray, kind: np.ndarray, small: np.ndarray, hectares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return small patches that take another class in this round, and the class of each."""
    one, other = np.concatenate([borders, borders[:, ::-1]]).T
    length = np.concatenate([lengths, lengths])
    mine = small[one]
    one, other, length = one[mine], other[mine], length[mine]
    beside_large = np.zeros(len(kind), bool)
    beside_large[one[~small[other]]] = True
    stands = _largest_around(one, other, small, hectares) & ~beside_large
    heard = ~small[other] | (stands[other] & ~beside_large[one])
    one, chosen, length = one[heard], kind[other[heard]].astype(np.int64), length[heard]
    keys, places = np.unique(one << 16 | chosen, return_inverse=True)
    shared = np.bincount(places, length, len(keys))
    order = np.lexsort((keys & 0xFFFF, -shared, keys >> 16))
    takers, first = np.unique((keys >> 16)[order], return_index=True)
    return takers, (keys & 0xFFFF)[order][first]


def _largest_around(one: np.ndarray, other: np.ndarray, small: np.ndarray, hectares: np.ndarray) -> np.ndarray:
    """Tell which patches are larger than all their small neighbours, the later of equal ones."""
    rank = np.empty(len(hectares), np.int64)
    rank[np.argsort(hectares, kind="stable")] = np.arange(len(hectares))
    best = np.full(len(hectares), -1)
    between = small[other]
    np.maximum.at(best, one[between], rank[other[between]])
    return small & (best >= 0) & (rank > best)
