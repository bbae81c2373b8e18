"""Partial maps: finished rows on disk beside the final name, from which a killed run goes on."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bandloom.files.written_raster import disk_errors

STATE = "state.json"
PUBLISHING = "publishing"  # is there once files begin to get their final names


class DiskRows:
    """A layer on disk, ``(H, W, bands)`` uint8: slices of rows are read when asked for, and nothing stays mapped."""

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, end, _ = rows.indices(self.shape[0])
        row_bytes = self.shape[1] * self.shape[2]
        pixels = np.fromfile(self.path, np.uint8, max(end - first, 0) * row_bytes, offset=first * row_bytes)
        return pixels.reshape(-1, *self.shape[1:])

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows, ``(h, W, bands)``."""
        with self.path.open("ab") as stream:
            stream.write(np.ascontiguousarray(rows, np.uint8).data)


class PartialMap:
    """Layers of uint8 rows, ``{name: (H, W, bands)}``, appended strip by strip in a hidden folder beside the output.

    As a context manager it removes the folder when the block ends, also by an error; a run that is killed or
    interrupted (Ctrl-C) leaves it for the next one.
    """

    def __init__(self, out: Path, layers: Mapping[str, tuple[int, int, int]], fingerprint: Mapping[str, Any]) -> None:
        """Make the folder, or take up the one that an interrupted run of the same work left.

        Args:
            out: the final output.
            layers: height, width and number of bands of each layer.
            fingerprint: plain JSON types that say what work this is; rows of other work are thrown away.

        Raises:
            OutputError: the place cannot be written.
        """
        self._out, self.folder = out, partial_folder(out)
        self._layers = dict(layers)
        self._fingerprint = json.loads(json.dumps({"work": fingerprint, "layers": self._layers}))
        self.done_px = self._found()
        self.was_publishing = bool(self.done_px) and (self.folder / PUBLISHING).exists()
        if not self.done_px:
            with disk_errors(out):
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)

    def __enter__(self) -> "PartialMap":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Exception):
            self.discard()

    def _found(self) -> int:
        try:
            state = json.loads((self.folder / STATE).read_text())
            return int(state["done_px"]) if state["fingerprint"] == self._fingerprint else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def append(self, layers: Mapping[str, np.ndarray]) -> None:
        """Write the next rows of every layer, ``(h, W)`` or ``(h, W, bands)`` uint8, and remember them."""
        count = 0
        with disk_errors(self._out):
            for name, rows in layers.items():
                _, width, bands = self._layers[name]
                count = rows.shape[0]
                with self._file(name).open("r+b" if self._file(name).exists() else "w+b") as stream:
                    stream.seek(self.done_px * width * bands)
                    stream.write(np.ascontiguousarray(rows, np.uint8).tobytes())
            self.done_px += count
            state = self.folder / f"{STATE}.new"
            state.write_text(json.dumps({"done_px": self.done_px, "fingerprint": self._fingerprint}))
            os.replace(state, self.folder / STATE)

    def layer(self, name: str) -> DiskRows:
        """Return a layer, read from the disk as it is used."""
        return DiskRows(self._file(name), self._layers[name])

    def note_publishing(self) -> None:
        """Remember that side files with their final names are from now on this run's own."""
        with disk_errors(self._out):
            (self.folder / PUBLISHING).touch()

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.raw"


def partial_folder(out: Path) -> Path:
    """Return where the unfinished rows of an output lie."""
    return out.with_name(f".{out.name}.partial")
