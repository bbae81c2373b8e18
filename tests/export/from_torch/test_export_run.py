"""Real models through the real exporter; each tile is small, since tracing costs seconds."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from sklearn.metrics import f1_score

from bandloom.errors import BundleError, CheckpointError
from bandloom.export.bundle.record import CONTRACT_KEY, ModelFile, Parity
from bandloom.export.bundle.tiling import Tiling
from bandloom.export.from_torch import write_model
from bandloom.export.from_torch.export_run import contract_of_model, export_run
from bandloom.export.from_torch.held_chips import Chips, Ground, _laid_out, held_chips
from bandloom.export.from_torch.options import ExportOptions
from bandloom.export.from_torch.parity import accuracy, measure, require, say_parity, torch_logits
from bandloom.export.from_torch.tile_sizes import default_tiling, wide_tiling
from bandloom.export.from_torch.to_onnx import check_ops, from_byte_pairs
from bandloom.export.predict.scene_mapper import SceneMapper
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.export.runtimes.verify import verify
from bandloom.finetune.model.checkpoint import save_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.sensors import SLOTS, get_sensor
from tests.export.array_scene import random_scene
from tests.export.predict.test_map_scene import run
from tests.export.tiny_model import LABELS, random_chips
from tests.made_once import made_once

ALONE = (0.6, 0.0, 0.0, 0.0, 0.4)  # weights of a head that looks at nothing but the pixel: half as much to trace


def task_model(sensor="sentinel2-l1c", task="segment", seed=0, labels=LABELS, head="linear", depth=2, weights=None):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    statistics = Statistics(
        mean={slot: float(rng.uniform(0.1, 0.3)) for slot in SLOTS},
        std={s: float(rng.uniform(0.05, 0.1)) for s in SLOTS},
    )
    encoder = Encoder(EncoderConfig(embed_dim=32, depth=depth, num_heads=2), statistics)
    model = TaskModel(encoder, get_sensor(sensor), labels, task, 36, head).eval()
    with torch.no_grad():
        for weight in model.head.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)  # heads may start at zero, where parity says nothing
    if weights:
        model.head.pixel.weigh(weights)
    return model


def write_run(folder, model):
    save_task_model(folder / "checkpoint", model, {"seed": 0})
    return folder


def exported_once(factory):
    """Return a folder with runs/landcover and landcover.bundle, the same for all; whoever writes there takes a copy."""
    return made_once(factory, "landcover", _export)


def _export(folder):
    write_run(folder / "runs" / "landcover", task_model(weights=ALONE))
    options = ExportOptions(precisions=("fp16",), embeddings=True)
    export_run(folder / "runs" / "landcover", folder / "landcover.bundle", options)


@pytest.fixture(scope="module")
def exported(exported_run):
    return exported_run


def test_an_exported_model_answers_as_torch_does(exported):
    model, bundle = exported
    parity = bundle.record.models[0].parity
    assert parity.max_abs <= 1e-4
    assert parity.argmax_agreement >= 0.9999
    chips = random_chips(bundle.contract, 5, seed=9)
    expected = torch_logits(model, chips)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(OnnxRunner(bundle.path / "model.onnx").run(chips), expected, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_an_exported_model_takes_any_batch_and_answers_chip_by_chip(exported, batch):
    _, bundle = exported
    runner = OnnxRunner(bundle.path / "model.onnx", threads=1)
    chips = random_chips(bundle.contract, 7)
    whole = runner.run(chips)
    parts = [runner.run({g: dn[i : i + batch] for g, dn in chips.items()}) for i in range(0, 7, batch)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_absent_and_saturated_samples_are_absent_inside_the_engine(exported):
    model, bundle = exported
    runner = OnnxRunner(bundle.path / "model.onnx")
    chips = random_chips(bundle.contract, 2)
    for dn in chips.values():
        dn[0, :, : dn.shape[2] // 2] = 0
        dn[1, 0] = 65535
    given = runner.run(chips)
    assert np.isfinite(given).all()
    np.testing.assert_allclose(given, torch_logits(model, chips), atol=1e-4)


def test_the_graph_has_named_native_inputs_a_named_batch_and_its_contract(exported):
    _, bundle = exported
    proto = onnx.load(bundle.path / "model.onnx")
    shapes = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input}
    assert shapes == {
        "g10": ["batch", 4, 108, 108, 2],
        "g20": ["batch", 6, 54, 54, 2],
        "g60": ["batch", 3, 18, 18, 2],
    }
    assert proto.opset_import[0].version == 20
    assert {p.key: p.value for p in proto.metadata_props}[CONTRACT_KEY] == bundle.contract.digest()


def test_mapping_a_scene_with_the_engine_equals_mapping_it_with_torch(exported):
    model, bundle = exported

    class Torch:
        name = "torch"
        lanes = 1

        def run(self, groups):
            return torch_logits(model, groups)

    scene = random_scene(get_sensor("sentinel2-l1c"), (13, 17), 3, holes=2)
    maps = []
    for runner in (verify(bundle), Torch()):
        rows = list(SceneMapper(runner, bundle.contract.tiling, 4, lambda: scene).rows())
        measured = np.concatenate([r.measured for r in rows])
        maps.append(np.concatenate([r.logits for r in rows], axis=1)[:, measured])
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sensor", "task"),
    [("landsat89-l2", "segment"), ("sentinel2-l2a", "classify")],
)
def test_other_sensors_and_tasks_export_through_the_command_line(tmp_path, sensor, task, capsys):
    write_run(tmp_path / "run", task_model(sensor, task, depth=1))
    assert run("export", tmp_path / "run", "--out", tmp_path / "bundle") == 0
    assert run("bundle", "verify", tmp_path / "bundle") == 0
    record = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert record["contract"]["task"] == task
    assert record["provenance"]["training"] == {"seed": 0}
    assert record["versions"]["torch"] == torch.__version__


def test_a_model_that_fails_parity_is_not_written(exported, tmp_path, monkeypatch, capsys):
    """What was exported is put where seconds of tracing would write it, for a model whose answers lie 0.001 off."""
    file = exported[1].path / "model.onnx"
    monkeypatch.setattr(write_model, "write_onnx", lambda graph, contract, path, **_: shutil.copy(file, path))
    model = task_model(weights=ALONE)
    model.head.correct.bias.data += 0.001
    write_run(tmp_path / "run", model)
    assert run("export", tmp_path / "run", "--out", tmp_path / "bundle") == 2
    assert "fails its parity gate" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_without_a_checkpoint_and_an_existing_bundle_are_refused(tmp_path, capsys):
    with pytest.raises(CheckpointError, match="has no finished checkpoint"):
        export_run(tmp_path, tmp_path / "bundle")
    write_run(tmp_path / "run", task_model())
    (tmp_path / "bundle").mkdir()
    assert run("export", tmp_path / "run", "--out", tmp_path / "bundle") == 2
    assert "exists already" in capsys.readouterr().err


def test_byte_pairs_come_back_exactly():
    dn = np.array([[0, 1, 255, 256, 4095, 65534, 65535]], np.uint16)
    pairs = torch.from_numpy(dn.view(np.uint8).reshape(1, -1, 2).copy())
    assert from_byte_pairs(pairs).tolist() == dn.astype(float).tolist()


def test_an_operator_outside_the_list_is_refused():
    node = onnx.helper.make_node("NonMaxSuppression", ["a"], ["b"])
    graph = onnx.helper.make_graph([node], "g", [], [])
    with pytest.raises(BundleError, match="needs NonMaxSuppression"):
        check_ops(onnx.helper.make_model(graph))


def test_drawn_chips_follow_the_statistics_and_hold_absent_samples():
    contract = contract_of_model(task_model(), default_tiling(task_model()))
    chips = held_chips(contract, Ground(), 4)
    assert chips.groups[10].shape == (4, 4, 36, 36)
    assert (chips.groups[10][-1] == 0).any()
    assert (chips.groups[60][-1] == 65535).any()
    blue = (chips.groups[10][:3, 0].astype(float) - 1000) / 10000
    assert blue.mean() == pytest.approx(contract.statistics["mean"]["B02"], abs=0.03)


class _Off:
    name = "off by a class"

    def __init__(self, expected):
        self.expected = expected

    def run(self, groups):
        answer = self.expected.copy()  # both chips are one batch
        answer[:, :, :2] = -answer[:, :, :2]
        return answer


def test_the_gate_counts_classes_and_labelled_score():
    model = task_model()
    contract = contract_of_model(model, default_tiling(model))
    chips = held_chips(contract, Ground(), 2)
    expected = torch_logits(model, chips.groups)
    labels = expected.argmax(axis=1).astype(np.uint8)
    labels[:, :, 20:] = 255
    labelled = type(chips)(chips.groups, "test", labels)
    parity = measure(_Off(expected), expected, labelled, "int8", contract)
    assert parity.torch_score == 1.0
    assert parity.score is not None
    assert parity.score < 1.0
    counted = labels != 255
    said = _Off(expected).run(None).argmax(1)[counted]
    assert parity.macro_f1 == pytest.approx(f1_score(labels[counted], said, average="macro"))
    assert parity.torch_macro_f1 == 1.0
    with pytest.raises(BundleError, match=r"int8 model fails its parity gate.*leave this precision out"):
        require(parity, "int8", int((labels != 255).sum()))
    assert accuracy(contract, expected, None) is None


@pytest.mark.parametrize(
    ("labels", "fallen", "passes"), [(83, 1, True), (83, 2, False), (1000, 5, True), (1000, 6, False)]
)
def test_one_label_of_few_may_fall_and_no_more_than_the_budget_of_many(labels, fallen, passes):
    """Half a percent of 83 chips is no whole chip: one whose classes are level may fall, as it may in agreement."""
    told = Parity(
        chips=labels,
        source="test",
        max_abs=0.0,
        argmax_agreement=1.0,
        allowed_max_abs=5.0,
        required_agreement=0.93,
        runtime="test",
        score=0.9 - fallen / labels,
        torch_score=0.9,
    )
    if passes:
        require(told, "int8", labels)
    else:
        with pytest.raises(BundleError, match=f"accuracy falls by {fallen / labels:.4f}"):
            require(told, "int8", labels)


@pytest.mark.parametrize(("f1", "warned"), [(0.741, False), (0.693, True)])
def test_a_class_that_is_answered_worse_within_the_accuracy_allowed_is_said(caplog, f1, warned):
    level = {"max_abs": 0.0, "argmax_agreement": 0.97, "allowed_max_abs": 5.0, "required_agreement": 0.93}
    scored = {"score": 0.696, "torch_score": 0.696, "macro_f1": f1, "torch_macro_f1": 0.747}
    parity = Parity(chips=194, source="test", runtime="test", **level, **scored)
    require(parity, "int8", 194)
    with caplog.at_level("INFO", logger="bandloom"):
        say_parity(ModelFile(file="model.int8.onnx", precision="int8", opset=18, parity=parity))
    assert ("mean F1 of the classes from 0.747 to 0.693" in caplog.text) is warned
    assert "classes agree 0.97" in caplog.text


def test_default_tilings_lie_on_the_60_m_grid():
    model = task_model()
    assert (default_tiling(model).margin_px, default_tiling(model).taper_px) == (6, 6)
    model.chip_px = 240
    assert (default_tiling(model).margin_px, default_tiling(model).taper_px) == (18, 36)
    assert default_tiling(model, 0, 0).margin_px == 0
    assert default_tiling(task_model(task="classify")).core_px == 36


def test_a_bundle_has_tiles_of_several_chips_unless_told_otherwise():
    model = task_model()
    assert wide_tiling(model) == Tiling(108, 6, 0)
    model.head.pixel.weigh([0.0, 0.0, 0.5, 0.5, 0.0])
    assert model.head.pixel.reach_px == 12
    assert wide_tiling(model) == Tiling(108, 12, 0)  # windows of 25 pixels are whole in every core
    model.head.pixel.weigh([0.0, 0.0, 1.0, 0.0, 0.0])
    assert wide_tiling(model) == Tiling(108, 6, 0)
    assert wide_tiling(model, margin_px=12, taper_px=6) == Tiling(108, 12, 6)
    assert wide_tiling(model, 36) == default_tiling(model)
    assert wide_tiling(task_model(task="classify")) == Tiling(36)
    model.chip_px = 96
    assert wide_tiling(model).tile_px == 192
    model.chip_px = 240
    assert wide_tiling(model) == default_tiling(model)
    with pytest.raises(BundleError, match=r"300 pixels is no multiple of the model's chips of 240; use --tile 240"):
        wide_tiling(model, 300)


def test_held_chips_are_laid_side_by_side_to_tiles_with_their_labels():
    contract = contract_of_model(task_model(), Tiling(108, 6, 0))
    chips = held_chips(contract, Ground(), 10, part_px=36)
    assert {g: dn.shape for g, dn in chips.groups.items()} == {
        10: (2, 4, 108, 108),
        20: (2, 6, 54, 54),
        60: (2, 3, 18, 18),
    }
    alone = held_chips(contract_of_model(task_model(), Tiling(36)), Ground(), 10)
    np.testing.assert_array_equal(chips.groups[10][0, :, 36:72, 72:], alone.groups[10][5])
    np.testing.assert_array_equal(chips.groups[20][1, :, :18, 18:36], alone.groups[20][0])  # the first ones again
    labelled = _laid_out(Chips({10: np.arange(36).reshape(4, 1, 3, 3)}, "", np.arange(36).reshape(4, 3, 3)), 2)
    np.testing.assert_array_equal(labelled.groups[10][:, 0], labelled.labels)
