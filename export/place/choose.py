"""Chooses which items of a catalogue to map: the least cloudy one that covers the box, or tiles that do together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bandloom.errors import MissingExtraError, SceneError
from bandloom.shards.scenes.cut import Box

COVERED = 0.999  # of the box: footprints are drawn with few corners
LEAST_ADDED = 0.001  # of the box, below which a further tile is not worth fetching
UNSTATED = 101.0  # in the place of a cloud cover that an item does not state: after all that do
Item = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """Items to map, and the sentence that says why these."""

    items: list[Item]
    why: str


@dataclass(frozen=True)
class _Cover:
    """Items that add ground, whether they cover the box, and the mean cloud of what they add, in percent."""

    items: list[Item]
    covers: bool
    cloud: float


def choose(items: Sequence[Item], box: Box) -> Choice:
    """Return the items to map.

    Where one item covers the box, the least cloudy of these. Else tiles of one day that cover it together, of the day
    that is the least cloudy over the box; else tiles of several days, the least cloudy first.

    Raises:
        SceneError: all items together do not cover the box.
        MissingExtraError: shapely is not installed.
    """
    grounds = [(item, ground) for item in sorted(items, key=_rank) if not (ground := _inside(item, box)).is_empty]
    alone = [item for item, ground in grounds if ground.area >= COVERED * _area(box)]
    if alone:
        return Choice([alone[0]], f"{_least(alone, 'item')} the whole box")
    days = [_cover(day, box) for day in _by_day(grounds)]
    covering = [day for day in days if day.covers]
    if covering:
        best = min(covering, key=lambda day: day.cloud)
        why = f"no item covers the box alone; {len(best.items)} of {day_of(best.items[0])} do together"
        return Choice(best.items, f"{why}, the least cloudy of {len(covering)} such day(s)")
    several = _cover(grounds, box)
    if several.covers:
        why = f"no item and no day covers the box; {len(several.items)} items of several days do together"
        return Choice(several.items, f"{why}, the least cloudy first")
    held = _union([ground for _, ground in grounds]).area / _area(box)
    raise SceneError(
        f"the {len(items)} items there and then cover {held:.0%} of the box; name a longer --date, a higher --max-cloud"
        " or a smaller --bbox."
    )


def cloud_of(item: Item) -> float | None:
    """Return the cloud cover of an item in percent; None where it does not say."""
    stated = item["properties"].get("eo:cloud_cover")
    return None if stated is None else float(stated)


def day_of(item: Item) -> str:
    """Return the day of an item."""
    return str(item["properties"].get("datetime") or item["properties"].get("start_datetime"))[:10]


def told(item: Item) -> str:
    """Return one line about an item."""
    cloud = cloud_of(item)
    return f"{item['id']}  {day_of(item)}  {'cloud not stated' if cloud is None else f'{cloud:.1f} % cloud'}"


def polygon_of(box: Box) -> dict[str, Any]:
    """Return a box as GeoJSON; one across the antimeridian in two parts, as RFC 7946 has it."""
    west, south, east, north = box
    if west < east:
        return {"type": "Polygon", "coordinates": [_ring(west, south, east, north)]}
    parts = [[_ring(west, south, 180.0, north)], [_ring(-180.0, south, east, north)]]
    return {"type": "MultiPolygon", "coordinates": parts}


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def _least(items: Sequence[Item], what: str) -> str:
    if len(items) == 1:
        return f"the one {what} that covers"
    return f"the least cloudy of {len(items)} {what}s that cover"


def _rank(item: Item) -> tuple[float, str]:
    """Order items: the least cloud first; of copies of a product the one that was processed last."""
    cloud = cloud_of(item)
    made = str(item["properties"].get("s2:generation_time") or item["properties"].get("created") or "")
    return UNSTATED if cloud is None else cloud, "".join(chr(0x10FFFF - ord(letter)) for letter in made)


def _by_day(grounds: Sequence[tuple[Item, Any]]) -> list[list[tuple[Item, Any]]]:
    days: dict[str, list[tuple[Item, Any]]] = {}
    for item, ground in grounds:
        days.setdefault(day_of(item), []).append((item, ground))
    return list(days.values())


def _cover(grounds: Sequence[tuple[Item, Any]], box: Box) -> _Cover:
    """Take the items that each add ground, the least cloudy first, and leave out again what others made needless."""
    held, added = _union([]), []
    for item, ground in grounds:
        share = ground.difference(held).area / _area(box)
        if share >= LEAST_ADDED:
            added.append((item, ground, share))
            held = _union([held, ground])
    cloud = sum(share * _rank(item)[0] for item, _, share in added) / max(sum(share for *_, share in added), 1e-9)
    kept = list(_needed([(item, ground) for item, ground, _ in added], held.area))
    return _Cover(kept, bool(held.area >= COVERED * _area(box)), cloud)


def _needed(added: list[tuple[Item, Any]], area: float) -> Iterator[Item]:
    """Yield the items without which less would be covered, the cloudiest asked first."""
    left = list(added)
    for one in reversed(added):
        others = [ground for item, ground in left if item is not one[0]]
        if _union(others).area >= area * (1 - LEAST_ADDED / 2):
            left = [pair for pair in left if pair[0] is not one[0]]
    yield from (item for item, _ in left)


def _inside(item: Item, box: Box) -> Any:
    """Return what of an item's footprint lies in the box, whichever side of the antimeridian it is told from."""
    shapely = _shapely()
    try:
        ground = shapely.make_valid(shapely.geometry.shape(item["geometry"]))
    except Exception as cause:  # whatever a catalogue may state, as shapely words it
        raise SceneError(f"item {item.get('id')} states no footprint ({cause}); leave it out by --date.") from cause
    turned = [shapely.affinity.translate(ground, turn) for turn in (-360, 0, 360)]
    west, south, east, north = _unrolled(box)
    return _union([part.intersection(shapely.box(west, south, east, north)) for part in turned])


def _union(parts: Sequence[Any]) -> Any:
    return _shapely().union_all(list(parts))


def _unrolled(box: Box) -> Box:
    west, south, east, north = box
    return west, south, east + 360 * (east < west), north


def _area(box: Box) -> float:
    west, south, east, north = _unrolled(box)
    return (east - west) * (north - south)


def _shapely() -> Any:
    try:
        import shapely  # pyright: ignore[reportMissingImports]
        import shapely.affinity  # pyright: ignore[reportMissingImports]
        import shapely.geometry  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("shapely", "vector") from cause
    return shapely
