"""Call ``engines``: engines of a random segmenter built, and every runtime and precision run, with latencies."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.errors import BandloomError
from bandloom.export.bundle.bundle import Bundle, read_bundle
from bandloom.export.from_torch.export_run import contract_of_model, write_bundle
from bandloom.export.from_torch.held_chips import Ground
from bandloom.export.from_torch.tile_sizes import wide_tiling
from bandloom.export.runtimes.add_engines import add_engines
from bandloom.export.runtimes.choose import RUNTIMES, try_runtime
from bandloom.export.runtimes.engine_builder import BACKENDS, BuildOptions
from bandloom.export.runtimes.gpu_checks import gpu_checks
from bandloom.finetune.model.checkpoint import save_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.encoder import Encoder, EncoderConfig
from benchmarks.gpu.journal import Row
from benchmarks.gpu.rates import rates, torch_rates
from benchmarks.gpu.scale import Scale
from benchmarks.random_batch import SENSOR, STATISTICS

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


def rows(scale: Scale) -> list[Row]:
    """Return the rows of this call."""
    return [
        Row("checks", 10, lambda: {"checks": [[c.name, c.verdict, c.said] for c in gpu_checks()]}),
        Row("bundle", 60, lambda: {"bundle": bundle_of(scale).record.name}),
        *(
            Row(f"build {backend} {p}", 60, partial(build, scale, backend, p))
            for backend in BACKENDS
            for p in PRECISIONS
        ),
        *(Row(f"run {runtime} {p}", 30, partial(run, scale, runtime, p)) for runtime in RUNTIMES for p in PRECISIONS),
        Row("run torch", 60, partial(run_torch, scale)),
    ]


def bundle_of(scale: Scale) -> Bundle:
    """Return the bundle of a segmenter with random weights in every precision, made at the first call."""
    place = scale.work / "bundle"
    if not place.exists():
        model = random_segmenter(scale)
        save_task_model(scale.work / "checkpoint", model, {}, overwrite=True)
        contract = contract_of_model(model, wide_tiling(model, scale.engine_tile_px))
        making = scale.work / "bundle.making"
        making.mkdir(exist_ok=True)
        write_bundle(making, "random", model, contract, Ground(), {}, PRECISIONS)
        making.rename(place)
    return read_bundle(place)


def random_segmenter(scale: Scale) -> TaskModel:
    """Return a segmenter with random weights."""
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig.of_size(scale.engine_size), STATISTICS)  # type: ignore[arg-type]
    labels = LabelSet("ten", tuple(LabelClass(code, f"class {code}") for code in range(1, 11)))
    return TaskModel(encoder, SENSOR, labels, "segment", scale.engine_chip_px).eval()


def build(scale: Scale, backend: str, precision: str) -> dict[str, Any]:
    """Build an engine, or say why it cannot be built here; without a GPU nothing is built, as it takes minutes."""
    if not scale.on_card:
        return {"verdict": "not tried without a GPU"}
    try:
        made = add_engines(bundle_of(scale), backend, [precision], BuildOptions())
    except BandloomError as cause:
        return {"verdict": str(cause)}
    sizes = {e.file: (scale.work / "bundle" / e.file).stat().st_size / 1e6 for e in made}
    return {"verdict": "built", "megabytes": sizes}


def run(scale: Scale, runtime: str, precision: str) -> dict[str, Any]:
    """Return the rates of one runtime on one precision, or why it does not run here."""
    bundle = bundle_of(scale)
    tried = try_runtime(bundle, runtime, precision)
    row: dict[str, Any] = {"verdict": tried.verdict}
    return row if tried.runner is None else row | rates(bundle, tried.runner, scale.engine_s, scale.engine_batches)


def run_torch(scale: Scale) -> dict[str, Any]:
    """Return torch's rates on the same tiles."""
    bundle = bundle_of(scale)
    checkpoint: Path = scale.work / "checkpoint"
    return {"rates": torch_rates(checkpoint, bundle, scale.engine_s, scale.engine_batches)}
