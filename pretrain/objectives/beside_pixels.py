"""What objectives share that pay for pixels and ask something of every token too, visible and hidden."""

from abc import abstractmethod

import torch
from torch import Tensor

from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.objective import Decoded, Objective, Prediction
from bandloom.pretrain.objectives.pixels import NativePixels
from bandloom.sensors import Sensor
from bandloom.training.step_loss import LossSums


class BesidePixels(Objective):
    """The pixel objective with two terms more: what visible tokens say by a linear map, and hidden ones by the decoder.

    Args:
        config: of the objective.
        token_m: metres of ground a token covers.
        asked: numbers that are asked of every token.
        weight: of either term beside one of the pixels.
    """

    def __init__(self, config: ObjectiveConfig, token_m: int, asked: int, weight: float) -> None:
        super().__init__()
        self.pixels, self.token_m, self.weight = NativePixels(config, token_m), token_m, weight
        self.visible_outputs = asked
        self.outputs = self.pixels.outputs + asked

    @abstractmethod
    def token_error(self, said: Tensor, decoded: Decoded) -> Tensor:
        """Return the error ``(B, T)`` of what tokens say, ``(B, T, asked)``."""

    def forward(self, decoded: Decoded) -> LossSums:
        """Return the terms of the pixels, of visible tokens and of hidden ones."""
        if decoded.visible is None:
            raise TypeError("this objective needs what is said of visible tokens")
        said = torch.where(decoded.mask[..., None], decoded.outputs[..., self.pixels.outputs :], decoded.visible)
        error = self.token_error(said.float(), decoded)
        pixels, counts = self.pixels(self._of_pixels(decoded)), self._tokens(decoded.valid, decoded.mask)
        sums = [self.weight * torch.where(where, error, 0.0).sum()[None] for where in counts]
        return LossSums(
            torch.cat([pixels.sums, *sums]),
            torch.cat([pixels.counts, *(where.sum()[None].to(pixels.counts) for where in counts)]),
        )

    def terms(self, sensor: Sensor) -> int:
        """Return the number of band groups and two."""
        return self.pixels.terms(sensor) + 2

    def counts(self, valid: Tensor, mask: Tensor, sensor: Sensor) -> Tensor:
        """Return the counts of the pixels, and the numbers of measured tokens, visible and hidden."""
        own = [where.sum()[None] for where in self._tokens(valid, mask)]
        return torch.cat([self.pixels.counts(valid, mask, sensor), *own])

    def predict(self, decoded: Decoded) -> Prediction:
        """Return predicted samples of all tokens beside the true ones."""
        return self.pixels.predict(self._of_pixels(decoded))

    def _tokens(self, valid: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        measured = valid.any(-1)
        return measured & ~mask, measured & mask

    def _of_pixels(self, decoded: Decoded) -> Decoded:
        own = decoded.outputs[..., : self.pixels.outputs]
        return Decoded(own, decoded.samples, decoded.valid, decoded.mask, decoded.sensor)
