"""Embeddings of a scene as a GeoTIFF, or of every sample of a shard set as a Parquet table."""

from pathlib import Path
from typing import Any

import numpy as np

from bandloom.console import track
from bandloom.errors import MissingExtraError
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import checkpoint_folder, load_encoder
from bandloom.output import new_output
from bandloom.pretrain.features import default_device, sample_features, scene_features, token_grid, token_transform


def embed(checkpoint: Path, source: Path, out: Path, *, batch_size: int = 8) -> Path:
    """Embed a scene (GeoTIFF, one pixel a token, one band a dimension) or a shard set (Parquet, one row a sample).

    Args:
        checkpoint: an encoder's folder, or a run that holds one.
        source: a scene, or a folder of shards.
        out: the new file; it must not exist.
        batch_size: chips or samples a forward pass.

    Raises:
        BandloomError: the checkpoint or the source cannot be read, or the output exists.
    """
    encoder = load_encoder(checkpoint_folder(checkpoint)).eval().to(default_device())
    if (source / "manifest.json").is_file():
        return _embed_shards(encoder, source, out, batch_size)
    return _embed_scene(encoder, source, out, batch_size)


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
        with rasterio.open(temporary, "w", **profile) as target:
            for y, x, features in scene_features(encoder, scene, batch_size):
                window = rasterio.windows.Window(x, y, features.shape[2], features.shape[1])  # type: ignore[call-arg]
                target.write(features, window=window)
    return out


def _embed_shards(encoder: AnyEncoder, source: Path, out: Path, batch_size: int) -> Path:
    try:
        import pyarrow as pa  # type: ignore[import-not-found]
        import pyarrow.parquet as pq  # type: ignore[import-not-found]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("pyarrow", "parquet") from cause
    from bandloom.shards.read.shard_set import ShardSet

    shards = ShardSet(source)
    rows: list[dict[str, Any]] = []
    for index in track(range(len(shards)), "embedding", len(shards)):
        sample = shards.read(index)
        entry = shards.entries[index]
        features = sample_features(encoder, sample.groups, shards.sensors[entry.sensor])
        rows.append(
            {
                "key": entry.key,
                "sensor": entry.sensor,
                "epsg": entry.epsg,
                "x_m": entry.x_m,
                "y_m": entry.y_m,
                "embedding": features.astype(np.float32).tolist(),
            }
        )
    with new_output(out) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    return out
