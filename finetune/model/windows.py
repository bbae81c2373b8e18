"""Windows: an encoder sees a chip larger than it was trained on a part at a time, each part as large as it knows."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor

from bandloom.finetune.model.native_bands import PIXEL_M

Groups = Mapping[int, Tensor]
Tokens = TypeVar("Tokens", Tensor, list[Tensor])


def in_windows(
    encode: Callable[[Groups], Tokens],
    groups: Groups,
    grid: Callable[[Groups], tuple[int, int]],
    window_px: int | None,
) -> Tokens:
    """Return an encoder's tokens of chips, ``(B, T, D)`` row by row, every window encoded as a chip of its own.

    Attention goes over all tokens that an encoder is given, and positions count from their corner: a larger chip at
    once would be another function than the one that was trained, and dearer.

    Args:
        encode: gives ``(B, T, D)``, or several of them, of ``{gsd_m: (B, C, H, W)}``.
        groups: the chips, ``{gsd_m: (B, C, H, W)}``.
        grid: gives token rows and columns of chips.
        window_px: side of a window in pixels of 10 m, which divides the chips' sides; None: the whole chip is one.
    """
    if window_px is None:
        return encode(groups)
    cut = {gsd_m: _cut(dn, window_px * PIXEL_M // gsd_m) for gsd_m, dn in groups.items()}
    gsd_m, dn = next(iter(groups.items()))
    rows, columns = (side * gsd_m // PIXEL_M // window_px for side in dn.shape[-2:])
    tokens, inner = encode(cut), grid(cut)
    if isinstance(tokens, Tensor):
        return _joined(tokens, (rows, columns), inner)
    return [_joined(depth, (rows, columns), inner) for depth in tokens]


def _cut(dn: Tensor, side: int) -> Tensor:
    """Cut ``(B, C, H, W)`` into windows of ``side`` samples, ``(B * windows, C, side, side)``, row by row."""
    rows, columns = dn.shape[-2] // side, dn.shape[-1] // side
    parts = dn.reshape(-1, dn.shape[1], rows, side, columns, side)  # (B, C, rows, side, columns, side)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, dn.shape[1], side, side)


def _joined(tokens: Tensor, windows: tuple[int, int], inner: tuple[int, int]) -> Tensor:
    """Undo :func:`_cut` for tokens: ``(B * windows, T, D)`` to ``(B, windows * T, D)``, row by row of the chip."""
    parts = tokens.reshape(-1, *windows, *inner, tokens.shape[-1])  # (B, rows, columns, h, w, D)
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(-1, windows[0] * windows[1] * inner[0] * inner[1], tokens.shape[-1])
