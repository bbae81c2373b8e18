"""Embeddings of a scene from the bundle alone, against torch's encoder on the same tiles."""

import numpy as np
import pytest
import rasterio
import torch

from bandloom.embeddings.raster import EmbeddingRaster
from bandloom.errors import BundleError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.tiling import mirror
from bandloom.export.predict.embeddings import write_embeddings
from bandloom.export.predict.map_scene import PredictOptions
from bandloom.export.runtimes.verify import verify
from bandloom.rasters.values import valid
from tests.export.array_scene import random_scene
from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle

CELLS = (19, 35)  # more than one and more than two tiles of 96 core pixels, and no whole number of them


@pytest.fixture(scope="module")
def exported(exported_run):
    return exported_run


def naive(model, scene, tiling):
    """Encode every tile of the scene in torch, mirrored at the border, in chips of 36 pixels, and keep its core."""
    margin, core, side = tiling.margin_px, tiling.core_px, tiling.tile_px
    cells = side // 6
    out = np.zeros((32, CELLS[0] + cells, CELLS[1] + cells), np.float32)
    for top in range(0, CELLS[0] * 6, core):
        for left in range(0, CELLS[1] * 6, core):
            tile = {}
            for g, dn in scene.groups.items():
                rows = mirror(np.arange((top - margin) * 10 // g, (top - margin + side) * 10 // g), dn.shape[1])
                columns = mirror(np.arange((left - margin) * 10 // g, (left - margin + side) * 10 // g), dn.shape[2])
                tile[g] = torch.from_numpy(dn[:, rows][:, :, columns][None].astype(np.int32))
            features = np.zeros((32, cells, cells), np.float32)
            for row in range(0, side, 36):
                for column in range(0, side, 36):
                    chip = {
                        g: dn[..., row * 10 // g : (row + 36) * 10 // g, column * 10 // g : (column + 36) * 10 // g]
                        for g, dn in tile.items()
                    }
                    with torch.no_grad():
                        tokens = model.encoder.forward_features(chip, model.sensor)[0]
                    features[:, row // 6 : row // 6 + 6, column // 6 : column // 6 + 6] = tokens.T.reshape(32, 6, 6)
            kept = slice(margin // 6, cells - margin // 6)
            out[:, top // 6 : (top + core) // 6, left // 6 : (left + core) // 6] = features[:, kept, kept]
    return out[:, : CELLS[0], : CELLS[1]]


@pytest.mark.parametrize("batch", [1, 8])
def test_embeddings_equal_torch_tile_by_tile_and_are_absent_where_nothing_was_measured(exported, tmp_path, batch):
    model, bundle = exported
    scene = random_scene(model.sensor, CELLS, 3, holes=1)
    out = tmp_path / "e.tif"
    assert write_embeddings(bundle, lambda: scene, out, PredictOptions(batch=batch, threads=1)) == (32, *CELLS)
    with rasterio.open(out) as file:
        got = file.read()
        assert file.res == (60, 60)
        assert file.tags()["BUNDLE"] == "landcover.bundle"
    measured = valid(scene.groups[10]).any(axis=0).reshape(CELLS[0], 6, CELLS[1], 6).any(axis=(1, 3))
    assert 0 < measured.sum() < measured.size
    assert np.isnan(got[:, ~measured]).all()
    np.testing.assert_allclose(got[:, measured], naive(model, scene, bundle.contract.tiling)[:, measured], atol=1e-3)


def test_predict_writes_them_beside_the_map(exported, tmp_path, capsys):
    _, bundle = exported
    scene = write_stack(tmp_path / "scene.tif", (90, 60))
    assert run("predict", bundle.path, scene, "--out", tmp_path / "map.tif", "--embeddings") == 0
    assert "15 x 10 tokens of 60 m, 32 dimensions" in capsys.readouterr().out
    with rasterio.open(tmp_path / "map.embeddings.tif") as file:
        assert np.isfinite(file.read()).all()


@pytest.mark.parametrize(("words", "dims", "dtype"), [(("--embeddings-dims", 8), 8, "int8"), ((), 32, "int8")])
def test_they_are_packed_as_the_features_themselves_would_be(exported, tmp_path, capsys, words, dims, dtype):
    _, bundle = exported
    scene = write_stack(tmp_path / "scene.tif", (90, 60))
    assert run("predict", bundle.path, scene, "--out", tmp_path / "whole.tif", "--embeddings") == 0
    asked = ("--embeddings", "--embeddings-dtype", dtype, *words)
    assert run("predict", bundle.path, scene, "--out", tmp_path / "map.tif", *asked) == 0
    assert f"15 x 10 tokens of 60 m, {dims} dimensions of {dtype} that hold " in capsys.readouterr().out
    packed = EmbeddingRaster(tmp_path / "map.embeddings.tif")
    with rasterio.open(tmp_path / "whole.embeddings.tif") as file:
        features = file.read()
    flat = features.reshape(32, -1).T.astype(float)
    centred = flat - flat.mean(axis=0)
    components = np.linalg.svd(centred, full_matrices=False)[2][:dims] if words else np.eye(32)
    best = centred @ components.T @ components + flat.mean(axis=0)
    scale = packed.basis.scale
    beyond = np.abs(centred @ packed.basis.components.T) > 127 * scale  # of each dimension the largest of 150 is cut
    inside = ~beyond.any(axis=1)
    assert inside.mean() > 0.7
    got = packed.read().reshape(32, -1).T
    assert np.abs(got - best)[inside].max() <= 0.51 * np.abs(scale) @ np.abs(packed.basis.components).max(axis=1) + 1e-3
    with rasterio.open(tmp_path / "map.embeddings.tif") as file:
        assert (file.count, file.dtypes[0], file.tags()["BUNDLE"]) == (dims, dtype, "landcover.bundle")
    assert not list(tmp_path.glob(".*"))


def test_finished_ones_are_left_alone_and_those_of_another_packing_are_not_taken_for_them(exported, tmp_path, capsys):
    _, bundle = exported
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    asked = ("predict", bundle.path, scene, "--out", tmp_path / "maps", "--embeddings")
    for _ in range(2):
        assert run(*asked, "--embeddings-dtype", "int8") == 0
    assert "there already, left alone" in capsys.readouterr().out
    assert run(*asked) == 2
    said = capsys.readouterr().err
    assert "made with other options" in said
    assert "int8" in said


def test_two_scenes_share_the_basis_of_the_first(exported, tmp_path):
    _, bundle = exported
    scenes = [write_stack(tmp_path / f"{seed}.tif", (60, 60), seed=seed) for seed in (1, 2)]
    asked = ("--embeddings", "--embeddings-dtype", "int8", "--embeddings-dims", 4)
    assert run("predict", bundle.path, scenes[0], "--out", tmp_path / "a.tif", *asked) == 0
    like = ("--embeddings-like", tmp_path / "a.embeddings.tif")
    assert run("predict", bundle.path, scenes[1], "--out", tmp_path / "b.tif", *asked, *like) == 0
    one, other = (EmbeddingRaster(tmp_path / f"{name}.embeddings.tif").basis for name in "ab")
    np.testing.assert_array_equal(one.components, other.components)
    np.testing.assert_array_equal(one.scale, other.scale)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--embeddings-dtype", "int8"), "--embeddings-dtype says how embeddings are stored; pass --embeddings too"),
        (("--embeddings", "--embeddings-dims", 33), "--embeddings-dims 33 is refused; the encoder gives 1 to 32."),
        (("--embeddings", "--embeddings-like", "no.tif"), "--embeddings-like no.tif does not exist"),
        (("--embeddings", "--embeddings-dims", 0), "embeddings"),
        (("--embeddings", "--embeddings-dtype", "int4"), "int4"),
    ],
)
def test_a_packing_that_cannot_be_had_is_refused_before_any_map_is_made(exported, tmp_path, capsys, words, sentence):
    _, bundle = exported
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    assert run("predict", bundle.path, scene, "--out", tmp_path / "map.tif", *words) == 2
    assert sentence in capsys.readouterr().err.replace("\n", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.tif"]


def test_a_bundle_without_its_encoder_says_how_to_get_it_before_any_map_is_made(tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif", "--embeddings") == 2
    assert "bandloom export RUN --embeddings" in capsys.readouterr().err
    assert not (tmp_path / "map.tif").exists()


def test_an_encoder_that_was_swapped_for_another_is_refused(exported, tmp_path):
    import shutil

    from bandloom.export.bundle.bundle import seal
    from bandloom.export.predict.embeddings import load_features

    _, bundle = exported
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    golden = dict(np.load(copy / "golden.npz"))
    golden["features"] = golden["features"] + np.float32(0.1)
    np.savez_compressed(copy / "golden.npz", **golden)
    seal(copy, bundle.record)
    verify(read_bundle(copy))
    with pytest.raises(BundleError, match=r"does not reproduce the features in golden"):
        load_features(read_bundle(copy))
