import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bandloom.errors import BandloomError, CheckpointError, OutputError
from bandloom.finetune.model.checkpoint import load_task_model, save_task_model
from bandloom.finetune.model.pixel_part import LATER
from bandloom.model.checkpoint import load_encoder, save_encoder
from tests.finetune.models import S2, chips, encoder, task_model


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_a_saved_model_gives_the_same_logits(tmp_path, task):
    model = task_model(task).eval()
    model.temperature = 1.7
    save_task_model(tmp_path / "m", model, {"steps": 3})
    again = load_task_model(tmp_path / "m")
    assert torch.equal(again(chips()), model(chips()))
    assert again.temperature == 1.7
    assert (again.task, again.chip_px, again.sensor, again.label_set) == (task, 24, S2, model.label_set)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["provenance"] == {"steps": 3}
    assert "| 0 | 10 | water | #0000ff |" in (tmp_path / "m" / "README.md").read_text()


def test_the_encoder_alone_can_be_read_back(tmp_path):
    model = task_model()
    save_task_model(tmp_path / "m", model, {})
    assert torch.equal(load_encoder(tmp_path / "m").norm.weight, model.encoder.norm.weight)


def test_an_encoder_alone_is_no_fine_tuned_model(tmp_path):
    save_encoder(tmp_path / "e", encoder(), [S2], {})
    with pytest.raises(CheckpointError, match="run `bandloom finetune`"):
        load_task_model(tmp_path / "e")


def test_an_existing_folder_is_kept(tmp_path):
    save_task_model(tmp_path / "m", task_model(), {"first": True})
    with pytest.raises(OutputError, match="exists already"):
        save_task_model(tmp_path / "m", task_model(), {})
    assert "first" in (tmp_path / "m" / "config.json").read_text()


@pytest.mark.parametrize("key", ["task", "sensor", "label_set", "encoder", "statistics"])
def test_an_edited_config_is_a_sentence(tmp_path, key):
    save_task_model(tmp_path / "m", task_model(), {})
    path = tmp_path / "m" / "config.json"
    record = json.loads(path.read_text())
    record[key] = {"nonsense": 1}
    path.write_text(json.dumps(record))
    with pytest.raises(BandloomError):
        load_task_model(tmp_path / "m")


LATER_NAMES = tuple(f"head.pixel.{name}." for name in LATER)


@pytest.mark.parametrize("weights", [None, (0.5, 0.0, 0.5)])
def test_a_segmenter_from_before_there_were_wide_and_linear_answers_as_it_did(tmp_path, weights):
    """With its networks' weights or from before there were any: the plain mean then."""
    model = task_model()
    model.head.pixel.weigh([*(weights or (1 / 3,) * 3), 0.0, 0.0])
    save_task_model(tmp_path / "model", model.eval(), {})
    path = tmp_path / "model" / "model.safetensors"
    earlier = {name: value for name, value in load_file(path).items() if not name.startswith(LATER_NAMES)}
    earlier["head.pixel.weights"] = earlier["head.pixel.weights"][:3].clone()
    if weights is None:
        del earlier["head.pixel.weights"], earlier["head.pixel.windows.floor"]
        model.head.pixel.windows.floor.zero_()
    save_file(earlier, path, metadata={"format": "pt"})
    groups = chips(batch=1)
    with torch.no_grad():
        assert torch.equal(load_task_model(tmp_path / "model")(groups), model(groups))


def test_a_model_of_today_that_lost_a_tensor_is_no_earlier_one(tmp_path):
    """An earlier model gets what it was fitted with; one that says its networks' weights has a floor of its own."""
    save_task_model(tmp_path / "model", task_model(), {})
    path = tmp_path / "model" / "model.safetensors"
    weights = load_file(path)
    floor = weights.pop("head.pixel.windows.floor")
    assert floor > 0
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"windows\.floor"):
        load_task_model(tmp_path / "model")
    del weights["head.pixel.weights"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"pixel\.weights"):
        load_task_model(tmp_path / "model")
    weights = {name: value for name, value in weights.items() if not name.startswith(LATER_NAMES)}
    save_file(weights, path, metadata={"format": "pt"})
    assert load_task_model(tmp_path / "model").head.pixel.windows.floor == 0
