"""A fine-tuned model as arrays, run by torch: ``bandloom.load_model("runs/x").predict("scene")``."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.export.bundle.native_groups import Groups
from bandloom.export.from_torch.export_run import checkpoint_of, contract_of_model
from bandloom.export.from_torch.tile_sizes import in_tiles, wide_tiling
from bandloom.export.predict.in_memory import Prediction, predict_arrays
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.shards.scenes.in_memory import Source


class TorchRunner:
    """torch behind the interface of the bundle's runtimes, so that a model is tiled and blended as its bundle is."""

    lanes = 1

    def __init__(self, model: TaskModel, device: torch.device | str) -> None:
        self.model, self.device = model.eval().to(device), torch.device(device)
        self.name = f"torch {torch.__version__} {self.device}"

    @torch.inference_mode()
    def run(self, groups: Groups) -> np.ndarray:
        """Return float32 logits, ``(B, K, H, W)`` or ``(B, K)``, of ``{gsd_m: (B, C, H, W) uint16}``."""
        given = {gsd_m: torch.from_numpy(dn.astype(np.int32)).to(self.device) for gsd_m, dn in groups.items()}
        return self.model(given).float().cpu().numpy()


class Model:
    """A fine-tuned model that answers with arrays.

    Attributes:
        model: the torch module itself.
        contract: what its numbers mean: sensor, bands, classes, tiles.
    """

    def __init__(self, model: TaskModel, device: torch.device | str) -> None:
        self.contract = contract_of_model(model, wide_tiling(model))
        self.model = in_tiles(model, self.contract.tile_px)
        self.runner = TorchRunner(self.model, device)

    def predict(
        self, scene: Source, later: Source | None = None, *, probabilities: bool = False, **reading: Any
    ) -> Prediction:
        """Map a scene, or classify its tiles, and return arrays; :meth:`Bundle.predict` says what may be passed."""
        return predict_arrays(self.contract, self.runner, scene, later, probabilities=probabilities, **reading)


def load_model(run: str | Path, *, device: str | None = None) -> Model:
    """Read the fine-tuned model of a run, or of a checkpoint folder.

    Args:
        run: a run of ``bandloom finetune`` that has ended, or its checkpoint folder.
        device: such as ``cpu`` or ``cuda:1``; by default the GPU where there is one.

    Raises:
        CheckpointError: there is no fine-tuned checkpoint, or it is damaged.
    """
    model = load_task_model(checkpoint_of(Path(run)))
    return Model(model, device or ("cuda" if torch.cuda.is_available() else "cpu"))
