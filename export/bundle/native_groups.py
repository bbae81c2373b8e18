"""Native band groups as a model file's inputs: byte pairs by input name."""

import numpy as np

Groups = dict[int, np.ndarray]  # {gsd_m: (B, C, H, W) uint16}


def byte_pairs(dn: np.ndarray) -> np.ndarray:
    """View uint16 ``(B, C, H, W)`` as little-endian bytes ``(B, C, H, W, 2)``; TensorRT has no uint16."""
    contiguous = np.ascontiguousarray(dn, dtype="<u2")
    return contiguous.view(np.uint8).reshape(*contiguous.shape, 2)


def group_feed(groups: Groups) -> dict[str, np.ndarray]:
    """Return engine inputs by name (``g10``, ``g20``, ...) for native groups."""
    return {f"g{gsd_m}": byte_pairs(dn) for gsd_m, dn in groups.items()}
