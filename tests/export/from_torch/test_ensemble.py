"""Ensembles through the real exporter, against averages of the members' own probabilities in numpy."""

import json

import numpy as np
import pytest
import rasterio
import torch

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.errors import BundleError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.native_groups import byte_pairs
from bandloom.export.bundle.tiling import Tiling
from bandloom.export.from_torch.deploy import deploy_graph
from bandloom.export.from_torch.ensemble import Ensemble, require_alike
from bandloom.export.from_torch.export_run import export_run
from bandloom.export.from_torch.options import ExportOptions
from bandloom.export.from_torch.parity import torch_logits
from bandloom.export.from_torch.tile_sizes import in_tiles
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from tests.export.from_torch.test_export_run import ALONE, task_model, write_run
from tests.export.predict.test_map_scene import run, run_blocked
from tests.export.stack_file import write_stack
from tests.export.tiny_model import LABELS, random_chips, tiny_contract, write_tiny_bundle
from tests.made_once import made_once

TEMPERATURES = (0.7, 1.9)


def members(task="segment"):
    models = [
        task_model(task=task, seed=seed, depth=1, weights=ALONE if task == "segment" else None) for seed in range(2)
    ]
    for model, temperature in zip(models, TEMPERATURES, strict=True):
        model.temperature = temperature
    return models


def softmax(logits, axis=1):
    raised = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return raised / raised.sum(axis=axis, keepdims=True)


def entropy(shares, axis=1):
    return -(shares * np.log(shares)).sum(axis=axis)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = made_once(tmp_path_factory, "ensemble", _export)
    return [in_tiles(model, 108) for model in members()], read_bundle(place / "bundle")


def _export(folder):
    first, second = members()
    write_run(folder / "run", first)
    write_run(folder / "run" / "seed-8", second)
    export_run(folder / "run", folder / "bundle", ExportOptions(ensemble=True))


def test_the_graph_averages_its_members_probabilities_and_says_how_they_disagree():
    models, chips = members(), random_chips(tiny_contract(tiling=Tiling(36)), 3, seed=9)
    graph = deploy_graph(Ensemble(models)).eval()
    with torch.inference_mode():
        answer = graph(*(torch.from_numpy(byte_pairs(chips[gsd_m])) for gsd_m in graph.gsds_m))
    require_average(models, chips, *(each.numpy() for each in answer))


@pytest.mark.slow
def test_the_bundle_averages_them_as_the_graph_does(made):
    models, bundle = made
    chips = random_chips(bundle.contract, 3, seed=9)
    runner = OnnxRunner(bundle.path / "model.onnx")
    logits, disagreement = runner.outputs(chips, ("logits", "disagreement"))
    require_average(models, chips, logits, disagreement)
    np.testing.assert_array_equal(runner.run(chips), logits)


def require_average(models, chips, logits, disagreement):
    shares = np.stack([softmax(torch_logits(model, chips).astype(np.float64) / model.temperature) for model in models])
    np.testing.assert_allclose(softmax(logits), shares.mean(axis=0), atol=1e-5)
    expected = entropy(shares.mean(axis=0)) - np.mean([entropy(share) for share in shares], axis=0)
    np.testing.assert_allclose(disagreement[:, 0], expected, atol=1e-4)
    assert expected.max() > 0.1


@pytest.mark.slow
def test_the_record_names_the_members_and_the_gates_that_were_passed(made):
    _, bundle = made
    assert bundle.contract.members == 2
    assert len({member["weights_sha256"] for member in bundle.record.provenance["members"]}) == 2
    assert 0 <= bundle.record.models[0].extras["disagreement"] < 1e-3
    assert bundle.record.models[0].parity.max_abs <= 1e-4
    assert run("bundle", "verify", bundle.path) == 0


@pytest.mark.slow
def test_sixteen_bits_pass_their_own_gates_and_int8_is_refused(made, tmp_path, capsys):
    _, bundle = made
    runs = (bundle.path.parent / "run", bundle.path.parent / "run" / "seed-8", "--ensemble")
    assert run("export", *runs, "--precision", "fp16,bf16", "--out", tmp_path / "half") == 0
    half = read_bundle(tmp_path / "half").record
    assert [model.precision for model in half.models] == ["fp32", "fp16", "bf16"]
    assert 0 < half.models[1].extras["disagreement"] < 0.02
    assert run("export", *runs, "--precision", "int8", "--out", tmp_path / "int8") == 2
    assert "int8 is not made of an ensemble" in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


def test_a_map_of_an_ensemble_has_entropy_and_disagreement_beside_it(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "bundle", tiny_contract(tiling=Tiling(36)).with_changes(members=2))
    scene = write_stack(tmp_path / "scene.tif", (36, 36))  # one tile
    run_blocked("predict", bundle, scene, "--out", tmp_path / "map.tif", "--entropy", "--disagreement")
    with rasterio.open(scene) as file:
        assert file.count == 13
    layers = {}
    for name in ("entropy", "disagreement"):
        with rasterio.open(tmp_path / f"map.{name}.tif") as file:
            assert file.descriptions == (f"{name}_percent_of_largest",)
            assert file.nodata == 255
            assert file.tags()["BUNDLE"] == "tiny"
            layers[name] = file.read(1)
    assert layers["entropy"].max() <= 100
    assert layers["disagreement"].max() > 3
    item = json.loads((tmp_path / "map.stac.json").read_text())
    assert {"entropy", "disagreement"} <= set(item["assets"])


def test_one_model_has_no_disagreement_and_says_so(tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif", "--disagreement") == 2
    assert "holds one model" in capsys.readouterr().err
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif", "--entropy") == 0
    with rasterio.open(tmp_path / "map.entropy.tif") as file:
        assert file.read(1).max() <= 100


def other_classes():
    renamed = tuple(LabelClass(c.code, c.name.upper(), c.colour) for c in LABELS.classes)
    return task_model(labels=LabelSet("four", renamed))


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (other_classes, "label set"),
        (lambda: task_model("sentinel2-l2a"), "level"),
        (lambda: task_model(task="change"), "task"),
    ],
)
def test_members_of_another_kind_are_refused(tmp_path, other, what):
    with pytest.raises(BundleError, match=f"another {what}"):
        require_alike([task_model(), other()], [tmp_path / "one", tmp_path / "two"])


def test_one_run_alone_and_the_same_run_twice_are_refused(tmp_path, capsys):
    write_run(tmp_path / "run", task_model())
    command = ("export", tmp_path / "run")
    assert run(*command, "--ensemble", "--out", tmp_path / "bundle") == 2
    assert "needs two models or more" in capsys.readouterr().err
    assert run(*command, tmp_path / "run", "--ensemble", "--out", tmp_path / "bundle") == 2
    assert "the same weights" in capsys.readouterr().err
    assert run(*command, tmp_path / "run", "--out", tmp_path / "bundle") == 2
    assert "pass --ensemble" in capsys.readouterr().err
    assert run(*command, "--ensemble", "--embeddings", "--out", tmp_path / "bundle") == 2  # before anything is scored
    assert "an encoder for each member" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("task", ["classify", "multilabel"])
def test_ensembles_of_chips_average_too(task):
    models = members(task)
    ensemble = Ensemble(models)
    chips = {g: torch.from_numpy(dn.astype(np.int32)) for g, dn in chips_of_ground().items()}
    with torch.inference_mode():
        logits = ensemble(chips)
        each = [model(chips) / model.temperature for model in models]
    share = torch.sigmoid if task == "multilabel" else lambda one: one.softmax(dim=1)
    torch.testing.assert_close(share(logits), torch.stack([share(one) for one in each]).mean(0), atol=1e-5, rtol=0)


def chips_of_ground():
    return random_chips(tiny_contract(tiling=Tiling(36), task="classify"), 4)
