"""The latent objective: a frozen random projection of samples (OlmoEarth's Latent MIM Lite, arXiv 2511.13655)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bandloom.model.embedding import TokenEmbedding
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.objective import Decoded, Objective
from bandloom.sensors import Sensor
from bandloom.training.step_loss import LossSums

IGNORED = -100  # the target of a row that does not count


class LatentTarget(Objective):
    """Predict a token's projection so well that it is picked among the hidden tokens of its own chip.

    The projection is a token embedding that is never trained, so it takes any sensor that the encoder takes.
    """

    def __init__(self, config: ObjectiveConfig, token_m: int, statistics: Statistics) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.outputs = config.latent_dim
        self.projection = TokenEmbedding(config.latent_dim, token_m, statistics).requires_grad_(False)

    def forward(self, decoded: Decoded) -> LossSums:
        """Return the cross entropy of picking each hidden, measured token, one term.

        A chip with a single such token has nothing to tell apart and costs nothing.
        """
        with torch.no_grad():
            target = self.projection(decoded.samples.float(), decoded.valid, decoded.sensor)
        counted = decoded.mask & decoded.valid.any(-1)  # (B, T)
        said, true = F.normalize(decoded.outputs.float(), dim=-1), F.normalize(target, dim=-1)
        logits = said @ true.transpose(1, 2) / self.temperature  # (B, T, T): row a token, column a candidate
        logits = logits.masked_fill(counted[:, :, None] & ~counted[:, None, :], float("-inf"))
        own = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
        chosen = torch.where(counted, own, IGNORED)  # all rows stay: picking some out would make the host wait
        total = F.cross_entropy(logits.flatten(0, 1), chosen.flatten(), ignore_index=IGNORED, reduction="sum")
        return LossSums(total[None], counted.sum()[None])

    def terms(self, sensor: Sensor) -> int:
        """Return 1."""
        return 1

    def counts(self, valid: Tensor, mask: Tensor, sensor: Sensor) -> Tensor:
        """Return the number of hidden, measured tokens."""
        return (mask & valid.any(-1)).sum()[None]
