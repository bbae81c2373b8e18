"""Constants are made once a device, and are nobody's by accident: not of an inference, not of a trace."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bandloom.training import device_memory
from bandloom.training.device_memory import constant, to_device

CPU = torch.device("cpu")


def squares(count):
    return np.arange(count, dtype=np.int64) ** 2


def test_an_array_on_the_cpu_shares_its_memory():
    array = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert to_device(array, CPU).data_ptr() == array.ctypes.data
    turned = to_device(array.T, "cpu")
    assert turned.tolist() == array.T.tolist()


def test_a_constant_is_made_once_for_its_arguments():
    first = constant(CPU, squares, 5)
    assert first.tolist() == [0, 1, 4, 9, 16]
    assert constant(CPU, squares, 5) is first
    assert constant(CPU, squares, 6) is not first


def test_one_made_while_scoring_can_be_trained_with():
    with torch.inference_mode():
        made = constant(CPU, torch.ones, 7)
    weight = torch.zeros(7, requires_grad=True)
    (weight * made).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0] * 7


def test_a_trace_leaves_nothing_behind():
    class Uses(torch.nn.Module):
        def forward(self, x):
            return x * constant(CPU, squares, 11).to(x)

    exported = torch.export.export(Uses(), (torch.ones(11),), strict=False)
    assert not any(key[1] is squares and key[2] == (11,) for key in device_memory._KEPT)
    assert exported.module()(torch.ones(11)).tolist() == [number**2 for number in range(11)]
    assert isinstance(constant(CPU, squares, 11), torch.Tensor)


def test_only_so_many_are_kept(monkeypatch):
    monkeypatch.setattr(device_memory, "_MOST", 3)
    for count in range(100, 110):
        constant(CPU, squares, count)
    assert len(device_memory._KEPT) == 3


def test_only_a_gpu_asks_for_page_locked_arrays():
    assert device_memory.page_locked(CPU) is None


def test_an_array_that_a_gpu_still_copies_is_not_given_to_a_decoder():
    """On a pretended card whose copies end when the test says so: loaders' arrays are reused once nobody holds them."""
    from bandloom.shards.read.buffers import Buffers
    from tests.card.pretend_card import CARD, pretended_card

    done = []
    with pretended_card() as watch, pytest.MonkeyPatch.context() as patch:
        event = SimpleNamespace(record=lambda: None, query=lambda: bool(done))
        patch.setattr(torch.cuda, "Event", lambda: event)
        buffers = Buffers(8, device_memory.page_locked(CARD))
        array = buffers.take((2, 3))
        address = array.ctypes.data
        to_device(array, CARD)
        del array
        assert buffers.take((2, 3)).ctypes.data != address
        assert not watch.blocking()
        done.append(True)
        to_device(np.zeros(1, np.uint16), CARD)
        to_device(buffers.take((1, 1)), CARD)  # looks through what was in flight
        assert address in {buffers.take((2, 3)).ctypes.data for _ in range(2)}
