"""The interface of a pretraining objective: what it is given and what it returns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from bandloom.model.encoder import Encoder
from bandloom.model.token_layout import TokenLayout
from bandloom.sensors import Sensor
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import LossSums


@dataclass(frozen=True)
class Decoded:
    """What the decoder says of every token, beside what was measured.

    Args:
        outputs: ``(B, T, P)``, as many numbers a token as the objective asked for.
        samples: ``(B, T, S)``, normalised reflectance.
        valid: ``(B, T, S)`` bool, True where a sample was measured.
        mask: ``(B, T)`` bool, True where a token was hidden.
        sensor: whose samples they are.
        visible: ``(B, T, Q)``, what is said of visible tokens without the decoder, 0 of hidden ones; where asked for.
        batch: the samples themselves.
    """

    outputs: Tensor
    samples: Tensor
    valid: Tensor
    mask: Tensor
    sensor: Sensor
    visible: Tensor | None = None
    batch: DeviceBatch | None = None


@dataclass(frozen=True)
class Prediction:
    """Predicted and true samples of all tokens, ``(B, T, S)``; ``valid`` alike, ``mask`` ``(B, T)`` is True hidden."""

    samples: Tensor
    target: Tensor
    valid: Tensor
    mask: Tensor
    layout: TokenLayout


class Objective(nn.Module, ABC):
    """Turns what was decoded into sums and counts of a loss; what it holds is never trained."""

    outputs: int  # P, numbers that the decoder has to give for a token
    visible_outputs: int = 0  # Q, numbers that are read from a visible token itself, by a linear map

    def follow(self, encoder: Encoder) -> None:
        """Take from the encoder, as it starts, what the objective needs of it; nothing as a rule."""

    def after_step(self, encoder: Encoder, progress: float, ranks: Ranks) -> None:
        """Go along with a step that was taken; ``progress`` is the share of the run that is done. Nothing as a rule."""

    @abstractmethod
    def forward(self, decoded: Decoded) -> LossSums:
        """Return the loss's terms; it runs outside of autocast, which would round small differences away."""

    @abstractmethod
    def terms(self, sensor: Sensor) -> int:
        """Return how many terms the loss of a sensor has."""

    @abstractmethod
    def counts(self, valid: Tensor, mask: Tensor, sensor: Sensor) -> Tensor:
        """Return the counts of :meth:`forward` from what was measured ``(B, T, S)`` and hidden ``(B, T)`` alone."""

    def predict(self, decoded: Decoded) -> Prediction | None:
        """Return predicted samples of all tokens beside the true ones; None where none are predicted."""
        return None


def token_rows(decoded: Decoded, token_m: int) -> int:
    """Return the rows of tokens of ``token_m`` metres that a batch has."""
    if decoded.batch is None:
        raise TypeError("what surrounds a token is asked without the batch that it is of")
    gsd_m, group = next(iter(decoded.batch.groups.items()))
    return group.shape[-2] * gsd_m // token_m
