"""JPEG 2000 decoded on a GPU by NVIDIA's nvImageCodec (the extra ``nvimgcodec``), where it proves to be right.

A granule costs 100 to 200 core-seconds of OpenJPEG. The GPU decodes only where it gives a known tile back to the bit,
and a file's own first window as GDAL reads it; what it cannot decode, and a file that it reads otherwise, is GDAL's.
Later windows, ever fewer of them, are compared too: one that differs ends the reading with an error.
"""

import os
import threading
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from bandloom.command_line.console import logger
from bandloom.errors import SceneError

SWITCH = "BANDLOOM_NVIMGCODEC"  # 0: leave it alone although it is installed
ANY_GPU, NO_GPU = -1, -99999  # NVIMGCODEC_DEVICE_CURRENT and _CPU_ONLY of nvimgcodec.h
_GOLDEN_PX, _GOLDEN_TILE_PX, _GOLDEN_BITS = 192, 64, 15  # Sentinel-2's images have 15 bits, which must not be scaled


class Jp2Decoder:
    """Decodes windows of single-band images; one caller at a time."""

    def __init__(self, library: Any, device: int = ANY_GPU) -> None:
        """Take a decoder of ``device`` from ``nvidia.nvimgcodec``, or from what stands in for it."""
        self._library, self._lock = library, threading.Lock()
        kinds = library.BackendKind
        wanted = (kinds.CPU_ONLY,) if device == NO_GPU else (kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)
        self._decoder = library.Decoder(device_id=device, backends=[library.Backend(kind) for kind in wanted])
        self._as_stored = library.DecodeParams(
            apply_exif_orientation=False,
            color_spec=library.ColorSpec.UNCHANGED,
            allow_any_depth=True,
            sample_format=library.SampleFormat.P_UNCHANGED,
        )

    def open(self, source: str | bytes) -> Any:
        """Return the code stream of a file, or of its content."""
        with self._lock:
            return self._library.CodeStream(source)

    def window(self, stream: Any, left: int, top: int, right: int, bottom: int) -> np.ndarray | None:
        """Return pixels ``(H, W)`` as they are stored, or None where they cannot be decoded."""
        with self._lock:
            region = self._library.Region(top, left, bottom, right)
            image = self._decoder.decode(stream.get_sub_code_stream(region=region), params=self._as_stored)
            if image is None:
                return None
            pixels = np.asarray(image.cpu())
        return pixels[0] if pixels.shape == (1, bottom - top, right - left) else None

    def is_right(self) -> bool:
        """Tell whether windows of a known image come back to the bit, one across tiles among them."""
        content, pixels = golden_image()
        stream = self.open(content)
        for left, top, right, bottom in ((0, 0, 64, 64), (40, 30, 150, 140), (0, 0, _GOLDEN_PX, _GOLDEN_PX)):
            given = self.window(stream, left, top, right, bottom)
            wanted = pixels[top:bottom, left:right]
            if given is None or given.dtype != wanted.dtype or not np.array_equal(given, wanted):
                return False
        return True


class Jp2Band:
    """One file's windows on the GPU; the first, second, fourth, eighth and so on are compared with GDAL's."""

    def __init__(self, decoder: Jp2Decoder, raster: Any, path: str) -> None:
        self._decoder, self._raster, self.path = decoder, raster, path
        self._stream: Any = None
        self._given, self._left = 0, False

    def read(self, left: int, top: int, right: int, bottom: int) -> np.ndarray | None:
        """Return pixels ``(1, H, W)``, or None where GDAL is to read them.

        Raises:
            SceneError: values differ from GDAL's, and earlier windows have been given already.
        """
        if self._left:
            return None
        try:
            pixels = self._pixels(left, top, right, bottom)
        except RuntimeError as cause:  # the library's own
            logger.debug("%s is read by GDAL: %s", self.path, cause)
            pixels = None
        if pixels is None:
            self._left = True
            return None
        self._given += 1
        looked_at = self._given & (self._given - 1) == 0  # a power of two
        if looked_at and not np.array_equal(pixels, self._raster.read(1, window=((top, bottom), (left, right)))):
            if self._given > 1:
                raise SceneError(
                    f"nvImageCodec gives other values of {self.path} than GDAL; run the command again with {SWITCH}=0."
                )
            self._left = True
            logger.warning("%s is read by GDAL: nvImageCodec gives other values", self.path)
            return None
        return pixels[None]

    def _pixels(self, left: int, top: int, right: int, bottom: int) -> np.ndarray | None:
        if self._stream is None:
            self._stream = self._decoder.open(self.path)
            told = (self._stream.height, self._stream.width, np.dtype(self._stream.dtype).name)
            if told != (self._raster.height, self._raster.width, self._raster.dtypes[0]):
                return None
        pixels = self._decoder.window(self._stream, left, top, right, bottom)
        return pixels if pixels is not None and pixels.dtype == self._raster.dtypes[0] else None


def jp2_on_gpu(raster: Any, indexes: list[int]) -> Jp2Band | None:
    """Return what decodes an open raster on the GPU, or None: no JPEG 2000 file of one band, or no decoder."""
    fits = raster.driver.startswith("JP2") and raster.count == 1 and indexes == [1] and Path(raster.name).is_file()
    decoder = gpu_decoder() if fits else None
    return None if decoder is None else Jp2Band(decoder, raster, raster.name)


@lru_cache
def gpu_decoder() -> Jp2Decoder | None:
    """Return a decoder on this machine's GPU that proved to be right, or None."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        decoder = Jp2Decoder(import_module("nvidia.nvimgcodec"))
        right = decoder.is_right()
    except ImportError:
        return None
    except RuntimeError as cause:  # no driver, no GPU, or no nvJPEG2000
        logger.info("JPEG 2000 is decoded by GDAL: nvImageCodec cannot be used here (%s)", cause)
        return None
    if not right:
        logger.warning("JPEG 2000 is decoded by GDAL: nvImageCodec does not give a known tile back")
        return None
    logger.info("JPEG 2000 is decoded on the GPU by nvImageCodec")
    return decoder


@lru_cache
def golden_image() -> tuple[bytes, np.ndarray]:
    """Return an image as Sentinel-2's are coded, without loss and in tiles, and its pixels ``(H, W)`` uint16."""
    rows, columns = np.mgrid[:_GOLDEN_PX, :_GOLDEN_PX]
    noise = np.random.default_rng(15).integers(0, 300, rows.shape)
    pixels = ((rows * 97 + columns * 61) % (2**_GOLDEN_BITS - 300) + noise).astype(np.uint16)
    pixels[:20, 150:] = 0
    options = {"NBITS": _GOLDEN_BITS, "QUALITY": 100, "REVERSIBLE": "YES"}
    tiles = {"BLOCKXSIZE": _GOLDEN_TILE_PX, "BLOCKYSIZE": _GOLDEN_TILE_PX}
    profile = {"driver": "JP2OpenJPEG", "count": 1, "dtype": "uint16", "height": _GOLDEN_PX, "width": _GOLDEN_PX}
    place = {"crs": "EPSG:32632", "transform": from_origin(600_000, 5_400_000, 10, 10)}
    with MemoryFile(ext=".jp2") as file:
        with file.open(**profile, **options, **tiles, **place) as raster:
            raster.write(pixels, 1)
        return file.read(), pixels
