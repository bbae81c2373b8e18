"""``bandloom finetune`` as a process to be disturbed."""

from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401
import sklearn.ensemble
import sklearn.linear_model
import sklearn.svm  # noqa: F401
import torch.utils.tensorboard  # noqa: F401  (all are imported late by a run: once, in the server that forks ranks)

import bandloom.finetune.train as stage
from bandloom.finetune.config import FinetuneConfig
from bandloom.run_folder import RunFolder


def finetune(run: str, config: dict[str, Any]) -> dict[str, Any]:
    """Run or resume a fine-tuning; a rank that :class:`tests.bandloom.tiny_training.Ranked` can start."""
    return {"code": stage.finetune(FinetuneConfig(**config), RunFolder(Path(run)))}
