"""``bandloom finetune``, ``probe``, ``baselines`` and ``evaluate`` as processes to be disturbed."""

from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401
import pytest
import sklearn.ensemble
import sklearn.linear_model
import sklearn.svm  # noqa: F401
import torch.utils.tensorboard  # noqa: F401  (all are imported late by a run: once, in the server that forks ranks)

import bandloom.finetune.probe_run as probing
import bandloom.finetune.train as stage
from bandloom.finetune.baselines_run import baselines_run
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.evaluate_run import EvaluateConfig, evaluate_run
from bandloom.finetune.fusion.config import FusionConfig
from bandloom.finetune.fusion.run import fusion as fusion_run
from bandloom.finetune.probe_run import probe_run
from bandloom.finetune.probes import frozen_features
from bandloom.run_state.run_folder import RunFolder


def finetune(run: str, config: dict[str, Any]) -> dict[str, Any]:
    """Run or resume a fine-tuning; a rank that :class:`tests.bandloom.tiny_training.Ranked` can start."""
    return {"code": stage.finetune(FinetuneConfig(**config), RunFolder(Path(run)))}


def probe(run: str, config: dict[str, Any]) -> dict[str, Any]:
    """Run a probe, or go on with a stopped one."""
    return {"code": probe_run(FinetuneConfig(**config), RunFolder(Path(run)), few_shot=True)}


def probe_in_shares(run: str, config: dict[str, Any]) -> dict[str, Any]:
    """Probe with pieces of four samples, and tell how many batches this rank encoded and which probes it fitted."""
    encoded, fitted = [], []
    rows, row = frozen_features._rows, probing._fitted

    def counted(*arguments: Any) -> Any:
        encoded.append(arguments[2])
        return rows(*arguments)

    def noted(name: str, *arguments: Any) -> Any:
        fitted.append(name)
        return row(name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen_features, "SAMPLES_A_BATCH", 4)
        patch.setattr(frozen_features, "BATCHES_A_PIECE", 1)
        patch.setattr(frozen_features, "_rows", counted)
        patch.setattr(probing, "_fitted", noted)
        return {
            "code": probe_run(FinetuneConfig(**config), RunFolder(Path(run))),
            "batches": len(encoded),
            "fits": fitted,
        }


def baselines(run: str, config: dict[str, Any]) -> dict[str, Any]:
    """Score baselines, or go on with those that were not done."""
    names = ("majority", "pixel_logistic", "pixel_rf", "unet")
    return {"code": baselines_run(FinetuneConfig(**config), RunFolder(Path(run)), names)}


def evaluate(run: str, config: dict[str, Any]) -> dict[str, Any]:
    """Score a finished model."""
    return {"code": evaluate_run(EvaluateConfig(**config), RunFolder(Path(run)))}


def fusion(run: str, config: dict[str, Any]) -> dict[str, Any]:
    """Fit a fusion's rows, or go on with those that were not fitted."""
    return {"code": fusion_run(FusionConfig(**config), RunFolder(Path(run)))}
