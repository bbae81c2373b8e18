"""Chips with several classes that tested two runs, and their differences class by class."""

from collections.abc import Sequence

import numpy as np

from bandloom.several_scores import Several, class_scores, drawn_classes

Differences = dict[str, dict[str, tuple[tuple[float, float], list[float] | None]]]


def shared_chips(one: Several, other: Several) -> tuple[Several, Several, tuple[int, int, int]]:
    """Return the chips of the blocks that tested both runs alike, in one order, and how many blocks those are.

    A block counts where both runs have as many chips in it, with the same classes one after the other: both read the
    shards in their order.

    Returns:
        The chips of either run, and the number of blocks that are shared, and that each has.
    """
    rows = [_rows_by_block(held) for held in (one, other)]
    shared = [
        block
        for block, own in rows[0].items()
        if block in rows[1] and np.array_equal(one.truth[own], other.truth[rows[1][block]])
    ]
    none = np.zeros(0, np.int64)
    picked = [np.concatenate([none, *(held[block] for block in shared)]) for held in rows]
    return one.part(picked[0]), other.part(picked[1]), (len(shared), len(rows[0]), len(rows[1]))


def class_differences(one: Several, other: Several, names: Sequence[str], *, paired: bool) -> Differences:
    """Return by class and score what both runs have, and the 95 % interval of the second less the first.

    Args:
        one: the first run's chips.
        other: the same chips of the second.
        names: of the classes.
        paired: whether intervals are drawn; one is None where a class is in less than half of the draws.
    """
    values = [class_scores(held) for held in (one, other)]
    draws = [drawn_classes(held) for held in (one, other)] if paired else []
    made: Differences = {}
    for index, name in enumerate(names):
        for score in values[0]:
            first, second = (float(held[score][index]) for held in values)
            if not np.isfinite([first, second]).all():
                continue
            gaps = draws[1][score][:, index] - draws[0][score][:, index] if draws else np.zeros(0)
            known = gaps[np.isfinite(gaps)]
            enough = len(gaps) > 0 and len(known) > len(gaps) / 2
            between = np.percentile(known, (2.5, 97.5)).tolist() if enough else None
            made.setdefault(name, {})[score] = ((first, second), between)
    return made


def _rows_by_block(several: Several) -> dict[int, np.ndarray]:
    """Return the chips of each block, in their order."""
    order = np.argsort(several.block_of, kind="stable")
    blocks, starts = np.unique(several.block_of[order], return_index=True)
    return dict(zip(blocks.tolist(), np.split(order, starts[1:]), strict=True))
