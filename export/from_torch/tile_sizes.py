"""Tile sizes of a bundle: several training chips, which the encoder sees one by one, and the margin around them."""

import copy
from typing import TypeVar

from bandloom.errors import BundleError
from bandloom.export.bundle.tiling import CELL_PX, Tiling
from bandloom.export.from_torch.deploy import AnyModel, members_of
from bandloom.export.from_torch.ensemble import Ensemble
from bandloom.finetune.model.heads import SegmentHead

MOST_WINDOWS, LARGEST_TILE_PX = 3, 240  # more of them gain little, and a small scene pays for a whole tile
Model = TypeVar("Model", bound=AnyModel)


def default_tiling(model: AnyModel, margin_px: int | None = None, taper_px: int | None = None) -> Tiling:
    """Return the tiling of a model: its chip, a twelfth of it as margin and a sixth as taper, on the 60 m grid.

    Two and a quarter times the tiles of none of either; at equal numbers of tiles a taper does more against seams than
    a margin (docs/decisions/tiling.md).
    """
    if not model.answer.per_pixel:
        return Tiling(model.chip_px)
    least = CELL_PX if model.chip_px >= 4 * CELL_PX else 0
    margin, taper = (max(model.chip_px // part // CELL_PX * CELL_PX, least) for part in (12, 6))
    return Tiling(model.chip_px, margin if margin_px is None else margin_px, taper if taper_px is None else taper_px)


def wide_tiling(
    model: AnyModel, tile_px: int | None = None, margin_px: int | None = None, taper_px: int | None = None
) -> Tiling:
    """Return the tiling of a bundle: tiles of several training chips, which the encoder sees one by one.

    A margin is then lost around several chips rather than around each. What a pixel's own networks see is whole within
    a margin, so that tiles need no taper (docs/decisions/tiling.md).

    Args:
        model: whose bundle it is.
        tile_px: side of a tile, a multiple of the chip; None: as many chips as are worth their memory.
        margin_px: thrown away on each side; None: a twelfth of the chip, or as far as a pixel's own networks see.
        taper_px: over which tiles are blended; None: none, or :func:`default_tiling`'s where a tile is one chip.

    Raises:
        BundleError: chips do not tile into such a tile.
    """
    chip = model.chip_px
    several = model.answer.per_pixel and chip % CELL_PX == 0
    tile = tile_px or chip * (max(1, min(MOST_WINDOWS, LARGEST_TILE_PX // chip)) if several else 1)
    if tile == chip:
        return default_tiling(model, margin_px, taper_px)
    if tile % chip or not several:
        fitting = max(1, tile // chip) * chip if several else chip
        raise BundleError(
            f"a tile of {tile} pixels is no multiple of the model's chips of {chip}; use --tile {fitting}."
        )
    least = max(default_tiling(model).margin_px, -(-_reach_px(model) // CELL_PX) * CELL_PX)
    return Tiling(tile, least if margin_px is None else margin_px, taper_px or 0)


def _reach_px(model: AnyModel) -> int:
    """Return how far around a pixel the networks of a head see that look at pixels; 0 without such."""
    heads = [member.head for member in members_of(model).values()]
    return max((head.pixel.reach_px for head in heads if isinstance(head, SegmentHead)), default=0)


def in_tiles(model: Model, tile_px: int) -> Model:
    """Return a model for tiles of ``tile_px``: its encoder sees one larger than its chip in windows of the chip."""
    if isinstance(model, Ensemble):
        return Ensemble([in_tiles(member, tile_px) for member in members_of(model).values()]).eval()  # pyright: ignore[reportReturnType]
    copied = copy.copy(model)  # the same weights
    copied.window_px = model.chip_px if tile_px > model.chip_px else None
    return copied
