"""A model can be used before what it is compared with is there."""

import pytest
import torch

from bandloom.command_line.config import load_config
from bandloom.errors import CheckpointError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.first_model import save_first, say_what_compares
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.train import _fit_head, _prepare
from bandloom.model.checkpoint import read_record
from bandloom.run_state.run_folder import RunFolder
from bandloom.training.ranks import Ranks
from tests.finetune.models import chips
from tests.finetune.test_train import FEW


def test_the_first_model_is_the_fitted_head_and_answers(tmp_path, scene_shards, caplog):
    config = load_config(FinetuneConfig, None, [f"shards={scene_shards}", "size=demo", "baselines=[majority]", *FEW])
    setting, model = _prepare(config, Ranks(0, 0, 1, torch.device("cpu")))
    caplog.set_level("INFO", logger="bandloom")
    with RunFolder(tmp_path / "run") as run:
        run.start(config)
        assert _fit_head(setting, model, run)
        save_first(setting, model, run)
        read = load_task_model(run.checkpoint)
        with torch.no_grad():
            assert torch.equal(read(chips()), model.eval()(chips()))
        assert "scores are not known yet" in (run.checkpoint / "README.md").read_text()
        say_what_compares(setting, model, run, 12.0, 30.0)
    assert "further seeds (seeds=1 leaves them out): about 30 s" in caplog.text
    assert "random weights" not in caplog.text  # there is no checkpoint: it starts from random weights itself


def test_a_model_that_trained_is_not_written_over_by_a_first_one_and_says_which_step_is_kept(tmp_path, scene_shards):
    config = load_config(FinetuneConfig, None, [f"shards={scene_shards}", "size=demo", "baselines=[majority]", *FEW])
    setting, model = _prepare(config, Ranks(0, 0, 1, torch.device("cpu")))
    with RunFolder(tmp_path / "run") as run:
        run.start(config)
        model.trained_steps = 3
        say_what_compares(setting, model, run, 12.0, 0.0)
        assert read_record(run.checkpoint)["provenance"]["steps"] == 3  # the config's are 4
        before = (run.checkpoint / "model.safetensors").read_bytes()
        model.trained_steps = 0
        next(model.head.parameters()).data += 1
        save_first(setting, model, run)
        assert (run.checkpoint / "model.safetensors").read_bytes() == before


def test_damaged_snapshots_stop_an_attempt_before_it_writes_a_first_model(tmp_path, scene_shards):
    config = load_config(FinetuneConfig, None, [f"shards={scene_shards}", "size=demo", "baselines=[majority]", *FEW])
    setting, model = _prepare(config, Ranks(0, 0, 1, torch.device("cpu")))
    (tmp_path / "run" / "snapshots" / "step-00000004").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="holds snapshots but none is valid"):
        _fit_head(setting, model, RunFolder(tmp_path / "run"))
