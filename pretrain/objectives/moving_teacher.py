"""Self-distillation: predict what a moving average of the encoder says of hidden tokens when it sees all of them.

After data2vec (Baevski et al. 2022, arXiv 2202.03555): the target is the mean of the last blocks' normalised outputs;
centred by a moving average over the batches (DINO, Caron et al. 2021, arXiv 2104.14294), so that one constant answer is
never right.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bandloom.model.encoder import Encoder
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.objective import Decoded, Objective, Prediction
from bandloom.pretrain.objectives.pixels import NativePixels
from bandloom.sensors import Sensor
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import LossSums, added

BLOCKS = 2  # whose outputs are the target
CENTRE_RATE = 0.05  # of the step's mean in the centre
BETA = 1.0  # where SmoothL1 on targets of unit deviation turns straight


class MovingTeacher(Objective):
    """The distance of predicted and teacher's tokens where they are hidden, alone or beside the pixel objective.

    Teacher and centre are part of every snapshot. They change between steps alone, so that a step's loss is the same
    number however it is cut into micro batches and spread over ranks.
    """

    centre: Tensor
    teacher: Encoder

    def __init__(self, config: ObjectiveConfig, token_m: int) -> None:
        super().__init__()
        self.config = config
        self.pixels = NativePixels(config, token_m) if config.pixel_weight else None
        self._said: list[tuple[Tensor, Tensor]] = []  # sum and number of the teacher's tokens since the last step

    def follow(self, encoder: Encoder) -> None:
        """Start the teacher as a copy of the encoder, which also says how wide its tokens are."""
        self.width = encoder.embed_dim
        self.outputs = self.width + (self.pixels.outputs if self.pixels else 0)
        self.register_buffer("centre", torch.zeros(self.width))
        self.teacher = copy.deepcopy(encoder).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "MovingTeacher":
        """Set the mode of all but the teacher, which drops nothing."""
        super().train(mode)
        if "teacher" in self._modules:
            self.teacher.eval()
        return self

    def forward(self, decoded: Decoded) -> LossSums:
        """Return the term of hidden, measured tokens, and those of the pixels."""
        target = self.target(decoded)
        error = F.smooth_l1_loss(decoded.outputs[..., : self.width].float(), target, beta=BETA, reduction="none")
        counted = decoded.mask & decoded.valid.any(-1)
        terms, weight = self.terms(decoded.sensor), self.config.pixel_weight
        # a loss is the mean over its terms: scaled so that it is that of the tokens + weight * that of the pixels
        own = torch.where(counted, error.mean(-1), 0.0).sum()
        sums, counts = [terms * own[None]], [counted.sum()[None].to(error)]
        if self.pixels:
            pixels = self.pixels(self._of_pixels(decoded))
            sums.append(pixels.sums * (weight * terms / len(pixels.sums)))
            counts.append(pixels.counts.to(error))
        return LossSums(torch.cat(sums), torch.cat(counts))

    def terms(self, sensor: Sensor) -> int:
        """Return 1 for the tokens, and those of the pixels."""
        return 1 + (self.pixels.terms(sensor) if self.pixels else 0)

    def counts(self, valid: Tensor, mask: Tensor, sensor: Sensor) -> Tensor:
        """Return the number of hidden, measured tokens, and the counts of the pixels."""
        tokens = (mask & valid.any(-1)).sum()[None]
        return torch.cat([tokens, self.pixels.counts(valid, mask, sensor)]) if self.pixels else tokens

    def predict(self, decoded: Decoded) -> Prediction | None:
        """Return predicted samples where the pixel loss is paid too."""
        return self.pixels.predict(self._of_pixels(decoded)) if self.pixels else None

    @torch.compiler.disable()
    @torch.no_grad()
    def target(self, decoded: Decoded) -> Tensor:
        """Return the teacher's centred tokens ``(B, T, D)``; in training they count for the next centre."""
        if decoded.batch is None:
            raise TypeError("a moving teacher needs the batch")
        positions = self.teacher.positions(*self.teacher.grid(decoded.batch.groups))
        tokens = self.teacher.embed(decoded.samples.float(), decoded.valid, decoded.sensor)
        outputs = [F.layer_norm(said, (self.width,)) for said in self.teacher.through_blocks(tokens, positions)]
        said = torch.stack(outputs[-BLOCKS:]).mean(0)
        if self.training:
            measured = decoded.valid.any(-1, keepdim=True).double()
            self._said.append(((said * measured).sum((0, 1)), measured.sum()))
        return F.layer_norm(said - self.centre, (self.width,))

    @torch.no_grad()
    def after_step(self, encoder: Encoder, progress: float, ranks: Ranks) -> None:
        """Move teacher and centre after a step.

        Args:
            encoder: the student, after the step.
            progress: share of the run that is done, 0..1: the teacher moves ever more slowly, as BYOL's does.
            ranks: the processes of the run, all of which take part.
        """
        kept = 1 - (1 - self.config.momentum) * (math.cos(math.pi * progress) + 1) / 2
        for own, new in zip(self.teacher.parameters(), encoder.parameters(), strict=True):
            own.lerp_(new.to(own.dtype), 1 - kept)
        if self._said:
            sums, counts = (torch.stack(parts).sum(0) for parts in zip(*self._said, strict=True))
            total, count = added(sums, ranks), added(counts, ranks)
            self.centre.lerp_((total / count.clamp(min=1)).to(self.centre), CENTRE_RATE)
        self._said.clear()

    def _of_pixels(self, decoded: Decoded) -> Decoded:
        own = decoded.outputs[..., self.width :]
        return Decoded(own, decoded.samples, decoded.valid, decoded.mask, decoded.sensor)
