import numpy as np
import pytest
import torch
import yaml

from bandloom.errors import CheckpointError
from bandloom.finetune.baselines.classic import run_baselines
from bandloom.finetune.baselines.public_encoders import (
    ExternalConfig,
    encoder_planes,
    external_baseline,
    external_planes,
    token_planes,
)
from bandloom.finetune.data.splits import BlockSplit
from bandloom.finetune.tasks.registry import get_task
from bandloom.model.checkpoint import load_encoder
from bandloom.sensors import get_sensor
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2
from tests.public_encoder_folders import tiny_galileo

RECORD = {
    "library": "timm",
    "model": "test_vit",
    "weights": "weights.safetensors",
    "bands": ["B02", "B03", "B04", "B08"],
    "side_px": 32,
    "mean": [1500] * 4,
    "std": [800] * 4,
    "arguments": {"img_size": 32},
}


@pytest.fixture(name="folder")
def a_folder(tmp_path):
    """A small public architecture with weights of its own, as somebody would have downloaded it."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model("test_vit", in_chans=4, img_size=32).state_dict(), tmp_path / "weights.safetensors")
    write(tmp_path)
    return tmp_path


def write(folder, **changes):
    (folder / "external.yaml").write_text(yaml.safe_dump(RECORD | changes))


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_an_encoder_of_local_weights_is_scored_like_any_floor(folder, task):
    shards = FakeShards(60, 12, chips=True) if task == "classify" else FakeShards(2, 60)
    data = get_task(task).data(shards, BlockSplit(120 if task == "classify" else 300, 0), S2)
    name, baseline = external_baseline(folder, S2)
    (row,) = run_baselines([name], data, 0, {name: baseline})
    share = np.trace(row.confusion) / row.confusion.sum()
    assert share > (0.35 if task == "segment" else 0.5)  # random weights; 2 x 2 tokens see little of a map


def test_weights_that_torch_saved_are_read_too(folder):
    import timm

    model = timm.create_model("test_vit", in_chans=4, img_size=32)
    torch.save({"state_dict": model.state_dict()}, folder / "weights.pth")
    write(folder, weights="weights.pth")
    assert external_baseline(folder, S2)[0].startswith("test_vit (")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"library": "tensorflow"}, "library"),
        ({"model": "no_such_vit"}, "timm cannot build 'no_such_vit'"),
        ({"weights": "none.safetensors"}, "cannot be read"),
        ({"bands": ["B02", "red"]}, "names the band 'red'"),
        ({"mean": [1.0]}, "1 values of mean for 4 bands"),
        ({"bands": ["B02", "B03", "B04"], "mean": [], "std": []}, "no fitting patch_embed.proj.weight"),
        ({"library": "terratorch"}, "pip install terratorch"),
        ({"library": "torchgeo"}, "pip install torchgeo"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(folder, changes, said):
    write(folder, **changes)
    with pytest.raises(CheckpointError, match=said):
        external_baseline(folder, S2)


def test_planes_and_tokens_with_class_tokens_become_planes():
    class Tokens(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.arange(17.0)[None, :, None].expand(1, 17, 2)

    planes = token_planes(Tokens(), torch.zeros(1, 4, 8, 8))
    assert planes.shape == (1, 2, 4, 4)
    assert planes[0, 0, 0, 0] == 1  # the class token is left out


def test_tokens_that_form_no_square_are_refused_and_not_cut_to_one():
    class Tokens(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.zeros(1, 20, 2)

    with pytest.raises(CheckpointError, match="form no square"):
        token_planes(Tokens(), torch.zeros(1, 4, 8, 8))


def test_register_tokens_are_counted_by_the_network_itself():
    class Tokens(torch.nn.Module):
        num_prefix_tokens = 5

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.arange(21.0)[None, :, None].expand(1, 21, 2)

    assert token_planes(Tokens(), torch.zeros(1, 4, 8, 8))[0, 0].tolist()[0] == [5, 6, 7, 8]


def test_a_band_that_the_sensor_lacks_is_refused_and_never_0(folder):
    with pytest.raises(CheckpointError, match="names B08, which 'sentinel2-l1c' lacks; a band is never made up"):
        external_baseline(folder, S2.subset(["B02", "B03", "B04", "B11"]))


def test_a_sample_is_cut_into_squares_and_never_stretched():
    """A network that gives its own pixels back gives those of the sample, whatever its size."""
    config = ExternalConfig(library="timm", model="x", weights="x", bands=("B02", "B04"), scale=1.0, side_px=32)
    rng = np.random.default_rng(0)
    side = 42
    groups = {
        g.gsd_m: rng.integers(1100, 9000, (len(g.bands), side * 10 // g.gsd_m, side * 10 // g.gsd_m)) for g in S2.groups
    }
    planes = external_planes(torch.nn.Identity(), config, groups, S2)
    np.testing.assert_allclose(planes, (groups[10][[0, 2]] - 1000) / 10000, rtol=1e-5)


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_a_known_family_is_scored_through_the_interface_of_our_own(tmp_path, task):
    shards = FakeShards(60, 12, chips=True) if task == "classify" else FakeShards(2, 60)
    data = get_task(task).data(shards, BlockSplit(120 if task == "classify" else 300, 0), S2)
    name, baseline = external_baseline(tiny_galileo(tmp_path / "galileo"), S2)
    (row,) = run_baselines([name], data, 0, {name: baseline})
    assert name.startswith("Galileo")
    assert np.trace(row.confusion) / row.confusion.sum() > (0.35 if task == "segment" else 0.5)
    with pytest.raises(CheckpointError, match="surface reflectance"):
        external_baseline(tmp_path / "galileo", get_sensor("sentinel2-l2a"))


def test_tokens_of_a_known_family_lie_where_their_ground_does(tmp_path):
    """A sample larger than what it was pretrained on is cut, and each part answers as it does alone."""
    encoder = load_encoder(tiny_galileo(tmp_path / "galileo")).eval()
    rng = np.random.default_rng(0)
    groups = {g.gsd_m: rng.integers(1100, 9000, (len(g.bands), 840 // g.gsd_m, 840 // g.gsd_m)) for g in S2.groups}
    planes = encoder_planes(encoder, groups, S2)
    assert planes.shape == (32, 84, 84)
    first = {g: torch.from_numpy(x[None, :, : 720 // g, : 720 // g]) for g, x in groups.items()}
    with torch.no_grad():
        tokens = encoder.forward_features(first, S2)[0]
    np.testing.assert_allclose(planes[:, 8, 65], tokens[12 + 10].numpy(), rtol=1e-4, atol=1e-5)
