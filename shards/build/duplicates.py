"""Removal of duplicates: exact copies by checksum, overlaps of granules by place and time."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from rasterio.warp import transform

from bandloom.shards.store.index import Entry

DUPLICATE_SPLIT = "duplicate"  # kept in the shards, read by nobody
_METRES_A_DEGREE = 111_320.0
_PASS = timedelta(seconds=60)  # neighbours of one pass follow each other in 24 s (Landsat) or less; orbits in 100 min


def find_duplicates(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the keys of samples that repeat an earlier one, each with the key of the sample that it repeats.

    Exact copies hold the same pixels in every band group. Overlaps are samples of one sensor and one pass from
    different scenes whose centres lie within half a side of each other: the newest processing baseline owns the ground,
    and of equals the first in order: ``entries`` come in this order.
    """
    repeated = exact_copies(entries)
    return repeated | _overlaps([entry for entry in entries if entry.key not in repeated and entry.datetime])


def say_duplicates(repeated: Mapping[str, str]) -> list[str]:
    """Return one line for each pair of scenes of which one repeats the other, in order of their names."""
    pairs = Counter((_scene_of(key), _scene_of(owner)) for key, owner in repeated.items())
    return [
        f"{count} sample{'s' if count > 1 else ''} of {scene} repeat{'' if count > 1 else 's'} {owner} (same pixels, or"
        " same ground within a minute) and will be read by nobody"
        for (scene, owner), count in sorted(pairs.items())
    ]


def exact_copies(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the keys of samples with the pixels, class and labels of an earlier one, each with that one's key."""
    seen: dict[tuple[str, ...], str] = {}
    repeated = {}
    for entry in entries:
        pixels = tuple(entry.xxh3[suffix] for suffix in sorted(entry.xxh3) if suffix.startswith("g"))
        mark = (entry.sensor, str(entry.class_index), entry.xxh3.get("label.b2nd", ""), *pixels)
        if mark in seen:
            repeated[entry.key] = seen[mark]
        else:
            seen[mark] = entry.key
    return repeated


def _overlaps(entries: Sequence[Entry]) -> dict[str, str]:
    overlaps: dict[str, str] = {}
    for group in _passes(entries):
        if len({_scene(sample) for sample in group}) > 1:
            overlaps |= _covered(group)
    return overlaps


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


def _covered(group: Sequence[Entry]) -> dict[str, str]:
    """Return one pass's samples whose ground an earlier scene's sample holds already, each with that one."""
    owned: dict[tuple[int, int], list[tuple[float, float, Entry]]] = defaultdict(list)
    repeated: dict[str, str] = {}
    for entry, (x, y) in zip(group, _centres(group), strict=True):
        half = entry.side_px * 5
        column, row = math.floor(x / half), math.floor(y / half)
        near = (sample for i in (-1, 0, 1) for j in (-1, 0, 1) for sample in owned[column + i, row + j])
        owner = next(
            (o for a, b, o in near if abs(x - a) < half and abs(y - b) < half and _scene(o) != _scene(entry)), None
        )
        if owner is not None:
            repeated[entry.key] = owner.key
        else:
            owned[column, row].append((x, y, entry))
    return repeated


def _centres(group: Sequence[Entry]) -> list[tuple[float, float]]:
    """Return every sample's centre in metres on a plane that all share, whatever their zones."""
    centres: list[tuple[float, float]] = []
    first = 0.0
    for entry in group:
        half = entry.side_px * 5
        longitudes, latitudes, *_ = transform(f"EPSG:{entry.epsg}", "EPSG:4326", [entry.x_m + half], [entry.y_m - half])
        longitude = first + (longitudes[0] - first + 180) % 360 - 180 if centres else longitudes[0]
        first = first if centres else longitude  # one side of the antimeridian for all of a pass
        middle = math.cos(math.radians(round(latitudes[0])))
        centres.append((longitude * _METRES_A_DEGREE * middle, latitudes[0] * _METRES_A_DEGREE))
    return centres


def _scene(entry: Entry) -> str:
    return _scene_of(entry.key)


def _scene_of(key: str) -> str:
    return key.rsplit("_r", 1)[0]
