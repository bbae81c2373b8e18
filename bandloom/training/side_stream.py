"""Batches copied to a GPU on a CUDA stream of their own, beside its computing on the batch before."""

import torch

from bandloom.training.device_batch import DeviceBatch, LoadedBatch


class SideStream:
    """Copies batches to a device; neither the host nor what a GPU already computes waits for them.

    Loaders' threads decode into page-locked arrays (:func:`~bandloom.training.device_memory.page_locked`), as many as
    they are batches ahead, and reuse one once its copy's event has passed. Only what is asked of the GPU after a batch
    was handed out waits for its copy, on the GPU. On a CPU a batch keeps the loader's own memory.

    Args:
        device: where batches are to lie.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._copying = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: LoadedBatch) -> DeviceBatch:
        """Return a loader's batch on the device."""
        if self._copying is None:
            return DeviceBatch.of(batch, self.device)
        with torch.cuda.stream(self._copying):
            moved = DeviceBatch.of(batch, self.device)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._copying)
        for tensor in moved.tensors():
            tensor.record_stream(computing)  # or its memory is the next batch's while a step still reads it
        return moved
