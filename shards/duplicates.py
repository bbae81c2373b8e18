"""One owner for every square of ground and time: exact copies by checksum, overlaps of granules by place."""

import math
from collections import defaultdict
from collections.abc import Sequence

from rasterio.warp import transform

from shards.index import Entry

DUPLICATE_SPLIT = "duplicate"  # kept in the shards, read by nobody
_METRES_A_DEGREE = 111_320.0


def find_duplicates(entries: Sequence[Entry]) -> set[str]:
    """Return the keys of samples that repeat an earlier one.

    Exact copies hold the same pixels in every band group. Overlaps are samples of one sensor and one acquisition time
    from different scenes whose centres lie within half a side of each other: the newest processing baseline owns the
    ground, and of equals the first in order: ``entries`` come in this order.
    """
    repeated = _exact_copies(entries)
    return repeated | _overlaps([entry for entry in entries if entry.key not in repeated and entry.datetime])


def _exact_copies(entries: Sequence[Entry]) -> set[str]:
    seen: set[tuple[str, ...]] = set()
    repeated = set()
    for entry in entries:
        pixels = tuple(entry.xxh3[suffix] for suffix in sorted(entry.xxh3) if suffix.startswith("g"))
        mark = (entry.sensor, str(entry.class_index), entry.xxh3.get("label.b2nd", ""), *pixels)
        if mark in seen:
            repeated.add(entry.key)
        seen.add(mark)
    return repeated


def _overlaps(entries: Sequence[Entry]) -> set[str]:
    passes: dict[tuple[str, str | None], list[Entry]] = defaultdict(list)
    for entry in entries:
        passes[entry.sensor, entry.datetime].append(entry)
    return {key for group in passes.values() if len({_scene(e) for e in group}) > 1 for key in _covered(group)}


def _covered(group: Sequence[Entry]) -> set[str]:
    """Return the keys of one acquisition's samples whose ground an earlier scene's sample holds already."""
    owned: dict[tuple[int, int], list[tuple[float, float, str]]] = defaultdict(list)
    repeated = set()
    for entry, (x, y) in zip(group, _centres(group), strict=True):
        half = entry.side_px * 5
        column, row = math.floor(x / half), math.floor(y / half)
        near = (each for i in (-1, 0, 1) for j in (-1, 0, 1) for each in owned[column + i, row + j])
        if any(abs(x - a) < half and abs(y - b) < half and scene != _scene(entry) for a, b, scene in near):
            repeated.add(entry.key)
        else:
            owned[column, row].append((x, y, _scene(entry)))
    return repeated


def _centres(group: Sequence[Entry]) -> list[tuple[float, float]]:
    """Return every sample's centre in metres on a plane that all share, whatever their zones."""
    centres = []
    for entry in group:
        half = entry.side_px * 5
        longitudes, latitudes, *_ = transform(f"EPSG:{entry.epsg}", "EPSG:4326", [entry.x_m + half], [entry.y_m - half])
        middle = math.cos(math.radians(round(latitudes[0])))
        centres.append((longitudes[0] * _METRES_A_DEGREE * middle, latitudes[0] * _METRES_A_DEGREE))
    return centres


def _scene(entry: Entry) -> str:
    return entry.key.rsplit("_r", 1)[0]
