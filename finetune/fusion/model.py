"""Fusion heads: image tokens and sentences to class logits by concatenation, FiLM, cross-attention, or one alone.

Concatenation joins the mean token with the mean sentence. FiLM (Perez et al. 2018, arXiv 1709.07871) lets the sentence
scale and shift every channel of the tokens. Cross-attention (as in BLIP's image-grounded blocks, arXiv 2201.12086, the
other way round) lets each token look at the sentences; a learnt null sentence is always there to look at instead.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Kind = Literal["concatenate", "film", "cross_attention", "image", "text"]
HEADS = 4


class FusionHead(nn.Module):
    """Class logits of image tokens and sentence vectors.

    Args:
        kind: how the two are joined; ``image`` and ``text`` see one alone.
        image_dim: D.
        text_dim: E.
        classes: K.
        width: of the joined features, a multiple of 4.
        image_mean: of training tokens, ``(D,)``; they are standardised by it.
        image_std: likewise.
    """

    def __init__(
        self,
        kind: Kind,
        image_dim: int,
        text_dim: int,
        classes: int,
        width: int = 128,
        image_mean: Tensor | None = None,
        image_std: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.image_mean: Tensor
        self.image_std: Tensor
        self.register_buffer("image_mean", torch.zeros(image_dim) if image_mean is None else image_mean)
        self.register_buffer("image_std", torch.ones(image_dim) if image_std is None else image_std)
        if kind != "text":
            self.see = nn.Linear(image_dim, width)
        if kind != "image":
            self.read = nn.Linear(text_dim, width)
        if kind == "film":
            self.scale_shift = nn.Linear(width, 2 * width)
            nn.init.zeros_(self.scale_shift.weight)  # at the start the image is as it was
            nn.init.zeros_(self.scale_shift.bias)
        if kind == "cross_attention":
            self.null = nn.Parameter(torch.zeros(1, 1, width))
            self.norm = nn.LayerNorm(width)
            self.attend = nn.MultiheadAttention(width, HEADS, batch_first=True)
        joined = 2 * width if kind == "concatenate" else width
        self.classify = nn.Sequential(
            nn.LayerNorm(joined), nn.Linear(joined, width), nn.GELU(), nn.Linear(width, classes)
        )

    def forward(self, tokens: Tensor, sentences: Tensor) -> Tensor:
        """Return logits ``(B, K)``.

        Args:
            tokens: of the image, ``(B, G, D)``.
            sentences: vectors ``(B, S, E)``, zeros where there is no sentence.
        """
        real = sentences.abs().amax(2) > 0  # (B, S)
        if self.kind == "text":
            return self.classify(self._mean_sentence(sentences, real))
        seen = self.see((tokens - self.image_mean) / self.image_std)  # (B, G, width)
        if self.kind == "image":
            return self.classify(seen.mean(1))
        if self.kind == "concatenate":
            return self.classify(torch.cat([seen.mean(1), self._mean_sentence(sentences, real)], 1))
        if self.kind == "film":
            scale, shift = self.scale_shift(functional.gelu(self._mean_sentence(sentences, real))).chunk(2, 1)
            return self.classify(functional.gelu(seen * (1 + scale[:, None]) + shift[:, None]).mean(1))
        keys = torch.cat([self.null.expand(len(seen), -1, -1), self.read(sentences)], 1)  # (B, 1 + S, width)
        hidden = torch.cat([torch.zeros_like(real[:, :1]), ~real], 1)
        attended, _ = self.attend(self.norm(seen), keys, keys, key_padding_mask=hidden, need_weights=False)
        return self.classify(functional.gelu(seen + attended).mean(1))

    def _mean_sentence(self, sentences: Tensor, real: Tensor) -> Tensor:
        mean = sentences.sum(1) / real.sum(1, keepdim=True).clamp(min=1)
        return self.read(mean)


class FusionModel(nn.Module):
    """An image network and a head.

    Args:
        tower: digital numbers ``{gsd_m: (B, C, H, W)}`` to tokens ``(B, G, D)``.
        head: joins them with words.
    """

    def __init__(self, tower: nn.Module, head: FusionHead) -> None:
        super().__init__()
        self.tower, self.head = tower, head

    def forward(self, groups: dict[int, Tensor], sentences: Tensor) -> Tensor:
        """Return logits ``(B, K)`` of chips and the sentences about them ``(B, S, E)``."""
        return self.head(self.tower(groups), sentences)
