"""Index of image vectors: a Parquet table with place and source of every chip, and the model that encoded it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.errors import MissingExtraError, TextError
from bandloom.files.output import new_output, one_writer
from bandloom.finetune.text.aligned_model import Aligned
from bandloom.finetune.text.search.images import Image, images_of, vectors_of

FORMAT = b"1"
COLUMNS = ("key", "source", "sensor", "epsg", "x_m", "y_m", "side_m", "datetime", "class_name")


@dataclass(frozen=True)
class EmbeddingIndex:
    """Chips and their vectors.

    Args:
        places: by column, what is known of each chip.
        vectors: of length one, ``(N, D)`` float32, contiguous.
        digest: of the model that made them.
    """

    places: dict[str, list[Any]]
    vectors: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.vectors)

    def place(self, row: int) -> dict[str, Any]:
        """Return what is known of one chip."""
        return {name: values[row] for name, values in self.places.items()}


@one_writer
def build_index(aligned: Aligned, source: Path, out: Path) -> int:
    """Embed every chip of a source and write the table; returns how many there are.

    Raises:
        TextError: there is none.
        OutputError: ``out`` exists.
    """
    images: list[Image] = []
    rows = []
    for batch, vectors in vectors_of(aligned, images_of(aligned, source)):
        images += batch
        rows.append(vectors)
    if not images:
        raise TextError(f"{source} holds no chip of {aligned.model.sensor.name}; pass shards or scenes of that sensor.")
    places = {name: [getattr(image, name) for image in images] for name in COLUMNS}
    write_index(out, EmbeddingIndex(places, np.concatenate(rows), aligned.digest))
    return len(images)


def write_index(path: Path, index: EmbeddingIndex) -> None:
    """Write an index as Parquet, atomically."""
    pa, pq = _arrow()
    flat = pa.array(index.vectors.astype(np.float32).ravel())
    columns = {name: pa.array(index.places[name]) for name in COLUMNS if name in index.places}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, index.vectors.shape[1])
    table = pa.table(columns).replace_schema_metadata({b"bandloom_index": FORMAT, b"model": index.digest.encode()})
    with new_output(path) as temporary:
        pq.write_table(table, temporary)


def read_index(path: Path, digest: str | None = None) -> EmbeddingIndex:
    """Read an index.

    Args:
        path: the table.
        digest: of the model that will ask; None: whichever.

    Raises:
        TextError: it is no index, or another model made it.
    """
    pa, pq = _arrow()
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as cause:
        raise TextError(
            f"the index {path} cannot be read ({cause}); build it with `bandloom search RUN --images SOURCE"
            " --index FILE`."
        ) from cause
    said = table.schema.metadata or {}
    if said.get(b"bandloom_index") != FORMAT or "embedding" not in table.column_names:
        raise TextError(
            f"{path} is no index of this project; build one with `bandloom search RUN --images SOURCE --index FILE`."
        )
    made_by = said[b"model"].decode()
    if digest is not None and made_by != digest:
        raise TextError(
            f"the index {path} was built by another model ({made_by}, this one is {digest}), whose vectors mean other"
            " things; build it again with `bandloom search RUN --images SOURCE --index NEW`."
        )
    column = table.column("embedding").combine_chunks()
    vectors = column.values.to_numpy(zero_copy_only=False).reshape(len(table), column.type.list_size)
    places = {name: table.column(name).to_pylist() for name in COLUMNS if name in table.column_names}
    return EmbeddingIndex(places, np.ascontiguousarray(vectors, np.float32), made_by)


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # type: ignore[import-not-found]
        import pyarrow.parquet as pq  # type: ignore[import-not-found]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("pyarrow", "parquet") from cause
    return pa, pq
