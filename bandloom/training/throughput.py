"""Throughput of a run: samples a second, share of time spent waiting for data, memory, MFU, and the time left."""

import resource
import time

import torch

from bandloom.training.flops import peak_flops


class Throughput:
    """Measures from one line of metrics to the next.

    Args:
        batch_size: samples a step over all ranks.
        world: number of ranks.
        device: this rank's.
        flops_per_sample: of one training step, forward and backward; None leaves the MFU out.
    """

    def __init__(self, batch_size: int, world: int, device: torch.device, flops_per_sample: float | None) -> None:
        self.batch_size, self.device = batch_size, device
        peak = peak_flops(device)
        self._peak_samples_per_s = peak * world / flops_per_sample if peak and flops_per_sample else None
        self.start(0)

    def start(self, step: int) -> None:
        """Begin to measure at ``step``."""
        self._step, self._began, self._waited_s = step, time.monotonic(), 0.0

    def waited(self, seconds: float) -> None:
        """Add time that was spent waiting for a batch."""
        self._waited_s += seconds

    def report(self, step: int, steps: int) -> dict[str, float]:
        """Return the figures since the last report, and begin again."""
        took_s = max(time.monotonic() - self._began, 1e-9)
        samples_per_s = (step - self._step) / took_s * self.batch_size
        figures = {
            "samples_per_s": round(samples_per_s, 2),
            "data_wait": round(self._waited_s / took_s, 4),
            "memory_gb": round(self._memory_bytes() / 1e9, 3),
            "eta_s": round((steps - step) * self.batch_size / max(samples_per_s, 1e-9), 1),
        }
        if self._peak_samples_per_s:
            figures["mfu"] = round(samples_per_s / self._peak_samples_per_s, 4)
        self.start(step)
        return figures

    def _memory_bytes(self) -> int:
        """Return the most memory taken so far: of the card, or of the process where there is none."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
