"""What an objective gets and what it gives."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from bandloom.sensors import Sensor


@dataclass(frozen=True)
class Decoded:
    """What the decoder says of every token, beside what was measured.

    Args:
        outputs: ``(B, T, P)``, as many numbers a token as the objective asked for.
        samples: ``(B, T, S)``, normalised reflectance.
        valid: ``(B, T, S)`` bool, True where a sample was measured.
        mask: ``(B, T)`` bool, True where a token was hidden.
        sensor: whose samples they are.
    """

    outputs: Tensor
    samples: Tensor
    valid: Tensor
    mask: Tensor
    sensor: Sensor


class Objective(nn.Module, ABC):
    """Turns what was decoded into a loss; what it holds is never trained."""

    outputs: int  # P, numbers that the decoder has to give for a token

    @abstractmethod
    def forward(self, decoded: Decoded) -> Tensor:
        """Return the loss, a scalar; it runs outside of autocast, which would round small differences away."""
