"""Batches copied beside a GPU's computing: the CPU's losses, and memory that is reused too early is caught."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bandloom.sensors import SENSORS
from bandloom.shards.read.buffers import Buffers
from bandloom.training import device_memory
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.side_stream import SideStream
from tests.bandloom.tiny_training import loss_of, sample, tiny_net
from tests.card.pretend_card import CARD, TORCH, pretended_card

CPU = torch.device("cpu")
STEPS, BATCH = 8, 4
on_a_card = pytest.mark.skipif(not torch.__version__.startswith(TORCH), reason=f"pretended for torch {TORCH} alone")


def batches(device):
    """Yield batches that a thread fills one ahead, into the fewest arrays that the last user has let go."""
    buffers = Buffers(16, device_memory.page_locked(device))

    def fill(step):
        indices = np.arange(BATCH) + BATCH * step
        group = buffers.take((BATCH, 3, 4, 4))
        for slot, index in enumerate(indices):
            group[slot] = sample(int(index))
        label = np.full((BATCH, 4, 4), step, np.uint8)
        return SimpleNamespace(
            sensor=SENSORS["sentinel2-l1c"],
            groups={60: group},
            keys=tuple(map(str, indices)),
            draws=indices.astype(np.uint64),
            label=label,
            class_index=None,
            rest=(),
        )

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(fill, 0)
        for step in range(STEPS):
            ready, ahead = ahead.result(), pool.submit(fill, step + 1)
            yield ready
            del ready


def losses(device):
    """Train on batches as the trainer does: a step's report is read when the next one is on its way."""
    config = EngineConfig(lr=1e-3, warmup_steps=1, precision="fp32")
    engine = make_engine(tiny_net(), config, Ranks(0, 0, 1, device), STEPS)
    to_device, unread, told = SideStream(device), [], []
    for step, moved in enumerate(map(to_device, batches(device))):
        unread.append(engine.train_step(moved.split(2), loss_of, step))
        if step:
            told.append(unread.pop(0).read().loss)
    return [*told, unread.pop().read().loss]


def test_on_a_cpu_a_batch_keeps_the_loaders_memory():
    loaded = next(batches(CPU))
    moved = SideStream(CPU)(loaded)
    assert moved.groups[60].data_ptr() == loaded.groups[60].ctypes.data
    assert moved.label is not None
    assert moved.label.data_ptr() == loaded.label.ctypes.data


@on_a_card
def test_steps_fed_beside_the_computing_are_the_cpus_and_wait_for_reports_alone():
    expected = losses(CPU)
    with pretended_card() as watch:
        assert losses(CARD) == pytest.approx(expected, rel=1e-6)
        waits = [note for note in watch.blocking() if note.kind != "to card"]  # the model's weights are copied once
        assert [note.call for note in waits] == ["torch.cuda.Event.synchronize"] * STEPS
        assert not watch.blocking("bandloom/training/side_stream.py", "bandloom/training/device_")
        assert len(watch.streams.all) == 2


@on_a_card
@pytest.mark.parametrize("rest", [True, False])
def test_all_that_lies_on_the_device_is_told(rest):
    loaded = next(batches(CPU))
    loaded.rest = (next(batches(CPU)),) * rest
    with pretended_card() as watch:
        moved = SideStream(CARD)(loaded)
        assert len(list(moved.tensors())) == 2 + 2 * rest
        assert all(tensor.read_by == {watch.streams.default} for tensor in moved.tensors())


@on_a_card
def test_an_array_that_is_reused_before_its_copy_is_done_is_caught(monkeypatch):
    monkeypatch.setattr(device_memory, "_hold_until_copied", lambda tensor: None)
    with pytest.raises(RuntimeError, match="written while the card could still copy"), pretended_card():
        losses(CARD)


@on_a_card
def test_a_step_that_does_not_wait_for_its_batch_is_caught(monkeypatch):
    with pretended_card() as watch:
        monkeypatch.setattr(type(watch.streams.default), "wait_stream", lambda *_: None)
        with pytest.raises(RuntimeError, match="does not wait for the one that makes it"):
            losses(CARD)


@on_a_card
def test_a_batch_whose_memory_may_go_to_the_next_one_is_caught(monkeypatch):
    monkeypatch.setattr(DeviceBatch, "tensors", lambda self: iter(()))
    with pretended_card(), pytest.raises(RuntimeError, match="record_stream"):
        losses(CARD)
