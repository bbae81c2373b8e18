"""What a Zarr array says of its stored values: no scaling is left to be done, and which of them stands for absent."""

import numpy as np

from bandloom.errors import SceneError
from bandloom.rasters.values import NODATA
from bandloom.shards.corpora.zarr_v2 import ArrayInfo

_AS_STORED = {"scale_factor": 1.0, "add_offset": 0.0}


def as_measured(where: str, values: np.ndarray, info: ArrayInfo) -> np.ndarray:
    """Return stored integers with 0 where the array's fill value stands for absent, as xarray masks it.

    Raises:
        SceneError: the array's attributes say that values are packed: the published editions store plain numbers.
    """
    for name, plain in _AS_STORED.items():
        told = info.attributes.get(name, plain)
        if not isinstance(told, int | float) or told != plain:
            raise SceneError(
                f"{where} states {name} {told!r} for its pixels; expected plain 10000 x reflectance, as the set is"
                " published: take that edition."
            )
    for fill in {info.attributes.get("_FillValue", NODATA), info.attributes.get("missing_value", NODATA), info.fill}:
        if fill != NODATA and isinstance(fill, int | float) and (absent := values == fill).any():
            values = np.where(absent, values.dtype.type(NODATA), values)
    return values
