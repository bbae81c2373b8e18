"""Embeddings on the ground: a scene's tokens keep their place, whatever chips they were computed in."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from bandloom.errors import MissingExtraError, OutputError
from bandloom.model.checkpoint import save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.pretrain.embed import embed
from bandloom.sensors import SENSORS, SLOTS
from bandloom.shards.scenes import open_scene


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Encoder]:
    torch.manual_seed(0)
    statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.1), std=dict.fromkeys(SLOTS, 0.1))
    made = Encoder(EncoderConfig(embed_dim=16, depth=1, num_heads=1), statistics).eval()
    folder = tmp_path_factory.mktemp("encoder") / "checkpoint"
    save_encoder(folder, made, [SENSORS["sentinel2-l1c"]], {})
    return folder, made


def test_a_scene_becomes_a_raster_of_tokens_in_its_place(shards: Path, encoder: tuple[Path, Encoder], tmp_path: Path):
    source = sorted((shards.parent / "synth" / "scenes").iterdir())[0]
    out = embed(encoder[0], source, tmp_path / "embedding.tif", batch_size=3)
    with open_scene(source) as scene, rasterio.open(out) as raster:
        assert (raster.count, raster.height, raster.width) == (16, 40, 40)
        assert raster.crs == scene.crs
        assert raster.transform.a == 60
        assert (raster.transform.c, raster.transform.f) == (scene.transform.c, scene.transform.f)
        chip = scene.read((1200, 0, 1200, 1200))
        groups = {gsd: torch.from_numpy(group[None]) for gsd, group in chip.items()}
        with torch.no_grad():
            expected = encoder[1].forward_features(groups, scene.sensor)[0].T.reshape(16, 20, 20).numpy()
        written = raster.read()[:, :20, 20:]
    measured = ~np.isnan(written)
    np.testing.assert_allclose(written[measured], expected[measured], rtol=1e-4, atol=1e-5)
    assert measured.mean() > 0.9


def test_an_output_that_exists_is_kept(shards: Path, encoder: tuple[Path, Encoder], tmp_path: Path):
    (tmp_path / "there.tif").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        embed(encoder[0], sorted((shards.parent / "synth" / "scenes").iterdir())[0], tmp_path / "there.tif")


def test_shards_become_a_table_or_a_sentence(shards: Path, encoder: tuple[Path, Encoder], tmp_path: Path):
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(MissingExtraError, match="pyarrow"):
            embed(encoder[0], shards, tmp_path / "table.parquet")
        return
    import pyarrow.parquet as pq

    table = pq.read_table(embed(encoder[0], shards, tmp_path / "table.parquet"))
    assert len(table["embedding"][0]) == 16
