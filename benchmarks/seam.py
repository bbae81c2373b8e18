"""Pixels that a planted border error turns, against terratorch with the same tiles, and with its default margin."""

from benchmarks.harness import Figure
from benchmarks.tiled_pair import CROP, MARGIN, STRIDE, run_pair

SIDE_PX = 1536
THEIR_DELTA = 8  # terratorch's default


def run() -> list[Figure]:
    figures = []
    for delta in (MARGIN, THEIR_DELTA):
        ours, theirs = run_pair(SIDE_PX, delta)
        note = f"{SIDE_PX} x {SIDE_PX} px, crop {CROP}, stride {STRIDE}; ours cuts {MARGIN} px, terratorch {delta}"
        name = "seam" if delta == MARGIN else "seam, terratorch's default margin"
        figures.append(Figure(name, ours.wrong * 100, "% wrong", "terratorch", theirs.wrong * 100, "<= 1", note))
    return figures
