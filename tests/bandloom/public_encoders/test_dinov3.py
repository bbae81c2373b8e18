"""DINOv3 against transformers' network (the hub's format) and timm's, small, with random weights."""

import json

import numpy as np
import pytest
import torch

from bandloom.model.checkpoint import load_encoder
from bandloom.public_encoders.dinov3 import META_FILE
from bandloom.sensors import get_sensor

RGB = get_sensor("sentinel2-l1c").subset(["B02", "B03", "B04"])
MEAN, STD = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)


@pytest.fixture(scope="module")
def theirs():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.DINOv3ViTConfig(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        num_register_tokens=4,
        pos_embed_rescale=None,
    )
    network = transformers.DINOv3ViTModel(config).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def image_of(groups: dict[int, torch.Tensor]) -> torch.Tensor:
    """Return the image as a user of Meta's code would make it of Sentinel-2: 255 is a reflectance of 0.3558."""
    rgb = ((groups[10][:, [2, 1, 0]] - 1000) / 3558).clamp(0, 1)
    return (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.mark.parametrize("side", [48, 96])
def test_it_answers_as_transformers_does_and_as_timm_does(theirs, tmp_path, side):
    from safetensors.torch import save_file

    rng = np.random.default_rng(0)
    groups = {10: torch.from_numpy(rng.integers(1000, 5500, (1, 3, side, side))).float()}
    with torch.no_grad():
        expected = theirs(image_of(groups)).last_hidden_state[:, 5:]
    hub = tmp_path / "hub"
    hub.mkdir()
    save_file(theirs.state_dict(), hub / "model.safetensors")
    (hub / "config.json").write_text(json.dumps({"model_type": "dinov3_vit"}))
    encoder = load_encoder(hub).eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_features(groups, RGB), expected, atol=1e-4, rtol=1e-4)


def test_metas_format_answers_as_timm_does(tmp_path):
    import timm

    torch.manual_seed(0)
    name = "vit_small_patch16_dinov3_qkvb"
    network = timm.create_model(name, num_classes=0, depth=2, init_values=0.7).eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    meta = {}
    for key, value in network.state_dict().items():
        key = key.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        if "q_bias" in key:
            block = key.removesuffix("q_bias")
            value = torch.cat(
                [value, torch.randn_like(value), network.state_dict()[f"{block}v_bias"]]
            )  # keys' is masked
            key = f"{block}qkv.bias"
        if "v_bias" not in key and "k_bias" not in key:
            meta[key] = value
    meta["rope_embed.periods"] = meta["mask_token"] = torch.zeros(1)
    torch.save(meta, tmp_path / META_FILE)
    encoder = load_encoder(tmp_path).eval()
    groups = {10: torch.from_numpy(np.random.default_rng(0).integers(1000, 5500, (1, 3, 96, 96))).float()}
    with torch.no_grad():
        expected = network.forward_features(image_of(groups))[:, 5:]
        torch.testing.assert_close(encoder.forward_features(groups, RGB), expected, atol=1e-4, rtol=1e-4)
