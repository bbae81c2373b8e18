"""The value convention on disk: ``dn = round(reflectance * 10000) + 1000``, 0 no data, 65535 saturated.

It is the convention of Sentinel-2 processing baseline 04.00 (January 2022), which SSL4EO-S12 v1.1 and TerraMesh share;
the offset lets slightly negative reflectance survive. Saturated samples count as absent, like missing ones.
"""

import numpy as np

NODATA = 0
SATURATED = 65535
OFFSET = 1000
SCALE = 10000


def reflectance_to_dn(reflectance: np.ndarray) -> np.ndarray:
    """Encode reflectance (float, about 0..1, any shape) as uint16; NaN becomes no data.

    A value is clipped to 1..65534, so that a dark pixel never turns into no data nor a bright one into saturated.
    """
    finite = np.isfinite(reflectance)
    dn = np.clip(np.rint(np.where(finite, reflectance, 0.0) * SCALE) + OFFSET, 1, SATURATED - 1)
    return np.where(finite, dn, NODATA).astype(np.uint16)


def dn_to_reflectance(dn: np.ndarray) -> np.ndarray:
    """Decode uint16 to float32 reflectance; samples that are not :func:`valid` become NaN."""
    return np.where(valid(dn), (dn.astype(np.float32) - OFFSET) / SCALE, np.float32(np.nan)).astype(np.float32)


def valid(dn: np.ndarray) -> np.ndarray:
    """Return a bool array of the same shape, True where a sample was really measured."""
    return (dn != NODATA) & (dn != SATURATED)
