"""Calls ``steps`` and ``compiled``: samples a second, memory and MFU of a training step, beside their predictions."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.cost import cost_of, predicted_mfu
from bandloom.pretrain.loss import MaskedLoss
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import Engine, EngineConfig, LateReport, StepReport
from bandloom.training.flops import peak_flops
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.trainer import TrainerConfig
from benchmarks.gpu.journal import Row
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.timing import seconds
from benchmarks.random_batch import SENSOR, autoencoder, random_batch

OPERATORS = 15  # of a profile


def eager_rows(scale: Scale) -> list[Row]:
    """Return the rows of call ``steps``."""
    return [
        Row(f"step {size} {batch}/{parts}", 40, partial(step, size, batch, parts, scale))
        for size, batch, parts in scale.batches
    ]


def compiled_rows(scale: Scale) -> list[Row]:
    """Return the rows of call ``compiled``."""
    size, batch, _ = scale.batches[0]
    batches = scale.batches if scale.on_card else scale.batches[:1]  # a CPU's compiler takes minutes
    return [
        *(
            Row(f"compiled step {size} {batch}/{parts}", 90, partial(step, size, batch, parts, scale, compiled=True))
            for size, batch, parts in batches
        ),
        Row(f"profile {size} {batch}", 30, partial(profile, size, batch, scale)),
    ]


def config_of(size: str, batch: int, parts: int, scale: Scale, **engine: Any) -> PretrainConfig:
    """Return the config that a step is one of."""
    trainer = TrainerConfig(batch_size=batch, engine=EngineConfig(precision="bf16", accumulate=parts, **engine))
    return PretrainConfig(shards="-", size=size, crop_px=scale.side_px, trainer=trainer)  # type: ignore[arg-type]


def engine_of(config: PretrainConfig, device: torch.device) -> tuple[Engine, MaskedLoss]:
    """Return an engine with random weights, and the loss of its steps."""
    model = autoencoder(config, device)
    engine = make_engine(model, config.trainer.engine, Ranks(0, 0, 1, device), 1000)
    return engine, MaskedLoss(model, [SENSOR])


def stepper(engine: Engine, loss: MaskedLoss, parts: int, batches: Iterator[DeviceBatch]) -> Callable[[], None]:
    """Return what takes one step on the next batch, and reads the report of the one before, as the trainer does."""
    unread: list[StepReport | LateReport] = []

    def take() -> None:
        unread.append(engine.train_step(next(batches).split(parts), loss, 0))
        if len(unread) > 1:
            unread.pop(0).read()

    return take


def step(size: str, batch: int, parts: int, scale: Scale, *, compiled: bool = False) -> dict[str, Any]:
    """Return the rate of a step whose batch lies on the card, and of one whose batch is copied, beside predictions."""
    device, config = scale.device, config_of(size, batch, parts, scale, compile=compiled)
    cost = cost_of(config, SENSOR)
    if scale.on_card:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    engine, loss = engine_of(config, device)
    host, lying = host_batch(batch, scale), random_batch(batch, scale.side_px, device)
    on_card_s = seconds(stepper(engine, loss, parts, iter(lambda: lying, None)), device, scale.steps)
    copied_s = seconds(
        stepper(engine, loss, parts, iter(lambda: DeviceBatch.of(host, device), None)),  # type: ignore[arg-type]
        device,
        scale.steps,
    )
    peak = peak_flops(device)
    told = {
        "samples_per_s": batch / on_card_s,
        "samples_per_s_copied": batch / copied_s,
        "copy_alone_ms": 1000 * seconds(lambda: DeviceBatch.of(host, device), device, 5),  # type: ignore[arg-type]
        "tflops": cost.train_flops * batch / on_card_s / 1e12,
        "memory_gb_predicted": (cost.weights_bytes + cost.activation_bytes) / 1e9,
    }
    if peak:
        told["mfu"] = cost.train_flops * batch / on_card_s / peak
        told["mfu_predicted"] = predicted_mfu(config.encoder().embed_dim)
    if scale.on_card:
        told["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return told


def host_batch(batch: int, scale: Scale) -> DeviceBatch:
    """Return a batch as a loader leaves it: numpy arrays, in page-locked memory where there is a card."""
    made = random_batch(batch, scale.side_px, torch.device("cpu"))
    groups = {gsd: (g.pin_memory() if scale.on_card else g).numpy() for gsd, g in made.groups.items()}
    return DeviceBatch(made.sensor, groups, made.keys, made.draws, None, None)  # type: ignore[arg-type]


def profile(size: str, batch: int, scale: Scale) -> dict[str, Any]:
    """Return the operators that take the most time of a step, in milliseconds of the device."""
    config = config_of(size, batch, 1, scale)
    engine, loss = engine_of(config, scale.device)
    lying = random_batch(batch, scale.side_px, scale.device)
    take = stepper(engine, loss, 1, iter(lambda: lying, None))
    seconds(take, scale.device, 2)
    with torch.profiler.profile(acc_events=True) as seen:
        seconds(take, scale.device, 3, warm_up=0)
    on = "self_device_time_total" if scale.on_card else "self_cpu_time_total"
    events = sorted(seen.key_averages(), key=lambda event: -getattr(event, on))
    return {"ms_a_step": {event.key[:80]: getattr(event, on) / 3000 for event in events[:OPERATORS]}}
