"""What all tests share: one thread a process, and torch ready to import timm beside it."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import pytest
import torch

import bandloom.model.torch_compat  # noqa: F401

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests start as one process, whatever launched them."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "BANDLOOM_ATTEMPT"):
        monkeypatch.delenv(name, raising=False)
