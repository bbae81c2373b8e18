"""Models of two dates, from export to the map: what goes in, what is measured, and which pairs are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from bandloom.errors import SceneError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.native_groups import byte_pairs
from bandloom.export.from_torch.export_run import contract_of_model, export_run
from bandloom.export.from_torch.half_precision import CastGraph
from bandloom.export.from_torch.parity import torch_logits
from bandloom.export.from_torch.tile_sizes import in_tiles, wide_tiling
from bandloom.export.predict.scene_mapper import Pace, SceneMapper
from bandloom.export.predict.two_dates import TwoDates, open_two_dates
from bandloom.export.runtimes.verify import verify
from bandloom.finetune.data.change import CHANGE
from bandloom.sensors import get_sensor
from tests.export.array_scene import random_scene
from tests.export.from_torch.test_export_run import ALONE, task_model, write_run
from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import random_chips, write_tiny_bundle

L1C = get_sensor("sentinel2-l1c")


def of_two_dates():
    model = task_model(task="change", labels=CHANGE, weights=ALONE)
    model.temperature = 2.0
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("change")
    write_run(folder / "run", of_two_dates())
    return in_tiles(of_two_dates(), 108), export_run(folder / "run", folder / "bundle")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return a model, and a bundle of its contract whose own answers are a small model's, made without tracing."""
    model = of_two_dates()
    contract = contract_of_model(model, wide_tiling(model))
    place = write_tiny_bundle(tmp_path_factory.mktemp("change") / "bundle", contract)
    return in_tiles(model, 108), read_bundle(place)


def test_both_dates_go_in_by_name_in_their_order(pair):
    model, bundle = pair
    contract = bundle.contract
    assert contract.groups[0].bands[:5] == ("B02@before", "B03@before", "B04@before", "B08@before", "B02@after")
    chips = random_chips(contract, 3)
    swapped = {g: np.concatenate(np.split(dn, 2, axis=1)[::-1], axis=1) for g, dn in chips.items()}
    assert np.abs(torch_logits(model, swapped) - torch_logits(model, chips)).max() > 0.01  # the order matters


@pytest.mark.slow
def test_an_exported_model_of_two_dates_answers_as_torch_does(exported):
    model, bundle = exported
    chips = random_chips(bundle.contract, 3)
    np.testing.assert_allclose(verify(bundle).run(chips), torch_logits(model, chips), atol=1e-4)


@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.005), ("bf16", 0.05)])
def test_two_dates_are_cast_to_16_bits_too(pair, precision, most):
    model, bundle = pair
    chips = random_chips(bundle.contract, 2)
    graph = CastGraph(model, precision)
    with torch.no_grad():
        given = graph(*(torch.from_numpy(byte_pairs(chips[gsd_m])) for gsd_m in graph.gsds_m)).numpy()
    expected = torch_logits(model, chips)
    assert 0 < np.abs(given - expected).max() < most * np.abs(expected).max()


@pytest.mark.slow
def test_a_scene_of_two_dates_maps_as_torch_maps_it(exported):
    model, bundle = exported
    earlier, later = random_scene(L1C, (11, 13), 1, holes=1), random_scene(L1C, (11, 13), 2, holes=1)

    class Torch:
        name, lanes = "torch", 1

        def run(self, groups):
            return torch_logits(model, groups)

    maps = []
    for runner in (verify(bundle), Torch()):
        mapper = SceneMapper(
            runner,
            bundle.contract.tiling,
            2,
            lambda: TwoDates(earlier, later, (0.0, 0.0)),
            dates=2,
            pace=Pace(batch=3, readers=2),
        )
        rows = list(mapper.rows())
        maps.append((np.concatenate([r.logits for r in rows], axis=1), np.concatenate([r.measured for r in rows])))
    both = (earlier.groups[10] > 0).any(axis=0) & (later.groups[10] > 0).any(axis=0)
    np.testing.assert_array_equal(maps[0][1], both)
    assert not both.all()
    np.testing.assert_allclose(maps[0][0][:, both], maps[1][0][:, both], atol=1e-4)


def test_predict_takes_the_earlier_and_the_later_scene(pair, tmp_path, capsys):
    bundle = pair[1].path
    hole = (slice(30, 60), slice(60, 90))
    before = write_stack(tmp_path / "before.tif", (120, 130), seed=1)
    after = write_stack(tmp_path / "after.tif", (120, 130), seed=2, hole=hole)
    out = tmp_path / "map.tif"
    assert run("predict", bundle, "--change", before, after, "--out", out, "--confidence", "--shift-check") == 0
    with rasterio.open(out) as file:
        codes = file.read(1)
        assert file.tags(1)["CLASS_2"] == "changed"
        assert set(json.loads(file.tags()["SCENE_PROVENANCE"])) == {"before", "after"}
    measured = np.ones((120, 130), bool)
    measured[hole] = False
    np.testing.assert_array_equal(codes != 255, measured)
    capsys.readouterr()
    assert run("predict", bundle, before, "--out", tmp_path / "one.tif") == 2
    assert "--change BEFORE AFTER" in capsys.readouterr().err
    assert run("predict", bundle, before, after, "--out", tmp_path / "folder") == 2
    assert run("serve", bundle) == 2
    assert "compares two dates" in capsys.readouterr().err


def test_a_later_scene_that_lies_elsewhere_on_the_same_grid_is_read_where_the_earlier_one_is(tmp_path):
    earlier, later = random_scene(L1C, (6, 8), 1), random_scene(L1C, (7, 9), 2)
    later = replace(later, transform=from_origin(600000 - 120, 1500000 + 60, 10, 10))
    with open_two_dates(lambda: earlier, lambda: later) as scene:
        found = scene.read((60.0, 0.0, 120.0, 60.0))
    assert found[10].shape == (8, 6, 12)
    np.testing.assert_array_equal(found[10][:4], earlier.groups[10][:, :6, 6:18])
    np.testing.assert_array_equal(found[10][4:], later.groups[10][:, 6:12, 18:30])
    np.testing.assert_array_equal(found[60][3:], later.groups[60][:, 1:2, 3:5])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transform": from_origin(600030, 1500000, 10, 10)}, "no multiple of 60 m"),
        ({"transform": from_origin(700020, 1500000, 10, 10)}, "share no ground"),
        ({"crs": rasterio.CRS.from_epsg(32648)}, "compare scenes of one grid"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_in_a_sentence(change, words):
    earlier, later = random_scene(L1C, (6, 8), 1), replace(random_scene(L1C, (6, 8), 2), **change)
    with pytest.raises(SceneError, match=words):
        open_two_dates(lambda: earlier, lambda: later)


def test_the_temperature_cools_probabilities_and_changes_no_class(pair):
    from bandloom.export.bundle.answers import decisions, probabilities

    contract = pair[1].contract
    assert contract.temperature == 2.0
    logits = np.random.default_rng(0).normal(0, 3, (2, 5, 5)).astype(np.float32)
    expected = torch.softmax(torch.from_numpy(logits) / 2.0, dim=0).numpy()
    np.testing.assert_allclose(probabilities(contract, logits), expected, atol=1e-6)
    np.testing.assert_array_equal(decisions(contract, logits[None])[0], logits.argmax(axis=0))


def test_embeddings_of_two_dates_are_refused(tmp_path, capsys):
    write_run(tmp_path / "run", task_model(task="change", labels=CHANGE))
    assert run("export", tmp_path / "run", "--out", tmp_path / "bundle", "--embeddings") == 2
    assert "leave --embeddings out" in capsys.readouterr().err
    with pytest.raises(Exception, match="is no bundle"):
        read_bundle(tmp_path / "bundle")
