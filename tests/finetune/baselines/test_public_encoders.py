import numpy as np
import pytest
import torch
import yaml

from bandloom.errors import CheckpointError
from bandloom.finetune.baselines.classic import run_baselines
from bandloom.finetune.baselines.public_encoders import external_baseline, token_planes
from bandloom.finetune.data.splits import BlockSplit
from bandloom.finetune.tasks.registry import get_task
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2

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
    name, baseline = external_baseline(folder)
    (row,) = run_baselines([name], data, 0, {name: baseline})
    share = np.trace(row.confusion) / row.confusion.sum()
    assert share > (0.35 if task == "segment" else 0.5)  # random weights; 2 x 2 tokens see little of a map


def test_weights_that_torch_saved_are_read_too(folder):
    import timm

    model = timm.create_model("test_vit", in_chans=4, img_size=32)
    torch.save({"state_dict": model.state_dict()}, folder / "weights.pth")
    write(folder, weights="weights.pth")
    assert external_baseline(folder)[0].startswith("test_vit (")


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
        external_baseline(folder)


def test_planes_and_tokens_with_class_tokens_become_planes():
    class Tokens(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.arange(17.0)[None, :, None].expand(1, 17, 2)

    planes = token_planes(Tokens(), torch.zeros(1, 4, 8, 8))
    assert planes.shape == (1, 2, 4, 4)
    assert planes[0, 0, 0, 0] == 1  # the class token is left out
