"""Seconds on a device, and the ceilings that every other figure is read against."""

import time
from collections.abc import Callable
from typing import Any

import torch


def seconds(run: Callable[[], Any], device: torch.device, times: int, warm_up: int = 2) -> float:
    """Return the mean seconds of a call after some to warm up, the device's work included."""
    for _ in range(warm_up):
        run()
    wait(device)
    began = time.perf_counter()
    for _ in range(times):
        run()
    wait(device)
    return (time.perf_counter() - began) / times


def wait(device: torch.device) -> None:
    """Wait for what was asked of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_tflops(side: int, device: torch.device) -> float:
    """Return the rate of a large bf16 matrix product of random numbers."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, device, 20) / 1e12


def copy_gb_per_s(side: int, device: torch.device) -> float:
    """Return the rate of a copy on the device, bytes read and written counted."""
    a = torch.randn(4 * side, side, device=device)
    b = torch.empty_like(a)
    return 2 * a.nbytes / seconds(lambda: b.copy_(a), device, 20) / 1e9


def to_device_gb_per_s(side: int, device: torch.device, *, pinned: bool) -> float:
    """Return the rate of a copy from the host's memory, page-locked or not."""
    a = torch.randn(side, side)
    a = a.pin_memory() if pinned else a
    b = torch.empty(side, side, device=device)
    return a.nbytes / seconds(lambda: b.copy_(a, non_blocking=True), device, 20) / 1e9
