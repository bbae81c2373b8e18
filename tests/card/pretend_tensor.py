"""A CUDA device that is not there, with real numbers: tensors that say ``cuda:0`` and lie in ordinary memory.

Every ATen call that touches such a tensor passes through :class:`Watch`. It computes on the host what the card would; a
host tensor that meets one raises torch's own words; what would make the host wait, and every copy between host and
card, is noted with the line of the project that asked for it. Streams are held to what is waited for; kernels,
NCCL and speed are not pretended.

To C++ the tensors are on ``meta``: the autograd of a CPU build would ask a CUDA device guard for streams.
"""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.card.pretend_streams import Streams

CARD = torch.device("cuda", 0)
ROOT = Path(__file__).resolve().parents[2]
OWN_FOLDERS = tuple(f"{ROOT / name}/" for name in ("bandloom", "pretrain", "finetune", "shards", "export"))

_COPIES = {"copy_", "_to_copy", "_foreach_copy_"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_MAY_MIX = {*_COPIES, *_INDEXED, "set_", "_has_compatible_shallow_copy_type"}
_READ_BACK = {"_local_scalar_dense", "equal", "is_nonzero"}
_SIZED_BY_VALUES = {"nonzero", "masked_select", "unique_dim", "_unique2", "unique_consecutive", "repeat_interleave"}


class CardTensor(torch.Tensor):
    """A tensor that says it is on the card; its numbers are in ``value``."""

    value: torch.Tensor

    @staticmethod
    def __new__(cls, value, requires_grad=False):
        shape = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        self = torch.Tensor._make_subclass(
            cls, shape, requires_grad, dispatch_device=True, device_for_backend_keys=CARD
        )
        self.value = value
        return self

    @property
    def device(self):
        return CARD

    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)

    def record_stream(self, stream):
        """Keep the memory until ``stream`` is done with it too."""
        self.read_by = {*getattr(self, "read_by", ()), stream}

    def __repr__(self, **_):
        return f"CardTensor({tuple(self.shape)}, {self.dtype})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.prim.device.default:
            return torch.device("meta")
        raise RuntimeError(f"{func} outside of the pretended card")


@dataclass(frozen=True)
class Note:
    """A copy between host and card, or a call that makes the host wait."""

    kind: str  # to card, to host, wait
    call: str
    where: str  # file:line of the project
    bytes: int
    blocks: bool


class Watch(TorchDispatchMode):
    """Computes what the card would, and notes what it would be asked for."""

    def __init__(self):
        super().__init__()
        self.notes = []
        self.streams = Streams()
        self.pinned = {}  # page-locked host memory by its address; kept, so that no other takes the address

    def blocking(self, *files):
        """Return the notes that make the host wait, of these files or of all."""
        return [note for note in self.notes if note.blocks and (not files or note.where.startswith(files))]

    def holds_pinned(self, tensor):
        """Tell whether a host tensor lies in page-locked memory."""
        return not isinstance(tensor, CardTensor) and tensor.untyped_storage().data_ptr() in self.pinned

    def note(self, kind, call, tensor=None, blocks=True, until=None):
        """Note a call; one that blocks waits for all that the current stream was asked for, or for an event's clock."""
        size = 0 if tensor is None else tensor.numel() * tensor.element_size()
        self.notes.append(Note(kind, call, asked_by(), size, blocks))
        if until is not None:
            self.streams.host_knows(until)
        elif blocks:
            self.streams.host_waits()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.ops.prim.device.default:
            return torch.device("meta") if isinstance(args[0], CardTensor) else args[0].device
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_card = [tensor for tensor in tensors if isinstance(tensor, CardTensor)]
        wanted = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        if not on_card and (wanted is None or wanted.type == "cpu"):
            return self._on_host(func, args, kwargs)
        name = func._schema.name.split("::")[1]
        hosts = [tensor for tensor in tensors if not isinstance(tensor, CardTensor)]
        if name == "_has_compatible_shallow_copy_type" and hosts:
            return False  # a module that moves gets new parameters
        self._refuse_mixture(name, on_card, hosts)
        for tensor in on_card:
            self.streams.check_use(tensor)
        if name in _READ_BACK | _SIZED_BY_VALUES:
            self.note("wait", name)
        elif name in _INDEXED:
            self._index(name, args)
        elif name == "_to_copy":
            already = wanted is not None and wanted.type != "cpu" and on_card and not _converts(kwargs, tensors[0])
            if already:
                return tensors[0]  # C++ believed it to be elsewhere
            self._copied(name, to_host=wanted is not None and wanted.type == "cpu", given=tensors[0], kwargs=kwargs)
        elif name == "copy_" and isinstance(args[0], CardTensor) != isinstance(args[1], CardTensor):
            later = kwargs.get("non_blocking", len(args) > 2 and args[2])
            self._moved(name, to_host=not isinstance(args[0], CardTensor), given=args[1], later=later)
        return self._computed(func, name, args, kwargs, on_card, wanted)

    def _on_host(self, func, args, kwargs):
        """Run what no card tensor takes part in; page-locked memory is remembered by its address."""
        pinned = kwargs.pop("pin_memory", False)
        out = func(*args, **kwargs)
        if pinned and isinstance(out, torch.Tensor):
            self.pin(out)
        return out

    def pin(self, tensor):
        """Take a host tensor's memory for page-locked."""
        self.pinned[tensor.untyped_storage().data_ptr()] = tensor

    def _refuse_mixture(self, name, on_card, hosts):
        if on_card and name not in _MAY_MIX and any(host.ndim or name in ("cat", "stack") for host in hosts):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
                f" (aten::{name}, asked for in {asked_by()})"
            )

    def _index(self, name, args):
        for index in tree_leaves(args[1]):
            if not isinstance(index, torch.Tensor):
                continue
            if not isinstance(index, CardTensor) and index.ndim:
                self.note("to card", f"{name} by a host index", index)
            if index.dtype in (torch.bool, torch.uint8):
                self.note("wait", f"{name} by a mask")
        if not isinstance(args[0], CardTensor):
            raise RuntimeError(
                f"indices should be either on cpu or on the same device as the indexed tensor ({asked_by()})"
            )
        if name not in ("index", "_unsafe_index") and not isinstance(args[2], CardTensor) and args[2].ndim:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, cuda:0 and cpu! (aten::{name}, {asked_by()})"
            )

    def _copied(self, name, *, to_host, given, kwargs):
        if to_host or not isinstance(given, CardTensor):
            self._moved(name, to_host=to_host, given=given, later=kwargs.get("non_blocking", False))

    def _moved(self, name, *, to_host, given, later):
        """Note a copy. One that is to happen later still blocks if its host memory is pageable."""
        pinned = to_host or self.holds_pinned(given)
        self.note("to host" if to_host else "to card", name, given, blocks=not (later and pinned))
        if later and pinned and not to_host:
            base = self.pinned[
                given.untyped_storage().data_ptr()
            ].untyped_storage()  # a loader counts its own references
            memory = torch.empty(0, dtype=given.dtype).set_(base, given.storage_offset(), given.shape, given.stride())
            self.streams.reads(memory)

    def _computed(self, func, name, args, kwargs, on_card, wanted):
        to_host = wanted is not None and wanted.type == "cpu"
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        kwargs.pop("pin_memory", None)
        if hasattr(kwargs.get("generator"), "on_host"):
            kwargs["generator"] = kwargs["generator"].on_host
        out = func(*tree_map(_plain, args), **tree_map(_plain, kwargs))
        if name == "copy_" and not isinstance(args[0], CardTensor):
            return args[0]
        if to_host:
            return out
        same = {id(tensor.value): tensor for tensor in on_card}

        def back(value):
            if not isinstance(value, torch.Tensor):
                return value
            if id(value) in same:
                return same[id(value)]
            made = CardTensor(value)
            self.streams.made(made)
            return made

        return tree_map(back, out)


def asked_by():
    """Return ``file:line`` of the innermost frame that is the project's, or ``?``."""
    frame = sys._getframe(1)
    while frame is not None:
        if path := _own_path(frame.f_code.co_filename):
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


@functools.cache
def _own_path(file):
    path = Path(file).resolve()
    return str(path.relative_to(ROOT)) if str(path).startswith(OWN_FOLDERS) else ""


def _plain(value):
    return value.value if isinstance(value, CardTensor) else value


def _converts(kwargs, tensor):
    return kwargs.get("dtype") not in (None, tensor.dtype) or kwargs.get("memory_format") is not None
