"""Two maps of one grid side by side: where they differ, and how much ground each class has in either."""

import base64
from collections.abc import Iterator, Sequence

import numpy as np
import rasterio

from bandloom.rasters.png import png
from bandloom.view.class_map import ClassMap
from bandloom.view.comparison import value_maps
from bandloom.view.comparison.compared import Compared
from bandloom.view.sections.parts import Picture, Section, Table, table
from bandloom.view.standalone import view_of
from bandloom.view.tiles import class_picture
from bandloom.view.value_map import ValueMap, open_map

LONGEST_PX = 700  # of a picture
CODES = 256
MOST_PAIRS = 12
SAME, DIFFERENT = (0xDF, 0xE4, 0xEA, 255), (0xC2, 0x41, 0x0C, 255)


def sections(group: Compared) -> list[Section]:
    """Return agreement, pictures and areas of every map beside the first; empty where these are no maps."""
    if group.records[0].kind != "map":
        return []
    first = open_map(group.records[0].path)
    made: list[Section] = []
    for record, name in zip(group.records[1:], group.names[1:], strict=True):
        made += _sections(first, open_map(record.path), (group.names[0], name))
    return made


def _sections(first: ClassMap, second: ClassMap, names: tuple[str, str]) -> list[Section]:
    if (first.crs, first.transform, first.shape) != (second.crs, second.transform, second.shape):
        return [Section("Where they differ", verdict=f"{names[0]} and {names[1]} lie on other grids: not compared.")]
    if isinstance(first, ValueMap) and isinstance(second, ValueMap):
        return value_maps.compared(first, second, names)
    if isinstance(first, ValueMap) or isinstance(second, ValueMap):
        return [Section("Where they differ", verdict="One shows classes, the other measured values: not compared.")]
    named = tuple({row.value: row.name for row in held.classes} for held in (first, second))
    pairs = pairs_of(first, second)
    both = int(pairs.sum())
    same = sum(int(count) for (a, b), count in np.ndenumerate(pairs) if count and _same(named, a, b))
    if not both:
        return [Section("Where they differ", verdict="No pixel has a class in both maps.")]
    if same == both:
        return [
            Section(
                "Where they differ", verdict=f"The two maps agree on all {both:,} pixels that have a class in both."
            )
        ]
    verdict = (
        f"The two maps differ on {both - same:,} of the {both:,} pixels that have a class in both"
        f" ({(both - same) / both:.2%}). Which of them is right there, maps alone cannot say: bandloom assess can, with"
        " reference points."
    )
    return [
        Section("Where they differ", verdict=verdict, pictures=_pictures(first, second, names)),
        Section("Areas, side by side", tables=_areas(first, second, names)),
        Section("What is another class in the other", tables=_changes(pairs, named, names, _pixel_ha(first))),
    ]


def pairs_of(first: ClassMap, second: ClassMap) -> np.ndarray:
    """Count pairs of codes, ``(256, 256)``: the first map's in rows; pixels without data in either are left out."""
    counts = np.zeros(CODES * CODES, np.int64)
    for one, other in _parts(first, second):
        known = (one != first.nodata) & (other != second.nodata)
        counts += np.bincount(one[known].astype(np.int64) * CODES + other[known], minlength=CODES * CODES)
    return counts.reshape(CODES, CODES)


def _parts(first: ClassMap, second: ClassMap) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with rasterio.open(first.path) as one, rasterio.open(second.path) as other:
        for _, window in one.block_windows(1):
            yield one.read(1, window=window), other.read(1, window=window)


def _pictures(first: ClassMap, second: ClassMap, names: tuple[str, str]) -> list[Picture]:
    bounds, size = view_of(first.bounds, LONGEST_PX)
    drawn = [class_picture(held, bounds, size) for held in (first, second)]
    known = (drawn[0][..., 3] > 0) & (drawn[1][..., 3] > 0)
    other = (drawn[0] != drawn[1]).any(axis=2)
    where = np.zeros_like(drawn[0])
    where[known & ~other], where[known & other] = SAME, DIFFERENT
    noted = (*names, "Where the colours of the two differ")
    return [
        Picture(note, base64.b64encode(png(pixels)).decode(), note)
        for note, pixels in zip(noted, (*drawn, where), strict=True)
    ]


def _areas(first: ClassMap, second: ClassMap, names: tuple[str, str]) -> list[Table]:
    held = [{row.name: row for row in one.classes} for one in (first, second)]
    unit = "hectares" if _pixel_ha(first) else "pixels"
    rows = []
    for name in dict.fromkeys([*held[0], *held[1]]):
        values = [getattr(classes[name], unit) if name in classes else None for classes in held]
        gap = None if values[0] is None or values[1] is None else round(values[1] - values[0], 2)
        rows.append([name, *values, gap])
    return table(("class", *(f"{name}, {unit}" for name in names), "2 less 1"), rows)


def _changes(
    pairs: np.ndarray, named: Sequence[dict[int, str]], names: tuple[str, str], pixel_ha: float | None
) -> list[Table]:
    """Return the commonest pairs of classes where the two differ."""
    order = np.argsort(-pairs, axis=None, kind="stable")
    found = [(int(i) // CODES, int(i) % CODES) for i in order[: int((pairs > 0).sum())]]
    rows = [
        [_name(named[0], a), _name(named[1], b), int(pairs[a, b]), pairs[a, b] * pixel_ha if pixel_ha else None]
        for a, b in found
        if not _same(named, a, b)
    ]
    return table((f"in {names[0]}", f"in {names[1]}", "pixels", "hectares"), rows[:MOST_PAIRS])


def _same(named: Sequence[dict[int, str]], a: int, b: int) -> bool:
    return _name(named[0], a) == _name(named[1], b)


def _name(names: dict[int, str], code: int) -> str:
    return names.get(code, f"class {code}")


def _pixel_ha(held: ClassMap) -> float | None:
    return abs(held.transform.a * held.transform.e) / 1e4 if held.crs.is_projected else None
