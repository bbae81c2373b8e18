"""The radiometric offset of a corpus's sample: by what its product says, the corpus's table, or its own pixels.

A date decides nothing: SSL4EO-S12 v1.1 is of 2019 to 2021 and carries the +1000, reprocessed scenes of 2015 do, and
TerraMesh and Copernicus-Pretrain mix both. B10 decides every Level-1C sample. Of Level-2A, more than 2 % of
values under 900 prove that no 1000 is in them (the ground would reflect less than -0.01); nothing proves that it is:
desert, snow and cloud are as bright without.
"""

from typing import Any

import numpy as np

from bandloom.errors import SceneError
from bandloom.shards.scenes.offset import decide_offset

DARK_DN, DARK_SHARE = 900, 0.02


def settle_offset(
    name: str,
    stated: tuple[int, str] | None,
    told: int | None,
    b10: np.ndarray | None,
    all_bands: np.ndarray,
    provenance: dict[str, Any],
) -> int:
    """Return what to add to stored values to get ``10000 * reflectance``, and say why in ``provenance``.

    Args:
        name: the sample, for messages.
        stated: what the product or the corpus's table says, and which of them; None where it mixes both.
        told: what the user says of samples that cannot be decided.
        b10: valid samples of the cirrus band, or None when there is none.
        all_bands: valid samples of all bands.
        provenance: receives ``offset`` and ``offset_from``.

    Raises:
        SceneError: it cannot be decided, or the pixels contradict what is stated.
    """
    dark = float((all_bands < DARK_DN).mean()) if all_bands.size else 0.0
    if stated is not None and stated[0] != 0 and dark > DARK_SHARE:
        raise SceneError(
            f"{name} should carry +1000 by {stated[1]}, but {dark:.1%} of its values lie under {DARK_DN}, which"
            " no ground does with it: it is of another version of the set, or was shifted already; leave it out."
        )
    if stated is None and b10 is not None and b10.size:
        try:
            return decide_offset(name, None, None, b10, all_bands, provenance)
        except SceneError:
            stated = None  # B10 is in between: the other proofs follow
    if stated is None and dark > DARK_SHARE:
        stated = 0, f"{DARK_SHARE:.0%} of its values and more lie under {DARK_DN}"
    if stated is None and told is not None:
        stated = told, "--offset"
    if stated is None:
        raise SceneError(
            f"{name} does not say whether its values carry the +1000 offset, and its pixels prove neither (its set"
            f" mixes both; {dark:.1%} of its values lie under {DARK_DN}): pass --offset to decide for all such samples."
        )
    return decide_offset(name, None, stated[0], b10, all_bands, provenance, stated[1])
