"""16-bit models, cast in torch: normalisation of samples, layer norms, softmax and outputs stay in fp32.

So do what heads compute of pixels before their first layer with weights, a head's linear map of the bands, whose large
weights of opposite sign would multiply what rounds in them, and the layers that the audit names. TensorRT 11 takes
precision from the types of the graph alone, and full casts are where fp16 engines lose their accuracy (NVIDIA/TensorRT
issues 2564, 4493, 4723: layer norms and attention).
"""

import copy
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bandloom.export.from_torch.to_onnx import DeployGraph
from bandloom.finetune.model.native_bands import BandGroup
from bandloom.finetune.model.pixel_part import PixelPart
from bandloom.finetune.model.task_model import TaskModel
from bandloom.public_encoders.positioned_block import KeptWide

HalfPrecision = Literal["fp16", "bf16"]
EMBEDDING = "encoder.embed"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class CastGraph(DeployGraph):
    """A deploy graph whose linear layers, convolutions and attention compute in 16 bits."""

    def __init__(self, model: TaskModel, precision: str, wide: Collection[str] = ()) -> None:
        """Copy ``model`` and cast the copy; fp32 gives the same graph without casts, for the audit.

        Args:
            model: in fp32; it stays as it is.
            precision: fp32, fp16 or bf16.
            wide: names of modules in the model whose own operations stay in fp32. What they give stays in fp32 too, up
                to the next layer with weights of 16 bits.
        """
        copied = copy.deepcopy(model).eval()
        statistics = copied.encoder.embed.mean, copied.encoder.embed.std
        _widen(copied)
        kept = {*wide, *_linear_maps(copied)}
        for name, module in list(copied.named_modules()):
            dtype = torch.float32 if name in kept else DTYPES[precision]
            _cast(module, dtype, always=name in kept, buffers=name.split(".")[0] != "head")
        copied.encoder.embed.mean, copied.encoder.embed.std = statistics
        embedding = torch.float32 if any(in_embedding(name) for name in wide) else DTYPES[precision]
        encoder: Any = copied.encoder
        encoder.samples = partial(_cast_samples, encoder.samples, embedding)
        encoder.positions = partial(_cast_positions, encoder.positions, embedding)
        super().__init__(copied)

    def forward(self, *pairs: Tensor) -> Tensor:
        """Return float32 logits of ``(B, C, H, W, 2)`` uint8 pairs."""
        return super().forward(*pairs).float()


Samples = tuple[Tensor, Tensor]  # normalised (B, T, S), and which of them are there


def _cast_samples(plain: Callable[..., Samples], dtype: torch.dtype, *given: Any) -> Samples:
    """Return the encoder's samples, cast once they are normalised, and which of them are there."""
    samples, valid = plain(*given)
    return samples.to(dtype), valid


def _cast_positions(plain: Callable[..., Tensor], dtype: torch.dtype, *grid: int) -> Tensor:
    return plain(*grid).to(dtype)


def _cast(module: nn.Module, dtype: torch.dtype, *, always: bool, buffers: bool) -> None:
    """Cast a module's own weights, and its inputs where it has some or ``always``; norms stay as they are.

    Its buffers are cast where ``buffers``: a head's are what was fitted to pixels, which reach them in fp32.
    """
    if isinstance(module, (*WIDE_NORMS, KeptWide)):
        return
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)
    for name, buffer in list(module.named_buffers(recurse=False)) if buffers else ():
        if buffer.is_floating_point():
            setattr(module, name, buffer.to(dtype))
    if always or next(module.parameters(recurse=False), None) is not None:
        module.forward = partial(_on_cast_inputs, module.forward, dtype)


def _linear_maps(model: TaskModel) -> set[str]:
    """Return the names of layers that are linear maps of bands: fitted to the end, with weights of any size."""
    parts = {f"{name}.linear." for name, module in model.named_modules() if isinstance(module, PixelPart)}
    return {name for name, _ in model.named_modules() if any(name.startswith(part) for part in parts)}


def in_embedding(layer: str) -> bool:
    """Tell whether a layer, by its name in the model, turns samples into what the first block reads."""
    return f"{layer}.".startswith(f"{EMBEDDING}.")


def _on_cast_inputs(plain: Callable[..., Any], dtype: torch.dtype, *inputs: Any, **named: Any) -> Any:
    """Call a module's forward pass with its floating-point inputs cast."""
    return plain(*(_as_type(given, dtype) for given in inputs), **named)


def _as_type(given: Any, dtype: torch.dtype) -> Any:
    """Return an input with its floating-point tensors cast: a tensor, groups of bands, or several of them."""
    if isinstance(given, BandGroup):
        return replace(given, values=_as_type(given.values, dtype))
    if isinstance(given, list | tuple):
        return type(given)(_as_type(item, dtype) for item in given)
    return given.to(dtype) if isinstance(given, Tensor) and given.is_floating_point() else given


class WideNorm(nn.LayerNorm):
    """A layer norm in fp32 between layers in 16 bits."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input in its own type."""
        return super().forward(input.float()).to(input.dtype)


class WideGroupNorm(nn.GroupNorm):
    """A group norm in fp32 between layers in 16 bits."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input in its own type."""
        return super().forward(input.float()).to(input.dtype)


WIDE_NORMS = (WideNorm, WideGroupNorm)


def _wide_norm(norm: nn.LayerNorm | nn.GroupNorm) -> nn.Module:
    if isinstance(norm, nn.GroupNorm):
        wide: nn.Module = WideGroupNorm(norm.num_groups, norm.num_channels, norm.eps)
    else:
        wide = WideNorm(list(norm.normalized_shape), eps=norm.eps)
    wide.load_state_dict(norm.state_dict())
    return wide


class WideSoftmaxAttention(nn.Module):
    """timm's attention with its softmax in fp32; the scores are scaled before they are summed, so they stay small."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.num_heads, self.scale = attention.num_heads, attention.scale

    def forward(self, x: Tensor, **_: object) -> Tensor:
        """Attend over ``(B, T, D)``."""
        b, t, _d = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # (3, B, heads, T, D / heads)
        query, key, value = qkv.unbind(0)
        scores = (query * self.scale) @ key.transpose(-2, -1)  # (B, heads, T, T)
        mixed = scores.float().softmax(dim=-1).to(value.dtype) @ value
        return self.proj(mixed.transpose(1, 2).reshape(b, t, -1))


def _widen(model: nn.Module) -> None:
    """Replace norms and attentions by those that keep fp32 where it matters."""
    from timm.layers import Attention

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.LayerNorm | nn.GroupNorm):
                setattr(parent, name, _wide_norm(child))
            elif isinstance(child, Attention):
                setattr(parent, name, WideSoftmaxAttention(child))
