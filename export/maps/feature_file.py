"""Writes features (geometries with columns) as GeoPackage, FlatGeobuf or GeoParquet, a batch at a time."""

import importlib.util
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rasterio.crs import CRS

from bandloom.errors import MissingExtraError, OutputError
from bandloom.files.library_errors import refusal_at
from bandloom.files.output import new_output, output_error, require_absent

DRIVERS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf"}
PARQUET = (".parquet", ".geoparquet")
FEATURE_SUFFIXES = (*DRIVERS, *PARQUET)
NEEDED = ("pyogrio", "pyarrow", "shapely")
Batch = tuple[Sequence[bytes] | np.ndarray, Mapping[str, Any]]  # WKB of each feature, and its columns


@dataclass(frozen=True)
class FeatureLayer:
    """What a file of features says beside them.

    Args:
        name: of the layer.
        geometry_type: ``Point``, ``Polygon`` or ``MultiPolygon``.
        crs: the coordinate system.
        columns: by name, the type of a column as Arrow calls it: ``string``, ``int64`` or ``float64``.
    """

    name: str
    geometry_type: str
    crs: CRS
    columns: Mapping[str, str] = field(default_factory=dict)


def require_writable(path: Path, suffixes: Sequence[str] = FEATURE_SUFFIXES) -> None:
    """Refuse, before any work, what could not be written.

    Args:
        path: the file to be.
        suffixes: what its name may end in; those that are no features' need no library.

    Raises:
        OutputError: the file exists, or its ending is not known.
        MissingExtraError: a library that writes features is not installed.
    """
    require_absent([path])
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise OutputError(f"{path} ends in {path.suffix!r}; name a file that ends in {', '.join(suffixes)}.")
    missing = [name for name in NEEDED if suffix in FEATURE_SUFFIXES and importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{missing[0]} (for {suffix} files)", "vector")


def write_features(path: Path, layer: FeatureLayer, batches: Iterable[Batch]) -> None:
    """Write features as they come; the file gets its name when all of them are in it.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    fields = [pa.field(name, pa.type_for_alias(kind)) for name, kind in layer.columns.items()]
    schema = pa.schema([*fields, pa.field("geometry", pa.binary())])
    sums = _Sums()
    records = sums.noting(_record(pa, schema, batch) for batch in batches)
    with new_output(path) as temporary, TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as workspace:
        made = Path(workspace) / path.name  # GDAL looks at a name's end
        write = _write_parquet if path.suffix.lower() in PARQUET else _write_ogr
        write(made, path, layer, schema, records)
        if write is _write_ogr:
            _check_readback(made, path, sums)
        os.replace(made, temporary)


def _record(pa: Any, schema: Any, batch: Batch) -> Any:
    shapes, columns = batch
    arrays = [pa.array(columns[name], schema.field(name).type, from_pandas=True) for name in schema.names[:-1]]
    return pa.RecordBatch.from_arrays([*arrays, pa.array(shapes, pa.binary())], schema=schema)


def _write_ogr(made: Path, path: Path, layer: FeatureLayer, schema: Any, records: Iterator[Any]) -> None:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]
    from pyogrio import raw  # pyright: ignore[reportMissingImports]

    raised: list[BaseException] = []
    reader = pa.RecordBatchReader.from_batches(schema, _noting(records, raised))
    try:
        raw.write_arrow(
            reader,
            made,
            layer=layer.name,
            driver=DRIVERS[path.suffix.lower()],
            geometry_name="geometry",
            geometry_type=layer.geometry_type,
            crs=layer.crs.to_wkt(),
        )
    except Exception as cause:  # what a batch raised has passed through C by now
        if raised:
            raise raised[0] from None
        raise _unwritten(path, cause) from cause


class _Sums:
    """How many features there are, and a checksum of their geometries in any order."""

    def __init__(self) -> None:
        self.count = self.sum = 0

    def add(self, shapes: Iterable[bytes | None]) -> None:
        for shape in shapes:
            self.count += 1
            self.sum += zlib.crc32(shape or b"")

    def noting(self, records: Iterable[Any]) -> Iterator[Any]:
        for record in records:
            self.add(record["geometry"].to_pylist())
            yield record


def _check_readback(made: Path, path: Path, written: _Sums) -> None:
    """Compare the file with what was written: of a disk that is full as it closes a file, GDAL tells nobody."""
    from pyogrio import raw  # pyright: ignore[reportMissingImports]

    found = _Sums()
    try:
        with raw.open_arrow(made, use_pyarrow=True) as (meta, reader):
            for record in reader:
                found.add(record[meta["geometry_name"] or "wkb_geometry"].to_pylist())
    except Exception as cause:  # GDAL's, and pyarrow's of what GDAL gives
        raise _unwritten(path, cause) from cause
    if (found.count, found.sum) != (written.count, written.sum):
        raise _unwritten(path, ValueError("what was read back differs from what was written"))


def _unwritten(path: Path, cause: Exception) -> OutputError:
    if (told := refusal_at(path, cause)) is not None:
        return output_error(path, told)
    return OutputError(f"{path} cannot be written ({' '.join(str(cause).split())}); choose another place.")


def _noting(records: Iterator[Any], raised: list[BaseException]) -> Iterator[Any]:
    try:
        yield from records
    except Exception as cause:
        raised.append(cause)
        raise


def _write_parquet(made: Path, path: Path, layer: FeatureLayer, schema: Any, records: Iterator[Any]) -> None:
    """Write GeoParquet 1.1, https://geoparquet.org/releases/v1.1.0."""
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    column = {
        "encoding": "WKB",
        "geometry_types": [layer.geometry_type],
        "crs": layer.crs.to_dict(projjson=True),
    }
    told = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    with pq.ParquetWriter(made, schema.with_metadata({"geo": json.dumps(told)}), compression="zstd") as writer:
        for record in records:
            writer.write_batch(record)
