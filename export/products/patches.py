"""Patches of a map: connected pixels of one class, found strip by strip, with their areas and common borders."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandloom.export.maps.class_grid import ClassGrid

NOTHING = -1  # of pixels without a class
STRIP_PIXELS = 1 << 20  # in memory at a time


@dataclass(frozen=True)
class Patches:
    """All patches of a map; a patch that crosses a seam between strips is one.

    Args:
        of: ``(L,)`` the patch of each label, as :func:`labelled_strips` counts labels.
        kind: ``(N,)`` index of the class, :data:`NOTHING` where there is none.
        hectares: ``(N,)`` area.
        borders: ``(E, 2)`` neighbours of which at least one is smaller than was asked for, the lower number first.
        lengths: ``(E,)`` pixel sides that they have in common.
    """

    of: np.ndarray
    kind: np.ndarray
    hectares: np.ndarray
    borders: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class LabelledStrip:
    """Rows of a map: ``(h, W)`` indices of classes, and ``(h, W)`` labels of patches that go on from strip to strip."""

    top: int
    kinds: np.ndarray
    labels: np.ndarray


def labelled_strips(grid: ClassGrid, rows: int | None = None) -> Iterator[LabelledStrip]:
    """Yield the map from the top, the patches of each strip labelled by themselves; labels count on."""
    codes = np.array([land_class.code for land_class in grid.classes])
    rows = rows or max(1, STRIP_PIXELS // grid.shape[1])
    first = 0
    for top, held, valid in grid.strips(rows):
        kinds = np.where(valid, np.searchsorted(codes, held), NOTHING).astype(np.int16)
        labels, count = label_patches(kinds)
        yield LabelledStrip(top, kinds, labels + first)
        first += count


def label_patches(kinds: np.ndarray) -> tuple[np.ndarray, int]:
    """Return ``(h, W)`` int32 labels of pixels that are connected by their sides, from 0 on, and how many there are."""
    begins = np.ones(kinds.shape, bool)
    begins[:, 1:] = kinds[:, 1:] != kinds[:, :-1]
    runs = np.cumsum(begins.ravel(), dtype=np.int32).reshape(kinds.shape) - 1
    below = (kinds[1:] == kinds[:-1]) & (begins[1:] | begins[:-1])  # the first pixel that two runs share
    labels = joined(int(runs[-1, -1]) + 1, runs[:-1][below], runs[1:][below])
    return labels[runs], int(labels.max()) + 1


def joined(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return ``(count,)`` int32 the connected component of each of ``count`` nodes that pairs of them join."""
    from scipy.sparse import coo_matrix  # pyright: ignore[reportMissingImports]
    from scipy.sparse.csgraph import connected_components  # pyright: ignore[reportMissingImports]

    pairs: Any = coo_matrix((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    return connected_components(pairs, directed=False)[1]


def find_patches(grid: ClassGrid, least_ha: float, rows: int | None = None) -> Patches:
    """Find the patches of a map, and the borders of those that are smaller than ``least_ha``."""
    kinds, hectares, seams, borders = [], [], [np.zeros((0, 2), np.int64)], [_no_borders()]
    above: LabelledStrip | None = None
    first = 0
    for strip in labelled_strips(grid, rows):
        places = strip.labels - first
        row_ha = grid.row_ha[strip.top : strip.top + len(places), None]
        hectares.append(np.bincount(places.ravel(), np.broadcast_to(row_ha, places.shape).ravel()))
        kinds.append(np.full(len(hectares[-1]), NOTHING, np.int16))
        kinds[-1][places] = strip.kinds
        if above is not None:
            same = above.kinds[-1] == strip.kinds[0]
            seams.append(np.unique(np.stack([above.labels[-1][same], strip.labels[0][same]], axis=1), axis=0))
        if least_ha:
            earlier = first - len(hectares[-2]) if above is not None else first
            borders.append(_borders(strip, above, np.concatenate(hectares[-2:]) < least_ha, earlier))
        above, first = strip, first + len(hectares[-1])
    pairs = np.concatenate(seams)
    of = joined(first, pairs[:, 0], pairs[:, 1])
    kind = np.full(of.max() + 1, NOTHING, np.int16)
    kind[of] = np.concatenate(kinds)
    edges, lengths = (
        np.concatenate([border[0] for border in borders]),
        np.concatenate([border[1] for border in borders]),
    )
    return Patches(of, kind, np.bincount(of, np.concatenate(hectares)), *summed(of[edges], lengths))


def _no_borders() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 2), np.int64), np.zeros(0, np.int64)


def _borders(
    strip: LabelledStrip, above: LabelledStrip | None, small: np.ndarray, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return borders of a strip's small patches, none with what has no class.

    Args:
        strip: the strip.
        above: the one above it, whose last row borders on it.
        small: whether a patch is, for the labels from ``first`` on.
        first: the lowest label of the two strips.
    """
    kinds, labels = strip.kinds, strip.labels
    if above is not None:
        kinds, labels = np.vstack([above.kinds[-1:], kinds]), np.vstack([above.labels[-1:], labels])
    sideways = slice(None) if above is None else slice(1, None)  # the row above had its own turn
    parts = []
    for here, there in (
        ((sideways, slice(None, -1)), (sideways, slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        one, other = labels[here], labels[there]
        differ = (kinds[here] != kinds[there]) & (kinds[here] != NOTHING) & (kinds[there] != NOTHING)
        pairs = np.stack([one[differ], other[differ]], axis=1)
        parts.append(pairs[small[pairs - first].any(axis=1)])
    pairs = np.concatenate(parts)
    return summed(pairs, np.ones(len(pairs), np.int64))


def summed(pairs: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every pair of two different numbers once, the lower first, and the sum of its lengths."""
    pairs = np.sort(pairs.astype(np.int64), axis=1)
    kept = pairs[:, 0] != pairs[:, 1]
    keys, places = np.unique(pairs[kept, 0] << 32 | pairs[kept, 1], return_inverse=True)
    total = np.bincount(places, lengths[kept], len(keys)).astype(np.int64)
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1), total
