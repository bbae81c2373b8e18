"""SSL4EO-S12's ViT against timm's own network of the same name, which is what its authors' weights fit."""

import numpy as np
import pytest
import timm
import torch

from bandloom.errors import CheckpointError
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.public_encoders.ssl4eo import read
from bandloom.sensors import get_sensor

L1C = get_sensor("sentinel2-l1c")
FILE = "vit_small_patch16_224_sentinel2_all_moco-67c9032d.pth"


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return timm.create_model("vit_small_patch16_224", in_chans=13, num_classes=0, depth=2, img_size=224).eval()


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    place = tmp_path_factory.mktemp("public") / "ssl4eo"
    place.mkdir()
    torch.save({"model": theirs.state_dict() | {"head.weight": torch.zeros(2, 384)}}, place / FILE)
    return place


def chips(side_m: int) -> dict[int, torch.Tensor]:
    rng = np.random.default_rng(0)
    return {
        g.gsd_m: torch.from_numpy(
            rng.integers(1200, 5000, (1, len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m)).astype(np.int32)
        )
        for g in L1C.groups
    }


def test_it_answers_as_timm_does_on_bands_repeated_to_10_m(folder, theirs):
    encoder, groups = load_encoder(folder).eval(), chips(480)
    planes = {
        slot: (plane.repeat_interleave(g.gsd_m // 10, 0).repeat_interleave(g.gsd_m // 10, 1).float() - 1000) / 10000
        for g in L1C.groups
        for slot, plane in zip(g.slots, groups[g.gsd_m][0], strict=True)
    }
    image = torch.stack([planes[slot] for slot in L1C.slots])[None]
    with torch.no_grad():
        torch.manual_seed(0)
        same = timm.create_model("vit_small_patch16_224", in_chans=13, num_classes=0, depth=2, img_size=48).eval()
        state = theirs.state_dict()
        table = state["pos_embed"][:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
        small = (
            torch.nn.functional.interpolate(table, (3, 3), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
        )
        same.load_state_dict(state | {"pos_embed": torch.cat([state["pos_embed"][:, :1], small], dim=1)})
        expected = same.forward_features(image)[:, 1:]
        torch.testing.assert_close(encoder.forward_features(groups, L1C), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "said"), [("sentinel2-l2a", "surface reflectance"), ("landsat89-l1", "needs B05")])
def test_a_wrong_level_and_a_missing_band_are_refused(folder, name, said):
    with pytest.raises(CheckpointError, match=said):
        read(folder).check_sensor(get_sensor(name))


def test_weights_of_other_bands_are_refused(folder, tmp_path):
    state = torch.load(folder / FILE, weights_only=True)["model"]
    torch.save(state | {"patch_embed.proj.weight": torch.zeros(384, 12, 16, 16)}, tmp_path / FILE)
    with pytest.raises(CheckpointError, match="is no ViT of 13 bands"):
        load_encoder(tmp_path)
    with pytest.raises(CheckpointError, match="takes no month"):
        read(folder, month=3)


def test_a_checkpoint_made_of_it_answers_the_same(folder, tmp_path):
    encoder = read(folder).eval()
    save_encoder(tmp_path / "c", encoder, [L1C], {})
    with torch.no_grad():
        again = load_encoder(tmp_path / "c").eval().forward_features(chips(480), L1C)
        assert torch.equal(encoder.forward_features(chips(480), L1C), again)


def test_chips_are_whole_tokens_on_the_60_m_grid(folder):
    encoder = read(folder)
    assert (encoder.config.token_m, encoder.chip_step_m) == (160, 480)
