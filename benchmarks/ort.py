"""Chips a second of processor time: ONNX Runtime in fp32 and int8 against torch, the same model, thread and chips.

Processor time of the one thread, not wall time, so that a machine shared with others answers too. OpenVINO, which
``predict`` takes before ONNX Runtime, is measured where it is installed. ``BANDLOOM_COMPILE=1`` adds torch.compile,
which takes a minute to compile.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.export.from_torch.export_run import contract_of_model
from bandloom.export.from_torch.held_chips import Ground, held_chips
from bandloom.export.from_torch.parity import torch_logits
from bandloom.export.from_torch.quantise import write_int8
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.from_torch.to_onnx import DeployGraph, write_onnx
from bandloom.export.runtimes.onnx_runner import OnnxRunner, Runner, Unavailable
from bandloom.export.runtimes.openvino_runner import OpenVinoRunner
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.sensors import SLOTS, get_sensor
from benchmarks.harness import Figure

SIZE, CHIP_PX, BATCH, THREADS, REPEATS = "S", 96, 8, 1, 4


def run() -> list[Figure]:
    torch.set_num_threads(THREADS)
    model = _model()
    contract = contract_of_model(model, default_tiling(model))
    chips = held_chips(contract, Ground(), BATCH)
    with tempfile.TemporaryDirectory() as folder:
        fp32, int8 = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        write_onnx(DeployGraph(model), contract, fp32)
        write_int8(fp32, int8, chips)
        files = {"fp32": fp32, "int8": int8}
        runners: dict[str, Runner] = {name: OnnxRunner(path, threads=THREADS) for name, path in files.items()}
        with contextlib.suppress(Unavailable):
            for name, path in files.items():
                runners[f"openvino {name}"] = OpenVinoRunner(path, name, threads=THREADS)
    work: dict[str, Callable[[], object]] = {name: lambda r=r: r.run(chips.groups) for name, r in runners.items()}
    work["eager"] = lambda: torch_logits(model, chips.groups, BATCH)
    if os.environ.get("BANDLOOM_COMPILE"):
        compiled = torch.compile(model)
        work["compiled"] = lambda: torch_logits(compiled, chips.groups, BATCH)  # type: ignore[arg-type]
    rates = _rates(work)
    note = (
        f"segmenter of size {SIZE}, {CHIP_PX} px chips, batch {BATCH}, {THREADS} thread, best of {REPEATS},"
        " interleaved, processor time"
    )
    figures = [
        Figure("ort fp32", rates["fp32"], "chips/s", "torch eager", rates["eager"], ">= 1.3", note),
        Figure("ort int8", rates["int8"], "chips/s", "ort fp32", rates["fp32"], ">= 1.5", note),
    ]
    figures += [
        Figure(f"ort, {name}", rates[name], "chips/s", "torch eager", rates["eager"], "", note)
        for name in rates
        if name.startswith("openvino")
    ]
    if "compiled" in rates:
        figures.append(
            Figure("ort fp32, compiled", rates["fp32"], "chips/s", "torch.compile", rates["compiled"], "", note)
        )
    return figures


def _model() -> TaskModel:
    statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.2), std=dict.fromkeys(SLOTS, 0.1))
    labels = LabelSet("ten", tuple(LabelClass(k + 1, f"class {k}") for k in range(10)))
    encoder = Encoder(EncoderConfig.of_size(SIZE), statistics)
    return TaskModel(encoder, get_sensor("sentinel2-l1c"), labels, "segment", CHIP_PX).eval()


def _rates(work: dict[str, Callable[[], object]]) -> dict[str, float]:
    best = dict.fromkeys(work, float("inf"))
    for job in work.values():
        job()  # first calls allocate and compile
    for _ in range(REPEATS):
        for name, job in work.items():
            began = time.process_time()
            job()
            best[name] = min(best[name], time.process_time() - began)
    return {name: BATCH / seconds for name, seconds in best.items()}
