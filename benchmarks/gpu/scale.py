"""How much the GPU benchmarks run: what fills a card, or next to nothing on a CPU."""

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Scale:
    """How much is run, and on what."""

    device: torch.device
    work: Path  # shards, runs and bundles are made here
    batches: tuple[tuple[str, int, int], ...] = (("S", 1024, 1), ("B", 512, 1), ("L", 512, 2))  # and micro batches
    side_px: int = 120
    steps: int = 20
    matrix: int = 8192
    parity_cases: int | None = None  # of the losses and tasks; None: all
    loader_batch: int = 1024
    loader_workers: int = 16
    scenes: int = 48
    scene_px: int = 720
    ab_size: str = "S"
    ab_batch: int = 256
    ab_steps: int = 200
    train_size: str = "S"
    train_batch: int = 512
    train_s: float = 480.0
    probe_tokens: int = 5000
    tests: tuple[str, ...] = ("tests/pretrain", "tests/bandloom")
    engine_size: str = "S"
    engine_chip_px: int = 288
    engine_tile_px: int | None = None  # None: as wide as an export makes them
    engine_s: float = 5.0
    engine_batches: tuple[int, ...] = (1, 8, 32)

    @property
    def on_card(self) -> bool:
        """Whether there is a card."""
        return self.device.type == "cuda"


def smoke(work: Path) -> Scale:
    """Return the scale at which every row runs on a CPU, in minutes all together."""
    return Scale(
        torch.device("cpu"),
        work,
        batches=(("demo", 4, 1), ("demo", 4, 2)),
        side_px=60,
        steps=2,
        matrix=128,
        parity_cases=3,
        loader_batch=16,
        loader_workers=1,
        scenes=8,
        scene_px=240,
        ab_size="demo",
        ab_batch=4,
        ab_steps=4,
        train_size="demo",
        train_batch=4,
        train_s=8.0,
        probe_tokens=100,
        tests=("tests/bandloom/draws/test_evenly.py",),
        engine_size="demo",
        engine_chip_px=72,
        engine_tile_px=72,
        engine_s=0.1,
        engine_batches=(1, 2),
    )
