"""Contact sheet of search results: chips in true colour with rank and score."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bandloom.files.output import new_output
from bandloom.finetune.report.pictures import true_colour
from bandloom.sensors import Sensor

COLUMNS = 5


def draw_contact_sheet(
    path: Path, title: str, chips: Sequence[Mapping[int, np.ndarray]], captions: Sequence[str], sensor: Sensor
) -> None:
    """Draw chips, nearest first, row by row.

    Args:
        path: of the PNG.
        title: what was asked.
        chips: native groups ``{gsd_m: (C, H, W)}`` of each.
        captions: below each.
        sensor: whose groups.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(chips))
    rows = -(-len(chips) // columns)
    figure = Figure(figsize=(1.9 * columns, 2.25 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = np.atleast_1d(np.asarray(figure.subplots(rows, columns), object)).reshape(-1)
    for axes in grid:
        axes.set_axis_off()
    for axes, chip, caption in zip(grid, chips, captions, strict=False):
        axes.imshow(true_colour(chip, sensor), interpolation="nearest")
        axes.set_title(caption, fontsize=7)
    figure.suptitle(title, fontsize=11)
    with new_output(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
