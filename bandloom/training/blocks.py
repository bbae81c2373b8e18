"""Transformer blocks of a model: activation checkpointing, and compiling them one by one."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """Yield every transformer block: a direct child of a ``ModuleList`` whose name ends in ``blocks``."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and name.endswith("blocks"):
            yield from module


def checkpoint_blocks(model: nn.Module) -> int:
    """Let every block keep its input alone and compute its activations again in the backward pass.

    Weights, their names and all numbers stay what they are; a step costs one more forward pass of the blocks, about a
    third more time.

    Returns:
        How many blocks there are.
    """
    count = 0
    for block in blocks_of(model):
        block.forward = _forgetful(block)  # type: ignore[method-assign]
        count += 1
    return count


def compile_blocks(model: nn.Module) -> int:
    """Compile every block; what lies between them, drawn and looked up on the host, stays as it is.

    Blocks of one shape share one compilation, and a sensor's or a crop's new shape is compiled when it first comes.

    Returns:
        How many blocks there are.
    """
    blocks = list(blocks_of(model))
    # blocks that differ by a constant, such as their stochastic depth, are compiled apart; so are training and scoring
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 8 * len(blocks))
    for block in blocks:
        block.compile(dynamic=False)
    return len(blocks)


def _forgetful(block: nn.Module) -> Callable[..., Any]:
    forward = block.forward

    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() and block.training:
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)
        return forward(*args, **kwargs)

    return run
