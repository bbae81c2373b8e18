"""Embeddings as GeoParquet: a row a token or a sample, its place, and its codes with the basis that reads them."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.embeddings.basis import Basis
from bandloom.errors import LabelError, MissingExtraError
from bandloom.files.output import new_output

BASIS_KEY = "bandloom:basis"
PARQUET = (".parquet", ".geoparquet")
_GEO = {  # https://geoparquet.org/releases/v1.1.0; without a crs it is OGC:CRS84, longitude and latitude
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Point"]}},
}


def write_table(
    out: Path, columns: Mapping[str, Any], lon_lat: np.ndarray, codes: np.ndarray, basis: Basis | None
) -> None:
    """Write a table.

    Args:
        out: the new file.
        columns: what else is told of each row, by name.
        lon_lat: ``(N, 2)`` of each row; NaN where its place is not known.
        codes: ``(N, d)``: features, or what ``basis`` made of them.
        basis: None where features are stored as they are.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OutputError: ``out`` exists, or cannot be written.
    """
    pa, pq = _arrow()
    lists = pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), codes.shape[1])
    table = pa.table({**columns, "embedding": lists, "geometry": pa.array(_points(lon_lat), pa.binary())})
    told = {"geo": json.dumps(_GEO), **({BASIS_KEY: json.dumps(basis.record())} if basis else {})}
    with new_output(out) as temporary:
        pq.write_table(table.replace_schema_metadata(told), temporary, compression="zstd")


def read_table(path: Path) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """Return features ``(N, D)`` float32 and the other columns of a table.

    Raises:
        LabelError: it is no table of embeddings.
        MissingExtraError: pyarrow is not installed.
    """
    pa, pq = _arrow()
    try:
        table = pq.read_table(path)
        codes = np.stack(table["embedding"].to_numpy())
    except (pa.ArrowException, KeyError, ValueError, OSError) as cause:
        raise LabelError(f"{path} cannot be read as embeddings ({cause}); name what bandloom embed wrote.") from cause
    told = (table.schema.metadata or {}).get(BASIS_KEY.encode())
    features = codes if told is None else Basis.from_record(json.loads(told)).decode(codes.T).T
    return features.astype(np.float32), table.drop_columns(["embedding"]).to_pydict()


def basis_of_table(path: Path) -> Basis | None:
    """Return the basis of a table's codes; None where features are stored as they are.

    Raises:
        LabelError: it is no Parquet file.
        MissingExtraError: pyarrow is not installed.
    """
    pa, pq = _arrow()
    try:
        told = (pq.read_schema(path).metadata or {}).get(BASIS_KEY.encode())
    except (pa.ArrowException, OSError) as cause:
        raise LabelError(f"{path} cannot be read as embeddings ({cause}); name what bandloom embed wrote.") from cause
    return None if told is None else Basis.from_record(json.loads(told))


def _points(lon_lat: np.ndarray) -> Sequence[bytes | None]:
    """Return little-endian WKB of points; None where a place is not known."""
    return [
        struct.pack("<BIdd", 1, 1, lon, lat) if np.isfinite([lon, lat]).all() else None for lon, lat in lon_lat.tolist()
    ]


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("pyarrow", "parquet") from cause
    return pa, pq
