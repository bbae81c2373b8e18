"""Features of a frozen encoder as arrays: ``bandloom.load_encoder("runs/x").features("scene")``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.command_line.console import track
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import checkpoint_folder, is_public, read_record
from bandloom.model.checkpoint import load_encoder as read_encoder
from bandloom.rasters.geo_array import GeoArray
from bandloom.rasters.values import NODATA
from bandloom.sensors import Sensor
from bandloom.shards.scenes import Scene
from bandloom.shards.scenes.in_memory import Source, opener_of
from bandloom.training.device_memory import default_device

CHIP_TOKENS = 20  # tokens a side of the chips that a scene is read in, at most


class FrozenEncoder:
    """An encoder that answers with arrays.

    Args:
        encoder: in evaluation mode, on the device that shall compute.
        sensors: those that it was trained on; the only one is what arrays are taken for.
    """

    def __init__(self, encoder: AnyEncoder, sensors: list[Sensor]) -> None:
        self.encoder, self.sensors = encoder, sensors

    def features(
        self, source: Source, *, sensor: Sensor | str | None = None, batch_size: int = 8, **reading: Any
    ) -> GeoArray:
        """Return a feature vector for every token of ground, ``(D, rows, columns)``, NaN where nothing was measured.

        Args:
            source: a scene's path, an opened scene, reflectance ``(C, H, W)`` as floats, or digital numbers by band
                group (:func:`bandloom.shards.scenes.in_memory.array_scene` says how).
            sensor: a sensor or its name, where the source does not say; arrays are of the encoder's own by default.
            batch_size: chips a forward pass.
            reading: further arguments of ``bandloom.open_scene``.

        Raises:
            SceneError: the source cannot be read.
        """
        if sensor is None and isinstance(source, np.ndarray | Mapping) and len(self.sensors) == 1:
            sensor = self.sensors[0]
        with opener_of(source, sensor, **reading)() as scene:
            rows, columns = token_grid(self.encoder, scene)
            values = np.full((self.encoder.embed_dim, rows, columns), np.nan, np.float32)
            for y, x, features in scene_features(self.encoder, scene, batch_size):
                values[:, y : y + features.shape[1], x : x + features.shape[2]] = features
            return GeoArray(values, scene.crs, token_transform(self.encoder, scene))


def load_encoder(run: str | Path, *, device: str | None = None) -> FrozenEncoder:
    """Read the encoder of a run, or of a checkpoint folder; a fine-tuned one gives the encoder inside.

    Args:
        run: a run folder, or the folder of a checkpoint.
        device: such as ``cpu`` or ``cuda:1``; by default the GPU where there is one.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    folder = checkpoint_folder(Path(run))
    record = {} if is_public(folder) else read_record(folder)
    sensors = record.get("sensors") or ([record["sensor"]] if "sensor" in record else [])
    encoder = read_encoder(folder).eval().to(device or default_device())
    return FrozenEncoder(encoder, [Sensor.from_dict(sensor) for sensor in sensors])


def token_grid(encoder: AnyEncoder, scene: Scene) -> tuple[int, int]:
    """Return rows and columns of tokens that cover a scene; a broken last token counts."""
    token_m = encoder.config.token_m
    return -(-int(scene.height_m) // token_m), -(-int(scene.width_m) // token_m)


def token_transform(encoder: AnyEncoder, scene: Scene) -> Any:
    """Return the affine transform of a scene's tokens."""
    from rasterio.transform import Affine

    token_m = encoder.config.token_m
    return Affine(token_m, 0, scene.transform.c, 0, -token_m, scene.transform.f)


def scene_features(encoder: AnyEncoder, scene: Scene, batch_size: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield row, column and features ``(D, rows, columns)`` of each chip, cut off at the scene's edge."""
    rows, columns = token_grid(encoder, scene)
    side, token_m = chip_tokens(encoder), encoder.config.token_m
    side_m = side * token_m
    places = [(y, x) for y in range(0, rows, side) for x in range(0, columns, side)]
    for first in track(range(0, len(places), batch_size), "embedding", -(-len(places) // batch_size)):
        batch = places[first : first + batch_size]
        chips = [scene.read((x * token_m, y * token_m, side_m, side_m)) for y, x in batch]
        for (y, x), features in zip(batch, chip_features(encoder, chips, scene.sensor), strict=True):
            yield y, x, features[:, : rows - y, : columns - x]


def chip_tokens(encoder: AnyEncoder) -> int:
    """Return the tokens a side of a chip: what the encoder was pretrained on, at most, on the grid of all groups."""
    token_m, step_m = encoder.config.token_m, encoder.chip_step_m
    most_m = min(CHIP_TOKENS * token_m, encoder.longest_chip_m or CHIP_TOKENS * token_m)
    return max(1, most_m // step_m) * step_m // token_m


def sample_features(encoder: AnyEncoder, groups: Mapping[int, np.ndarray], sensor: Sensor) -> np.ndarray:
    """Return the mean feature of a sample ``{gsd_m: (C, H, W)}`` over its measured tokens, ``(D,)``.

    A sample that is longer than what the encoder was pretrained on, or that its tokens do not tile, is cut into chips;
    what a last one lacks is absent samples, whose tokens do not count.
    """
    gsd_m, first = next(iter(groups.items()))
    side_m = max(first.shape[-2:]) * gsd_m
    if encoder.longest_chip_m is None or (side_m <= encoder.longest_chip_m and side_m % encoder.chip_step_m == 0):
        return np.nanmean(next(chip_features(encoder, [dict(groups)], sensor)), (1, 2))
    chip_m = chip_tokens(encoder) * encoder.config.token_m
    starts = range(0, side_m, chip_m)
    chips = [
        {gsd: _cut(dn, y // gsd, x // gsd, chip_m // gsd) for gsd, dn in groups.items()} for y in starts for x in starts
    ]
    return np.nanmean(np.stack(list(chip_features(encoder, chips, sensor))), (0, 2, 3))


def _cut(dn: np.ndarray, y: int, x: int, side: int) -> np.ndarray:
    """Cut ``(C, H, W)`` at a place; beyond its end samples are absent."""
    part = dn[:, y : y + side, x : x + side]
    missing = ((0, 0), (0, side - part.shape[1]), (0, side - part.shape[2]))
    return np.pad(part, missing, constant_values=NODATA)


@torch.no_grad()
def chip_features(encoder: AnyEncoder, chips: list[dict[int, np.ndarray]], sensor: Sensor) -> Iterator[np.ndarray]:
    """Yield each chip's features ``(D, rows, columns)``; tokens without any measured sample are NaN."""
    device = encoder.norm.weight.device
    groups = {gsd: torch.from_numpy(np.stack([chip[gsd] for chip in chips])).to(device) for gsd in chips[0]}
    rows, columns = encoder.grid(groups)
    features = encoder.forward_features(groups, sensor).float()  # (B, T, D)
    _, valid = encoder.samples(groups, sensor)
    features[~valid.any(-1)] = torch.nan
    yield from features.transpose(1, 2).unflatten(2, (rows, columns)).cpu().numpy()
