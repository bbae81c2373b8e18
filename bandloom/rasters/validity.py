"""Validity of a raster's samples: nodata values, GDAL's masks and alpha bands meet in this one function."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags

NO_NODATA = "none"  # what a user says when no value of a file stands for absent


def measured(
    raster: Any,
    values: np.ndarray,
    indexes: Sequence[int],
    window: Any = None,
    nodata: float | str | None = None,
) -> np.ndarray:
    """Return ``(C, H, W)`` bool, True where a sample was measured.

    Args:
        raster: an open rasterio dataset.
        values: ``(C, H, W)``, what ``raster.read(indexes, window=window)`` gave, thinned or not.
        indexes: the bands, counted from 1.
        window: the part of the raster that was read; None: all of it.
        nodata: the value that stands for absent, said by the user in the file's place; ``none``: no value does.
    """
    return Validity(raster, indexes, nodata).of(values, window)


class Validity:
    """What tells the measured samples of some bands of one raster; looked up once, asked window by window.

    A sample is absent where it is NaN or infinite, equals its band's nodata value, or where a mask of any kind says so:
    inside the file, in a ``.msk`` file beside it, of the whole dataset or of one band, or an alpha band. GDAL's own
    mask follows the first of these alone. Whether 0 and 65535 mean something is the product's convention: see
    :mod:`bandloom.rasters.values`.
    """

    def __init__(self, raster: Any, indexes: Sequence[int], nodata: float | str | None = None) -> None:
        """Look up what the raster says of ``indexes``; ``nodata`` as in :func:`measured`."""
        self._raster, self._indexes = raster, list(indexes)
        self.nodata = tuple(_told(raster.nodatavals[index - 1], nodata) for index in indexes)
        flags = [raster.mask_flag_enums[index - 1] for index in indexes]
        self._masked = [bool({MaskFlags.per_dataset, MaskFlags.alpha} & set(flag)) or not flag for flag in flags]
        self._of_dataset = all(MaskFlags.per_dataset in flag for flag in flags)
        self._alphas = [index for index in alpha_bands(raster) if index not in self._indexes]

    @property
    def by_values_alone(self) -> bool:
        """Whether no mask and no alpha band has a say: the samples' own values tell."""
        return not any(self._masked) and not self._alphas

    def of(self, values: np.ndarray, window: Any = None) -> np.ndarray:
        """Return ``(C, H, W)`` bool for the values of a window, as :func:`measured`."""
        known = np.stack([_known(band, nodata) for band, nodata in zip(values, self.nodata, strict=True)])
        if any(self._masked):
            shape = values.shape[1:]
            wanted = self._indexes[:1] if self._of_dataset else self._indexes
            known &= self._raster.read_masks(wanted, window=window, out_shape=(len(wanted), *shape)) != 0
        if self._alphas:
            alphas = self._raster.read(self._alphas, window=window, out_shape=(len(self._alphas), *values.shape[1:]))
            known &= (alphas != 0).all(0)
        return known


def alpha_bands(raster: Any) -> list[int]:
    """Return the indexes of a raster's alpha bands, which hold no values of their own."""
    return [index for index, kind in enumerate(raster.colorinterp, 1) if kind is ColorInterp.alpha]


def can_hold(dtype: np.dtype[Any], value: float) -> bool:
    """Tell whether a type can hold a value: what it cannot hold stands for nothing."""
    if dtype.kind not in "iu":
        return True
    bounds = np.iinfo(dtype)
    return float(value).is_integer() and float(bounds.min) <= value <= float(bounds.max)


def _told(tagged: float | None, said: float | str | None) -> float | None:
    if said is None:
        return tagged
    return None if said == NO_NODATA else float(said)


def _known(values: np.ndarray, nodata: float | None) -> np.ndarray:
    """Return where values are finite and not nodata, compared in the raster's own type."""
    kind = values.dtype.kind
    known = np.isfinite(values) if kind in "fc" else np.ones(values.shape, bool)
    if nodata is None or np.isnan(nodata):
        return known
    if kind in "iu" and not can_hold(values.dtype, nodata):
        return known
    with np.errstate(over="ignore"):
        if kind in "iu":  # the ends of 64 bits are rounded up where they are told as floats
            nodata = min(int(nodata), int(np.iinfo(values.dtype).max))
        return known & (values != values.dtype.type(nodata))
