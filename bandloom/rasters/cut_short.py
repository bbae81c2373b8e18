"""Rasters that were cut short: GDAL drops tags that lie beyond the end (names, scale, nodata) with a log line."""

import logging
import threading
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioIOError

_LOST = "IO error during reading of"  # libtiff's words for a tag that lies beyond the file's end


class _Heard(logging.Handler):
    """Keeps what GDAL says on this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread, self.lost = threading.get_ident(), ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line that speaks of a lost tag."""
        if record.thread == self.thread and _LOST in (said := record.getMessage()):
            self.lost = said.partition(_LOST)[2].partition(";")[0].strip()


def open_whole(path: str | Path, **arguments: Any) -> Any:
    """Open a raster as ``rasterio.open`` does, but none of which a tag is lost.

    Raises:
        RasterioIOError: it cannot be opened, or ends before its last tag.
    """
    heard, speaker = _Heard(), logging.getLogger("rasterio._env")
    speaker.addHandler(heard)
    try:
        raster = rasterio.open(path, **arguments)
    finally:
        speaker.removeHandler(heard)
    if heard.lost:
        raster.close()
        raise RasterioIOError(f"it ends before its tag {heard.lost}")
    return raster
