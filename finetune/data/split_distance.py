"""Distance from test to training labels: the number that tells a spatial split from a random one."""

from collections import defaultdict
from typing import Any

import numpy as np

from bandloom.classes.label_set import known_labels
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.splits import PIXEL_M, TEST, TRAIN


def train_test_distance(data: TaskData) -> dict[str, Any] | None:
    """Return the distance from test labels to the nearest training label, in metres between their centres.

    Returns:
        ``least_m`` over all test labels, ``median_m`` over test blocks (of each block's least), and how many blocks
        were ``measured``; None when samples have no place, or no test block shares a zone with training labels.
    """
    from scipy import spatial

    train, test = _borders(data, TRAIN), _borders(data, TEST)
    least: dict[tuple[int, int], float] = {}
    for zone in train.keys() & test.keys():
        places, blocks = (np.concatenate(parts) for parts in zip(*test[zone], strict=True))
        tree: Any = spatial.KDTree(np.concatenate([points for points, _ in train[zone]]))
        distance, _ = tree.query(places)
        for block in np.unique(blocks).tolist():
            least[zone, block] = float(distance[blocks == block].min())
    if not least:
        return None
    values = np.array(list(least.values()))
    return {"least_m": float(values.min()), "median_m": float(np.median(values)), "measured": len(values)}


def _borders(data: TaskData, role: int) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """Return places ``(N, 2)`` and blocks ``(N,)`` of a role's labels by zone.

    Of a patch of labels its rim is enough: what lies inside is never the nearest to what lies outside.
    """
    borders = defaultdict(list)
    for index in data.indices_of(role).tolist():
        entry, labelled = data.shards.entries[index], data.labelled(index, role)
        if entry.epsg is not None and labelled is not None:
            borders[entry.epsg].append(_places(entry, labelled))
    return borders


def _places(entry: Any, sample: Labelled) -> tuple[np.ndarray, np.ndarray]:
    if sample.label.ndim != 2:
        half = int(entry.side_px) * PIXEL_M / 2
        return np.array([[entry.x_m + half, entry.y_m - half]]), sample.blocks.reshape(1)
    known = np.pad(known_labels(sample.label), 1)
    inside = known[:-2, 1:-1] & known[2:, 1:-1] & known[1:-1, :-2] & known[1:-1, 2:]
    rows, columns = np.nonzero(known[1:-1, 1:-1] & ~inside)
    x, y = entry.x_m + (columns + 0.5) * PIXEL_M, entry.y_m - (rows + 0.5) * PIXEL_M
    return np.stack([x, y], 1), sample.blocks[rows, columns]
