"""``bandloom pretrain`` as a process to be disturbed: it notes each step's loss and sample ids as they happen."""

import json
import os
import time
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401
import torch.utils.tensorboard  # noqa: F401  (both are imported late by a run: once, in the server that forks ranks)

import bandloom.pretrain.train as stage
from bandloom.pretrain.config import PretrainConfig
from bandloom.run_state.run_folder import RunFolder
from bandloom.training.torch_engine import TorchEngine


def pretrain(run: str, config: dict[str, Any], notes: str, step_s: float = 0.0) -> dict[str, Any]:
    """Run or resume a pretraining; a rank that :class:`tests.bandloom.tiny_training.Ranked` can start."""
    rank = os.environ.get("RANK", "0")
    Path(notes).mkdir(parents=True, exist_ok=True)
    log = (Path(notes) / f"steps-{rank}.jsonl").open("a")
    step_of = TorchEngine.train_step

    def noted(self: TorchEngine, micro_batches: Any, loss: Any, step: int, **rest: Any) -> Any:
        keys = [key for batch in micro_batches for key in batch.keys]
        report = step_of(self, micro_batches, loss, step, **rest)
        log.write(json.dumps({"step": step + 1, "loss": report.loss, "keys": keys}) + "\n")
        log.flush()
        time.sleep(step_s)
        return report

    TorchEngine.train_step = noted  # type: ignore[method-assign]
    try:
        return {"code": stage.pretrain(PretrainConfig(**config), RunFolder(Path(run)))}
    finally:
        TorchEngine.train_step = step_of  # type: ignore[method-assign]
        log.close()
