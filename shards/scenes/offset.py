"""Finds the radiometric offset and applies it once: stated by the user, by a tag, or decided from B10 and said.

Sentinel-2 products of processing baseline 04.00 and later hold ``dn = 10000 * reflectance + 1000``, older ones (and
"harmonised" ones) lack the 1000. B10 sees almost only thin high cloud: about 20 without the offset, 1020 with it.
"""

from typing import Any

import numpy as np

from bandloom.command_line.console import logger
from bandloom.errors import SceneError
from bandloom.rasters.values import NODATA, OFFSET, SATURATED

_WITHOUT = 300  # B10's first percentile lies below this when no offset was added (clear sky 0..60, thin cirrus 200)
_WITH = 900  # and above this when it was
_NOT_CLEAR = 1300  # but no higher, and its tenth percentile close by: a chip of high cloud alone is that bright without
_CLEAR_SPREAD = 50  # of five real scenes and chips with the offset: 0 to 10
_DARK_ENOUGH = 800  # shadow, water and infrared lie below reflectance 0.08 in nearly every scene
DOUBTED = ("the assets' raster offset", "the item's processing baseline")
_TOO_DARK_SHARE = 0.02  # of samples under reflectance -0.05, which no surface has


def decide_offset(
    name: str,
    told: int | None,
    tagged: int | None,
    b10: np.ndarray | None,
    all_bands: np.ndarray,
    provenance: dict[str, Any],
    tagged_by: str = "RADIO_ADD_OFFSET",
) -> int:
    """Return what to add to stored values to get ``10000 * reflectance`` (0 or -1000), and say why in ``provenance``.

    Args:
        name: the scene, for messages.
        told: what the user says, or None.
        tagged: what the file or product states, or None.
        b10: valid samples of the cirrus band, or None when the sensor has none.
        all_bands: valid samples of all bands.
        provenance: receives ``offset`` and ``offset_from``.
        tagged_by: where ``tagged`` stands.

    Raises:
        SceneError: nobody says and B10 does not tell, or the pixels contradict what the file says.
    """
    seen = _offset_in(b10)
    stated = told if told is not None else tagged
    if stated is None:
        if seen is None:
            what = "it has no band B10 to tell from" if b10 is None else "its B10 proves neither"
            raise SceneError(
                f"{name} does not say whether its values carry the +1000 offset, and {what}; pass --offset -1000 when"
                " they do (baseline 04.00 and later), or --offset 0 when they do not."
            )
        provenance.update(offset=seen, offset_from="B10's lowest percentile")
        return seen
    if stated not in (0, -OFFSET):
        raise SceneError(f"{name} states the radiometric offset {stated}; expected 0 or -1000: pass --offset.")
    source = "--offset" if told is not None else tagged_by
    too_dark = float((all_bands < OFFSET - 500).mean()) if all_bands.size else 0.0
    if told is None and ((seen is not None and seen != stated) or (stated == -OFFSET and too_dark > _TOO_DARK_SHARE)):
        evidence = (
            f"B10 starts at {np.percentile(b10, 1):.0f}"
            if seen != stated and b10 is not None
            else (f"{too_dark:.0%} of the values would be reflectances below -0.05")
        )
        raise SceneError(
            f"{name} says {tagged_by} {stated}, but {evidence}: the +1000 offset is"
            f" {'missing' if stated else 'still in'}; mend the tag, or decide with --offset {0 if stated else -OFFSET}."
        )
    if told is None and stated == -OFFSET and source in DOUBTED and all_bands.size:
        darkest = float(np.percentile(all_bands, 0.1))
        if darkest > OFFSET + _DARK_ENOUGH:
            logger.warning(
                "%s takes 1000 off as %s says, but nothing in it is dark enough to prove it (the darkest value is %.0f)"
                ", and catalogues have said so of values that were shifted already: where it looks too dark, pass"
                " --offset 0",
                name,
                source,
                darkest,
            )
    provenance.update(offset=stated, offset_from=source)
    return stated


def _offset_in(b10: np.ndarray | None) -> int | None:
    if b10 is None or not b10.size:
        return None
    low, tenth = (float(value) for value in np.percentile(b10, [1, 10]))
    clear_with = _WITH < low < _NOT_CLEAR and tenth - low < _CLEAR_SPREAD
    return 0 if low < _WITHOUT else -OFFSET if clear_with else None


def to_convention(values: np.ndarray, offset: int, known: np.ndarray | None = None) -> np.ndarray:
    """Bring stored integers (any shape) to the convention: uint16 with the offset in, 0 absent, 65535 saturated.

    Args:
        values: what a file stores.
        offset: what to add to get ``10000 * reflectance``.
        known: bool of the same shape, True where a sample was measured; None: wherever it is not 0.
    """
    if offset == -OFFSET and values.dtype == np.uint16 and known is None:
        return values
    wide = values.astype(np.int64)
    absent = wide == NODATA if known is None else ~known
    saturated = wide >= SATURATED
    dn = np.clip(wide + offset + OFFSET, 1, SATURATED - 1)
    return np.where(absent, NODATA, np.where(saturated, SATURATED, dn)).astype(np.uint16)
