"""Stand-ins for bands that a sensor lacks: never by default, the nearest one, and said wherever the encoder goes."""

import json

import numpy as np
import pytest
import torch

from bandloom.cli import main
from bandloom.errors import CheckpointError
from bandloom.export.from_torch.export_run import load_model
from bandloom.finetune.model.checkpoint import save_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.checkpoint import load_encoder
from bandloom.public_encoders.nearest_slot import nearest_slots
from bandloom.sensors import get_sensor
from tests.finetune.models import LABELS, S2, chips
from tests.public_encoder_folders import tiny_galileo

LACKING = S2.subset([band.name for band in S2.bands if band.slot not in ("B05", "B06")])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Galileo as its authors publish it, and imported with stand-ins allowed."""
    place = tmp_path_factory.mktemp("nearest")
    published = tiny_galileo(place / "galileo")
    with pytest.raises(SystemExit) as ended:
        main(["encoder", "import", str(published), "--to", str(place / "imported"), "--nearest-slot"])
    assert ended.value.code == 0
    return published, place / "imported"


@pytest.mark.parametrize(
    ("sensor", "nearest"),
    [
        (S2, {}),
        (LACKING, {"B05": "B04", "B06": "B07"}),  # 705 nm: 665 before 783; 740 nm: 783 before 665
        (get_sensor("landsat89-l1"), {"B05": "B04", "B06": "B04", "B07": "B8A", "B08": "B8A"}),
    ],
)
def test_the_nearest_band_in_wavelength_stands_in(sensor, nearest, folders):
    bands = load_encoder(folders[0]).family.bands
    assert nearest_slots(bands, sensor) == nearest


def test_no_band_of_another_part_of_the_spectrum_stands_in(folders):
    visible = S2.subset(["B02", "B03", "B04"])
    with pytest.raises(CheckpointError, match=r"B11 \(1614 nm\) has no stand-in in '.*': B04 is 949 nm away"):
        nearest_slots(("B11",), visible)
    with pytest.raises(CheckpointError, match="has no stand-in"):
        load_encoder(folders[1]).check_sensor(visible)


def test_a_stand_in_is_refused_unless_it_was_asked_for(folders):
    with pytest.raises(CheckpointError, match="B05, B06"):
        load_encoder(folders[0]).check_sensor(LACKING)
    load_encoder(folders[1]).check_sensor(LACKING)
    surface = get_sensor("sentinel2-l2a")
    with pytest.raises(CheckpointError, match="was pretrained on top-of-atmosphere"):
        load_encoder(folders[1]).check_sensor(surface)


def test_features_are_those_of_a_chip_whose_missing_bands_hold_their_stand_ins(folders):
    encoder = load_encoder(folders[1]).eval()
    complete = chips()
    tens, twenties = ([band.slot for band in group.bands] for group in S2.groups[:2])
    blocks = complete[20][:, twenties.index("B06")]
    complete[10][:, tens.index("B04")] = blocks.repeat_interleave(2, 1).repeat_interleave(2, 2)
    complete[20][:, twenties.index("B05")] = blocks  # what B04 holds, on the grid of B05
    complete[20][:, twenties.index("B06")] = complete[20][:, twenties.index("B07")]
    lacking = {
        group.gsd_m: torch.stack(
            [complete[group.gsd_m][:, [b.slot for b in whole.bands].index(slot)] for slot in group.slots], dim=1
        )
        for group, whole in zip(LACKING.groups, S2.groups, strict=True)
    }
    with torch.no_grad():
        expected, given = encoder.forward_features(complete, S2), encoder.forward_features(lacking, LACKING)
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_record_card_and_bundle_say_what_stands_in_for_what(folders, tmp_path):
    encoder = load_encoder(folders[1])
    encoder.learn_statistics(encoder.statistics.model_copy(update=_everywhere(0.2, 0.1)))
    save_task_model(tmp_path / "m", TaskModel(encoder, LACKING, LABELS, "classify", 24), {})
    record = json.loads((tmp_path / "m" / "config.json").read_text())
    assert record["encoder"]["nearest_slot"] is True
    said = "B05 is read from B04, B06 is read from B07"
    assert said in (tmp_path / "m" / "README.md").read_text()
    model, provenance = load_model(tmp_path / "m")
    assert provenance["encoder_bands"] == said
    assert model.encoder.stand_ins(S2) == ""


def _everywhere(mean: float, std: float) -> dict[str, dict[str, float]]:
    return {"mean": dict.fromkeys(S2.slots, mean), "std": dict.fromkeys(S2.slots, std)}
