"""Folders of public encoders as their authors publish them: the real one where it lies, and tiny random ones."""

import json
from pathlib import Path

import pytest
import torch

SLOTS_13 = 13  # channels of Sentinel-1, Sentinel-2 and NDVI in Galileo's statistics


def real_galileo() -> Path:
    """Return the folder of Galileo-nano's real weights; the test is skipped where it is absent."""
    for place in (Path(__file__).parents[2], Path(__file__).parents[3]):
        folder = place / "shared" / "data" / "public_encoders" / "galileo_nano"
        if folder.is_dir():
            return folder
    pytest.skip("the real weights (../shared/data/public_encoders) are not beside this checkout")


def tiny_galileo(folder: Path, width: int = 32, depth: int = 2) -> Path:
    """Write a Galileo of random weights under its authors' names and shapes, two blocks deep."""
    folder.mkdir(parents=True)
    draw = torch.Generator().manual_seed(0)

    def weights(*shape: int) -> torch.Tensor:
        return 0.1 * torch.randn(*shape, generator=draw)

    state = {"s_t_channel_embed": weights(7, width // 4), "norm.weight": torch.ones(width), "norm.bias": weights(width)}
    for group, bands in (("S2_RGB", 3), ("S2_Red_Edge", 3), ("S2_NIR_10m", 1), ("S2_NIR_20m", 1), ("S2_SWIR", 2)):
        state[f"space_time_embed.{group}.proj.weight"] = weights(width, bands, 8, 8)
        state[f"space_time_embed.{group}.proj.bias"] = weights(width)
    for block in range(depth):
        linear = {f"attn.{name}": (width, width) for name in ("q", "k", "v", "proj")}
        linear |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in linear.items():
            state[f"blocks.{block}.{name}.weight"] = weights(*shape)
            state[f"blocks.{block}.{name}.bias"] = weights(shape[0])
        for name in ("norm1", "norm2"):
            state[f"blocks.{block}.{name}.weight"] = torch.ones(width)
            state[f"blocks.{block}.{name}.bias"] = weights(width)
    torch.save(state, folder / "encoder.pt")
    shape = {"embedding_size": width, "depth": depth, "num_heads": 4, "mlp_ratio": 4}
    (folder / "config.json").write_text(json.dumps({"model": {"encoder": shape}}))
    numbers = {"mean": [1500.0] * SLOTS_13, "std": [1000.0] * SLOTS_13}
    (folder / "normalization.json").write_text(json.dumps({"13": numbers}))
    return folder
