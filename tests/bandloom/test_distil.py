"""``bandloom distil``: the configs that it writes, and the page that explains it, run as it stands."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from bandloom.cli import main
from bandloom.distil import crop_px, distil, student_config, token_config
from bandloom.errors import ConfigError, OutputError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.model.checkpoint import load_task_model, save_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.checkpoint import load_encoder
from bandloom.pretrain.config import PretrainConfig
from bandloom.public_encoders.load import read_public
from bandloom.scores import read_scores
from bandloom.sensors import get_sensor
from tests.finetune.models import LABELS, task_model
from tests.public_encoder_folders import tiny_galileo

PAGE = Path(__file__).parents[2] / "docs" / "distil.md"
CONFIG = {"shards": "shards", "task": "segment", "mode": "lora", "lora_rank": 4, "trainer": {"steps": 7}}


def run_of(folder: Path, model: TaskModel) -> Path:
    save_task_model(folder / "checkpoint", model, {})
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def test_both_configs_are_configs_of_their_verbs(tmp_path: Path) -> None:
    teacher = run_of(tmp_path / "teacher", task_model())
    tokens = PretrainConfig(**token_config(CONFIG, teacher, "demo", None, 9, 3))
    assert (tokens.shards, tokens.size, tokens.objective.teacher) == (Path("shards"), "demo", teacher)
    student = FinetuneConfig(**student_config(CONFIG, teacher, tmp_path / "tokens", 5, 0.25, 3))
    assert student.soft is not None
    assert (student.soft.teacher, student.soft.weight) == (teacher, 0.25)
    assert (student.mode, student.chip_px, student.trainer.steps, student.trainer.seed) == ("full", 24, 5, 3)
    kept = FinetuneConfig(**student_config(CONFIG, teacher, tmp_path / "tokens", None, 0.0, 0))
    assert (kept.soft, kept.trainer.steps) == (None, 7)


def test_the_crop_is_as_long_as_the_teacher_takes(tmp_path: Path) -> None:
    encoder = read_public(tiny_galileo(tmp_path / "galileo"))
    teacher = run_of(tmp_path / "teacher", TaskModel(encoder, get_sensor("sentinel2-l1c"), LABELS, "segment", 24))
    for side_px, expected in ((48, None), (72, None), (120, 72)):
        (tmp_path / "manifest.json").write_text(json.dumps({"side_px": side_px}))
        assert crop_px(str(tmp_path), teacher) == expected
    assert crop_px(str(tmp_path), run_of(tmp_path / "own", task_model())) is None


def test_what_is_no_fine_tuned_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run folder"):
        distil(tmp_path / "nothing", tmp_path / "out")
    run_of(tmp_path / "run", task_model())
    (tmp_path / "run" / "config.yaml").write_text("shards: x")
    with pytest.raises(ConfigError, match="no run of `bandloom finetune` that has ended"):
        distil(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    teacher = run_of(tmp_path / "teacher", task_model())
    with pytest.raises(OutputError, match="holds a run of its own"):
        distil(teacher, teacher)


@pytest.mark.slow
def test_the_page_runs_from_scenes_to_a_small_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text().split("## A small model")[1]
    (tmp_path / "teacher.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    monkeypatch.chdir(tmp_path)
    for line in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[0].splitlines():  # docs/distil.md
        with pytest.raises(SystemExit) as end:
            main(shlex.split(line)[1:])
        assert not end.value.code, line
    assert read_scores(tmp_path / "runs/small/student/metrics.json").rows[0].name == "fine-tuned"
    student = load_task_model(tmp_path / "runs/small/student/checkpoint")
    taught = load_encoder(tmp_path / "runs/small/tokens/checkpoint")
    assert student.encoder.config == taught.config
    assert (tmp_path / "small.bundle" / "bundle.json").is_file()
