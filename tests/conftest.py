"""What all tests share: one thread a process, and torch ready to import timm beside it."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from collections.abc import Iterator

import pytest
import torch

import bandloom.model.torch_compat  # noqa: F401
from bandloom.run_state.markers import STOPPING

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests start as one process, whatever launched them."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "BANDLOOM_ATTEMPT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _signals_given_back() -> Iterator[None]:
    """What listens for a stop hands the signals back: the next test of this process would take a request as its own."""
    before = [signal.getsignal(number) for number in STOPPING]
    yield
    assert [signal.getsignal(number) for number in STOPPING] == before


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for a cluster: at the end it would leave the other cores with nothing to do."""
    items.sort(key=lambda item: "slurm" not in item.path.parts)
