"""Captions of samples: a CSV that names a sample, scene or place, and says what is seen there."""

import csv
import functools
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rasterio.warp import transform

from bandloom.errors import LabelError
from bandloom.files.csv_rows import NamedRows

FORMS = (("key",), ("scene",), ("lon", "lat"))  # the columns beside caption, one of these


@dataclass(frozen=True)
class Captions:
    """The rows of a caption file, by sample key, by scene, and by place."""

    path: Path
    by_key: dict[str, tuple[str, ...]]
    by_scene: dict[str, tuple[str, ...]]
    by_place: tuple[tuple[float, float, str], ...]  # lon, lat, caption

    def of(self, key: str, scenes: tuple[str, ...], square: tuple[int, float, float, float]) -> tuple[str, ...]:
        """Return a sample's captions, in the order of the file's rows.

        Args:
            key: the sample's.
            scenes: names that its scene goes by.
            square: EPSG code, x and y of the upper-left corner, and side, in metres.
        """
        captions = [*self.by_key.get(key, ())]
        for scene in dict.fromkeys(scenes):
            captions += self.by_scene.get(scene, ())
        epsg, x_m, y_m, side_m = square
        for x, y, caption in _projected(self.by_place, epsg):
            if x_m <= x < x_m + side_m and y_m - side_m < y <= y_m:
                captions.append(caption)
        return tuple(dict.fromkeys(captions))

    def check(self, scenes: Collection[str]) -> None:
        """Check that rows by sample or scene speak of some of the scenes that are there.

        Raises:
            LabelError: none does.
        """
        told = {key.rsplit("_r", 1)[0] for key in self.by_key} | set(self.by_scene)
        if told and told.isdisjoint(scenes):
            raise LabelError(
                f"no row of {self.path} is of these scenes (it tells of {min(told)}, they are like {min(scenes)}); mend"
                f" its column {'key' if self.by_key else 'scene'}."
            )


def read_captions(path: Path) -> Captions:
    """Read a CSV with the column ``caption`` and ``key``, ``scene``, or ``lon`` and ``lat`` in degrees.

    Raises:
        LabelError: it cannot be read, lacks a column, or a caption is empty or a coordinate no number.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise LabelError(f"the captions {path} cannot be read ({cause}); expected a CSV in UTF-8.") from cause


@functools.lru_cache(maxsize=2)
def _read(path: Path, changed_ns: int) -> Captions:
    with path.open(newline="", encoding="utf-8-sig") as file:
        named_rows = NamedRows(file)
        columns = named_rows.names
        form = next((form for form in FORMS if set(form) <= set(columns)), None)
        if form is None or "caption" not in columns:
            raise LabelError(
                f"{path} has the columns {', '.join(columns) or 'none'}; expected caption, and key, scene, or lon and"
                " lat, in its first line."
            )
        named_rows.require_once("caption", *form)
        rows = [(line, [row[name].strip() for name in form], row["caption"]) for line, row in named_rows]
    named: dict[str, list[str]] = defaultdict(list)
    places: list[tuple[float, float, str]] = []
    for line, where, text in rows:
        caption = " ".join(text.split())
        if not caption or not all(where):
            raise LabelError(f"line {line} of {path} has an empty {'caption' if not caption else form[0]}; fill it in.")
        if form == ("lon", "lat"):
            places.append((*_degrees(path, line, where), caption))
        else:
            named[where[0]].append(caption)
    fixed = {name: tuple(own) for name, own in named.items()}
    return Captions(path, fixed if form == ("key",) else {}, fixed if form == ("scene",) else {}, tuple(places))


def _degrees(path: Path, line: int, where: list[str]) -> tuple[float, float]:
    try:
        lon, lat = float(where[0]), float(where[1])
    except ValueError:
        lon = lat = float("nan")
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise LabelError(f"line {line} of {path}: {', '.join(where)} are no degrees; lon is first, from -180 to 180.")
    return lon, lat


@functools.lru_cache(maxsize=8)
def _projected(places: tuple[tuple[float, float, str], ...], epsg: int) -> tuple[tuple[float, float, str], ...]:
    """Return places in metres of a coordinate system; those that it cannot show lie at infinity."""
    if not places:
        return ()
    xs, ys, *_ = transform("EPSG:4326", f"EPSG:{epsg}", [place[0] for place in places], [place[1] for place in places])
    return tuple((x, y, place[2]) for x, y, place in zip(xs, ys, places, strict=True))
