"""Two maps of one measured quantity side by side: how far they are apart, where, and at which values."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import rasterio
from rasterio.enums import Resampling

from bandloom.rasters.png import png
from bandloom.view.density import density_chart
from bandloom.view.sections.parts import Picture, Section, table, titled
from bandloom.view.standalone import view_of
from bandloom.view.tiles import class_picture, window_of
from bandloom.view.value_map import ValueMap

LONGEST_PX = 700  # of a picture
BINS = 60  # a side of the density
LOWER, EQUAL, HIGHER = (0x0B, 0x5C, 0x9E), (0xF4, 0xF4, 0xF0), (0xC2, 0x41, 0x0C)  # the second map beside the first
SHOWN_PERCENT = 98  # of absolute differences; larger ones have the colour of the end


@dataclass
class Apart:
    """Sums over the pixels that have a value in both maps, and how often each pair of values occurs."""

    low: float
    high: float
    count: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(7))  # of a, b, a², b², ab, |b - a|, (b - a)²
    pairs: np.ndarray = field(default_factory=lambda: np.zeros((BINS, BINS), np.int64))  # the second map's in rows

    def add(self, one: np.ndarray, other: np.ndarray) -> None:
        """Count some pixels, ``(N,)`` each."""
        a, b = one.astype(np.float64), other.astype(np.float64)
        self.count += a.size
        self.sums += [v.sum() for v in (a, b, a * a, b * b, a * b, np.abs(b - a), (b - a) ** 2)]
        width = (self.high - self.low) / BINS
        columns, rows = (np.clip((v - self.low) / width, 0, BINS - 1).astype(int) for v in (a, b))
        self.pairs += np.bincount(rows * BINS + columns, minlength=BINS**2).reshape(BINS, BINS)

    def figures(self) -> dict[str, float]:
        """Return both means, the mean difference, its mean absolute and root mean square, and the correlation."""
        a, b, aa, bb, ab, absolute, squared = self.sums / self.count
        spread = np.sqrt(max(aa - a * a, 0) * max(bb - b * b, 0))
        return {
            "first": a,
            "second": b,
            "difference": b - a,
            "absolute": absolute,
            "rms": float(np.sqrt(squared)),
            "r": float((ab - a * b) / spread) if spread > 1e-12 * max(aa, bb, 1e-300) else float("nan"),
        }


def compared(first: ValueMap, second: ValueMap, names: tuple[str, str]) -> list[Section]:
    """Return how far two maps of one grid and one quantity are apart, pictures, and the density of their pairs."""
    quantities = [(held.target.name, held.target.unit) for held in (first, second)]
    if quantities[0] != quantities[1]:
        told = " and ".join(held.target.title for held in (first, second))
        return [Section("Where they differ", verdict=f"They show other quantities, {told}: not compared.")]
    apart = Apart(min(first.target.low, second.target.low), max(first.target.high, second.target.high))
    if not apart.high > apart.low:
        apart.high = apart.low + 1.0
    for one, other in _parts(first, second):
        apart.add(one, other)
    if not apart.count:
        return [Section("Where they differ", verdict="No pixel has a value in both maps.")]
    figures = apart.figures()
    if not figures["rms"]:
        told = f"The two maps have the same value on all {apart.count:,} pixels that have one in both."
        return [Section("Where they differ", verdict=told)]
    chart = density_chart(apart.pairs, (apart.low, apart.high), names, first.target.title)
    return [
        Section(
            "Where they differ",
            verdict=_verdict(figures, apart.count, first, names),
            pictures=_pictures(first, second, names),
        ),
        Section("Value beside value", _PAIRS, charts=titled([chart], [f"{first.target.title}, pixel by pixel"])),
        Section("Differences", tables=table(("", first.target.title), _rows(figures, apart.count, names))),
    ]


_PAIRS = "Darker: more pixels, on a logarithmic scale; on the line both are equal. What lies beyond is at the edge."


def _verdict(figures: dict[str, float], count: int, first: ValueMap, names: tuple[str, str]) -> str:
    unit = f" {first.target.unit}" if first.target.unit else ""
    gap = figures["difference"]
    side = "higher" if gap > 0 else "lower"
    return (
        f"On the {count:,} pixels that have a value in both, {names[1]} is {abs(gap):.3g}{unit} {side} in the mean than"
        f" {names[0]}; pixel by pixel they are {figures['absolute']:.3g}{unit} apart (root mean square"
        f" {figures['rms']:.3g}{unit}). Which is nearer to the truth maps alone cannot say: the reports of their runs"
        " can, with test labels."
    )


def _rows(figures: dict[str, float], count: int, names: tuple[str, str]) -> list[list[object]]:
    correlation = figures["r"] if np.isfinite(figures["r"]) else None
    return [
        ["pixels with a value in both", count],
        [f"mean of {names[0]}", figures["first"]],
        [f"mean of {names[1]}", figures["second"]],
        ["2 less 1, mean", figures["difference"]],
        ["apart, mean of absolute differences", figures["absolute"]],
        ["apart, root mean square", figures["rms"]],
        ["correlation of the pixels", correlation],
    ]


def _parts(first: ValueMap, second: ValueMap) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with rasterio.open(first.path) as one, rasterio.open(second.path) as other:
        for _, window in one.block_windows(1):
            a, b = one.read(1, window=window), other.read(1, window=window)
            known = np.isfinite(a) & np.isfinite(b)
            yield a[known], b[known]


def _pictures(first: ValueMap, second: ValueMap, names: tuple[str, str]) -> list[Picture]:
    bounds, size = view_of(first.bounds, LONGEST_PX)
    drawn = [class_picture(held, bounds, size) for held in (first, second)]
    one, other = (window_of(held.path, 1, bounds, size, Resampling.nearest, held.nodata) for held in (first, second))
    gap = other - one
    known = np.isfinite(gap)
    reach = float(np.percentile(np.abs(gap[known]), SHOWN_PERCENT)) if known.any() else 0.0
    reach = reach or (float(np.abs(gap[known]).max()) if known.any() else 0.0) or 1.0
    unit = f" {first.target.unit}" if first.target.unit else ""
    note = f"2 less 1: blue, the second is lower, red, it is higher, by {reach:.3g}{unit} or more at the ends"
    named = (*names, note)
    return [
        Picture(text, base64.b64encode(png(pixels)).decode(), text)
        for text, pixels in zip(named, (*drawn, difference_colours(gap, reach)), strict=True)
    ]


def difference_colours(gap: np.ndarray, reach: float) -> np.ndarray:
    """Return ``(H, W, 4)`` uint8 colours of differences, clear where there is none; ``reach`` has those of the ends."""
    known = np.isfinite(gap)
    share = np.clip(np.nan_to_num(gap) / reach, -1, 1)[..., None]
    end = np.where(share < 0, np.array(LOWER, float), np.array(HIGHER, float))
    colours = np.array(EQUAL, float) + np.abs(share) * (end - np.array(EQUAL, float))
    return np.dstack([colours.round(), np.where(known, 255, 0)]).astype(np.uint8)
