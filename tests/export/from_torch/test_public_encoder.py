"""A public encoder through the whole chain: fine-tuned, exported in every precision, mapped, built into an engine."""

import importlib.util
import json
from dataclasses import replace
from math import lcm
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml

from bandloom.errors import ConfigError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.golden import GOLDEN, read_golden
from bandloom.export.from_torch.audit_fp16 import audit_ranges, wide_layers
from bandloom.export.from_torch.export_run import contract_of_model, export_run, load_model
from bandloom.export.from_torch.half_precision import CastGraph
from bandloom.export.from_torch.held_chips import Chips
from bandloom.export.from_torch.options import ExportOptions
from bandloom.export.from_torch.parity import torch_logits
from bandloom.export.from_torch.tile_sizes import default_tiling, in_tiles
from bandloom.export.runtimes.show_bundle import tables
from bandloom.finetune.model.checkpoint import load_task_model, save_task_model
from bandloom.finetune.model.lora import merge_lora
from bandloom.finetune.model.task_model import TaskModel, set_trainable
from bandloom.model.checkpoint import load_encoder
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import families
from bandloom.public_encoders.golden import native_groups
from bandloom.sensors import get_sensor
from bandloom.shards.synth.write import write_scenes
from tests.export.from_torch.test_export_run import ALONE
from tests.export.predict.test_map_scene import run
from tests.export.tiny_model import write_tiny_bundle
from tests.finetune.models import LABELS, S2, chips
from tests.public_encoder_families import tiny_family
from tests.public_encoder_folders import real_galileo, tiny_galileo

CHAIN = {  # as short as a run can be
    "baselines": [],
    "compare_random": False,
    "seeds": 1,
    "warm_steps": 20,
    "curve_points": 0,
    "bootstrap": 10,
    "trainer": {"steps": 2, "batch_size": 4},
}
HEARD = CHAIN | {  # and long enough that the encoder has a say, whose correction of the pixels starts at zero
    "mode": "full",
    "trainer": {"steps": 12, "batch_size": 4, "engine": {"lr": 0.01, "warmup_steps": 2}},
}
FIRST_ATTENTION = [
    "encoder.blocks.0.attn",
    "encoder.blocks.0.attn.qkv",
    "encoder.embed",
    "encoder.embed.project",
    *(f"encoder.embed.project.{group}" for group in range(5)),
]
FIRST_BLOCK = ["encoder.blocks.0"]
STATISTICS = Statistics(mean=dict.fromkeys(S2.slots, 0.25), std=dict.fromkeys(S2.slots, 0.1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_galileo(tmp_path_factory.mktemp("public") / "galileo")


def model(folder, task="segment", chip_px: int = 24) -> TaskModel:
    torch.manual_seed(0)
    encoder = load_encoder(folder)
    encoder.learn_statistics(STATISTICS)
    own = TaskModel(encoder, S2, LABELS, task, chip_px)
    for parameter in own.head.parameters():  # a correction that starts at zero would hide the encoder
        parameter.data += 0.05 * torch.randn_like(parameter)
    if task == "segment":
        own.head.pixel.weigh(ALONE)
    return own.eval()


def test_a_fine_tuned_model_on_disk_is_whole_without_its_authors_files(folder, tmp_path):
    own = model(folder)
    save_task_model(tmp_path / "m", own, {})
    again = load_task_model(tmp_path / "m")
    with torch.no_grad():
        assert torch.equal(own(chips()), again(chips()))
    record = json.loads((tmp_path / "m" / "config.json").read_text())
    assert record["encoder_licence"]["conditions"] in (tmp_path / "m" / "README.md").read_text()
    assert again.encoder.statistics == STATISTICS
    assert again.encoder.config == own.encoder.config


def require_licence(bundle):
    licence = bundle.record.provenance["encoder_licence"]
    assert licence["name"] == "MIT"
    shown = [cell for column in tables(bundle)[0].columns for cell in column.cells]
    assert f"MIT. {licence['conditions']}" in shown
    assert [g.name for g in bundle.record.contract.groups] == ["g10", "g20", "g60"]


def test_a_bundle_carries_the_licence_and_takes_native_groups_alone(folder, tmp_path):
    """The contract and what is known of the model are those of an export, the file is a small one, not traced."""
    save_task_model(tmp_path / "m", model(folder, "classify"), {})
    own, provenance = load_model(tmp_path / "m")
    bundle = read_bundle(write_tiny_bundle(tmp_path / "b", contract_of_model(own, default_tiling(own))))
    require_licence(replace(bundle, record=bundle.record.model_copy(update={"provenance": provenance})))


@pytest.mark.slow
def test_an_exported_bundle_carries_them_too_in_both_precisions_and_with_its_encoder(folder, tmp_path):
    save_task_model(tmp_path / "m", model(folder), {})
    options = ExportOptions(precisions=("fp32", "fp16"), embeddings=True)
    require_licence(export_run(tmp_path / "m", tmp_path / "b", options))
    record = read_bundle(tmp_path / "b").record
    found = {model.precision: model.parity.max_abs for model in record.models}
    assert tuple(found) == ("fp32", "fp16")
    assert found["fp32"] < 1e-4
    assert found["fp16"] < 0.1
    assert record.features.embed_dim == 32


def test_sixteen_bits_leave_the_normalisation_in_fp32(folder):
    own, graph = model(folder), CastGraph(model(folder), "bf16")
    samples, _ = own.encoder.samples(chips(), S2)
    cast, _ = graph.model.encoder.samples(chips(), S2)
    assert torch.equal(cast, samples.bfloat16())


def test_the_real_galileo_keeps_its_first_attention_in_fp32_and_loses_little_in_fp16():
    """Its scores reach thousands on real ground (19,240 on chips16): 16 bits round them by whole units."""
    folder = real_galileo()
    own = model(folder, "classify")
    bands = own.encoder.family.bands
    own.sensor = S2.subset([band.name for band in S2.bands if band.slot in bands])
    with np.load(folder / "golden.npz") as held:
        window = next(name for name in held.files if name.endswith("_dn")).removesuffix("_dn")
        side = held[f"{window}_dn"].shape[0] // 6 * 6
        groups = native_groups(held[f"{window}_dn"][:side, :side], bands, 10, own.sensor)
    chips_of_window = Chips({gsd_m: dn.numpy().astype(np.uint16) for gsd_m, dn in groups.items()}, "a real window")
    wide = wide_layers(own, audit_ranges(own, [chips_of_window]), "fp16")
    assert wide == tuple(FIRST_ATTENTION)
    with torch.no_grad():
        expected = own.encoder.forward_features(groups, own.sensor)
        plain, kept = (
            (CastGraph(own, "fp16", names).model.encoder.forward_features(groups, own.sensor) - expected)
            .square()
            .mean()
            .sqrt()
            for names in ((), wide)
        )
    assert kept < 1e-4
    assert kept < plain / 3


def test_sixteen_bits_leave_rates_of_turning_in_fp32(tmp_path):
    encoder = load_encoder(tiny_family("olmoearth", tmp_path / "o"))
    l2a = get_sensor("sentinel2-l2a")
    graph = CastGraph(TaskModel(encoder, l2a, LABELS, "classify", 24), "fp16")
    assert torch.equal(graph.model.encoder.rates.value, encoder.rates.value)
    assert graph.model.encoder.positions(3, 3).dtype == torch.float16
    with torch.no_grad():
        assert graph.model(chips(l2a)).isfinite().all()


def test_lora_is_refused_where_no_attention_is(tmp_path):
    own = TaskModel(load_encoder(tiny_family("ssl4eo_resnet", tmp_path / "r")), S2, LABELS, "classify", 96)
    with pytest.raises(ConfigError, match="mode=last or mode=full"):
        set_trainable(own, "lora")


@pytest.mark.parametrize("mode", ["frozen", "last", "lora", "full"])
def test_every_mode_trains_what_it_says(folder, mode):
    own = model(folder)
    before = {name: value.clone() for name, value in own.encoder.state_dict().items()}
    set_trainable(own, mode, blocks=1, rank=2)
    own.train()
    rate = torch.optim.SGD([p for p in own.parameters() if p.requires_grad], lr=0.05)
    own(chips()).square().mean().backward()
    rate.step()
    merge_lora(own.encoder)
    changed = {name for name, value in own.encoder.state_dict().items() if not torch.equal(value, before[name])}
    if mode == "frozen":
        assert not changed
    if mode == "last":
        assert changed
        assert all(name.startswith(("blocks.1.", "norm.")) for name in changed)
    if mode == "lora":
        assert changed
        assert all(name.endswith("weight") and name.startswith("blocks.") for name in changed)
    if mode == "full":
        assert {"embed.project.0.weight", "embed.channel", "blocks.0.attn.qkv.weight", "norm.weight"} <= changed


@pytest.mark.slow
def test_int8_quantises_nothing_before_the_first_norm(folder, tmp_path):
    """The embedding of the samples stays in fp32: a public encoder has several such layers."""
    import onnx

    from bandloom.export.from_torch.quantise import _linear_layers
    from bandloom.export.from_torch.to_onnx import DeployGraph, write_onnx

    own = model(folder, "classify")
    write_onnx(DeployGraph(own), contract_of_model(own, default_tiling(own)), tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx")
    names = [node.name for node in graph.graph.node]
    norm = next(i for i, node in enumerate(graph.graph.node) if node.op_type == "LayerNormalization")
    assert all(names.index(name) > norm for name in _linear_layers(graph, graph))


@pytest.mark.slow
def test_the_real_flood_scene_is_mapped_with_real_weights_and_an_engine_is_built(tmp_path, capsys):
    """As a user types it: shards, finetune, export, predict, bundle build."""
    scene = real_galileo().parents[1] / "flood_seg" / "Spain_7370579"
    classes = [{"code": 0, "name": "land"}, {"code": 1, "name": "water"}]
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({"name": "flood", "classes": classes, "ignore": [-1, 255]}))
    labels = ("--labels", scene / "LabelHand.tif", "--label-set", tmp_path / "labels.yaml")
    assert run("shards", "build", scene / "S2Hand.tif", *labels, "--out", tmp_path / "shards") == 0
    config = CHAIN | {
        "shards": str(tmp_path / "shards"),
        "checkpoint": str(real_galileo()),
        "chip_px": 36,
        "split": {"block_m": 640},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert run("finetune", tmp_path / "c.yaml", "--out", tmp_path / "run") == 0
    precisions = ["fp32", "fp16", "bf16", "int8"]
    assert run("export", tmp_path / "run", "--out", tmp_path / "b", "--precision", ",".join(precisions)) == 0
    record = json.loads((tmp_path / "b" / "bundle.json").read_text())
    assert [m["precision"] for m in record["models"]] == precisions
    assert record["models"][0]["parity"]["max_abs"] < 1e-4
    assert [m["fp32_layers"] for m in record["models"]] == [[], FIRST_ATTENTION, FIRST_ATTENTION, FIRST_BLOCK]
    assert record["provenance"]["encoder_licence"]["hub"] == "mit"
    maps = {}
    for precision in ("fp32", "fp16", "int8"):
        out = tmp_path / f"{precision}.tif"
        assert run("predict", tmp_path / "b", scene / "S2Hand.tif", "--out", out, "--precision", precision) == 0
        with rasterio.open(out) as file:
            maps[precision] = file.read(1)
    assert set(np.unique(maps["fp32"]).tolist()) == {0, 1, 255}
    assert (maps["fp16"] == maps["fp32"]).mean() > 0.998
    assert (maps["int8"] == maps["fp32"]).mean() > 0.93
    if importlib.util.find_spec("tensorrt_rtx"):
        options = ("--backend", "tensorrt-rtx", "--compute-capability", "sm_86", "--batches", "1,2,4")
        assert run("bundle", "build", tmp_path / "b", *options) == 0
        engines = json.loads((tmp_path / "b" / "bundle.json").read_text())["engines"]
        assert [engine["precision"] for engine in engines] == precisions
    capsys.readouterr()


@pytest.mark.slow
def test_real_chips_are_classified_with_real_weights_in_fp32_and_fp16(tmp_path, capsys):
    """As a user types it, on small real chips: shards, finetune, export, predict of a scene in tiles."""
    data = real_galileo().parents[1]
    assert (
        run("shards", "build", data / "lulc_chips16", "--class-folders", "--side", 18, "--out", tmp_path / "shards")
        == 0
    )
    config = CHAIN | {"shards": str(tmp_path / "shards"), "checkpoint": str(real_galileo()), "task": "classify"}
    config |= {"mode": "frozen", "trainer": {"steps": 10, "batch_size": 16}}
    del config["warm_steps"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert run("finetune", tmp_path / "c.yaml", "--out", tmp_path / "run") == 0
    assert run("export", tmp_path / "run", "--out", tmp_path / "b", "--precision", "fp32,fp16") == 0
    models = {m.precision: m for m in read_bundle(tmp_path / "b").record.models}
    assert models["fp32"].parity.max_abs < 1e-4
    assert models["fp16"].fp32_layers == tuple(FIRST_ATTENTION)
    scene = data / "flood_seg" / "Spain_7370579" / "S2Hand.tif"
    for precision in ("fp32", "fp16"):
        out = tmp_path / f"{precision}.json"
        assert run("predict", tmp_path / "b", scene, "--out", out, "--precision", precision) == 0
        assert json.loads(out.read_text())["features"]
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(families()) - {"galileo"}))
def test_a_family_of_random_weights_goes_through_the_whole_chain(family, tmp_path, capsys):
    """Small, as a user types it: shards, finetune, export in three precisions, predict."""
    encoder = load_encoder(tiny_family(family, tmp_path / "encoder"))
    scenes, options = chain_scenes(tmp_path, encoder.family.level)
    side = lcm(encoder.chip_step_m, 480) // 10
    config = HEARD | {"shards": str(tmp_path / "shards"), "checkpoint": str(tmp_path / "encoder"), "chip_px": side}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert run("finetune", tmp_path / "c.yaml", "--out", tmp_path / "run") == 0
    assert run("export", tmp_path / "run", "--out", tmp_path / "b", "--precision", "fp32,fp16,int8") == 0
    assert said_by_encoder(tmp_path / "run" / "checkpoint", tmp_path / "b") > 1e-3  # ten times what fp32 may lose
    bundle = read_bundle(tmp_path / "b").record
    assert (bundle.contract.token_m, bundle.contract.tile_px) == (
        encoder.config.token_m,
        max(1, min(3, 240 // side)) * side,
    )
    assert [g.name for g in bundle.contract.groups] == ["g10", "g20", "g60"]
    assert [m.precision for m in bundle.models] == ["fp32", "fp16", "int8"]
    assert bundle.models[0].parity.max_abs < 1e-4
    assert bundle.provenance["encoder_licence"]["conditions"] == encoder.family.licence.conditions
    scene = next(scenes.iterdir())
    for precision in ("fp32", "fp16", "int8"):
        out = tmp_path / f"{precision}.tif"
        assert run("predict", tmp_path / "b", scene, "--out", out, "--precision", precision, *options) == 0
        with rasterio.open(out) as file:
            assert file.shape == (240, 240)
    capsys.readouterr()


def said_by_encoder(checkpoint: Path, bundle: Path) -> float:
    """Return by how much the golden chips' logits change, on average, without the encoder's tokens."""
    own, golden = load_task_model(checkpoint), read_golden(bundle / GOLDEN)
    own = in_tiles(own, read_bundle(bundle).contract.tile_px)
    groups = golden.groups(read_bundle(bundle).contract)
    own.head.open.weight.data.zero_()
    return float(np.abs(torch_logits(own, groups) - golden.logits).mean())


def chain_scenes(folder: Path, level: str) -> tuple[Path, tuple[str, ...]]:
    """Write a generated scene and its shards; of Level-2A where it is wanted, which has no B10."""
    write_scenes(folder / "data", 1, 240, 5, cloud_fraction=0.0)
    options = ("--sensor", "sentinel2-l2a") if level == "surface" else ()
    scenes = folder / "data" / "scenes"
    if options:
        for file in scenes.rglob("B10.tif"):
            file.unlink()
    labels = ("--labels", folder / "data" / "labels", "--label-set", folder / "data" / "label_set.yaml")
    assert run("shards", "build", scenes, *labels, *options, "--side", 120, "--out", folder / "shards") == 0
    return scenes, options
