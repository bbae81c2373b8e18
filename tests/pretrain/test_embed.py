"""Embeddings on the ground: a scene's tokens keep their place, whatever chips they were computed in."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from bandloom.embeddings.raster import EmbeddingRaster
from bandloom.embeddings.table import read_table
from bandloom.errors import ConfigError, MissingExtraError, OutputError, SceneError
from bandloom.model.checkpoint import load_encoder as read_encoder
from bandloom.model.checkpoint import save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.pretrain.embed import Packing, embed
from bandloom.pretrain.features import sample_features
from bandloom.sensors import SENSORS, SLOTS
from bandloom.shards.scenes import open_scene
from tests.public_encoder_folders import tiny_galileo


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


def test_a_scene_packed_is_its_plain_embedding_packed_as_raster_and_as_table(
    shards: Path, encoder: tuple[Path, Encoder], tmp_path: Path
):
    source = sorted((shards.parent / "synth" / "scenes").iterdir())[0]
    plain = EmbeddingRaster(embed(encoder[0], source, tmp_path / "plain.tif"))
    packing = Packing(dims=6, dtype="int8")
    packed = EmbeddingRaster(embed(encoder[0], source, tmp_path / "packed.tif", packing=packing))
    assert packed.basis is not None
    assert (packed.crs, packed.transform, packed.shape) == (plain.crs, plain.transform, plain.shape)
    np.testing.assert_array_equal(packed.read(), packed.basis.decode(packed.basis.encode(plain.read())))
    measured = np.isfinite(plain.read()).all(0)
    pytest.importorskip("pyarrow")
    features, columns = read_table(embed(encoder[0], source, tmp_path / "new" / "packed.parquet", packing=packing))
    np.testing.assert_array_equal(features, packed.read()[:, measured].T)
    np.testing.assert_array_equal(np.argwhere(measured), np.stack([columns["row"], columns["column"]], axis=1))
    whole, _ = read_table(embed(encoder[0], source, tmp_path / "plain.parquet"))
    np.testing.assert_array_equal(whole, plain.read()[:, measured].T)
    like = Packing(6, "int8", tmp_path / "packed.tif")
    samples, columns = read_table(embed(encoder[0], shards, tmp_path / "shards.parquet", packing=like))
    theirs, _ = read_table(embed(encoder[0], shards, tmp_path / "plain-shards.parquet"))
    np.testing.assert_allclose(samples, packed.basis.decode(packed.basis.encode(theirs.T)).T, atol=1e-6)
    assert len(set(columns["key"])) == len(samples)
    embed(encoder[0], shards, tmp_path / "fitted.parquet", packing=packing)
    of_shards = Packing(6, "int8", tmp_path / "fitted.parquet")
    again = EmbeddingRaster(embed(encoder[0], source, tmp_path / "again.tif", packing=of_shards))
    assert again.basis is not None
    np.testing.assert_array_equal(
        again.basis.mean, theirs.astype(np.float64).mean(0).astype(np.float32)
    )  # of the samples, whatever scene is packed


def test_what_cannot_be_embedded_is_refused_before_the_work(
    shards: Path, encoder: tuple[Path, Encoder], tmp_path: Path
):
    source = sorted((shards.parent / "synth" / "scenes").iterdir())[0]
    for packing, said in ((Packing(dims=17), "1 to 16"), (Packing(dtype="int4"), "--dtype 'int4'")):
        with pytest.raises(ConfigError, match=said):
            embed(encoder[0], source, tmp_path / "new.tif", packing=packing)
    with pytest.raises(SceneError, match=r"--like .* does not exist"):
        embed(encoder[0], source, tmp_path / "new.tif", packing=Packing(like=tmp_path / "none.tif"))
    for place, name in ((source, "new.png"), (shards, "new.tif")):
        with pytest.raises(OutputError, match="name a file that ends in"):
            embed(encoder[0], place, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_basis_of_another_encoders_embeddings_is_refused_before_the_work(
    shards: Path, encoder: tuple[Path, Encoder], tmp_path: Path
):
    other = Encoder(EncoderConfig(embed_dim=16, depth=1, num_heads=1), encoder[1].statistics).eval()
    save_encoder(tmp_path / "other", other, [SENSORS["sentinel2-l1c"]], {})
    source, packing = sorted((shards.parent / "synth" / "scenes").iterdir())[0], Packing(dims=6, dtype="int8")
    raster = embed(encoder[0], source, tmp_path / "first.tif", packing=packing)
    for like in (raster, embed(encoder[0], shards, tmp_path / "first.parquet", packing=packing)):
        for name, of in (("a.tif", source), ("a.parquet", source), ("b.parquet", shards)):
            with pytest.raises(SceneError, match="was made by another encoder"):
                embed(tmp_path / "other", of, tmp_path / name, packing=replace(packing, like=like))


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


def test_a_sample_longer_than_a_public_encoder_was_pretrained_on_is_cut_into_chips(tmp_path: Path):
    """The mean over the tokens of four chips; what lies beyond the sample does not count."""
    public = read_encoder(tiny_galileo(tmp_path / "galileo")).eval()
    sensor, rng = SENSORS["sentinel2-l1c"], np.random.default_rng(0)
    groups = {
        group.gsd_m: rng.integers(1000, 6000, (len(group.bands), 960 // group.gsd_m, 960 // group.gsd_m)).astype(
            "uint16"
        )
        for group in sensor.groups
    }
    padded = {gsd: np.pad(dn, ((0, 0), (0, 480 // gsd), (0, 480 // gsd))).astype("int32") for gsd, dn in groups.items()}
    tokens = []
    for y, x in ((0, 0), (0, 720), (720, 0), (720, 720)):
        chip = {
            gsd: torch.from_numpy(dn[None, :, y // gsd : (y + 720) // gsd, x // gsd : (x + 720) // gsd])
            for gsd, dn in padded.items()
        }
        with torch.no_grad():
            features = public.forward_features(chip, sensor)[0].unflatten(0, (12, 12))
        tokens.append(features[: (960 - y) // 60, : (960 - x) // 60].flatten(0, 1))
    expected = torch.cat(tokens)
    assert len(expected) == 16 * 16
    np.testing.assert_allclose(sample_features(public, groups, sensor), expected.mean(0), rtol=1e-4, atol=1e-5)


def test_a_public_encoder_embeds_a_scene(shards: Path, tmp_path: Path):
    source = sorted((shards.parent / "synth" / "scenes").iterdir())[0]
    out = embed(tiny_galileo(tmp_path / "galileo"), source, tmp_path / "embedding.tif")
    with rasterio.open(out) as raster:
        assert (raster.count, raster.height, raster.width) == (32, 40, 40)
        assert np.isfinite(raster.read(1)).mean() > 0.9
