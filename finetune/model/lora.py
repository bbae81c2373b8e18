"""LoRA: low-rank matrices beside the encoder's frozen ones, merged into them at the end.

Hu et al. 2021, LoRA: ``W x + (scale / rank) B A x`` with B = 0 at the start; merged, it is the plain encoder again.
"""

import math

import torch
from torch import Tensor, nn

from bandloom.errors import ConfigError
from bandloom.model.any_encoder import AnyEncoder

ADAPTED = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")  # every matrix of a block; the paper's best at equal size


class LoraLinear(nn.Module):
    """A frozen linear map with a trainable product of rank ``rank`` beside it.

    Args:
        base: the map; its weights stop training.
        rank: inner width of the product.
        scale: how much the product counts, over the rank.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float = 16.0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.factor = scale / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        # a language model's frozen weights may be bfloat16 beside products in float32
        return self.base(x) + self.factor * ((x @ self.down.T.to(x.dtype)) @ self.up.T.to(x.dtype))

    def merged(self) -> nn.Linear:
        """Return the plain linear map that computes the same."""
        with torch.no_grad():
            self.base.weight += self.factor * (self.up @ self.down)
        return self.base


def add_lora(encoder: AnyEncoder, rank: int) -> None:
    """Freeze the encoder and put a trainable product beside every matrix of its blocks.

    Raises:
        ConfigError: its blocks have no such matrices, as a convolutional encoder's.
    """
    if not hasattr(encoder.blocks[0], "attn"):
        raise ConfigError(f"{encoder.title()} has no attention to put LoRA beside; use mode=last or mode=full.")
    encoder.requires_grad_(False)
    for block in encoder.blocks:
        for name in ADAPTED:
            parent, attribute = block.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
            linear = getattr(parent, attribute)
            if not isinstance(linear, LoraLinear):
                setattr(parent, attribute, LoraLinear(linear, rank).to(linear.weight.device))


def merge_lora(encoder: AnyEncoder) -> None:
    """Make the encoder plain again, with what was learnt in its matrices; nothing happens without LoRA."""
    if not hasattr(encoder.blocks[0], "attn"):
        return
    for block in encoder.blocks:
        for name in ADAPTED:
            parent, attribute = block.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
            linear = getattr(parent, attribute)
            if isinstance(linear, LoraLinear):
                setattr(parent, attribute, linear.merged())
