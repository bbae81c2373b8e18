"""A loss and its gradients on one rank or on several, through DistributedDataParallel as in training."""

from typing import Any

import torch
from torch import Tensor, nn

from bandloom.finetune.text.contrastive import CONTRASTIVE
from bandloom.training.ranks import Ranks

SAMPLES = 8


class TwoTowers(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.image, self.text = nn.Linear(6, 4), nn.Linear(5, 4)
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        self.bias = nn.Parameter(torch.tensor(-2.0), requires_grad=kind == "sigmoid")

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        unit = nn.functional.normalize
        return unit(self.image(image), dim=1), unit(self.text(text), dim=1), self.log_scale.exp(), self.bias * 1


def data() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image, text = torch.randn(SAMPLES, 6, generator=generator), torch.randn(SAMPLES, 5, generator=generator)
    # captions 0 and 1 repeat across what two ranks hold; classes too; the last sample has neither
    ids = torch.tensor([[0, 0], [1, 0], [2, 1], [3, -1], [1, 2], [0, 1], [4, 1], [-1, -1]])
    return image, text, ids


def loss_and_gradients(kind: str) -> dict[str, Any]:
    """Return the loss over all ranks, and the gradients that DDP leaves."""
    ranks = Ranks.from_environment()
    ranks.start(60)
    try:
        model: nn.Module = TwoTowers(kind)
        joined = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True) if ranks.world > 1 else model
        share = slice(ranks.rank * SAMPLES // ranks.world, (ranks.rank + 1) * SAMPLES // ranks.world)
        image, text, ids = (each[share] for each in data())
        loss = CONTRASTIVE[kind](*joined(image, text), ids)
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        return {"loss": ranks.total(loss.item()) / ranks.world, "gradients": gradients}
    finally:
        ranks.stop()


def align_run(config: dict[str, Any], out: str) -> list[float]:
    """Align on this rank and return the losses that the run's metrics hold."""
    from pathlib import Path

    from bandloom.finetune.text.config import AlignConfig
    from bandloom.finetune.text.train import align
    from bandloom.run_state.run_folder import RunFolder

    run = RunFolder(Path(out))
    align(AlignConfig.model_validate(config), run)
    return [line["loss"] for line in run.metrics("train")]
