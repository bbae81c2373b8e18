"""Block test: are a stack's coarser bands copies of the measured samples, at which phase, or were they interpolated?

A 20 m band that was put on a 10 m grid by nearest neighbour is constant over blocks of 2 x 2 pixels, a 60 m band over
blocks of 6 x 6. Where the blocks begin is the phase: rows and columns of 10 m from the upper-left corner.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bandloom.rasters.values import NODATA

CONSTANT = 0.99  # share of whole blocks that are constant, in copies; bilinear leaves 0.003 to 0.1
_LOOK, _MAY_BE = 6, 0.5  # blocks a side that are looked at first, and the share of them that must be constant
Phase = tuple[int, int]


def constant_share(plane: np.ndarray, factor: int, phase: Phase) -> float:
    """Return the share of the whole blocks of ``(H, W)`` that hold one value; blocks without data do not count."""
    rows, columns = ((size - at) // factor for size, at in zip(plane.shape, phase, strict=True))
    if rows < 1 or columns < 1:
        return 0.0
    inner = plane[phase[0] : phase[0] + rows * factor, phase[1] : phase[1] + columns * factor]
    blocks = inner.reshape(rows, factor, columns, factor)
    same = (blocks == blocks[:, :1, :, :1]).all((1, 3))
    if inner.min() == NODATA:
        known = (blocks != NODATA).any((1, 3))
        return float(same[known].mean()) if known.any() else 1.0
    return float(same.mean())


def phase_of(planes: Sequence[np.ndarray], factor: int) -> Phase | None:
    """Return the phase at which all bands are copies, ``(0, 0)`` first; None where they are not at any.

    A band of one value says nothing, and copies of one value are these at every phase.
    """
    told = [plane for plane in planes if plane.min() != plane.max()]
    if not told:
        return 0, 0
    if any(_too_few_equal(plane, factor) for plane in told):
        return None
    for row in range(factor):
        for column in range(factor):
            phase = row, column
            if all(_may_be(plane, factor, phase) for plane in told) and all(
                constant_share(plane, factor, phase) >= CONSTANT for plane in told
            ):
                return phase
    return None


def _may_be(plane: np.ndarray, factor: int, phase: Phase) -> bool:
    """Tell by a few blocks in the middle whether all of them are worth a look."""
    top, left = (at + size // 2 // factor * factor for at, size in zip(phase, plane.shape, strict=True))
    square = plane[top : top + _LOOK * factor, left : left + _LOOK * factor]
    return min(square.shape) < _LOOK * factor or constant_share(square, factor, (0, 0)) >= _MAY_BE


def _too_few_equal(plane: np.ndarray, factor: int) -> bool:
    """Tell whether no phase can pass :func:`_may_be`: half of its blocks would hold so many equal neighbours."""
    top, left = (size // 2 // factor * factor for size in plane.shape)
    side = (_LOOK + 1) * factor  # what the squares of all phases lie in
    square = plane[top : top + side, left : left + side]
    if square.shape != (side, side):
        return False
    pairs = int(np.count_nonzero(square[:, 1:] == square[:, :-1]))
    return pairs < _MAY_BE * _LOOK**2 * factor * (factor - 1)


def common_phase(phases: Mapping[int, Phase | None]) -> Phase:
    """Return the corner, in pixels of 10 m, at which blocks of every factor begin.

    Args:
        phases: by factor, as :func:`phase_of` gave them. The largest decides; smaller ones that do not fit it are not
            on one grid with it.
    """
    return next((phases[factor] or (0, 0) for factor in sorted(phases, reverse=True) if phases[factor]), (0, 0))


def begins_at(phase: Phase | None, factor: int, corner: Phase) -> bool:
    """Tell whether blocks of a phase begin at a corner."""
    return phase is not None and all((a - b) % factor == 0 for a, b in zip(corner, phase, strict=True))
