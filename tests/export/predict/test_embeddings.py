"""Embeddings of a scene from the bundle alone, against torch's encoder on the same tiles."""

import numpy as np
import pytest
import rasterio
import torch

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

CELLS = (9, 11)  # more than two tiles of 24 core pixels each way, and no whole number of them


@pytest.fixture(scope="module")
def exported(exported_run):
    return exported_run


def naive(model, scene, tiling):
    """Encode every tile of the scene in torch, mirrored at the border, and keep its core."""
    margin, core = tiling.margin_px, tiling.core_px
    out = np.zeros((32, CELLS[0] + 10, CELLS[1] + 10), np.float32)
    for top in range(0, CELLS[0] * 6, core):
        for left in range(0, CELLS[1] * 6, core):
            tile = {}
            for g, dn in scene.groups.items():
                rows = mirror(np.arange((top - margin) * 10 // g, (top - margin + 36) * 10 // g), dn.shape[1])
                columns = mirror(np.arange((left - margin) * 10 // g, (left - margin + 36) * 10 // g), dn.shape[2])
                tile[g] = torch.from_numpy(dn[:, rows][:, :, columns][None].astype(np.int32))
            with torch.no_grad():
                features = model.encoder.forward_features(tile, model.sensor)[0].T.reshape(32, 6, 6).numpy()
            kept = slice(margin // 6, 6 - margin // 6)
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
        assert file.tags()["BUNDLE"] == "bundle"
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
