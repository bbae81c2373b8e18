"""A model can be used before what it is compared with is there."""

import torch

from bandloom.config import load_config
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.first_model import save_first, say_what_compares
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.train import _fit_head, _prepare
from bandloom.run_folder import RunFolder
from bandloom.training.ranks import Ranks
from tests.finetune.models import chips
from tests.finetune.test_train import FEW


def test_the_first_model_is_the_fitted_head_and_answers(tmp_path, scene_shards, caplog):
    config = load_config(FinetuneConfig, None, [f"shards={scene_shards}", "size=demo", *FEW])
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
