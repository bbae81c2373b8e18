"""Two hundred damages of published sets: a sentence or quarantine, never other pixels, labels or classes."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bandloom.errors import BandloomError
from tests.finetune.public_sets.replicas import (
    bigearthnet,
    eurosat_ms,
    geobench,
    hls_burn_scars,
    marine,
    oscd,
    pastis,
    sen1floods11,
    sen12ms,
    so2sat,
)
from tests.finetune.public_sets.replicas.writing import prepared

WRITERS = {
    "eurosat-ms": lambda root: eurosat_ms.write(root, 3, side=12),
    "sen1floods11": lambda root: sen1floods11.write(root, 24),
    "bigearthnet-v2-maps": bigearthnet.write_v2,
    "bigearthnet-v1": bigearthnet.write_v1,
    "m-bigearthnet": geobench.m_bigearthnet,
    "m-cashew-plant": lambda root: geobench.m_segment(root, "m-cashew-plant", ("2019-11-05",), 7),
    "so2sat": so2sat.write_v2,
    "oscd": lambda root: oscd.write(root, 12),
    "dfc2020": sen12ms.write_dfc2020,
    "mados": marine.write_mados,
    "marida": marine.write_marida,
    "hls-burn-scars": hls_burn_scars.write,
    "pastis": pastis.write,
}


def damage(path: Path, kind: int, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    if kind == 0:
        path.write_bytes(content[: int(len(content) * rng.uniform(0.05, 0.95))])
    elif kind == 1:
        path.write_bytes(b"")
    elif kind == 2:
        path.write_bytes(bytes(64) + content[64:])
    elif kind == 3:
        path.write_bytes(b"<html>404 Not Found</html>")
    else:
        path.unlink()


def seen(shards) -> dict[str, tuple]:
    """What every sample holds: sums of its arrays, its class, its place; and its words where it has several."""
    return {e.key: (sorted(e.xxh3.items()), e.class_index, e.epsg, e.x_m, e.y_m) for e in shards.entries}


@pytest.mark.fuzz
@pytest.mark.parametrize("form", WRITERS)
def test_damage_is_refused_or_named_and_nothing_else_changes(form, tmp_path):
    rng, root = np.random.default_rng(list(form.encode())), tmp_path / "set"
    WRITERS[form](root)
    whole = seen(prepared(form, root, tmp_path / "whole"))
    lists = {".txt", ".csv"}  # a list that is cut short is shorter: the samples that it lost have no role
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for number in range(16):
        copy, out = tmp_path / f"copy-{number}", tmp_path / f"out-{number}"
        shutil.copytree(root, copy)
        path = copy / files[rng.integers(len(files))].relative_to(root)
        damage(path, int(rng.integers(5)) if path.suffix not in lists else 4, rng)
        try:
            left = seen(prepared(form, copy, out))
        except BandloomError:
            continue
        changed = [key for key, what in left.items() if whole.get(key) != what]
        assert not changed, f"{path}: {changed}"
        shutil.rmtree(copy)
