"""The visual words objective: pixels of hidden tokens, and of every token which kinds of ground lie around it.

A visual word is a kind of ground: one of ``codebook_size`` clusters of tokens by each band's mean and deviation, found
by k-means on the shards before the first step. Every token is asked how often each word occurs in it and in squares of
3, 5 and 9 tokens about it: a bag of visual words (Gidaris et al. 2020, BoWNet), of windows in place of whole pictures.
Of visible tokens a linear map of the encoder's own output says it, so that a token has to know its surroundings; of
hidden ones the decoder does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bandloom.model.token_layout import TokenLayout, token_layout
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.beside_pixels import BesidePixels
from bandloom.pretrain.objectives.objective import Decoded, token_rows
from bandloom.sensors import SLOTS, Sensor
from bandloom.training.device_memory import constant

WINDOWS = (1, 3, 5, 9)  # tokens
DESCRIBED = 2 * len(SLOTS)  # numbers that describe a token: each slot's mean, and the log of its deviation
TEMPERATURE = 0.5  # of the choice among words, in deviations of a number


class VisualWords(BesidePixels):
    """The pixel objective with two terms more: the words that visible and that hidden tokens see around them.

    ``centre``, ``spread`` and ``words`` are the codebook, part of every snapshot. Until :meth:`set_codebook` has been
    called the words are drawn at random.
    """

    centre: Tensor
    spread: Tensor
    words: Tensor
    sides: Tensor
    seen: Tensor

    def __init__(self, config: ObjectiveConfig, token_m: int) -> None:
        super().__init__(config, token_m, len(WINDOWS) * config.codebook_size, config.words_weight)
        self.size = config.codebook_size
        drawn = torch.randn(self.size, DESCRIBED, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
        self.register_buffer("centre", torch.zeros(DESCRIBED))
        self.register_buffer("spread", torch.ones(DESCRIBED))
        self.register_buffer("words", drawn.to(self.centre.device))
        self.register_buffer("sides", sides_of(self.pixels.layout).to(self.centre.device))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def set_codebook(self, count: int, centre: Tensor, spread: Tensor, words: Tensor, layout: TokenLayout) -> None:
        """Take the words found among ``count`` tokens.

        Args:
            count: of tokens.
            centre: mean of each number that describes a token, ``(DESCRIBED,)``; so is ``spread``.
            spread: its deviation.
            words: clusters' middles in these deviations, ``(K, DESCRIBED)``.
            layout: of the sensor whose tokens they were; numbers that it does not have describe no token of another.
        """
        self.centre.copy_(centre)
        self.spread.copy_(spread)
        self.words.copy_(words)
        self.sides.copy_(sides_of(layout))
        self.seen.fill_(count)

    def token_error(self, said: Tensor, decoded: Decoded) -> Tensor:
        """Return the divergence from the bags of words, the mean over windows in which something is known."""
        rows = token_rows(decoded, self.token_m)
        bags, known = self.target(decoded.samples.float(), decoded.valid, decoded.sensor, rows)
        chosen = F.log_softmax(said.unflatten(-1, (len(WINDOWS), self.size)), -1)
        error = F.kl_div(chosen, bags, reduction="none").sum(-1)  # (B, T, W)
        return torch.where(known, error, 0.0).sum(-1) / known.sum(-1).clamp(min=1)

    @torch.compiler.disable()
    @torch.no_grad()
    def target(self, samples: Tensor, valid: Tensor, sensor: Sensor, rows: int) -> tuple[Tensor, Tensor]:
        """Return how often each word occurs in the windows about tokens, and where any is known.

        Args:
            samples: ``(B, T, S)``, normalised reflectance.
            valid: ``(B, T, S)`` bool.
            sensor: whose samples they are.
            rows: of tokens.

        Returns:
            ``(B, T, W, K)``, shares that sum to 1; and ``(B, T, W)`` bool.
        """
        shares, told = self.words_of(samples, valid, token_layout(sensor, self.token_m))  # (B, T, K), (B, T)
        counted = torch.cat([shares * told[..., None], told[..., None]], -1)
        planes = counted.transpose(1, 2).unflatten(-1, (rows, -1))  # (B, K + 1, rows, columns)
        bags, known = [], []
        for side in WINDOWS:
            pooled = F.avg_pool2d(planes, side, 1, side // 2).flatten(-2).transpose(1, 2)
            bags.append(pooled[..., :-1] / pooled[..., -1:].clamp(min=1e-6))
            known.append(pooled[..., -1] > 0.5 / side**2)
        return torch.stack(bags, 2), torch.stack(known, 2)

    def words_of(self, samples: Tensor, valid: Tensor, layout: TokenLayout) -> tuple[Tensor, Tensor]:
        """Return the share of each word in tokens, ``(B, T, K)``, and 1 where anything is known of them, ``(B, T)``.

        A word is as likely as it is near, by the mean over the numbers that are known of the token and of the codebook.
        """
        numbers, known = describe(samples, valid, layout)
        alike = self.sides == constant(samples.device, sides_of, layout)  # deviations within other grids are others
        there = (known & torch.cat([self.sides > 0, alike])).to(samples)
        numbers = (numbers - self.centre) / self.spread * there
        squared = numbers.square().sum(-1, keepdim=True) - 2 * numbers @ self.words.T + there @ self.words.square().T
        of = (self.sides > 0).sum() + (self.sides > 1).sum()
        count = there.sum(-1, keepdim=True)
        away = (squared.clamp(min=0) * of / count.clamp(min=1)).sqrt()
        return F.softmax(-away / TEMPERATURE, -1), (count[..., 0] > 0).to(samples)


def describe(samples: Tensor, valid: Tensor, layout: TokenLayout) -> tuple[Tensor, Tensor]:
    """Return what describes tokens: twice the mean of a slot's valid samples, half the log of twice their deviation.

    Args:
        samples: ``(B, T, S)``, normalised reflectance.
        valid: ``(B, T, S)`` bool.
        layout: which sample is which.

    Returns:
        ``(B, T, 2 * 13)``, means by slot, then deviations; and where they are known: a mean if a sample is valid, a
        deviation if the slot has several and half of them are.
    """
    b, t, _ = samples.shape
    means, deviations = samples.new_zeros(2, b, t, len(SLOTS))
    known = valid.new_zeros(2, b, t, len(SLOTS))
    for slot in layout.slots:
        part, there = samples[..., slot.start : slot.stop], valid[..., slot.start : slot.stop]
        weight, at = there.to(samples), SLOTS.index(slot.slot)
        count = weight.sum(-1)
        mean = (part * weight).sum(-1) / count.clamp(min=1)
        variance = ((part - mean[..., None]).square() * weight).sum(-1) / count.clamp(min=1)
        means[..., at], known[0, ..., at] = 2 * mean, count > 0
        if slot.side > 1:
            deviations[..., at] = (2 * variance.sqrt() + 0.02).log() / 2
            known[1, ..., at] = count >= slot.side**2 / 2
    return torch.cat([means, deviations], -1), torch.cat([known[0], known[1]], -1)


def sides_of(layout: TokenLayout) -> Tensor:
    """Return each slot's samples along a token's side, ``(13,)``, 0 where the layout lacks it."""
    sides = torch.zeros(len(SLOTS), dtype=torch.int64, device="cpu")
    for slot in layout.slots:
        sides[SLOTS.index(slot.slot)] = slot.side
    return sides
