"""The snapshot protocol: whole or not at all, and what damage does to it."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bandloom.errors import CheckpointError
from bandloom.training.ranks import Ranks
from bandloom.training.snapshots import MANIFEST, Snapshots, require_clean, verify

ONE = Ranks(0, 0, 1, torch.device("cpu"))
STATE = {"model.w": torch.arange(6.0).reshape(2, 3), "optimizer.step.w": torch.tensor(3.0)}
TRAINER = {"loader": {"epoch": 1, "position": 8}, "config": {}}


def snapshots(folder: Path, **options: int) -> Snapshots:
    return Snapshots(folder / "snapshots", ONE, **options)


def test_a_snapshot_comes_back_as_it_went(tmp_path: Path):
    assert snapshots(tmp_path).save(7, STATE, TRAINER)
    latest = snapshots(tmp_path).latest()
    assert latest is not None
    assert (latest.step, latest.trainer) == (7, TRAINER)
    assert all(torch.equal(STATE[name], value) for name, value in latest.load().items())


def truncate(folder: Path) -> None:
    file = folder / "rank-0.safetensors"
    os.truncate(file, file.stat().st_size - 1)


def flip(folder: Path) -> None:
    file = folder / "rank-0.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def edit_manifest(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(change(manifest)))

    return damage


DAMAGE = {
    "a truncated file": (truncate, "differs from its checksum"),
    "a flipped bit": (flip, "differs from its checksum"),
    "a rank's file deleted": (lambda folder: (folder / "rank-0.safetensors").unlink(), "rank-0.safetensors is missing"),
    "an empty manifest": (lambda folder: (folder / MANIFEST).write_text(""), "cannot be read"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "no manifest"),
    "a manifest that is a list": (edit_manifest(lambda m: [m]), "cannot be read"),
    "a manifest without files": (edit_manifest(lambda m: m | {"files": []}), "one file a rank"),
    "a manifest of two ranks": (edit_manifest(lambda m: m | {"world": 2}), "one file a rank"),
    "a manifest without a step": (edit_manifest(lambda m: m | {"step": "7"}), "one file a rank"),
    "a manifest without a config": (edit_manifest(lambda m: m | {"trainer": {}}), "cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_the_newest_means_the_one_before_and_says_why(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging.getLogger("bandloom"), "propagate", True)
    held = snapshots(tmp_path)
    for step in (5, 10):
        held.save(step, STATE, TRAINER)
    damage, reason = DAMAGE[kind]
    damage(held.path_of(10))
    latest = snapshots(tmp_path).latest()
    assert latest is not None
    assert latest.step == 5
    assert "step-00000010" in caplog.text
    assert reason in caplog.text


def test_a_damaged_one_neither_counts_as_kept_nor_stands_in_the_way(tmp_path: Path):
    held = snapshots(tmp_path, keep_last=2)
    for step in (10, 20):
        held.save(step, STATE, TRAINER)
    flip(held.path_of(20))
    latest = held.latest()
    assert latest is not None
    assert latest.step == 10
    held.save(15, STATE, TRAINER)
    held.save(20, STATE, TRAINER)
    assert sorted(path.name for path in held.folder.glob("step-*")) == ["step-00000015", "step-00000020"]
    assert verify(held.path_of(20)) is None
    assert (held.folder / "damaged-step-00000020").is_dir()


def test_when_none_is_valid_a_new_start_is_refused(tmp_path: Path):
    held = snapshots(tmp_path)
    held.save(10, STATE, TRAINER)
    truncate(held.path_of(10))
    assert held.latest() is None
    with pytest.raises(CheckpointError, match="--from-scratch"):
        require_clean(held)


def test_a_first_save_that_was_killed_does_not_bar_the_start(tmp_path: Path):
    held = snapshots(tmp_path)
    held.save(10, STATE, TRAINER)
    os.replace(held.path_of(10), held.folder / ".tmp-step-00000010")
    assert held.latest() is None
    require_clean(held)
    held.save(20, STATE, TRAINER)
    assert [path.name for path in held.folder.iterdir()] == ["step-00000020"]


def test_the_last_ones_the_multiples_and_the_best_are_kept(tmp_path: Path):
    held = snapshots(tmp_path, keep_last=2, keep_every=40)
    for step in range(10, 101, 10):
        held.save(step, STATE, TRAINER)
        if step == 30:
            held.mark_best(30, 0.9)
    kept = [int(path.name.removeprefix("step-")) for path in sorted(held.folder.glob("step-*"))]
    assert kept == [30, 40, 80, 90, 100]
    assert held.best() == {"step": 30, "score": 0.9}


def test_what_a_stage_puts_beside_goes_with_the_snapshot(tmp_path: Path):
    held = snapshots(tmp_path, keep_last=1)
    held.save(1, STATE, TRAINER, lambda folder: (folder / "encoder").mkdir())
    assert (held.path_of(1) / "encoder").is_dir()
    held.save(2, STATE, TRAINER)
    assert not held.path_of(1).exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root")
def test_a_full_disk_costs_the_snapshot_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, small_disk: Path
):
    monkeypatch.setattr(logging.getLogger("bandloom"), "propagate", True)
    held = snapshots(small_disk)
    assert held.save(1, STATE, TRAINER)
    big = {"model.w": torch.zeros(1_000_000)}
    assert not held.save(2, big, TRAINER)
    assert "could not be written" in caplog.text
    assert [path.name for path in held.folder.iterdir()] == ["step-00000001"]
    latest = held.latest()
    assert latest is not None
    assert latest.step == 1
