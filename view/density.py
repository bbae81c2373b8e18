"""A chart of how often two values go together, as inline SVG: a picture of few large pixels between two axes."""

import base64
from html import escape

import numpy as np

from bandloom.rasters.png import png
from bandloom.view.charts import nice_ticks
from bandloom.view.value_map import ramp

SIDE, LEFT, BOTTOM, TOP, RIGHT = 260, 58, 44, 26, 14
SHADES = 200


def density_chart(counts: np.ndarray, ends: tuple[float, float], names: tuple[str, str], what: str) -> str:
    """Draw counts of pairs of values with the line on which both are equal.

    Args:
        counts: ``(N, N)``, the upright value in rows, both rising.
        ends: the lowest and the highest value of either axis.
        names: of the value across and of the upright one.
        what: both are.

    Returns:
        An ``<svg>`` element.
    """
    low, high = ends
    width, height = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * SIDE

    def up(value: float) -> float:
        return TOP + SIDE - (value - low) / (high - low) * SIDE

    label = escape(f"{what}: {names[1]} over {names[0]}")
    picture = base64.b64encode(png(shades(counts)[::-1])).decode()
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">',
        f'<image x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" preserveAspectRatio="none"'
        f' style="image-rendering:pixelated" href="data:image/png;base64,{picture}"/>',
    ]
    for tick in (tick for tick in nice_ticks(low, high) if low <= tick <= high):
        parts.append(f'<line class="grid" x1="{LEFT - 4}" x2="{LEFT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
        parts.append(f'<text x="{across(tick):.1f}" y="{TOP + SIDE + 15}" text-anchor="middle">{tick:.4g}</text>')
    ends_at = f'x1="{LEFT}" y1="{TOP + SIDE}" x2="{LEFT + SIDE}" y2="{TOP}"'
    parts.append(f'<line {ends_at} stroke="#c2410c" stroke-width="1.2"/>')
    parts.append(f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#94a3b8"/>')
    parts.append(f'<text class="axis" x="4" y="14">{escape(names[1])}</text>')
    parts.append(f'<text class="axis" x="{width - RIGHT}" y="{height - 8}" text-anchor="end">{escape(names[0])}</text>')
    return "".join([*parts, "</svg>"])


def shades(counts: np.ndarray) -> np.ndarray:
    """Return ``(N, N, 4)`` uint8 colours of counts, darker for more by their logarithm, clear where there is none."""
    share = np.log1p(counts) / max(float(np.log1p(counts.max())), 1e-12)
    colours = ramp(SHADES)[::-1][np.clip(share * SHADES, 0, SHADES - 1).astype(int)]
    return np.dstack([colours, np.where(counts > 0, 255, 0)]).astype(np.uint8)
