"""Embeddings of a scene as a GeoTIFF or GeoParquet, or of every sample of a shard set as GeoParquet."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bandloom.command_line.console import track
from bandloom.embeddings.basis import DTYPES, Basis, Moments
from bandloom.embeddings.table import PARQUET, write_table
from bandloom.errors import ConfigError, OutputError, SceneError
from bandloom.files.output import new_output, one_writer
from bandloom.files.written_raster import written_raster
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import checkpoint_folder, encoder_digest, load_encoder
from bandloom.pretrain.features import sample_features, scene_features, token_grid, token_transform
from bandloom.rasters.projected import projected
from bandloom.training.device_memory import default_device

TIFF = (".tif", ".tiff")


@dataclass(frozen=True)
class Packing:
    """How embeddings are made smaller.

    Args:
        dims: principal components to keep; None: every dimension.
        dtype: ``float32``, or ``int8``: a byte a dimension, with a scale.
        like: embeddings that were packed before, whose basis is taken.
    """

    dims: int | None = None
    dtype: str = "float32"
    like: Path | None = None

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self != Packing()

    def check(self, embed_dim: int) -> None:
        """Check, before any work, what can be checked.

        Raises:
            ConfigError: type or number cannot be had.
        """
        if self.dtype not in DTYPES:
            raise ConfigError(f"--dtype {self.dtype!r} is not known; use one of {', '.join(DTYPES)}.")
        if self.dims is not None and not 1 <= self.dims <= embed_dim:
            raise ConfigError(f"--dims {self.dims} is refused; the encoder gives 1 to {embed_dim}.")
        if self.like is not None and not self.like.is_file():
            raise SceneError(f"--like {self.like} does not exist; name embeddings that were packed before.")


@one_writer
def embed(checkpoint: Path, source: Path, out: Path, *, batch_size: int = 8, packing: Packing | None = None) -> Path:
    """Embed a scene (GeoTIFF, one pixel a token; or GeoParquet) or a shard set (GeoParquet, one row a sample).

    Args:
        checkpoint: an encoder's folder, or a run that holds one.
        source: a scene, or a folder of shards.
        out: the new file; it must not exist.
        batch_size: chips or samples a forward pass.
        packing: fewer dimensions, fewer bytes; None: features as they are.

    Raises:
        BandloomError: the checkpoint or the source cannot be read, or the output exists.
    """
    packing = packing or Packing()
    shards = (source / "manifest.json").is_file()
    known = PARQUET if shards else (*TIFF, *PARQUET)
    if out.suffix.lower() not in known:
        raise OutputError(f"{out} ends in {out.suffix!r}; name a file that ends in {', '.join(known)}.")
    encoder = load_encoder(checkpoint_folder(checkpoint)).eval().to(default_device())
    packing.check(encoder.embed_dim)
    if packing.like is not None:  # before the work
        from bandloom.embeddings.raster import basis_like

        basis_like(packing.like, encoder.embed_dim, packing.dims, packing.dtype, f"ENCODER:{encoder_digest(encoder)}")
    if shards:
        return _embed_shards(encoder, source, out, packing)
    if out.suffix.lower() in TIFF and not packing.changes:
        return _embed_scene(encoder, source, out, batch_size)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        return _packed_scene(_embed_scene(encoder, source, Path(folder) / "features.tif", batch_size), out, packing)


def _embed_scene(encoder: AnyEncoder, source: Path, out: Path, batch_size: int) -> Path:
    import rasterio

    from bandloom.shards.scenes import open_scene

    with open_scene(source) as scene, new_output(out) as temporary:
        rows, columns = token_grid(encoder, scene)
        profile = {
            "driver": "GTiff",
            "dtype": "float32",
            "count": encoder.embed_dim,
            "width": columns,
            "height": rows,
            "crs": scene.crs,
            "transform": token_transform(encoder, scene),
            "nodata": np.nan,
            "tiled": True,
            "blockxsize": 64,
            "blockysize": 64,
            "compress": "deflate",
            "BIGTIFF": "IF_SAFER",
            "interleave": "band",
        }
        with written_raster(temporary, out, **profile) as target:
            target.file.update_tags(ENCODER=encoder_digest(encoder))
            for y, x, features in scene_features(encoder, scene, batch_size):
                window = rasterio.windows.Window(x, y, features.shape[2], features.shape[1])  # type: ignore[call-arg]
                target.write(features, window)
    return out


def _packed_scene(features: Path, out: Path, packing: Packing) -> Path:
    """Write features of a scene smaller, or as a table of its measured tokens."""
    from bandloom.embeddings.raster import EmbeddingRaster, basis_for, pack

    if out.suffix.lower() in TIFF:
        pack(features, out, packing.dims, packing.dtype, packing.like)
        return out
    from rasterio.warp import transform

    opened = EmbeddingRaster(features)
    basis = basis_for(opened, packing.dims, packing.dtype, packing.like) if packing.changes else None
    codes, places = [], []
    for top, block in opened.strips():
        rows, columns = np.nonzero(np.isfinite(block).all(axis=0))
        codes.append((basis.encode(block) if basis else block)[:, rows, columns].T)
        places.append(np.stack([rows + top, columns], axis=1))
    rows, columns = np.concatenate(places).T
    xs, ys = opened.transform * (columns + 0.5, rows + 0.5)
    lon_lat = np.stack(transform(opened.crs, "EPSG:4326", xs.tolist(), ys.tolist())[:2], axis=1)
    write_table(out, {"row": rows, "column": columns}, lon_lat, np.concatenate(codes), basis)
    return out


def _embed_shards(encoder: AnyEncoder, source: Path, out: Path, packing: Packing) -> Path:
    from bandloom.shards.read.shard_set import ShardSet

    shards = ShardSet(source)
    features: list[np.ndarray] = []
    for index in track(range(len(shards)), "embedding", len(shards)):
        sample = shards.read(index)
        tokens = sample_features(encoder, sample.groups, shards.sensors[shards.entries[index].sensor])
        features.append(tokens.astype(np.float32))
    held = np.stack(features)
    basis = _basis_of_table(held, packing, f"ENCODER:{encoder_digest(encoder)}") if packing.changes else None
    codes = basis.encode(held.T).T if basis else held
    names = ("key", "sensor", "epsg", "x_m", "y_m")
    columns: dict[str, Any] = {name: [getattr(entry, name) for entry in shards.entries] for name in names}
    side_m = shards.manifest["side_px"] * 10
    write_table(out, columns, _centres(shards.entries, side_m), codes, basis)
    return out


def _basis_of_table(features: np.ndarray, packing: Packing, encoder: str) -> Basis:
    if packing.like is not None:
        from bandloom.embeddings.raster import basis_like

        return basis_like(packing.like, features.shape[1], packing.dims, packing.dtype, encoder)
    moments = Moments()
    moments.add(features.T)
    return replace(moments.basis(packing.dims, packing.dtype), encoder=encoder)


def _centres(entries: Any, side_m: float) -> np.ndarray:
    """Return longitude and latitude of samples' centres; NaN where a sample has no place."""
    places = np.full((len(entries), 2), np.nan)
    for number, entry in enumerate(entries):
        if entry.epsg:
            x, y = entry.x_m + side_m / 2, entry.y_m - side_m / 2
            places[number] = [values[0] for values in projected(f"EPSG:{entry.epsg}", "EPSG:4326", [x], [y])]
    return np.where(np.isfinite(places), places, np.nan)
