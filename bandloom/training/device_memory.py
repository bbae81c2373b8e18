"""Copies to a device that do not make the host wait, and constants that are made and copied once."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._guards import active_fake_mode

_MOST = 512  # constants kept; the longest unused go first
_KEPT: OrderedDict[Hashable, Tensor] = OrderedDict()
_IN_FLIGHT: deque[tuple[Any, Tensor]] = deque()  # host memory that a GPU may still read
_LOCK = Lock()


def default_device() -> torch.device:
    """Return the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_device(values: np.ndarray | Tensor, device: torch.device | str) -> Tensor:
    """Return ``values`` on ``device``; the host goes on while a GPU still copies.

    To a GPU the copy starts from page-locked memory: the array's own where it was made by :func:`page_locked`, and then
    it is held until the copy is done. On the CPU the tensor shares the array's memory.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(values)) if isinstance(values, np.ndarray) else values
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    if not tensor.is_pinned():
        return tensor.pin_memory().to(device, non_blocking=True)  # torch holds this memory itself
    moved = tensor.to(device, non_blocking=True)
    _hold_until_copied(tensor)
    return moved


def page_locked(device: torch.device) -> Callable[[tuple[int, ...]], np.ndarray] | None:
    """Return what makes uint16 arrays that a GPU copies while the host goes on; None where there is no GPU."""
    if device.type != "cuda":
        return None
    return lambda shape: torch.empty(shape, dtype=torch.uint16, pin_memory=True).numpy()


def _hold_until_copied(tensor: Tensor) -> None:
    """Keep a reference until the copies that were asked for so far are done: a loader reuses arrays nobody holds."""
    copied = torch.cuda.Event()
    copied.record()
    with _LOCK:
        _IN_FLIGHT.append((copied, tensor))
        while _IN_FLIGHT and _IN_FLIGHT[0][0].query():
            _IN_FLIGHT.popleft()


def constant(device: torch.device, make: Callable[..., np.ndarray | Tensor], *of: Any) -> Tensor:
    """Return ``make(*of)`` on ``device``, made at the first call: nobody may write to it.

    Where a graph is traced or exported it is made anew, so that the graph holds it as its own.

    Args:
        device: where it is to lie.
        make: a function of its arguments alone.
        of: its arguments, hashable.
    """
    if torch.compiler.is_compiling() or active_fake_mode() is not None:
        return _made(make, of).to(device)
    key = (device, make, of)
    with _LOCK:
        kept = _KEPT.get(key)
        if kept is not None:
            _KEPT.move_to_end(key)
            return kept
    with torch.inference_mode(False), torch.no_grad():
        kept = to_device(_made(make, of), device)
    with _LOCK:
        _KEPT[key] = kept
        while len(_KEPT) > _MOST:
            _KEPT.popitem(last=False)
    return kept


def _made(make: Callable[..., np.ndarray | Tensor], of: tuple[Any, ...]) -> Tensor:
    made = make(*of)
    return torch.from_numpy(np.ascontiguousarray(made)) if isinstance(made, np.ndarray) else made
