"""Plausibility of a scene's values when it is opened: can they be reflectance at all, and is nodata lost?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandloom.command_line.console import logger
from bandloom.errors import SceneError
from bandloom.rasters.validity import NO_NODATA, measured
from bandloom.rasters.values import valid
from bandloom.sensors import Sensor
from bandloom.shards.scenes.grid import read_raster

PROBE_PX = 256
_WINDOWS = 4  # along each side
BRIGHTEST, DARKEST = 1.6, -0.05  # median reflectance over all bands that a scene can have
_BRIGHT_ALL = 0.6  # a twentieth of all samples lie lower: nothing is as bright as this in every band, SWIR included
_DARK_ALL = 0.0256  # 256 / 10000: whole scenes below hold percent, or pictures of 8 bits
_AIR = 0.015  # the air alone reflects four times this in blue, seen from above it
_LOST_SHARE = 0.002  # of the samples of all bands that one impossible value takes
_CONSTANT_SHARE = 0.02


def probe(raster: Any, path: str, index: int, nodata: float | str | None, scaled: bool) -> np.ndarray:
    """Return a thinned copy of one band, flat; absent samples are NaN.

    Raises:
        SceneError: the values are no DN: floats or bytes that nothing scales.
    """
    values, known = _thinned(raster, path, index, nodata)
    if not scaled:
        _check_type(values[known], values.dtype, path)
    if nodata != NO_NODATA and values.dtype.kind in "u":
        known = known & valid(values)
    if nodata is None and values.dtype.kind != "u" and raster.nodatavals[index - 1] is None:
        known = known & (values != 0)
    return np.where(known, values.astype(np.float64), np.nan)


def check_reflectance(
    name: str, sensor: Sensor, reflectance: Mapping[str, np.ndarray], scaled_by: str, may_be_small: bool
) -> None:
    """Refuse a scene whose values cannot be the reflectance of any ground.

    Args:
        name: the scene, for messages.
        sensor: whose bands these are.
        reflectance: thinned samples by band, without absent ones.
        scaled_by: what says how values become reflectance, for messages.
        may_be_small: percent or bytes may stand here: nothing says that +1000 is in the values, nor their scale.

    Raises:
        SceneError: they cannot; the numbers and the option that mends it are named.
    """
    everything = np.concatenate(list(reflectance.values()))
    low, middle, high = (float(value) for value in np.percentile(everything, (5, 50, 99.9)))
    said = f"{name} would reflect {low:.3g} to {high:.3g} (median {middle:.3g}), taken by {scaled_by}"
    infrared = {"B11", "B12"} & set(sensor.slots)
    if middle > BRIGHTEST or (infrared and low > _BRIGHT_ALL):
        hint = " (Collection 2: 2.75e-05,-0.2 for level 2)" if sensor.name.startswith("landsat") else ""
        raise SceneError(
            f"{said}, which no ground does: its values have another scale; pass --scale GAIN,OFFSET of reflectance ="
            f" GAIN * value + OFFSET{hint}."
        )
    if middle < DARKEST:
        raise SceneError(
            f"{said}, which no ground does: its values do not carry +1000; pass --offset 0, or --scale GAIN,OFFSET."
        )
    flat = all(values.size == 0 or values.min() == values.max() for values in reflectance.values())
    if flat or not may_be_small:  # one value a band is no picture of any ground
        return
    if 0 <= high < _DARK_ALL:
        raise SceneError(
            f"{said}, and no ground is so dark in every band: are they percent, or a picture of 8 bits? Pass --scale"
            " 0.01 for percent, --scale 0.0001 if they are right; a picture's values cannot be used."
        )
    blue = next((band.name for band in sensor.bands if band.slot == "B02"), None)
    if sensor.reflectance == "toa" and blue is not None and blue in reflectance:
        seen = float(np.median(reflectance[blue]))
        if seen < _AIR:
            raise SceneError(
                f"{name} would reflect {seen:.3g} in {blue} in the middle, taken by {scaled_by}, where the air alone"
                f" reflects more than {_AIR}: its values have another scale or offset; pass --scale GAIN,OFFSET."
            )
    elif high < 2 * _DARK_ALL:
        logger.warning("%s, which only clear water does: check its scale, or pass --scale", said)


def check_lost_nodata(
    name: str, samples: Mapping[str, np.ndarray], lowest: float, told: float | str | None = None
) -> None:
    """Refuse a scene in which a value that nobody declares stands for absent.

    Args:
        name: the scene, for messages.
        samples: stored values by band, thinned alike, NaN where absent.
        lowest: the stored value of reflectance -0.1, below which no measurement lies.
        told: what the user says that stands for absent; ``none``: everything was measured.

    Raises:
        SceneError: one value below takes a share of the samples, or, where the user says nothing, one constant lies on
            all bands at once.
    """
    if isinstance(told, str):
        return
    everything = np.concatenate([values[np.isfinite(values)] for values in samples.values()])
    below = everything[everything < lowest]
    if below.size > _LOST_SHARE * everything.size or below.size > 3:
        value, times = _commonest(below)
        if times > below.size / 2:
            raise _lost(name, value, times / everything.size, told)
    if told is not None:
        return
    same_size = {len(values) for values in samples.values()}
    if len(samples) < 2 or len(same_size) > 1:
        samples = _of_one_grid(samples)
    if len(samples) < 2:
        return
    stack = np.stack(list(samples.values()))
    alike = np.isfinite(stack[0]) & (stack == stack[0]).all(0)
    if not alike.any():
        return
    value, times = _commonest(stack[0][alike])
    rest = stack[:, ~alike]
    rest = rest[np.isfinite(rest)]
    share = times / stack.shape[1]
    apart = rest.size and (value < rest.min() or value > rest.max()) and len(np.unique(rest)) > 16
    if share > _CONSTANT_SHARE and apart:
        raise _lost(name, value, share)


def check_lowest(name: str, values: np.ndarray, lowest: float) -> None:
    """Refuse measured values below ``lowest``, the stored value of reflectance -0.1, that a thinned look missed.

    Raises:
        SceneError: there are any; values of the convention cannot hold them.
    """
    if values.size and values.min() < lowest:
        value, _ = _commonest(values[values < lowest])
        raise _lost(name, value, float((values == value).mean()))


def _of_one_grid(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the samples of the bands that were thinned to the commonest size."""
    sizes = [len(values) for values in samples.values()]
    size = max(set(sizes), key=sizes.count)
    return {band: values for band, values in samples.items() if len(values) == size}


def _commonest(values: np.ndarray) -> tuple[float, int]:
    distinct, times = np.unique(values, return_counts=True)
    return float(distinct[times.argmax()]), int(times.max())


def _lost(name: str, value: float, share: float, told: float | None = None) -> SceneError:
    exact = f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)  # what finds it again
    if told is not None:
        return SceneError(
            f"{name} holds {exact} in {share:.1%} of its samples, which no ground reflects and --nodata {told!r}"
            f" does not name: pass --nodata {exact} if that is the one, or make both one value."
        )
    return SceneError(
        f"{name} holds {exact} in {share:.1%} of its samples and states no nodata value: pass --nodata {exact} if"
        " it stands for absent, or --nodata none if it was measured."
    )


def _check_type(values: np.ndarray, dtype: np.dtype[Any], path: str) -> None:
    if dtype.kind == "f" and values.size:
        low, high = float(values.min()), float(values.max())
        like = "which look like reflectances of 0..1: pass --scale 1 if they are; else " if high <= 2 else ""
        raise SceneError(
            f"{path} holds floats from {low:.4g} to {high:.4g}, {like or 'which no scale is stated for: '}pass --scale"
            " GAIN,OFFSET, or write uint16 values of 10000 x reflectance."
        )
    if dtype.itemsize == 1:
        raise SceneError(f"{path} holds bytes ({dtype}); expected the product's values of 16 bits, not a picture.")
    if dtype.kind == "c":
        raise SceneError(f"{path} holds complex numbers ({dtype}), as radar has; expected reflectance.")


def _thinned(raster: Any, path: str, index: int, nodata: float | str | None) -> tuple[np.ndarray, np.ndarray]:
    """Read a thinned copy of one band and where it was measured, from its overviews, or from squares spread over it.

    Thinning without overviews would decode every block of the file, each time that a scene is opened.
    """
    height, width = raster.shape
    if max(height, width) <= 2 * PROBE_PX or raster.overviews(index):
        shape = (1, min(height, PROBE_PX), min(width, PROBE_PX))
        values = read_raster(raster, path, indexes=[index], out_shape=shape)
        known = measured(raster, values, [index], nodata=nodata)
    else:
        side = min(PROBE_PX // _WINDOWS, height, width)
        tops, lefts = (np.linspace(0, length - side, _WINDOWS).astype(int).tolist() for length in (height, width))
        windows = [((top, top + side), (left, left + side)) for top in tops for left in lefts]
        squares = [read_raster(raster, path, indexes=[index], window=window) for window in windows]
        marks = [measured(raster, square, [index], at, nodata) for square, at in zip(squares, windows, strict=True)]
        values, known = np.concatenate(squares), np.concatenate(marks)
    if not known.any() and max(height, width) > PROBE_PX:
        values = read_raster(raster, path, indexes=[index])
        known = measured(raster, values, [index], nodata=nodata)
        return values.ravel()[::17], known.ravel()[::17]
    return values.ravel(), known.ravel()
