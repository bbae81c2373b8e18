"""Checkpoints: what was saved comes back to the bit, and what does not fit is refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bandloom.errors import CheckpointError, OutputError
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.sensors import SLOTS, get_sensor

S2 = get_sensor("sentinel2-l1c")


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.05))
    encoder = Encoder(EncoderConfig.of_size("demo", token_m=120), statistics)
    save_encoder(tmp_path / "encoder", encoder, [S2], {"seed": 0})
    return tmp_path / "encoder"


def test_an_encoder_comes_back_to_the_bit(folder) -> None:
    again = load_encoder(folder)
    saved = load_file(folder / "model.safetensors")
    assert again.config.token_m == 120
    assert all(torch.equal(value, saved[name]) for name, value in again.state_dict().items())
    assert again.statistics.mean["B10"] == 0.15


def test_the_folder_has_hugging_faces_layout(folder) -> None:
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert (folder / "README.md").read_text().startswith("---\n")


def test_an_existing_folder_is_not_overwritten(folder) -> None:
    with pytest.raises(OutputError, match="exists already"):
        save_encoder(folder, load_encoder(folder), [S2], {})


def test_a_missing_file_is_named(folder) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"it has no model\.safetensors"):
        load_encoder(folder)


def test_a_truncated_file_is_refused(folder) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_encoder(folder)


def test_weights_of_another_shape_are_refused_by_name(folder) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["norm.weight"] = torch.ones(7)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"norm\.weight should be \(128,\), is \(7,\)"):
        load_encoder(folder)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_of_a_run_that_diverged_are_refused_by_name(folder, value) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["norm.weight"][3] = value
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"holds NaN or infinite weights \(the first in norm\.weight\)"):
        load_encoder(folder)


@pytest.mark.parametrize("damage", [float("nan"), float("inf"), None, "?", -0.05, 0.0])
def test_statistics_that_are_no_scale_are_refused(folder, damage) -> None:
    record = json.loads((folder / "config.json").read_text())
    record["statistics"]["std"]["B04"] = damage
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=r"config\.json does not describe"):
        load_encoder(folder)


def test_another_projects_folder_is_refused(folder) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(CheckpointError, match="not of this project"):
        load_encoder(folder)
