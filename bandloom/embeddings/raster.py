"""Embeddings as a GeoTIFF, a pixel a token: read whatever they were stored as, written as a cloud-optimised one."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError
from rasterio.windows import Window

from bandloom.command_line.console import track
from bandloom.embeddings.basis import Basis, Moments
from bandloom.embeddings.table import PARQUET, basis_of_table
from bandloom.errors import SceneError
from bandloom.files.output import new_output, write_errors
from bandloom.files.written_raster import disk_errors, written_raster
from bandloom.rasters.cut_short import open_whole

TAG = "EMBEDDING_BASIS"
ENCODER_TAGS = ("ENCODER", "ENCODER_SHA256")  # of embed, and of a bundle's file
STRIP_VALUES = 1 << 23  # features in memory at a time


class EmbeddingRaster:
    """A GeoTIFF of embeddings: of ``bandloom embed`` or ``predict --embeddings``, packed or not.

    Attributes:
        basis: how features became codes; None where they are stored as they are.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            SceneError: it is no raster, has no coordinate system, or its bands are no embeddings.
        """
        self.path = path
        try:
            with open_whole(path) as file:
                self.crs, self.transform, self.shape, self.tags = file.crs, file.transform, file.shape, file.tags()
                held = f"{file.count} band(s) of {file.dtypes[0]}"
                stored, bands = file.dtypes[0], file.count
        except RasterioError as cause:
            raise SceneError(f"{path} cannot be read as a raster ({cause}); name a GeoTIFF of embeddings.") from cause
        told = self.tags.pop(TAG, None)
        self.basis = None if told is None else Basis.from_record(json.loads(told))
        wanted = (bands, "float32") if self.basis is None else (self.basis.dims, self.basis.dtype)
        fits = (bands, stored) == wanted and (bands > 1 or self.basis is not None)
        if not fits or self.crs is None:
            raise SceneError(f"{path} has {held} and is no embedding; bandloom embed CHECKPOINT SCENE writes one.")

    @property
    def encoder(self) -> str:
        """What tells the encoder that made the features from any other; empty: not known."""
        return next((f"{tag}:{self.tags[tag]}" for tag in ENCODER_TAGS if tag in self.tags), "")

    @property
    def dims(self) -> int:
        """Dimensions of a feature, D."""
        return len(self.read(Window(0, 0, 1, 1))) if self.basis is None else len(self.basis.mean)  # type: ignore[call-arg]

    def read(self, window: Any = None) -> np.ndarray:
        """Return features ``(D, h, w)`` float32 of a window, NaN where nothing was measured."""
        with self._reading() as read:
            return read(window)

    def strips(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the features ``(D, h, W)`` of strips from top to bottom."""
        height, width = self.shape
        rows = max(1, STRIP_VALUES // (width * self.dims))
        with self._reading() as read:
            for top in track(range(0, height, rows), f"strips of {self.path.name}"):
                yield top, read(Window(0, top, width, min(rows, height - top)))  # type: ignore[call-arg]

    @contextmanager
    def _reading(self) -> Iterator[Callable[[Any], np.ndarray]]:
        try:
            with rasterio.open(self.path) as file:
                basis = self.basis
                if basis is None:
                    yield lambda window: file.read(window=window, masked=True).filled(np.nan)
                else:
                    yield lambda window: basis.decode(file.read(window=window))
        except RasterioError as cause:
            raise SceneError(f"{self.path} cannot be read to its end ({cause}); write it again.") from cause


def pack(source: Path, out: Path, dims: int | None, dtype: str, like: Path | None = None) -> Basis:
    """Write embeddings with fewer dimensions, or a byte a dimension, as a cloud-optimised GeoTIFF.

    Args:
        source: embeddings as GeoTIFF.
        out: the new file.
        dims: how many principal components to keep; None: all dimensions, unturned.
        dtype: ``int8`` or ``float32``.
        like: embeddings that were packed before, whose basis is taken, so that the two can be compared.

    Returns:
        The basis, which the file holds too.

    Raises:
        SceneError: a file cannot be read.
        ConfigError: dimensions or type cannot be had.
        OutputError: ``out`` exists, or cannot be written.
    """
    opened = EmbeddingRaster(source)
    basis = basis_for(opened, dims, dtype, like)
    tags = opened.tags | {TAG: json.dumps(basis.record())}
    blocks = ((top, basis.encode(features)) for top, features in opened.strips())
    write_cog(out, opened, (basis.dims, basis.dtype, basis.absent), blocks, tags, scales=basis.scale.tolist())
    return basis


def basis_for(opened: EmbeddingRaster, dims: int | None, dtype: str, like: Path | None) -> Basis:
    """Return the basis of earlier embeddings, or one that is fitted on these.

    Raises:
        SceneError: the earlier ones hold no basis, or one of other embeddings, dimensions or type.
        ConfigError: dimensions or type cannot be had.
    """
    if like is None:
        moments = Moments()
        for _, features in opened.strips():
            moments.add(features)
        return replace(moments.basis(dims, dtype), encoder=opened.encoder)
    return basis_like(like, opened.dims, dims, dtype, opened.encoder)


def basis_like(like: Path, embed_dim: int, dims: int | None, dtype: str, encoder: str = "") -> Basis:
    """Return the basis of earlier embeddings.

    Raises:
        SceneError: they hold none, or one of other embeddings, dimensions or type, or of another encoder's.
    """
    basis = basis_of_table(like) if like.suffix.lower() in PARQUET else EmbeddingRaster(like).basis
    if basis is None or len(basis.mean) != embed_dim:
        raise SceneError(f"{like} holds no basis of {embed_dim} dimensions; name what embed --dims wrote with them.")
    if basis.dtype != dtype or (dims is not None and basis.dims != dims):
        raise SceneError(f"{like} has {basis.dims} dimensions of {basis.dtype}; ask for the same --dims and --dtype.")
    (kind, _, digest), (own_kind, _, own) = basis.encoder.partition(":"), encoder.partition(":")
    if kind == own_kind and digest != own:
        raise SceneError(
            f"{like} was made by another encoder ({digest[:8]}, this one is {own[:8]}), whose dimensions mean other"
            " things; name embeddings of this encoder, or leave the option out."
        )
    return basis


def write_cog(
    out: Path,
    place: EmbeddingRaster,
    kind: tuple[int, str, float],
    blocks: Iterator[tuple[int, np.ndarray]],
    tags: Mapping[str, str],
    *,
    scales: list[float] | None = None,
    colours: Mapping[int, tuple[int, int, int, int]] | None = None,
) -> None:
    """Write a cloud-optimised GeoTIFF on the grid of embeddings.

    Args:
        out: the new file.
        place: whose grid it has.
        kind: bands, type and the value for absent.
        blocks: first row and ``(bands, h, W)`` values, from top to bottom.
        tags: of the file.
        scales: of each band, which a GIS multiplies by.
        colours: of the values of the first band.

    Raises:
        OutputError: ``out`` exists, or cannot be written.
    """
    bands, dtype, nodata = kind
    profile = {
        "driver": "GTiff",
        "count": bands,
        "dtype": dtype,
        "nodata": nodata,
        "crs": place.crs,
        "transform": place.transform,
        "height": place.shape[0],
        "width": place.shape[1],
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "bigtiff": "IF_SAFER",
    }
    with new_output(out) as temporary, TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        plain = Path(folder) / "plain.tif"
        with write_errors(out, plain), written_raster(plain, out, check=False, **profile) as written:
            file = written.file
            file.update_tags(**tags)
            if scales is not None:
                file.scales = scales
            if colours is not None:
                file.write_colormap(1, dict(colours))
            for top, values in blocks:
                window = Window(0, top, values.shape[2], values.shape[1])  # type: ignore[call-arg]
                written.write(values.astype(dtype), window)
        resampling = "NEAREST"  # of overviews: a mean of codes is none of a class or of two places
        with disk_errors(out):
            rasterio.shutil.copy(
                plain, temporary, driver="COG", compress="DEFLATE", predictor="YES", overview_resampling=resampling
            )
        written.check(temporary)
