"""Random native samples and the same ground up-sampled to 10 m: what the step benchmarks feed."""

import numpy as np
import torch

from bandloom.model.encoder import Encoder
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.sensors import SENSORS, SLOTS
from bandloom.training.device_batch import DeviceBatch

SENSOR = SENSORS["sentinel2-l1c"]
STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.1))


def random_batch(samples: int, side_px: int, device: torch.device) -> DeviceBatch:
    """Return native uint16 groups of ``side_px`` pixels of 10 m."""
    rng = np.random.default_rng(0)
    groups = {}
    for group in SENSOR.groups:
        side = side_px * 10 // group.gsd_m
        pixels = rng.integers(1000, 5000, (samples, len(group.bands), side, side)).astype(np.uint16)
        groups[group.gsd_m] = torch.from_numpy(pixels).to(device)
    keys = tuple(str(i) for i in range(samples))
    return DeviceBatch(SENSOR, groups, keys, np.arange(samples, dtype=np.uint64), None, None)


def stacked(batch: DeviceBatch) -> torch.Tensor:
    """Return the bands copied up to 10 m, ``(B, 13, H, W)`` uint16: what others read from disk."""
    parts = [
        group.to(torch.int32).repeat_interleave(gsd // 10, 2).repeat_interleave(gsd // 10, 3)
        for gsd, group in batch.groups.items()
    ]
    return torch.cat(parts, 1).to(torch.uint16)


def autoencoder(config: PretrainConfig, device: torch.device) -> MaskedAutoencoder:
    """Return the project's autoencoder with random weights."""
    torch.manual_seed(0)
    encoder = Encoder(config.encoder(), STATISTICS)
    return MaskedAutoencoder(encoder, config.decoder_or_default(), config.objective).to(device)
