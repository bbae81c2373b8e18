"""Maps of sample locations as SVG, drawn offline: all places together, and every place with its squares."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from bandloom.rasters.projected import projected
from bandloom.view.charts import COLOURS, nice_ticks

WIDTH, MARGIN = 420, 34
NEIGHBOUR_M = 50_000.0  # samples in touching cells of this side are one place
MOST_PLACES = 12
MOST_SQUARES = 2000  # of one place
Square = Mapping[str, Any]  # a line of samples.jsonl


@dataclass(frozen=True)
class Place:
    """Samples of one UTM zone that lie near each other."""

    epsg: int
    squares: Sequence[tuple[int, Square]]  # number in the index, and the sample

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of its middle."""
        west, south, east, north = self.extent_m
        (x,), (y,) = projected(f"EPSG:{self.epsg}", "EPSG:4326", [(west + east) / 2], [(south + north) / 2])
        return float(x), float(y)

    @property
    def extent_m(self) -> tuple[float, float, float, float]:
        """West, south, east and north in metres of its zone."""
        x = [s["x_m"] for _, s in self.squares] + [s["x_m"] + side_m(s) for _, s in self.squares]
        y = [s["y_m"] for _, s in self.squares] + [s["y_m"] - side_m(s) for _, s in self.squares]
        return min(x), min(y), max(x), max(y)


def side_m(square: Square) -> float:
    """Return the side of a sample on the ground in metres."""
    return square["side_px"] * 10.0


def places_of(samples: Sequence[Square]) -> list[Place]:
    """Return samples by place, the largest first; a sample without a coordinate system has none."""
    cells: dict[tuple[int, int, int], list[tuple[int, Square]]] = defaultdict(list)
    for number, sample in enumerate(samples):
        if sample.get("epsg"):
            cells[sample["epsg"], int(sample["x_m"] // NEIGHBOUR_M), int(sample["y_m"] // NEIGHBOUR_M)].append(
                (number, sample)
            )
    places = []
    while cells:
        start = next(iter(cells))
        group, edge = cells.pop(start), [start]
        while edge:
            epsg, column, row = edge.pop()
            for near in [(epsg, column + i, row + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in cells:
                    group += cells.pop(near)
                    edge.append(near)
        places.append(Place(start[0], sorted(group, key=lambda each: each[0])))
    return sorted(places, key=lambda place: -len(place.squares))


def world_map(places: Sequence[Place]) -> str:
    """Draw the middle of every place on a net of longitude and latitude, a dot the larger the more samples."""
    if not places:
        return ""
    centres = _near_together([place.centre for place in places])
    (west, east), (south, north) = (_span([c[k] for c in centres], least=4.0) for k in (0, 1))
    shrink = max(0.2, math.cos(math.radians((south + north) / 2)))
    scale = (WIDTH - 2 * MARGIN) / (east - west)
    height = min(520.0, max(120.0, (north - south) * scale / shrink)) + 2 * MARGIN

    def at(longitude: float, latitude: float) -> tuple[float, float]:
        x = MARGIN + (longitude - west) * scale
        return x, MARGIN + (north - latitude) / (north - south) * (height - 2 * MARGIN)

    parts = [_open(height, f"{len(places)} places on a net of longitude and latitude")]
    for tick in [t for t in nice_ticks(west, east) if west <= t <= east]:
        x, _ = at(tick, south)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{MARGIN}" y2="{height - MARGIN:.1f}"/>'
            f'<text x="{x:.1f}" y="{height - 14:.1f}" text-anchor="middle">{_degrees(tick, "EW")}</text>'
        )
    for tick in [t for t in nice_ticks(south, north) if south <= t <= north]:
        _, y = at(west, tick)
        parts.append(
            f'<line class="grid" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{MARGIN - 3}" y="{y + 4:.1f}" text-anchor="end">{_degrees(tick, "NS")}</text>'
        )
    for place, centre in zip(places, centres, strict=True):
        x, y = at(*centre)
        radius = min(14.0, 3 + math.log2(len(place.squares)))
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{COLOURS[0]}" fill-opacity="0.55">'
            f"<title>{escape(title_of(place))}</title></circle>"
        )
    return "".join(parts) + "</svg>"


def place_map(place: Place, linked: set[int] = frozenset()) -> str:  # type: ignore[assignment]
    """Draw the squares of one place in kilometres of its zone, coloured by split, those with a picture as links."""
    west, south, east, north = place.extent_m
    least = 3 * max(side_m(square) for _, square in place.squares)
    scale = (WIDTH - 2 * MARGIN) / max(east - west, north - south, least)
    height = (north - south) * scale + 2 * MARGIN
    parts = [_open(height, title_of(place), "group" if linked else "img")]  # links within an image are lost to readers
    shown = place.squares[:: -(-len(place.squares) // MOST_SQUARES)]
    for number, layer in shown:
        side = max(3.0, side_m(layer) * scale)
        x, y = MARGIN + (layer["x_m"] - west) * scale, MARGIN + (north - layer["y_m"]) * scale
        split, key = str(layer.get("split", "")), escape(str(layer.get("key", number)))
        square = (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" fill="{colour_of(split)}"'
            f' fill-opacity="0.5" stroke="{colour_of(split)}"><title>{key}, {escape(split)}</title></rect>'
        )
        parts.append(f'<a href="#s{number}" aria-label="{key}">{square}</a>' if number in linked else square)
    length_m = nice_ticks(0, max(east - west, 1.0), 3)[1]
    parts.append(
        f'<line x1="{MARGIN}" x2="{MARGIN + length_m * scale:.1f}" y1="{height - 16:.1f}"'
        f' y2="{height - 16:.1f}" stroke="currentColor" stroke-width="2"/>'
        f'<text x="{MARGIN}" y="{height - 3:.1f}">{length_m / 1000:g} km</text>'
    )
    return "".join(parts) + "</svg>"


def title_of(place: Place) -> str:
    """Return what a place is called: how many samples, and where."""
    longitude, latitude = place.centre
    count = len(place.squares)
    where = f"{abs(latitude):.2f}° {'NS'[latitude < 0]} {abs(longitude):.2f}° {'EW'[longitude < 0]}"
    return f"{count:,} {'sample' if count == 1 else 'samples'} near {where}"


def colour_of(split: str) -> str:
    """Return the colour of a split."""
    known = ("train", "val", "test", "buffer", "duplicate")
    return COLOURS[known.index(split)] if split in known else COLOURS[6]


def _span(values: Sequence[float], least: float) -> tuple[float, float]:
    middle, half = (min(values) + max(values)) / 2, max(least, (max(values) - min(values)) * 1.2) / 2
    return middle - half, middle + half


def _open(height: float, label: str, role: str = "img") -> str:
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="{role}" aria-label="{escape(label)}">'


def _near_together(centres: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the same places, counted on beyond 180 degrees east where that brings them nearer to each other."""
    turned = [(longitude % 360, latitude) for longitude, latitude in centres]
    plain, wide = ([longitude for longitude, _ in each] for each in (centres, turned))
    return turned if max(wide) - min(wide) < max(plain) - min(plain) else list(centres)


def _degrees(value: float, signs: str) -> str:
    if value > 180:
        value -= 360
    return f"{abs(value):g}°{'' if value == 0 else signs[value < 0]}"
