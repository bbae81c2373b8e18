"""HDF5 files of published sets: opened by h5py, damaged ones refused in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bandloom.errors import LabelError, MissingExtraError


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield an open file; what is read from it while it is open is held to the same.

    Raises:
        LabelError: it is no HDF5 file, cut short, or lacks what is read.
        MissingExtraError: h5py is not installed.
    """
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("h5py (for HDF5 files)", "hdf5") from cause
    if not path.is_file():
        raise LabelError(f"{path} does not exist; fetch it again.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError) as cause:
        raise LabelError(f"{path} cannot be read as HDF5 ({cause}); it may be cut short: fetch it again.") from cause
