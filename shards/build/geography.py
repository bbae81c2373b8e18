"""Geographic splits: one-degree cells hashed to train, val and test, with a buffer between different splits.

All dates of a place fall together, and no test sample lies within five kilometres of a training one.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import xxhash
from rasterio.warp import transform

SPLITS = ("train", "val", "test")
SPLIT_RULES = ("published", "geography")  # which a build goes by, where a corpus has a split of its own
BUFFER_SPLIT = "buffer"  # kept in the shards, read by nobody
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
BUFFER_M = 5000.0
_METRES_A_DEGREE = 111_320.0


def cells_of(epsg: int, x_m: float, y_m: float, side_m: float) -> tuple[str, ...]:
    """Return a sample's one-degree cell (of its centre), then every other cell that begins within the buffer."""
    longitudes, latitudes, *_ = transform(f"EPSG:{epsg}", "EPSG:4326", [x_m + side_m / 2], [y_m - side_m / 2])
    longitude, latitude = longitudes[0], latitudes[0]
    reach = BUFFER_M + side_m / 2
    d_lat = reach / _METRES_A_DEGREE
    d_lon = reach / (_METRES_A_DEGREE * max(0.01, math.cos(math.radians(latitude))))
    around = [
        _cell(longitude + i * d_lon, latitude + j * d_lat) for i in (0, -1, 1) for j in (0, -1, 1)
    ]  # its own cell comes first
    return tuple(dict.fromkeys(around))


def _cell(longitude: float, latitude: float) -> str:
    return f"{math.floor(latitude):+03d}{(math.floor(longitude) + 180) % 360 - 180:+04d}"


def split_of_cells(samples: Iterable[tuple[str, ...]], seed: int = 0) -> dict[str, str]:
    """Assign every cell that holds samples to a split, by its hash alone wherever that leaves no split empty.

    Sets of few cells get their val and test from the cells whose hashes come closest, so that three cells are enough
    for three splits and two for train and val; a single cell is all train.
    """
    cells = sorted(Counter(cells[0] for cells in samples))
    draws = {cell: xxhash.xxh3_64_intdigest(f"{seed}:{cell}".encode()) / 2**64 for cell in cells}
    assigned = {cell: _by_draw(draw) for cell, draw in draws.items()}
    wanted = SPLITS[: len(cells)]
    for split, choose in (("val", max), ("test", max), ("train", min)):
        taken = list(assigned.values())
        if split in wanted and split not in taken:
            spare = [cell for cell in cells if taken.count(assigned[cell]) > 1 or assigned[cell] not in wanted]
            assigned[choose(spare, key=draws.__getitem__)] = split
    return assigned


def _by_draw(draw: float) -> str:
    for name, share in SHARES.items():
        draw -= share
        if draw < 0:
            return name
    return SPLITS[-1]


def split_of(cells: tuple[str, ...], assigned: Mapping[str, str]) -> str:
    """Return a sample's split; one that lies too near a cell of a later split goes to the buffer."""
    own = assigned[cells[0]]
    near = (assigned[cell] for cell in cells[1:] if cell in assigned)
    later = SPLITS[SPLITS.index(own) + 1 :]
    return BUFFER_SPLIT if any(split in later for split in near) else own
