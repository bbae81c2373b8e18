"""GeoTIFF writing with a read-back check: a file that a full disk cut short is refused before it gets its name."""

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from bandloom.errors import OutputError
from bandloom.files.library_errors import refusal_at
from bandloom.files.output import output_error


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn whatever keeps ``path`` from being written into one sentence, GDAL's errors included.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
    """
    try:
        yield
    except Exception as cause:
        if isinstance(cause, RasterioError) or type(cause).__module__.split(".")[0] == rasterio.__name__:
            raise _gdal_error(path, cause) from cause  # some are OSErrors too, without a number; some are not exported
        if isinstance(cause, OSError):
            raise output_error(path, cause) from cause
        raise


def _gdal_error(path: Path, cause: Exception) -> OutputError:
    """Return the sentence for an error of GDAL, which hides the operating system's number in its text."""
    told = refusal_at(path, cause)
    if told is not None:
        return output_error(path, told)
    return OutputError(f"{path} cannot be written ({cause}); choose another place.")


class Written:
    """What was written into a raster, window by window, to be compared with what is on disk once it is closed.

    GDAL reports a failed flush on closing only as a log line, so a full disk leaves a file that looks finished.
    """

    def __init__(self, file: Any, final: Path) -> None:
        """Take an open raster, which others may give tags and names, and the name that it is to get."""
        self.file, self._final = file, final
        self._sums: list[tuple[Window | None, int]] = []

    def write(self, values: np.ndarray, window: Window | None = None) -> None:
        """Write ``(bands, h, w)`` of the file's own type; None: all of it.

        Raises:
            OutputError: the disk is full, or the place cannot be written.
        """
        with disk_errors(self._final):
            self.file.write(values, window=window)
        self._sums.append((window, _sum(values)))

    def check(self, path: Path) -> None:
        """Compare the closed file, or a lossless copy of it, with what was written.

        Raises:
            OutputError: they differ, or the file cannot be read.
        """
        with disk_errors(self._final), rasterio.open(path) as file:
            if not all(_sum(file.read(window=window)) == known for window, known in self._sums):
                raise RasterioError("what was read back differs from what was written")


@contextlib.contextmanager
def written_raster(path: Path, final: Path, *, check: bool = True, **profile: Any) -> Iterator[Written]:
    """Open a new raster at ``path``, which is to be named ``final``; when it is closed it is read back.

    Args:
        path: where it is written.
        final: the name it is to get, for errors.
        check: False leaves the reading back to the caller, who checks a copy of the file.
        profile: what rasterio.open takes.

    Raises:
        OutputError: the disk is full, the place cannot be written, or what was read back differs.
    """
    with disk_errors(final):
        file = rasterio.open(path, "w", **profile)
    with file:
        written = Written(file, final)
        yield written
        with disk_errors(final):
            file.close()
    if check:
        written.check(path)


def _sum(values: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data)
