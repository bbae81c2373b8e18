"""A contact sheet of shards: small pictures of samples spread evenly over the index, and a page that lays them out."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bandloom.draws.evenly import evenly
from bandloom.errors import OutputError
from bandloom.rasters.png import png
from bandloom.shards.read.picture import panels
from bandloom.shards.read.shard_set import ShardSet

THUMBNAIL_PX = 96
GAP_PX = 2


def write_page(shards: ShardSet, page: Path, most: int) -> int:
    """Write the report of a shard folder with pictures of its samples; return how many are shown.

    Args:
        shards: the folder.
        page: a new ``.html`` file.
        most: how many samples are drawn.

    Raises:
        OutputError: the page exists or cannot be written.
        ShardError: a sample is damaged.
    """
    from bandloom.cli import bandloom as verbs

    if page.exists():  # before minutes of drawing, not after
        raise OutputError(f"the output {page} exists already; choose another name, or remove it first.")
    with TemporaryDirectory() as place:
        drawn = draw_thumbnails(shards, Path(place), most)
        report = ["report", str(shards.path), "--pictures", place, "--out", str(page)]
        verbs(args=report, prog_name=sys.argv[0], standalone_mode=False)
    return drawn


def draw_thumbnails(shards: ShardSet, folder: Path, most: int) -> int:
    """Write ``NUMBER.png`` for at most ``most`` samples, true colour and label side by side; return how many."""
    chosen = evenly(len(shards), most).tolist()
    for index in chosen:
        (folder / f"{index}.png").write_bytes(png(thumbnail(shards, index)))
    return len(chosen)


def thumbnail(shards: ShardSet, index: int) -> np.ndarray:
    """Return ``(96, W, 4)`` uint8: the first picture of a sample and, where it has labels, these beside it."""
    drawn = panels(shards, index)
    shown = [next(iter(drawn.values())), *([drawn["label"]] if "label" in drawn else [])]
    gap = np.full((THUMBNAIL_PX, GAP_PX, 4), 0, np.uint8)
    row: list[np.ndarray] = []
    for layer in shown:
        row += [_resized(layer), gap]
    return np.concatenate(row[:-1], axis=1)


def _resized(panel: np.ndarray) -> np.ndarray:
    at = (np.arange(THUMBNAIL_PX) * panel.shape[0] / THUMBNAIL_PX).astype(int)
    small = panel[at][:, at]
    return np.dstack([small, np.full(small.shape[:2], 255, np.uint8)])
