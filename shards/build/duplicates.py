"""One owner for every square of ground and time: exact copies by checksum, overlaps of granules by place."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rasterio.warp import transform

from bandloom.shards.store.index import Entry

DUPLICATE_SPLIT = "duplicate"  # kept in the shards, read by nobody
_METRES_A_DEGREE = 111_320.0
_PASS = timedelta(seconds=60)  # neighbours of one pass follow each other in 24 s (Landsat) or less; orbits in 100 min


def find_duplicates(entries: Sequence[Entry]) -> set[str]:
    """Return the keys of samples that repeat an earlier one.

    Exact copies hold the same pixels in every band group. Overlaps are samples of one sensor and one pass from
    different scenes whose centres lie within half a side of each other: the newest processing baseline owns the ground,
    and of equals the first in order: ``entries`` come in this order.
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
    return {key for group in _passes(entries) if len({_scene(e) for e in group}) > 1 for key in _covered(group)}


def _passes(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Yield samples of one sensor that were taken in one pass: no gap in their times is longer than a minute."""
    order = {entry.key: number for number, entry in enumerate(entries)}
    by_sensor: dict[str, list[tuple[datetime, Entry]]] = defaultdict(list)
    for entry in entries:
        time = entry.time
        if time is not None:
            by_sensor[entry.sensor].append((time if time.tzinfo else time.replace(tzinfo=UTC), entry))
    for timed in by_sensor.values():
        timed.sort(key=lambda pair: pair[0])
        passed: list[Entry] = []
        for number, (time, entry) in enumerate(timed):
            if passed and time - timed[number - 1][0] > _PASS:
                yield sorted(passed, key=lambda each: order[each.key])
                passed = []
            passed.append(entry)
        if passed:
            yield sorted(passed, key=lambda each: order[each.key])


def _covered(group: Sequence[Entry]) -> set[str]:
    """Return the keys of one pass's samples whose ground an earlier scene's sample holds already."""
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
