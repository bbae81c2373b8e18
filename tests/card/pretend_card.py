"""``with pretended_card() as watch:`` lets everything inside believe in one CUDA device (an H100)."""

import contextlib
import types
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils
from torch.utils._pytree import tree_map

from tests.card.pretend_streams import Event, Stream
from tests.card.pretend_tensor import CARD, CardTensor, Watch

TORCH = "2.13"  # the pretence leans on torch's insides: it is for this version alone
F = torch.nn.functional
_GENERATOR, _NUMPY, _TOLIST, _PIN = torch.Generator, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.pin_memory
_EMPTY, _ATTENTION = torch.empty, F.scaled_dot_product_attention

# what AutocastCUDA computes in the lower precision and in fp32; it never begins for tensors that are on meta to C++
_LOWER = {
    *(F.linear, F.conv1d, F.conv2d, F.conv_transpose2d, F.prelu, F.scaled_dot_product_attention),
    *(torch.conv2d, torch.matmul, torch.bmm, torch.mm, torch.addmm, torch.baddbmm, torch.einsum),
    *(torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.__rmatmul__),
}
_FULL = {
    *(F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.softplus, F.cross_entropy, F.nll_loss),
    *(F.smooth_l1_loss, F.mse_loss, F.l1_loss, F.cosine_similarity, F.binary_cross_entropy_with_logits),
    *(torch.softmax, torch.log_softmax, torch.exp, torch.log, torch.pow, torch.rsqrt, torch.sum, torch.norm),
    *(torch.cumsum, torch.Tensor.softmax, torch.Tensor.log_softmax, torch.Tensor.pow, torch.Tensor.sum),
    *(torch.Tensor.exp, torch.Tensor.log, torch.Tensor.cumsum),
}


class CardGenerator:
    """A generator of the card's, which draws as one of the host."""

    def __init__(self, device="cpu"):
        self.on_host, self.device = _GENERATOR(), torch.device(device)

    def __getattr__(self, name):
        return getattr(self.on_host, name)


class WatchedEvent(Event):
    """An event; that the host waits for it is noted."""

    def __init__(self, watch):
        super().__init__(watch.streams)
        self._watch = watch

    def synchronize(self):
        self._watch.note("wait", "torch.cuda.Event.synchronize", until=self.clock)


class Functions(TorchFunctionMode):
    """What happens above ATen: autocast, devices without a number, indices made of lists."""

    def __torch_function__(self, func, types_, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.backward:
            with self:  # what checkpointing computes again is under autocast too
                kwargs["grad_tensors"] = kwargs.pop("gradient", None)
                return torch.autograd.backward(args[0], *args[1:], **kwargs)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[0], CardTensor):
            # C++ would make the index where it was told the tensor is: on meta, without numbers
            index = tuple(map(_as_index, args[1])) if isinstance(args[1], tuple) else _as_index(args[1])
            args = (args[0], index, *args[2:])
        if torch.is_autocast_enabled("cuda"):
            args, kwargs = _autocast(func, args, kwargs)
        if "device" in kwargs:
            kwargs["device"] = _numbered(kwargs["device"])
        if func is torch.Tensor.to and len(args) > 1:
            args = (args[0], _numbered(args[1]), *args[2:])
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and kwargs.get("device") == CARD:
            return func(*args, **{**kwargs, "device": "cpu"}).to(CARD)  # as torch does: made here, moved, waited for
        if func is torch.Tensor.new_tensor and isinstance(args[0], CardTensor):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(CARD)
        if func is torch.Tensor.cuda:
            return args[0].to(CARD)
        return func(*args, **kwargs)


def _autocast(func, args, kwargs):
    if func is F.binary_cross_entropy:
        raise RuntimeError("torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast.")
    wanted = torch.get_autocast_dtype("cuda") if func in _LOWER else torch.float32 if func in _FULL else None

    def cast(value):
        floats = isinstance(value, CardTensor) and value.is_floating_point() and value.dtype != torch.float64
        return value.to(wanted) if floats and value.dtype != wanted else value

    return (args, kwargs) if wanted is None else (tree_map(cast, args), tree_map(cast, kwargs))


def _as_index(index):
    return torch.as_tensor(index) if isinstance(index, list) or type(index).__name__ == "ndarray" else index


def _numbered(device):
    return CARD if isinstance(device, str | torch.device) and str(device) in ("cuda", "cuda:0") else device


def _numpy(self, *, force=False):
    if isinstance(self, CardTensor):
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy."
            " Use Tensor.cpu() to copy the tensor to host memory first."
        )
    return _NUMPY(self, force=force)


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    options = {"scale": scale, "enable_gqa": enable_gqa}
    if not isinstance(query, CardTensor):
        return _ATTENTION(query, key, value, attn_mask, dropout_p, is_causal, **options)
    if torch.is_autocast_enabled("cuda"):
        query, key, value = (tensor.to(torch.get_autocast_dtype("cuda")) for tensor in (query, key, value))
    by_formula = torch._scaled_dot_product_attention_math
    return by_formula(query, key, value, attn_mask, dropout_p, is_causal, **options)[0]


@contextlib.contextmanager
def pretended_card(name="NVIDIA H100 80GB HBM3"):
    """Let everything inside believe in one CUDA device; yields the :class:`Watch`."""
    watch, cuda = Watch(), torch.cuda
    answers = {
        **{"is_available": True, "is_bf16_supported": True, "is_initialized": True, "device_count": 1},
        **{"current_device": 0, "set_device": None, "_lazy_init": None, "get_device_capability": (9, 0)},
        **{"get_device_name": name, "max_memory_allocated": 0, "memory_allocated": 0, "empty_cache": None},
        **{"reset_peak_memory_stats": None, "manual_seed_all": None, "manual_seed": None},
        **{"get_rng_state": torch.zeros(16, dtype=torch.uint8), "set_rng_state": None},
    }
    properties = types.SimpleNamespace(name=name, total_memory=80 << 30, multi_processor_count=132, major=9, minor=0)
    alike = torch._has_compatible_shallow_copy_type

    def same_side(input: torch.Tensor, from_: torch.Tensor) -> bool:  # the signature that a compiler expects
        return isinstance(input, CardTensor) == isinstance(from_, CardTensor) and alike(input, from_)

    with contextlib.ExitStack() as stack:

        def put(owner, key, value):
            stack.enter_context(mock.patch.object(owner, key, value, create=True))

        for key, answer in answers.items():
            put(cuda, key, lambda *_, answer=answer, **__: answer)
        put(cuda, "get_device_properties", lambda *_: properties)
        streams = watch.streams
        put(cuda, "Event", lambda *_, **__: WatchedEvent(watch))
        put(cuda, "Stream", lambda *_, **__: Stream(streams))
        put(cuda, "stream", streams.used)
        put(cuda, "current_stream", lambda *_: streams.current)
        put(cuda, "default_stream", lambda *_: streams.default)
        put(cuda, "synchronize", lambda *_: watch.note("wait", "torch.cuda.synchronize"))
        put(torch, "Generator", CardGenerator)
        put(torch, "_has_compatible_shallow_copy_type", same_side)
        put(F, "scaled_dot_product_attention", _attention)
        put(torch.Tensor, "numpy", _numpy)
        put(torch.Tensor, "tolist", lambda self: _TOLIST(self.cpu() if isinstance(self, CardTensor) else self))
        put(torch, "empty", lambda *shape, **options: _empty(watch, shape, options))
        put(torch.Tensor, "is_pinned", lambda self, device=None: watch.holds_pinned(self))
        put(torch.Tensor, "pin_memory", lambda self, device=None: _pinned(self, watch))
        put(_foreach_utils, "_foreach_supported_types", [*_foreach_utils._foreach_supported_types, CardTensor])
        # C++ groups gradients by the device that it was told
        put(torch.nn.utils.clip_grad, "_has_foreach_support", lambda *_: True)
        put(torch.nn.utils.clip_grad, "_device_has_foreach_support", lambda *_: True)
        stack.enter_context(watch)
        stack.enter_context(Functions())
        try:
            yield watch
        finally:
            streams.end()


def _empty(watch, shape, options):
    """Take page-locked memory where it is asked for; a loader's threads do, in which no dispatch mode is on."""
    pinned = options.pop("pin_memory", False)
    made = _EMPTY(*shape, **options)
    if pinned:
        watch.pin(made)
    return made


def _pinned(tensor, watch):
    copy = tensor.clone()
    watch.pin(copy)
    return copy
