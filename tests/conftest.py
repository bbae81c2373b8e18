"""What all tests share: one thread a process, and torch ready to import timm beside it."""

import gc
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import bandloom.model.torch_compat  # noqa: F401
from bandloom.run_state.markers import STOPPING

torch.set_num_threads(1)
gc.disable()  # nothing that collecting the tests makes is rubbish, and looking for some takes as long as the imports

LONGEST = (  # folders and files by processor time, measured; the rest takes seconds a file
    *("test_report.py", "from_torch", "test_train.py", "test_steps.py", "test_python_way.py", "test_examples.py"),
    *("test_additions.py", "test_map_place.py", "runtimes", "test_before_the_move.py", "pretrain", "training"),
    *("finetune", "view", "export"),
)


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


def pytest_collection_finish() -> None:
    """Look for rubbish again, but not among modules and tests, which stay to the end."""
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than cores, for some tests wait: for a cluster, a browser, a process that starts."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, and put one that waits for a cluster after every two of them.

    What is long and comes last leaves the other cores with nothing to do.
    """
    places: dict[Path, float] = {}
    for waits, gap in ((True, 3.0), (False, 1.5)):
        files = dict.fromkeys(item.path for item in items if ("slurm" in item.path.parts) is waits)
        places |= {path: gap * number for number, path in enumerate(sorted(files, key=_rank))}
    items.sort(key=lambda item: places[item.path])


def _rank(path: Path) -> int:
    return min((number for number, name in enumerate(LONGEST) if name in path.parts), default=len(LONGEST))
