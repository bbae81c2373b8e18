"""Distillation: predict a frozen teacher's tokens, whitened, alone or beside the pixel objective.

Of visible tokens the prediction is a linear map of the encoder's own output, so that the encoder itself has to say what
the teacher says; of hidden ones it is the decoder's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bandloom.errors import CheckpointError
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.objective import Decoded, Objective, Prediction
from bandloom.pretrain.objectives.pixels import NativePixels
from bandloom.pretrain.teacher import Teacher, read_teacher
from bandloom.sensors import Sensor
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.step_loss import LossSums

FLOOR = 1e-3  # of the mean variance: directions that vary less are not blown up to more than this


class Distillation(Objective):
    """The distance of predicted and whitened tokens of the teacher, over all measured tokens, visible and hidden.

    ``centre`` and ``whiten`` are statistics of the teacher's tokens over the training shards; they are part of every
    snapshot, the teacher is not.
    """

    centre: Tensor
    whiten: Tensor
    seen: Tensor

    def __init__(self, config: ObjectiveConfig, token_m: int, teacher: Teacher | None = None) -> None:
        super().__init__()
        if teacher is None:
            if config.teacher is None:
                raise CheckpointError("distillation has no teacher; set objective.teacher.")
            teacher = read_teacher(config.teacher, token_m)
        self.config = config
        self.pixels = NativePixels(config, token_m) if config.pixel_weight else None
        self._teacher = (teacher,)  # in a tuple: torch must not take it for a part of the model
        self.visible_outputs = teacher.embed_dim
        self.outputs = teacher.embed_dim + (self.pixels.outputs if self.pixels else 0)
        self.register_buffer("centre", torch.zeros(teacher.embed_dim))
        self.register_buffer("whiten", torch.eye(teacher.embed_dim))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.kept: dict[str, tuple[Tensor, Tensor]] = {}  # tokens of whole samples by key, and where they were read

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher."""
        return self._teacher[0]

    def forward(self, decoded: Decoded) -> LossSums:
        """Return the term of the tokens, where the teacher takes the sensor, and those of the pixels."""
        tokens = [self._token_term(decoded)] if self._taught(decoded.sensor) else []
        pixels = [self.pixels(self._of_pixels(decoded))] if self.pixels else []
        terms, weight = self.terms(decoded.sensor), self.config.pixel_weight
        # a loss is the mean over its terms: scaled so that it is that of the tokens + weight * that of the pixels
        sums = [part.sums * terms for part in tokens]
        sums += [part.sums * (weight * terms / len(part.sums)) for part in pixels]
        return LossSums(torch.cat(sums), torch.cat([part.counts.float() for part in (*tokens, *pixels)]))

    def terms(self, sensor: Sensor) -> int:
        """Return 1 for the tokens, where the teacher takes the sensor, and those of the pixels."""
        return int(self._taught(sensor)) + (self.pixels.terms(sensor) if self.pixels else 0)

    def counts(self, valid: Tensor, mask: Tensor, sensor: Sensor) -> Tensor:
        """Return the number of measured tokens, and the counts of the pixels."""
        tokens = [valid.any(-1).sum()[None]] if self._taught(sensor) else []
        return torch.cat(tokens + ([self.pixels.counts(valid, mask, sensor)] if self.pixels else []))

    def _taught(self, sensor: Sensor) -> bool:
        """Tell whether the loss of a sensor has the tokens' term; without pixels it has nothing else."""
        return self.pixels is None or self.teacher.takes(sensor)

    def predict(self, decoded: Decoded) -> Prediction | None:
        """Return predicted samples where the pixel loss is paid too."""
        return self.pixels.predict(self._of_pixels(decoded)) if self.pixels else None

    @torch.compiler.disable()
    @torch.no_grad()
    def target(self, batch: DeviceBatch) -> tuple[Tensor, Tensor]:
        """Return the teacher's whitened tokens of a batch ``(B, T, D)``, and where it read anything ``(B, T)``."""
        device = self.centre.device
        if all(key in self.kept for key in batch.keys):
            said, read = (
                torch.stack(parts).to(device) for parts in zip(*(self.kept[k] for k in batch.keys), strict=True)
            )
        else:
            said, read = self.teacher.tokens(batch.groups, batch.sensor)
        return (said - self.centre) @ self.whiten, read

    def set_statistics(self, count: int, mean: Tensor, covariance: Tensor) -> None:
        """Whiten by the mean ``(D,)`` and the covariance ``(D, D)`` of ``count`` tokens of the teacher."""
        self.centre.copy_(mean)
        self.whiten.copy_(whitening(covariance, full=self.config.whitening == "full"))
        self.seen.fill_(count)

    def _token_term(self, decoded: Decoded) -> LossSums:
        if decoded.batch is None or decoded.visible is None:
            raise TypeError("distillation needs the batch and what is said of visible tokens")
        target, read = self.target(decoded.batch)
        width = target.shape[-1]
        said = torch.where(decoded.mask[..., None], decoded.outputs[..., :width], decoded.visible).float()
        measured = decoded.valid.any(-1)
        error = torch.where(measured & read, distance(said, target, self.config.distance), 0.0)
        return LossSums(error.sum()[None], measured.sum()[None])

    def _of_pixels(self, decoded: Decoded) -> Decoded:
        own = decoded.outputs[..., self.visible_outputs :]
        return Decoded(own, decoded.samples, decoded.valid, decoded.mask, decoded.sensor)


def distance(said: Tensor, target: Tensor, kind: str) -> Tensor:
    """Return the distance of tokens ``(B, T, D)``, ``(B, T)``: SmoothL1 over the channels, or one minus the cosine."""
    if kind == "cosine":
        return 1 - F.cosine_similarity(said, target, dim=-1)
    return F.smooth_l1_loss(said, target, reduction="none").mean(-1)


def whitening(covariance: Tensor, *, full: bool) -> Tensor:
    """Return the matrix ``(D, D)`` that centred tokens are multiplied by to have unit variance.

    Args:
        covariance: of the tokens, ``(D, D)``.
        full: also without correlation, in the principal axes turned back (ZCA); else each channel by itself.
    """
    covariance = covariance.double()
    floor = FLOOR * covariance.diagonal().mean()
    if not full:
        return covariance.diagonal().clamp(min=floor).rsqrt().diag().float()
    values, axes = torch.linalg.eigh(covariance)
    return (axes * values.clamp(min=floor).rsqrt() @ axes.T).float()
