"""One training step against a facebookresearch/mae-style one of equal width, depth, mask ratio, decoder and tokens."""

import time
from collections.abc import Callable

import torch

from bandloom.pretrain.config import DecoderConfig, PretrainConfig
from bandloom.pretrain.loss import MaskedLoss
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from benchmarks.harness import Figure
from benchmarks.plain_mae import PlainMae, normalised
from benchmarks.random_batch import SENSOR, autoencoder, random_batch, stacked

SIDE_PX, SAMPLES, ROUNDS = 120, 8, 6
DECODER = DecoderConfig(embed_dim=128, depth=2, num_heads=4)


def run() -> list[Figure]:
    torch.set_num_threads(1)
    device = torch.device("cpu")
    batch = random_batch(SAMPLES, SIDE_PX, device)
    stack = stacked(batch)
    steps = {"own": _own(batch), "plain": _plain(stack, fast=False), "fast": _plain(stack, fast=True)}
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            best[name] = min(best[name], time.perf_counter() - began)
    rate = {name: SAMPLES / seconds for name, seconds in best.items()}
    note = (
        f"width 192, depth 6, decoder 128 x 2, 400 tokens, {SAMPLES} samples, one thread, best of {ROUNDS} interleaved"
    )
    return [
        Figure("mae_step", rate["own"], "samples/s", "mae-style, fp32, AdamW", rate["plain"], ">= 1.5", note),
        Figure(
            "mae_step_tuned", rate["own"], "samples/s", "mae-style, bf16, fused AdamW", rate["fast"], ">= 1.0", note
        ),
    ]


def _own(batch: object) -> Callable[[], object]:
    config = PretrainConfig(shards="-", size="tiny", decoder=DECODER)  # type: ignore[arg-type]
    model = autoencoder(config, torch.device("cpu"))
    engine = make_engine(model, EngineConfig(), Ranks(0, 0, 1, torch.device("cpu")), 100)
    loss = MaskedLoss(model, [SENSOR])
    return lambda: engine.train_step([batch], loss, 0)


def _plain(stack: torch.Tensor, *, fast: bool) -> Callable[[], object]:
    torch.manual_seed(0)
    model = PlainMae(192, 6, 3, (DECODER.embed_dim, DECODER.depth, DECODER.num_heads), SIDE_PX // 6)
    optimizer = torch.optim.AdamW(model.parameters(), fused=fast or None, foreach=False if not fast else None)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            loss = model(normalised(stack))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
