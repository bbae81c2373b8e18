"""Test samples that a run keeps, and the answers it gave: read back, and compared pixel by pixel."""

import csv
import zipfile
from pathlib import Path

import numpy as np

from bandloom.errors import RunFolderError

TESTED = "tested.npz"
NO_LABEL = 255
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]  # (H, W, 3) uint8, and truth and answer, (H, W) or () uint8


def kept_samples(folder: Path) -> dict[str, Sample]:
    """Return the test samples that a run kept, by key; none where it kept none.

    Raises:
        RunFolderError: the file is damaged.
    """
    path = folder / TESTED
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            keys = held["keys"].tolist()
            return {key: (held[f"image {i}"], held[f"truth {i}"], held[f"predicted {i}"]) for i, key in enumerate(keys)}
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as cause:
        raise RunFolderError(f"{path} is damaged ({cause!r}); remove it, or run its stage again.") from cause


def answers_of(folder: Path) -> dict[str, tuple[str, str]]:
    """Return truth and answer of every test chip by key, from the run's table of predictions; none without one."""
    columns = ["key", "truth", "predicted"]
    if (folder / "predictions.csv").is_file():
        with (folder / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    elif (folder / "predictions.parquet").is_file():
        try:
            import pyarrow.parquet  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError:
            return {}
        path = folder / "predictions.parquet"
        if not set(columns) <= set(pyarrow.parquet.read_schema(path).names):
            return {}
        rows = pyarrow.parquet.read_table(path, columns=columns).to_pylist()
    else:
        return {}
    return {row["key"]: (row["truth"], row["predicted"]) for row in rows if set(columns) <= row.keys()}


def outcomes(truth: np.ndarray, one: np.ndarray, other: np.ndarray) -> dict[str, np.ndarray]:
    """Return who is right where, as masks that share no pixel; of pixels without a label only whether they differ."""
    known, same = truth != NO_LABEL, one == other
    first, second = known & (one == truth), known & (other == truth)
    return {
        "both": first & second,
        "only 1": first & ~second,
        "only 2": second & ~first,
        "neither, the same": known & ~first & ~second & same,
        "neither": known & ~first & ~second & ~same,
        "unlabelled": ~known & ~same,
    }
