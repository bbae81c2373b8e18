"""What native samples save before the first block: bytes moved, and the time of embedding and target."""

import time

import torch

from bandloom.pretrain.config import PretrainConfig
from benchmarks.harness import Figure
from benchmarks.plain_mae import PlainMae, normalised, patchify
from benchmarks.random_batch import SENSOR, autoencoder, random_batch, stacked

SIDE_PX, SAMPLES, ROUNDS = 240, 4, 10


def run() -> list[Figure]:
    torch.set_num_threads(1)
    batch = random_batch(SAMPLES, SIDE_PX, torch.device("cpu"))
    stack = stacked(batch)
    own = autoencoder(PretrainConfig(shards="-", size="S"), torch.device("cpu")).encoder  # type: ignore[arg-type]
    rival = PlainMae(384, 0, 6, (192, 0, 3), SIDE_PX // 6)
    best = {"own": float("inf"), "stacked": float("inf")}
    for _ in range(ROUNDS):
        for name in best:
            began = time.perf_counter()
            if name == "own":  # samples are the target too
                samples, valid = own.samples(batch.groups, SENSOR)
                own.embed(samples, valid, SENSOR).sum().backward()
            else:
                images = normalised(stack)
                patchify(images)
                rival.patch_embed(images).sum().backward()
            best[name] = min(best[name], time.perf_counter() - began)
    native = sum(group.nbytes for group in batch.groups.values())
    note = f"{SIDE_PX} px, {SAMPLES} samples, width 384, one thread, best of {ROUNDS} interleaved; all tokens embedded"
    return [
        Figure(
            "stem_bytes",
            SAMPLES / native * 1e6,
            "samples/MB",
            "13 bands at 10 m",
            SAMPLES / stack.nbytes * 1e6,
            ">= 2",
            "uint16, from disk to device",
        ),
        Figure(
            "stem_time", SAMPLES / best["own"], "samples/s", "13 bands at 10 m", SAMPLES / best["stacked"], ">= 2", note
        ),
    ]
