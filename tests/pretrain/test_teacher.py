"""Teachers: their tokens by area, which levels, bands and sides they take."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bandloom.errors import CheckpointError, ConfigError
from bandloom.model.checkpoint import save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.pretrain.teacher import area_pooled, read_teacher
from bandloom.sensors import SENSORS, SLOTS
from tests.public_encoder_folders import tiny_galileo

L1C, L2A = SENSORS["sentinel2-l1c"], SENSORS["sentinel2-l2a"]


@pytest.mark.parametrize(("given", "wanted"), [((4, 6), (2, 3)), ((3, 3), (4, 4)), ((2, 3), (4, 6)), ((3, 2), (3, 2))])
def test_pooling_is_the_mean_by_area_of_what_was_read(given: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Against a loop over a fine grid that both tile."""
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, given[0] * given[1], 3, generator=draw)
    read = torch.rand(2, given[0] * given[1], generator=draw) < 0.6
    found, there = area_pooled(tokens, read, given, wanted)
    fine = (given[0] * wanted[0], given[1] * wanted[1])
    for b in range(2):
        for y in range(wanted[0]):
            for x in range(wanted[1]):
                values = []
                for i in range(y * given[0], (y + 1) * given[0]):
                    for j in range(x * given[1], (x + 1) * given[1]):
                        t = i * given[0] // fine[0] * given[1] + j * given[1] // fine[1]
                        values += [tokens[b, t].numpy()] if read[b, t] else []
                own = y * wanted[1] + x
                assert bool(there[b, own]) == bool(values)
                expected = np.mean(values, axis=0) if values else np.zeros(3)
                np.testing.assert_allclose(found[b, own].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_public_teacher_refuses_another_level_and_sides_that_it_never_saw(tmp_path: Path) -> None:
    teacher = read_teacher(tiny_galileo(tmp_path / "galileo"), 60)
    assert teacher.takes(L1C)
    assert not teacher.takes(L2A)
    with pytest.raises(CheckpointError, match="surface reflectance"):
        teacher.check_sensor(L2A)
    with pytest.raises(CheckpointError, match="reads B05, B06, B07 as one token"):
        teacher.check_sensor(L1C.subset([band.name for band in L1C.bands if band.name != "B06"]))
    teacher.check_side(72)
    with pytest.raises(ConfigError, match=r"2400 m.*at most 720 m; use crop_px=72"):
        teacher.check_side(240)
    with pytest.raises(ConfigError, match=r"500 m.*multiples of 60 m.*crop_px=48"):
        teacher.check_side(50)
    assert (teacher.licence() or {})["name"] == "MIT"


def test_our_own_checkpoint_teaches_its_own_level_and_its_own_bands(tmp_path: Path) -> None:
    known = {slot: 0.1 for slot in SLOTS if slot != "B10"}
    encoder = Encoder(EncoderConfig(embed_dim=32, depth=1, num_heads=2), Statistics(mean=known, std=known))
    save_encoder(tmp_path / "checkpoint", encoder, [L2A], {})
    teacher = read_teacher(tmp_path, 60)  # a run's folder
    assert teacher.takes(L2A)
    with pytest.raises(CheckpointError, match=r"trained on surface reflectance, and 'sentinel2-l1c' is toa"):
        teacher.check_sensor(L1C)
    unseen = L2A.subset(["B02", "B03"])
    assert teacher.takes(unseen)
    assert teacher.licence() is None
    teacher.check_side(240)
    assert not any(parameter.requires_grad for parameter in teacher.encoder.parameters())
