"""Concatenates raw band samples to encoder tokens, for heads on a frozen encoder.

A probe on pretrained features joined with raw samples beats either alone (docs/decisions/objective.md).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bandloom.model.any_encoder import AnyEncoder
from bandloom.sensors import Sensor


class SamplesBeside(nn.Module):
    """Joins tokens ``(B, T, D)`` and their normalised samples ``(B, T, S)`` into ``(B, T, D + S)``.

    Args:
        samples: S, the samples of a token.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(samples)), nn.Parameter(torch.zeros(samples))

    def forward(self, tokens: Tensor, samples: Tensor) -> Tensor:
        """Return the joined tokens."""
        return torch.cat([tokens, samples * self.weight + self.bias], dim=-1)


def tokens_of(
    encoder: AnyEncoder, groups: Mapping[int, Tensor], sensor: Sensor, beside: SamplesBeside | None
) -> Tensor:
    """Return the tokens of chips ``{gsd_m: (B, C, H, W)}``, joined with their samples where there is a ``beside``."""
    if beside is None:
        return encoder.forward_features(groups, sensor)
    samples, valid = encoder.samples(groups, sensor)
    positions = encoder.positions(*encoder.grid(groups))
    return beside(encoder.forward_tokens(samples, valid, sensor, positions), samples)
