"""Line charts as inline SVG: no script, no font, no picture file; every point shows its value."""

import math
from collections.abc import Mapping, Sequence
from html import escape

Curve = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 26, 42
COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#a16207", "#be185d", "#334155", "#0f766e")
MOST_POINTS = 400


def line_chart(
    curves: Mapping[str, Curve],
    title: str,
    *,
    log: bool = False,
    baselines: Mapping[str, float] = {},
    across: str = "step",
    colours: Mapping[str, str] | None = None,
) -> str:
    """Draw curves over steps.

    Args:
        curves: name to ``(step, value)``, in order of step.
        title: what is drawn, and its unit: the name of the upright axis.
        log: a logarithmic value axis; used only where all values are positive.
        baselines: name to a value drawn as a dashed line across.
        across: the name of the other axis.
        colours: by name of a curve, where a page gives each name one colour in all of its charts.

    Returns:
        An ``<svg>`` element with a legend, or an empty string when there is nothing to draw.
    """
    curves = {name: thinned([(x, y) for x, y in curve if math.isfinite(y)]) for name, curve in curves.items()}
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        return ""
    values = [y for curve in curves.values() for _, y in curve] + list(baselines.values())
    log = log and min(values) > 0
    ticks = log_ticks(min(values), max(values)) if log else nice_ticks(min(values), max(values))
    low, high = min(ticks[0], min(values)), max(ticks[-1], max(values))
    last = max(x for curve in curves.values() for x, _ in curve) or 1.0

    def right(x: float) -> float:
        return LEFT + x / last * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        share = math.log(y / low) / math.log(high / low) if log and high > low else (y - low) / ((high - low) or 1.0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    parts += [
        f'<text x="{right(tick):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{tick:g}</text>'
        for tick in nice_ticks(0, last)
        if tick <= last
    ]
    log_said = ", logarithmic" if log else ""
    parts.append(f'<text class="axis" x="4" y="12">{escape(title)}{log_said}</text>')
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(across)}</text>')
    drawn = dict(zip([*curves, *baselines], COLOURS * 9, strict=False)) | dict(colours or {})
    for name, value in baselines.items():
        ends = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(value):.1f}" y2="{up(value):.1f}"'
        told = f"<title>{escape(name)}: {value:.4g}</title>"
        parts.append(f'<line {ends} stroke="{drawn[name]}" stroke-dasharray="5 4">{told}</line>')
    for name, curve in curves.items():
        points = " ".join(f"{right(x):.1f},{up(y):.1f}" for x, y in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{drawn[name]}" stroke-width="1.8"/>')
        for x, y in curve if len(curve) <= 60 else curve[:: len(curve) // 60]:
            parts.append(
                f'<circle cx="{right(x):.1f}" cy="{up(y):.1f}" r="2.6" fill="{drawn[name]}">'
                f"<title>{escape(name)}, {escape(across)} {x:g}: {y:.4g}</title></circle>"
            )
    parts.append("</svg>")
    return "".join(parts) + _legend({name: drawn[name] for name in [*curves, *baselines]})


def _legend(colours: Mapping[str, str]) -> str:
    if len(colours) < 2:
        return ""
    keys = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in colours.items()
    )
    return f'<p class="legend">{keys}</p>'


def thinned(curve: Curve) -> Curve:
    """Return at most ``MOST_POINTS`` points of a curve, each the mean of those it stands for; the last step stays."""
    size = -(-len(curve) // MOST_POINTS)
    if size <= 1:
        return curve
    blocks = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [(block[-1][0], sum(y for _, y in block) / len(block)) for block in blocks]


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round values that span ``low`` to ``high``: multiples of 1, 2 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / about))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= about)
    first = math.floor(low / step)
    return [round(step * k, 12) for k in range(first, math.ceil(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten that span ``low`` to ``high``, both positive."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    below = max((s for s in steps if s <= low), default=low)
    above = min((s for s in steps if s >= high), default=high)
    return [s for s in steps if below <= s <= above] or [low]
