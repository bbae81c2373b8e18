import logging
from types import SimpleNamespace

import pytest

from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import TEST, TRAIN, VAL
from benchmarks import finetuned_students
from benchmarks.finetuned_students import Heard, copy_few


@pytest.fixture
def chips(tmp_path, monkeypatch):
    """Twelve chips of two classes: six train, two validate, four test."""
    roles = [TRAIN] * 6 + [VAL] * 2 + [TEST] * 4
    for number in range(12):
        path = tmp_path / "chips" / ("water" if number % 2 else "trees") / f"chip{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    entries = [SimpleNamespace(key=f"chip{number}_r0000_c0000") for number in range(12)]
    held = SimpleNamespace(
        shards=SimpleNamespace(entries=entries),
        indices_of=lambda role: [i for i, own in enumerate(roles) if own == role],
    )
    monkeypatch.setattr(finetuned_students, "open_data", lambda config: held)
    return tmp_path / "chips"


def test_few_labels_cut_training_and_validation_chips_and_leave_the_test_whole(chips, tmp_path):
    copy_few(chips, tmp_path / "few", FinetuneConfig(shards=chips), count=1, seed=0)
    kept = {int(path.stem.removeprefix("chip")) for path in (tmp_path / "few").rglob("*.tif")}
    assert {8, 9, 10, 11} <= kept
    assert len(kept & set(range(6))) == 2
    assert len(kept & {6, 7}) == 2


def test_what_a_fine_tuning_says_of_its_first_head_and_its_step_is_heard():
    heard = Heard()
    for said in (
        "chips: weights of what the first head reads: tokens 0.33, filters 0.33, statistics 0.33",
        "step 40 of 100 is kept, which validation ground scores best; keep=last keeps the last",
    ):
        heard.emit(logging.LogRecord("bandloom", logging.INFO, "", 0, said, None, None))
    assert heard.found == {"weight": 0.33, "kept": 40.0}
