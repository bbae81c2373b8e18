"""One prediction request, from the uploaded bytes to the map's bytes; its files live as long as it does."""

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import rasterio
import yaml
from fastapi import HTTPException, Request

from bandloom.command_line.console import logger
from bandloom.errors import BandloomError, OutputError, SceneError
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.predict.map_scene import Mapped, PredictOptions, map_scene, scene_opener
from bandloom.export.predict.scene_mapper import map_size_px
from bandloom.export.predict.tile_table import write_table
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.serve.limits import Limits
from bandloom.export.serve.metrics import Metrics
from bandloom.export.serve.upload import check_head, check_raster, discard, first_line, receive
from bandloom.sensors import SENSORS

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
UPLOAD = "upload.tif"


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    content: bytes
    media_type: str
    pixels: int = 0


@dataclass(frozen=True)
class Asked:
    """What a client says beside its pixels: the form of the answer, the bands in file order, the offset."""

    form: str
    bands: str | None
    offset: int | None


class Predictions:
    """Takes in-flight places, receives uploads, and maps them on worker threads."""

    def __init__(
        self, bundle: Bundle, runner: Runner, options: PredictOptions, limits: Limits, metrics: Metrics, place: Path
    ) -> None:
        """Prepare to answer; ``place`` is a folder of the server's own for uploads."""
        self.bundle, self.runner, self.limits = bundle, runner, limits
        self._metrics, self._place = metrics, place
        self._options = options.with_changes(sensor=_sensor_name(bundle, place))
        self._workers = ThreadPoolExecutor(limits.workers, thread_name_prefix="mapper")
        self._busy = 0

    async def answer(self, request: Request, asked: Asked) -> Answer:
        """Receive and map one upload.

        Raises:
            HTTPException: what the client can mend, or 429 when all places are taken.
        """
        try:
            return await self._answer(request, asked)
        except HTTPException:
            await discard(request)
            raise

    async def _answer(self, request: Request, asked: Asked) -> Answer:
        check_head(request, self.limits)
        if not self.bundle.contract.makes_map and asked.form == "cog":
            raise HTTPException(422, "this bundle classifies tiles and makes no map; ask for ?format=json.")
        with self._place_taken(), TemporaryDirectory(dir=self._place) as folder:
            await receive(request, Path(folder) / UPLOAD, self.limits)
            return await asyncio.get_running_loop().run_in_executor(self._workers, self._map, Path(folder), asked)

    def close(self) -> None:
        """Let running maps end."""
        self._workers.shutdown(wait=True)

    @contextlib.contextmanager
    def _place_taken(self) -> Iterator[None]:
        """Hold one of the in-flight places; runs on the event loop alone, so it needs no lock."""
        if self._busy >= self.limits.in_flight:
            raise HTTPException(429, f"{self._busy} requests are running; try again.", headers={"Retry-After": "1"})
        self._busy += 1
        self._metrics.in_flight.set(self._busy)
        try:
            yield
        finally:
            self._busy -= 1
            self._metrics.in_flight.set(self._busy)

    def _map(self, folder: Path, asked: Asked) -> Answer:
        check_raster(folder / UPLOAD, self.limits)
        changes = {"band_map": asked.bands, "offset": asked.offset}
        options = self._options.with_changes(**{k: v for k, v in changes.items() if v is not None})
        opener = _nameless(scene_opener(str(folder / UPLOAD), options))
        try:
            self._check_size(opener)
            return self._answer_of(opener, folder, options, asked)
        except OutputError as cause:
            logger.error("%s", cause)
            raise HTTPException(503, "this server cannot hold the map now.", headers={"Retry-After": "60"}) from None
        except BandloomError as cause:
            raise HTTPException(422, str(cause).replace(f"{folder}/", "")) from None

    def _check_size(self, opener: "Callable[[], Scene]") -> None:
        """Open the scene, which a hostile file can make fail in many ways, and look how large its map will be."""
        try:
            with opener() as scene:
                height, width = map_size_px(scene)
                if not all(math.isfinite(side) and abs(side) <= 360 for side in scene.footprint):
                    raise SceneError(f"the GeoTIFF lies nowhere on Earth (footprint {scene.footprint}).")
        except BandloomError:
            raise
        except Exception as cause:  # GDAL's, PROJ's and numpy's errors share no base class
            logger.warning("an upload could not be opened: %s: %s", type(cause).__name__, first_line(cause))
            raise HTTPException(422, f"the GeoTIFF cannot be placed on the ground ({first_line(cause)}).") from None
        if height * width > self.limits.map_mpx * 1_000_000:
            size = f"{height * width / 1e6:,.0f} megapixels of 10 m"
            raise HTTPException(413, f"the map would have {size}; at most {self.limits.map_mpx}.")

    def _answer_of(self, opener: "Callable[[], Scene]", folder: Path, options: PredictOptions, asked: Asked) -> Answer:
        if not self.bundle.contract.makes_map:
            out = folder / "tiles.json"
            write_table(self.bundle, self.runner, opener, out, options)
            return Answer(out.read_bytes(), "application/geo+json")
        out = folder / "map.tif"
        mapped = map_scene(self.bundle, self.runner, opener, out, options)
        if asked.form == "cog":
            return Answer(out.read_bytes(), COG_TYPE, mapped.pixels)
        record = _summary(self.bundle, self.runner, mapped, out)
        return Answer(json.dumps(record).encode(), "application/json", mapped.pixels)


def _summary(bundle: Bundle, runner: Runner, mapped: Mapped, out: Path) -> dict[str, Any]:
    """Return what a map says in numbers."""
    with rasterio.open(out) as file:
        place = {"crs": file.crs.to_string(), "transform": list(file.transform)[:6], "shape": [file.height, file.width]}
    classes = [
        {"code": land_class.code, "name": land_class.name, "pixels": mapped.counts[land_class.name]}
        for land_class in bundle.contract.get_label_set().classes
    ]
    return {
        "bundle": bundle.record.name,
        "runtime": runner.name,
        **place,
        "measured_pixels": mapped.measured,
        "classes": classes,
        "seconds": round(mapped.seconds, 3),
    }


def _nameless(opener: "Callable[[], Scene]") -> "Callable[[], Scene]":
    """Keep this machine's paths out of what is sent back."""

    def opened() -> "Scene":
        scene = opener()
        scene.provenance["source"] = UPLOAD
        return scene

    return opened


def _sensor_name(bundle: Bundle, place: Path) -> str:
    """Return the name of the bundle's sensor, or the path of its record where it is none that ships."""
    sensor = bundle.contract.get_sensor()
    if SENSORS.get(sensor.name) == sensor:
        return sensor.name
    record = place / "sensor.yaml"
    record.write_text(yaml.safe_dump(json.loads(json.dumps(sensor.to_dict()))))
    return str(record)
