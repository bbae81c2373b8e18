"""A small ONNX model of a bundle's interface, built without torch: convolutions over native groups, then logits."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.export.bundle.bundle import seal
from bandloom.export.bundle.golden import GOLDEN, golden_of, write_golden
from bandloom.export.bundle.record import CONTRACT_KEY, BundleRecord, Contract, ModelFile, Parity, contract_of
from bandloom.export.bundle.tiling import Tiling
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.sensors import Sensor, get_sensor

LABELS = LabelSet(
    "four",
    tuple(
        LabelClass(c, n, h)
        for c, n, h in (
            (10, "water", "#0000ff"),
            (20, "crop", "#ffff00"),
            (30, "tree", "#008000"),
            (40, "town", "#ff0000"),
        )
    ),
)
TILING = Tiling(48, 6, 12)


def tiny_contract(sensor: Sensor | None = None, tiling: Tiling = TILING, task: str = "segment") -> Contract:
    sensor = sensor or get_sensor("sentinel2-l1c")
    statistics = {"mean": dict.fromkeys(sensor.slots, 0.2), "std": dict.fromkeys(sensor.slots, 0.1)}
    return contract_of(sensor, LABELS, task, 60, tiling, statistics)  # type: ignore[arg-type]


def write_tiny_model(path: Path, contract: Contract, seed: int = 0) -> None:
    """Every group goes through a 5 x 5 convolution of its own and is brought to 10 m; absent samples count as zero."""
    rng = np.random.default_rng(seed)
    side_m = contract.tile_px * 10
    nodes, weights, inputs, grown = [], [], [], []

    def constant(name, value):
        weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    constant("pair", np.array([1.0, 256.0], np.float32))
    constant("axes", np.array([4], np.int64))
    for group in contract.groups:
        n, side = group.name, side_m // group.gsd_m
        shape = ["batch", len(group.bands), side, side, 2]
        inputs.append(helper.make_tensor_value_info(n, TensorProto.UINT8, shape))
        kernel = rng.normal(0, 1, (len(contract.label_set["classes"]), len(group.bands), 5, 5)) / 40000
        constant(f"{n}_w", kernel.astype(np.float32))
        constant(f"{n}_zoom", np.array([1, 1, group.gsd_m / 10, group.gsd_m / 10], np.float32))
        nodes += [
            helper.make_node("Cast", [n], [f"{n}_f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{n}_f", "pair"], [f"{n}_p"]),
            helper.make_node("ReduceSum", [f"{n}_p", "axes"], [f"{n}_dn"], keepdims=0),
            helper.make_node("Conv", [f"{n}_dn", f"{n}_w"], [f"{n}_c"], pads=[2, 2, 2, 2]),
            helper.make_node(
                "Resize",
                [f"{n}_c", "", f"{n}_zoom"],
                [f"{n}_10"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
        ]
        grown.append(f"{n}_10")
    segment = contract.makes_map
    nodes.append(helper.make_node("Sum", grown, ["logits" if segment else "map"]))
    k, side = len(contract.label_set["classes"]), contract.tile_px
    if not segment:
        constant("space", np.array([2, 3], np.int64))
        nodes.append(helper.make_node("ReduceMean", ["map", "space"], ["logits"], keepdims=0))
    shape = ["batch", k, side, side] if segment else ["batch", k]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)]
    if "disagreement" in contract.extras:  # of members that are not there: how little the least likely class has
        constant("classes", np.array([1], np.int64))
        nodes.append(helper.make_node("Softmax", ["logits"], ["shares"], axis=1))
        nodes.append(helper.make_node("ReduceMin", ["shares", "classes"], ["disagreement"]))
        outputs.append(helper.make_tensor_value_info("disagreement", TensorProto.FLOAT, ["batch", 1, *shape[2:]]))
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {CONTRACT_KEY: contract.digest()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def random_chips(contract: Contract, count: int, seed: int = 1) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    side_m = contract.tile_px * 10
    return {
        g.gsd_m: rng.integers(900, 7000, (count, len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m)).astype(np.uint16)
        for g in contract.groups
    }


def write_tiny_bundle(folder: Path, contract: Contract | None = None, seed: int = 0) -> Path:
    """Write a whole bundle around the tiny model; its own answers stand in for torch's."""
    contract = contract or tiny_contract()
    folder.mkdir(parents=True)
    write_tiny_model(folder / "model.onnx", contract, seed)
    chips = random_chips(contract, 2)
    logits = OnnxRunner(folder / "model.onnx", threads=1).run(chips)
    write_golden(folder / GOLDEN, golden_of(chips, logits, contract))
    parity = Parity(
        chips=2,
        source="noise",
        max_abs=0,
        argmax_agreement=1,
        allowed_max_abs=1e-4,
        required_agreement=0.9999,
        runtime="itself",
    )
    model = ModelFile(file="model.onnx", precision="fp32", opset=20, parity=parity)
    record = BundleRecord(
        name="tiny", contract=contract, files={}, versions={}, created="2026-01-01T00:00:00Z", models=(model,)
    )
    seal(folder, record)
    return folder
