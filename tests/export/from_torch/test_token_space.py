"""How unlike training ground a scene is: the distance against a loop, and real scenes that are told apart."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
import torch
import yaml

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.errors import BundleError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.record import Familiar
from bandloom.export.from_torch.export_run import export_run
from bandloom.export.from_torch.options import ExportOptions
from bandloom.export.from_torch.token_space import TokenSpace, tokens_of
from bandloom.export.predict.uncertainty import MOST_UNLIKE, share_farther
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.synth.write import write_scenes
from tests.export.from_torch.test_export_run import task_model, write_run
from tests.export.predict.test_map_scene import run, run_blocked
from tests.export.tiny_model import random_chips, tiny_contract


def test_the_distance_is_that_to_the_nearest_whitened_centre():
    random = np.random.default_rng(0)
    mean, whitening, centres = random.normal(size=5), random.normal(size=(5, 5)), random.normal(size=(7, 5))
    tokens = random.normal(size=(2, 3, 5))
    found = TokenSpace(mean, whitening, centres).distances(torch.from_numpy(tokens.astype(np.float32))).numpy()
    for place in np.ndindex(2, 3):
        white = (tokens[place] - mean) @ whitening
        assert found[place] == pytest.approx(min(np.linalg.norm(white - centre) for centre in centres), abs=1e-4)


def test_a_token_is_the_features_beside_the_mean_of_every_band():
    model, contract = task_model(), tiny_contract()
    chips = {gsd_m: dn[..., : 360 // gsd_m, : 360 // gsd_m] for gsd_m, dn in random_chips(contract, 2).items()}
    with torch.inference_mode():
        tokens = tokens_of(model, {g: torch.from_numpy(dn.astype(np.int32)) for g, dn in chips.items()}).numpy()
    assert tokens.shape == (2, 6, 6, 32 + 13)
    statistics = model.encoder.statistics
    blue = (chips[10][1, 0, 6:12, 12:18].astype(float) - 1000) / 10000
    expected = (blue.mean() - statistics.mean["B02"]) / (2 * statistics.std["B02"])
    assert tokens[1, 1, 2, 32] == pytest.approx(expected, rel=1e-4)


def test_a_distance_is_read_by_the_quantiles_of_held_out_ground():
    familiar = Familiar(quantiles=(1.0, 2.0, 3.0, 7.0, 8.0), tokens=1, held_tokens=5)
    assert share_farther(familiar, np.array([0.0, 1.0, 2.5, 3.0, 9.0])).tolist() == [1.0, 1.0, 0.625, 0.5, 0.0]


def test_a_run_without_shards_cannot_learn_its_ground(tmp_path, capsys):
    write_run(tmp_path / "run", task_model())
    with pytest.raises(BundleError, match="--ood needs the run's training ground"):
        export_run(tmp_path / "run", tmp_path / "bundle", ExportOptions(ood=True))
    assert not (tmp_path / "bundle").exists()


KINDS = {"same": 0.0, "cloudy": 0.8, "offset": 0.0, "inverted": 0.0}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Return a bundle that knows six cloudless scenes, and the folder of others."""
    folder = tmp_path_factory.mktemp("ood")
    write_scenes(folder / "training", 6, 240, 5, cloud_fraction=0.0)
    build([str(folder / "training" / "scenes")], folder / "shards", BuildOptions(side_px=120))
    write_run(folder / "run", task_model())
    command = ("export", folder / "run", "--ood", "--shards", folder / "shards", "--out", folder / "bundle")
    assert run(*command) == 0
    for kind, clouds in KINDS.items():
        write_scenes(folder / kind, 1, 240, 900, cloud_fraction=clouds)
        (scene,) = (folder / kind / "scenes").iterdir()
        shutil.move(scene, folder / f"{kind}.scene")
    return folder


def _changed(folder, change):
    for path in folder.glob("B*.tif"):
        with rasterio.open(path, "r+") as file:
            file.write(change(file.read().astype(np.int64)).clip(1, 65534).astype(np.uint16))


@pytest.mark.slow
def test_scenes_unlike_training_are_said_to_be_so_and_one_of_its_kind_is_not(ground, capsys):
    _changed(ground / "offset.scene", lambda dn: dn + 1000)  # an offset that nobody took away
    _changed(ground / "inverted.scene", lambda dn: (7000 - dn).clip(1100))
    shares = {}
    for kind in KINDS:
        out = ground / f"{kind}.tif"
        assert run("predict", ground / "bundle", ground / f"{kind}.scene", "--out", out, "--ood") == 0
        said = capsys.readouterr().out
        assert ("do not trust its map" in said) is (kind != "same"), (kind, said)
        with rasterio.open(out.with_suffix(".ood.tif")) as file:
            assert file.descriptions == ("percent_of_training_ground_farther",)
            layer = file.read(1)
        shares[kind] = float((layer == 0).mean())
        assert f"unlike training: {shares[kind]:.1%}" in said
    assert shares["same"] <= 0.05
    assert shares["offset"] > 0.95
    assert shares["inverted"] > 0.95


@pytest.mark.slow
def test_the_encoder_runs_once_for_both_outputs(ground):
    kinds = [node.op_type for node in onnx.load(ground / "bundle" / "model.onnx").graph.node]
    assert kinds.count("Softmax") == task_model().encoder.config.depth


@pytest.mark.slow
def test_the_layer_needs_no_torch_and_a_bundle_without_it_is_refused(ground, tmp_path, capsys):
    scene = ground / "same.scene"
    run_blocked("predict", ground / "bundle", scene, "--out", tmp_path / "map.tif", "--ood", "--entropy")
    assert (tmp_path / "map.ood.tif").is_file()
    assert run("export", ground / "run", "--out", tmp_path / "plain") == 0
    assert run("predict", tmp_path / "plain", scene, "--out", tmp_path / "b.tif", "--ood") == 2
    assert "export it with --ood" in capsys.readouterr().err


FLOOD = LabelSet("flood", (LabelClass(0, "land", "#b9a37e"), LabelClass(1, "water", "#1f6fd0")), ignore=(-1, 255))


def real(*names: str) -> Path:
    """Return a real product beside this checkout; the test is skipped where it is absent."""
    for place in Path(__file__).resolve().parents:
        if (path := place.joinpath("shared", "data", *names)).exists():
            return path
    pytest.skip(f"the real scenes (../shared/data/{names[0]}) are not beside this checkout")


@pytest.fixture(scope="module")
def flood(tmp_path_factory):
    """Return a folder with bundles that know the ground of a real flood: one model in two precisions, and two models.

    The encoders' weights are random: no training is needed to know ground again.
    """
    scene = real("flood_seg", "Spain_7370579", "S2Hand.tif")
    folder = tmp_path_factory.mktemp("flood")
    (folder / "labels.yaml").write_text(yaml.safe_dump(FLOOD.to_dict()))
    labels = {"labels": str(scene.with_name("LabelHand.tif")), "label_set": str(folder / "labels.yaml")}
    build([str(scene)], folder / "shards", BuildOptions(side_px=120, **labels))
    for number, place in enumerate((folder / "run", folder / "run" / "seed-8")):
        write_run(place, task_model(seed=number, labels=FLOOD))
    config = {"shards": str(folder / "shards"), "task": "segment", "chip_px": 36, "split": {"kind": "block"}}
    (folder / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    assert run("export", folder / "run", "--ood", "--precision", "fp32,fp16", "--out", folder / "one") == 0
    assert run("export", folder / "run", "--ood", "--ensemble", "--out", folder / "two") == 0
    return folder


def layer(path):
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["one", "two"])
def test_a_real_scene_is_known_again_and_another_ground_or_a_wrong_offset_is_not(flood, tmp_path, capsys, bundle):
    scene, winter = real("flood_seg", "Spain_7370579", "S2Hand.tif"), real("lulc_seg", "609U_541L_3_0", "S2L1C.tif")
    shares = {}
    for name, words in (("own", (scene,)), ("offset", (scene, "--offset", "-1000")), ("snow", (winter,))):
        out = tmp_path / f"{name}.tif"
        assert run("predict", flood / bundle, *words, "--out", out, "--ood") == 0
        ood = layer(out.with_suffix(".ood.tif"))
        shares[name] = float((ood == 0).sum() / (ood != 255).sum())
        said = capsys.readouterr().out
        assert f"unlike training: {shares[name]:.1%}" in said
        assert ("do not trust its map" in said) is (name != "own")
    assert shares["own"] <= MOST_UNLIKE < shares["offset"]
    assert shares["snow"] > 0.5


@pytest.mark.slow
def test_an_ensembles_distance_is_that_of_its_first_member(flood):
    both, single = read_bundle(flood / "two"), read_bundle(flood / "one")
    assert both.contract.extras == ("disagreement", "distance")
    assert both.contract.familiar == single.contract.familiar
    chips = random_chips(both.contract, 2, seed=3)
    (distance,) = OnnxRunner(single.path / "model.onnx").outputs(chips, ("distance",))
    told = OnnxRunner(both.path / "model.onnx").outputs(chips, ("distance", "disagreement"))
    np.testing.assert_allclose(told[0], distance, rtol=1e-4)
    assert told[1].max() > 0


@pytest.mark.slow
def test_sixteen_bits_know_the_ground_as_thirty_two_do(flood, tmp_path):
    """A token's distance goes through the encoder's 16 bits; the map of it may differ where it is between two steps."""
    scene = real("flood_seg", "Spain_7370579", "S2Hand.tif")
    layers = []
    for precision in ("fp32", "fp16"):
        out = tmp_path / f"{precision}.tif"
        assert run("predict", flood / "one", scene, "--precision", precision, "--out", out, "--ood") == 0
        layers.append(layer(out.with_suffix(".ood.tif")).astype(int))
    known = layers[0] != 255
    np.testing.assert_array_equal(layers[1] != 255, known)
    assert np.abs(layers[0] - layers[1])[known].max() <= 3
    assert len(np.unique(layers[0][known])) > 20
