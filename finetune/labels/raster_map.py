"""A label raster in another label set."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from bandloom.errors import LabelError
from bandloom.label_mapping import Mapping
from bandloom.label_set import IGNORE_INDEX
from bandloom.output import new_output


def map_raster(path: Path, out: Path, mapping: Mapping) -> tuple[dict[str, int], list[str]]:
    """Write ``path``, in the source's codes, in the target's codes.

    Returns:
        Pixels by class without a counterpart, and the names of occurring classes for which something is lost.

    Raises:
        LabelError: the raster cannot be read or holds a value outside the source's label set.
    """
    try:
        with rasterio.open(path) as raster:
            values, profile = raster.read(1), raster.profile
    except RasterioError as cause:
        raise LabelError(f"{path} cannot be read as a raster ({cause}).") from cause
    source, target = mapping.source.label_set, mapping.target.label_set
    outside = values == IGNORE_INDEX
    index = np.where(outside, IGNORE_INDEX, source.index_of(np.where(outside, source.codes[0], values), str(path)))
    mapped, lost = mapping.labels(index.astype(np.uint8))
    codes = np.append(np.array(target.codes, np.uint8), np.full(256 - len(target), IGNORE_INDEX, np.uint8))
    profile.update(dtype="uint8", count=1, nodata=IGNORE_INDEX, driver="GTiff")
    with new_output(out) as temporary, rasterio.open(temporary, "w", **profile) as raster:
        raster.write(codes[mapped], 1)
        raster.write_colormap(1, {each.code: tuple(target.rgb[i].tolist()) for i, each in enumerate(target.classes)})
    present = set(np.unique(index).tolist())
    return lost, [each.name for i, each in enumerate(mapping.source.classes) if i in present and mapping.lossy[i]]
