"""Scenes whose metadata states scale and offset by band: stored values become reflectance one by one."""

from contextlib import ExitStack

import numpy as np

from bandloom.rasters.values import NODATA, SATURATED, reflectance_to_dn
from bandloom.sensors import Sensor
from bandloom.shards.scenes.cloud import CloudLayer
from bandloom.shards.scenes.grid import block_means
from bandloom.shards.scenes.probe import check_lost_nodata, check_reflectance
from bandloom.shards.scenes.raster import Bands, RasterScene
from bandloom.shards.scenes.scene import WindowM
from bandloom.shards.scenes.stated import Scaling, Stated


class ScaledScene(RasterScene):
    """A scene of ``reflectance = gain * value + offset`` a band, with values that stand for absent and saturated."""

    def __init__(
        self,
        name: str,
        path: str,
        sensor: Sensor,
        bands: Bands,
        stack: ExitStack,
        stated: Stated,
        scaling: Scaling,
        *,
        absent: int | None = 0,
        saturated: int | None = None,
        cloud: CloudLayer | None = None,
        nodata: float | str | None = None,
        scaled_by: str | None = None,
    ) -> None:
        """Take the open rasters of every band, all closed by ``stack``, and their scaling.

        ``absent`` and ``saturated`` are a product's values; None leaves them to the files. ``scaled_by`` says who
        stated the scaling where no product does, whose values are then looked at.
        """
        self._scaling, self._absent, self._full, self._scaled_by = scaling, absent, saturated, scaled_by
        super().__init__(name, path, sensor, bands, stack, None, cloud, stated, nodata)

    def read(self, window_m: WindowM) -> dict[int, np.ndarray]:
        """Return ``{gsd_m: (C, H, W)}`` uint16 DN of a window; what lies outside the scene is 0."""
        groups = {}
        for group in self.sensor.groups:
            names, layers = [band.name for band in group.bands], []
            for grid in self._grids[group.gsd_m]:
                values = grid.read(window_m)
                known = grid.measured(values, window_m)
                if known is None:  # the files say nothing: 0 is absent, or else the product's own value
                    known = values != 0 if self._absent is None else grid.inside(window_m)
                here, names = names[: len(values)], names[len(values) :]
                dn = np.stack([self._to_dn(band, name) for band, name in zip(values, here, strict=True)])
                layers.append(block_means(np.where(known, dn, NODATA), grid.factor))
            groups[group.gsd_m] = np.concatenate(layers)
        return groups

    def _to_dn(self, values: np.ndarray, band: str) -> np.ndarray:
        gain, offset = self._scaling[band]
        dn = reflectance_to_dn(values.astype(np.float64) * gain + offset)
        if self._full is not None:
            dn[values >= self._full] = SATURATED
        elif values.dtype == np.uint16:
            dn[values == SATURATED] = SATURATED
        if self._absent is not None:
            dn[values == self._absent] = NODATA
        return dn

    def _check_values(self, bands: Bands, told: int | None, stated: Stated) -> int:
        """Look at the values that a tag or the user scales; a product states its own scaling. No offset is left."""
        if self._scaled_by is None:
            return 0
        samples = self._probed(bands, scaled=True)
        reflectance = {
            band: values[np.isfinite(values)] * self._scaling[band][0] + self._scaling[band][1]
            for band, values in samples.items()
        }
        gain, offset = next(iter(self._scaling.values()))
        check_lost_nodata(self.name, samples, (-0.1 - offset) / gain, self._nodata)
        check_reflectance(self.name, self.sensor, reflectance, self._scaled_by, self._scaled_by != "--scale")
        return 0
