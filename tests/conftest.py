"""What all tests share: one thread a process, and torch ready to import timm beside it."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import pytest
import torch

import bandloom.torch_compat  # noqa: F401

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before the plugin reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, keep a file's in one, and all that need the cluster or the browser."""
    for item in items:
        room = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(room if room in ("slurm", "view") else str(item.path)))


@pytest.fixture(autouse=True)
def _no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests start as one process, whatever launched them."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "BANDLOOM_ATTEMPT"):
        monkeypatch.delenv(name, raising=False)
