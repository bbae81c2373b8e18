"""Writes a model repository for NVIDIA Triton: the model file and the ``config.pbtxt`` that describes it."""

import json
import shutil
from pathlib import Path

from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.record import EngineFile, ModelFile
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.runtimes.verify import check_files
from bandloom.files.output import new_output

PLATFORMS = {"onnx": "onnxruntime_onnx", "plan": "tensorrt_plan"}
QUEUE_US = 2000  # how long a request may wait for others to share its batch


def write_repository(bundle: Bundle, out: Path, precision: str | None = None) -> Path:
    """Write ``out/NAME/config.pbtxt`` and ``out/NAME/1/model.onnx`` (or ``.plan`` where a TensorRT engine is there).

    The contract rides along as ``bandloom.json``, which Triton ignores and a client reads.

    Raises:
        BundleError: the bundle is not whole, or lacks the precision.
        OutputError: ``out`` exists or cannot be written.
    """
    check_files(bundle)
    model = bundle.model(precision)
    engines = [e for e in bundle.record.engines if e.backend == "tensorrt" and e.precision == model.precision]
    source, kind = (engines[0], "plan") if engines else (model, "onnx")
    name = bundle.record.name.replace(".", "_")
    with new_output(out, folder=True) as temporary:
        folder = temporary / name
        (folder / "1").mkdir(parents=True)
        shutil.copy2(bundle.path / source.file, folder / "1" / f"model.{kind}")
        (folder / "config.pbtxt").write_text(config_text(bundle, name, kind, _largest_batch(source)))
        (folder / "bandloom.json").write_text(json.dumps(bundle.contract.to_dict(), indent=1) + "\n")
    return out / name


def config_text(bundle: Bundle, name: str, kind: str, largest_batch: int) -> str:
    """Return ``config.pbtxt``: inputs are byte pairs, the batch is dynamic up to ``largest_batch``."""
    side = bundle.contract.tile_px
    inputs = [
        _tensor(g.name, "TYPE_UINT8", (len(g.bands), *(side * MAP_PIXEL_M // g.gsd_m,) * 2, 2))
        for g in bundle.contract.groups
    ]
    classes = len(bundle.contract.get_label_set())
    extras = bundle.contract.extras
    output = _tensor("logits", "TYPE_FP32", (classes, side, side) if bundle.contract.makes_map else (classes,))
    further = [_tensor(name, "TYPE_FP32", (1, side, side) if bundle.contract.makes_map else (1,)) for name in extras]
    listed = ",\n".join(inputs)
    outputs = ",\n".join([output, *further])
    lines = [
        f'name: "{name}"',
        f'platform: "{PLATFORMS[kind]}"',
        f"max_batch_size: {largest_batch}",
        f"input [\n{listed}\n]",
        f"output [\n{outputs}\n]",
        f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_US} }}",
    ]
    return "\n".join(lines) + "\n"


def _tensor(name: str, kind: str, dims: tuple[int, ...]) -> str:
    return f'  {{ name: "{name}" data_type: {kind} dims: [ {", ".join(map(str, dims))} ] }}'


def _largest_batch(source: ModelFile | EngineFile) -> int:
    return source.batch[2] if isinstance(source, EngineFile) else 32
