"""Every family of public encoders, tiny: weights drawn at random under its authors' names and shapes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bandloom.public_encoders.family import get_family
from tests.public_encoder_folders import tiny_galileo

WIDTH, DEPTH = 64, 2
Shapes = dict[str, tuple[int, ...]]


def linear(name: str, given: int, wanted: int, *, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (wanted, given)} | ({f"{name}.bias": (wanted,)} if bias else {})


def norm(name: str, width: int = WIDTH) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def timm_blocks(width: int = WIDTH, depth: int = DEPTH, prefix: str = "blocks.") -> Shapes:
    return merged(
        *(
            merged(
                norm(f"{prefix}{index}.norm1", width),
                norm(f"{prefix}{index}.norm2", width),
                linear(f"{prefix}{index}.attn.qkv", width, 3 * width),
                linear(f"{prefix}{index}.attn.proj", width, width),
                linear(f"{prefix}{index}.mlp.fc1", width, 4 * width),
                linear(f"{prefix}{index}.mlp.fc2", 4 * width, width),
            )
            for index in range(depth)
        )
    )


def hypernetwork(prefix: str, residual: tuple[str, str], transformer: str, kernel: int) -> Shapes:
    """Return the shapes of the network that makes kernels of wavelengths."""
    inner = f"{prefix}weight_generator."
    layer = f"{inner}{transformer}.layers.0."
    return merged(
        linear(f"{prefix}fclayer.{residual[0]}", 128, 128),
        linear(f"{prefix}fclayer.{residual[1]}", 128, 128),
        {f"{inner}weight_tokens": (128, 128), f"{inner}bias_token": (1, 128)},
        {f"{layer}self_attn.in_proj_weight": (384, 128), f"{layer}self_attn.in_proj_bias": (384,)},
        linear(f"{layer}self_attn.out_proj", 128, 128),
        linear(f"{layer}linear1", 128, 2048),
        linear(f"{layer}linear2", 2048, 128),
        norm(f"{layer}norm1", 128),
        norm(f"{layer}norm2", 128),
        linear(f"{inner}fc_weight", 128, kernel),
        linear(f"{inner}fc_bias", 128, WIDTH),
    )


def drawn(shapes: Shapes) -> dict[str, torch.Tensor]:
    """Draw weights: norms around 1, everything else small; running variances are positive."""
    draw = torch.Generator().manual_seed(0)
    state = {name: 0.1 * torch.randn(*shape, generator=draw) for name, shape in shapes.items()}
    for name in state:
        if "norm" in name and name.endswith("weight"):
            state[name] += 1
        if "running_var" in name or (".bn" in name and name.endswith("weight")):
            state[name] = state[name].abs() + 1
    return state


def ssl4eo() -> Shapes:
    first = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 197, WIDTH)}
    patches = {"patch_embed.proj.weight": (WIDTH, 13, 16, 16), "patch_embed.proj.bias": (WIDTH,)}
    return merged(first, patches, timm_blocks(), norm("norm"))


def ssl4eo_resnet() -> Shapes:
    def convolved(conv: str, bn: str, wanted: int, given: int, side: int) -> Shapes:
        moments = {f"{bn}.running_mean": (wanted,), f"{bn}.running_var": (wanted,)}
        return {f"{conv}.weight": (wanted, given, side, side)} | norm(bn, wanted) | moments

    shapes, given, width = convolved("conv1", "bn1", 8, 13, 7), 8, 8
    for stage in range(1, 5):
        block = f"layer{stage}.0"
        shapes |= convolved(f"{block}.conv1", f"{block}.bn1", width, given, 1)
        shapes |= convolved(f"{block}.conv2", f"{block}.bn2", width, width, 3)
        shapes |= convolved(f"{block}.conv3", f"{block}.bn3", 4 * width, width, 1)
        shapes |= convolved(f"{block}.downsample.0", f"{block}.downsample.1", 4 * width, given, 1)
        given, width = 4 * width, 2 * width
    return shapes


def dofa() -> Shapes:
    first = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 197, WIDTH)}
    kernels = hypernetwork("patch_embed.", ("w1", "w2"), "transformer_encoder", 256 * WIDTH)
    return merged(first, kernels, timm_blocks(), norm("fc_norm"))


def croma() -> Shapes:
    shapes = merged(linear("linear_input", 12 * 64, WIDTH), norm("transformer.norm_out"))
    for index in range(DEPTH):
        layer = f"transformer.layers.{index}."
        shapes |= merged(
            norm(f"{layer}0.input_norm"),
            linear(f"{layer}0.to_qkv", WIDTH, 3 * WIDTH, bias=False),
            linear(f"{layer}0.to_out", WIDTH, WIDTH),
            norm(f"{layer}1.input_norm"),
            linear(f"{layer}1.net.0", WIDTH, 4 * WIDTH),
            linear(f"{layer}1.net.3", 4 * WIDTH, WIDTH),
        )
    return shapes


def prithvi() -> Shapes:
    first = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + 4 * 196, WIDTH)}  # of four dates
    patches = {"patch_embed.proj.weight": (WIDTH, 6, 1, 16, 16), "patch_embed.proj.bias": (WIDTH,)}
    own = merged(first, patches, {"temporal_embed_enc.scale": (1,)}, timm_blocks(), norm("norm"))
    return {f"encoder.{name}": shape for name, shape in own.items()} | {"decoder.mask_token": (1, 1, 8)}


def clay() -> Shapes:
    shapes = merged({"cls_token": (1, 1, WIDTH)}, norm("transformer.norm"))
    shapes |= hypernetwork("patch_embedding.", ("l1", "l2"), "encoder", 64 * WIDTH)
    for index in range(DEPTH):
        layer = f"transformer.layers.{index}."
        shapes |= merged(
            norm(f"{layer}0.norm"),
            linear(f"{layer}0.to_qkv", WIDTH, 3 * WIDTH, bias=False),
            linear(f"{layer}0.to_out", WIDTH, WIDTH, bias=False),
            norm(f"{layer}1.net.0"),
            linear(f"{layer}1.net.1", WIDTH, 4 * WIDTH),
            linear(f"{layer}1.net.3", 4 * WIDTH, WIDTH),
        )
    return {f"model.encoder.{name}": shape for name, shape in shapes.items()} | {"model.proj.weight": (8, WIDTH)}


def terramind() -> Shapes:
    shapes: Shapes = {"encoder_norm.weight": (WIDTH,)}
    for key, bands in (("untok_sen2l2a@224", 12), ("untok_sen2l1c@224", 13)):
        embedding = f"encoder_embeddings.{key}."
        shapes |= {f"{embedding}mod_emb": (1, 1, WIDTH), f"{embedding}pos_emb": (1, 196, WIDTH)}
        shapes |= linear(f"{embedding}proj", bands * 256, WIDTH, bias=False)
    hidden = int(2 * (4 * WIDTH) / 3)
    for index in range(DEPTH):
        block = f"encoder.{index}."
        shapes |= merged(
            {f"{block}norm1.weight": (WIDTH,), f"{block}norm2.weight": (WIDTH,)},
            linear(f"{block}attn.qkv", WIDTH, 3 * WIDTH, bias=False),
            linear(f"{block}attn.proj", WIDTH, WIDTH, bias=False),
            linear(f"{block}mlp.fc1", WIDTH, hidden, bias=False),
            linear(f"{block}mlp.fc2", hidden, WIDTH, bias=False),
            linear(f"{block}mlp.fc3", WIDTH, hidden, bias=False),
        )
    return shapes


def dinov3() -> Shapes:
    shapes = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.mask_token": (1, 1, WIDTH),
        "embeddings.register_tokens": (1, 4, WIDTH),
        "embeddings.patch_embeddings.weight": (WIDTH, 3, 16, 16),
        "embeddings.patch_embeddings.bias": (WIDTH,),
        **norm("norm"),
    }
    for index in range(DEPTH):
        layer = f"model.layer.{index}."
        shapes |= merged(
            norm(f"{layer}norm1"),
            norm(f"{layer}norm2"),
            linear(f"{layer}attention.q_proj", WIDTH, WIDTH),
            linear(f"{layer}attention.k_proj", WIDTH, WIDTH, bias=False),
            linear(f"{layer}attention.v_proj", WIDTH, WIDTH),
            linear(f"{layer}attention.o_proj", WIDTH, WIDTH),
            {f"{layer}layer_scale1.lambda1": (WIDTH,), f"{layer}layer_scale2.lambda1": (WIDTH,)},
            linear(f"{layer}mlp.up_proj", WIDTH, 4 * WIDTH),
            linear(f"{layer}mlp.down_proj", 4 * WIDTH, WIDTH),
        )
    return shapes


def olmoearth() -> Shapes:
    """Return the shapes of v1.3, which has every part that others have and a pooler."""

    def block(prefix: str) -> Shapes:
        parts = (linear(f"{prefix}attn.{name}", WIDTH, WIDTH) for name in ("q", "k", "v", "proj"))
        hidden = linear(f"{prefix}mlp.fc1", WIDTH, 4 * WIDTH), linear(f"{prefix}mlp.fc2", 4 * WIDTH, WIDTH)
        return merged(norm(f"{prefix}norm1"), norm(f"{prefix}norm2"), *parts, *hidden)

    modality = "sentinel2_l2a"
    embedding = f"patch_embeddings.per_modality_embeddings.{modality}.{modality}__0."
    shapes = merged(
        linear(f"{embedding}pixel_proj.0", 12, 8),
        linear(f"{embedding}proj", 8 * 64, WIDTH),
        {f"composite_encodings.per_modality_channel_embeddings.{modality}": (1, WIDTH // 4)},
        norm("norm"),
        {"attention_pooler.learned_query": (1, WIDTH)},
        norm("attention_pooler.norm"),
        norm("attention_pooler.input_norm"),
        block("attention_pooler.read_blocks.0."),
        block("attention_pooler.self_attn_blocks.0."),
    )
    for index in range(DEPTH):
        freqs = {f"blocks.{index}.attn.rope_mixed_freqs": (3, OLMO_HEADS, WIDTH // OLMO_HEADS // 2)}
        shapes |= merged(block(f"blocks.{index}."), freqs)
    return {f"encoder.{name}": shape for name, shape in shapes.items()} | {"decoder.mask_token": (WIDTH,)}


OLMO_HEADS = 4
CONFIGS: dict[str, dict[str, Any]] = {
    "dinov3": {"model_type": "dinov3_vit"},
    "olmoearth": {"model": {"encoder_config": {"num_heads": OLMO_HEADS, "position_encoding": "rope_3d_mixed"}}},
    "terramind_l1c": {"family": "terramind_l1c"},
}
SHAPES: dict[str, Callable[[], Shapes]] = {
    "ssl4eo": ssl4eo,
    "ssl4eo_resnet": ssl4eo_resnet,
    "dofa": dofa,
    "croma": croma,
    "prithvi": prithvi,
    "clay": clay,
    "terramind": terramind,
    "terramind_l1c": terramind,
    "dinov3": dinov3,
    "olmoearth": olmoearth,
}
WRAPPED = {"croma": "s2_encoder", "clay": "state_dict"}


def tiny_family(family: str, folder: Path) -> Path:
    """Write a tiny encoder of a family as its authors would publish it."""
    if family == "galileo":
        return tiny_galileo(folder)
    folder.mkdir(parents=True)
    name = next(iter(next(iter(get_family(family).sizes.values())).files))
    state: Any = drawn(SHAPES[family]())
    if family in CONFIGS:
        side = "origin.json" if "family" in CONFIGS[family] else "config.json"
        (folder / side).write_text(json.dumps(CONFIGS[family]))
    if name.endswith(".safetensors"):
        save_file(state, folder / name)
    else:
        torch.save({WRAPPED[family]: state} if family in WRAPPED else state, folder / name)
    return folder
