"""Runs public encoders by their authors' code: installed without its dependencies, in a process of its own.

``python -m tests.authors_code FAMILY FOLDER`` writes the weights as they are published, drawn at random, and golden
answers beside them; with ``--shapes SIZE`` the names and shapes of one size alone, without numbers.
"""

import importlib
import json
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PACKAGES = {
    "torchgeo": ("torchgeo==0.8.1",),
    "terratorch": ("terratorch==1.2.13",),
    "olmoearth": ("olmoearth-pretrain-minimal==0.1.5", "universal-pathlib>=0.2.5", "pathlib_abc", "fsspec"),
}
CACHE = Path(tempfile.gettempdir()) / "bandloom_authors_code"
GSD_M = {**dict.fromkeys(("B02", "B03", "B04", "B08"), 10), **dict.fromkeys(("B01", "B09", "B10"), 60)}


def authors_code(folder: Path, family: str, *more: str) -> Path:
    """Run this file for a family; the test is skipped where its authors' code cannot be had."""
    package = FAMILIES[family][0]
    place = CACHE / PACKAGES[package][0]
    if not place.is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", f"{place}.part"]
        done = subprocess.run([*command, *PACKAGES[package]], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{package} cannot be had here: {done.stderr.strip().splitlines()[-1:]}")
        Path(f"{place}.part").rename(place)
    command = [sys.executable, "-m", "tests.authors_code", family, str(folder), str(place), *more]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    return folder


def use(place: str, *packages: str) -> None:
    """Let modules of ``packages`` import without what their ``__init__`` would bring along."""
    import bandloom.model.torch_compat  # noqa: F401

    sys.path.insert(0, place)
    for name in packages:
        module = types.ModuleType(name)
        module.__path__ = [f"{place}/{name.replace('.', '/')}"]
        sys.modules[name] = module


def module(name: str) -> Any:
    return importlib.import_module(name)


def window(bands: tuple[str, ...], side: int, gsd_m: int = 10, seed: int = 0) -> np.ndarray:
    """Return digital numbers without an offset ``(H, W, C)``, coarser bands repeated to the grid."""
    rng = np.random.default_rng(seed)
    planes = []
    for band in bands:
        step = max(GSD_M.get(band, 20) // gsd_m, 1)
        planes.append(rng.integers(200, 4000, (side // step, side // step)).repeat(step, 0).repeat(step, 1))
    return np.stack(planes, axis=-1)


def randomised(network: Any) -> Any:
    """Draw every parameter that starts at 0 or 1 anew, so that none of them hides."""
    import torch

    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.unique().numel() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def write_golden(folder: Path, *, month: int | None = None, **answers: tuple[np.ndarray, int, Any]) -> None:
    """Write ``golden.npz`` of windows, patches and tokens ``(T, D)``."""
    arrays: dict[str, Any] = {}
    for name, (dn, patch_px, tokens) in answers.items():
        arrays |= {} if month is None else {f"{name}_month": month}
        arrays |= {f"{name}_dn": dn, f"{name}_patch": patch_px, f"{name}_tokens": tokens.detach().numpy()}
    np.savez(folder / "golden.npz", **arrays)


def image_of(dn: np.ndarray, shift: Any, divide: Any) -> Any:
    """Return ``(1, C, H, W)``, normalised."""
    import torch

    return torch.from_numpy(((dn - np.array(shift)) / np.array(divide)).astype(np.float32)).permute(2, 0, 1)[None]


def dofa(folder: Path, place: str, size: str | None) -> None:
    import torch

    use(place, "torchgeo", "torchgeo.models")
    theirs = module("torchgeo.models.dofa")
    if size:
        make = theirs.dofa_large_patch16_224 if size == "large" else theirs.dofa_base_patch16_224
        with torch.device("meta"):
            network = make(num_classes=0)
        state = {k: v for k, v in network.state_dict().items() if not k.startswith("fc_norm")}
        torch.save(state, folder / f"dofa_{size}_patch16_224-{'0ff904d3' if size == 'large' else 'a0275954'}.pth")
        return
    network = randomised(theirs.dofa_base_patch16_224(num_classes=0))
    torch.nn.init.normal_(network.pos_embed, std=0.5)
    torch.save(network.state_dict(), folder / "dofa_base_patch16_224-a0275954.pth")
    bands = ("B04", "B03", "B02", "B05", "B06", "B07", "B08", "B11", "B12")
    # the images are 8-bit: 255 is 3558 in the true-colour image and 8160 elsewhere; here some pixels reach beyond
    dn = window(bands, 224)
    top = np.array([3558.0] * 3 + [8160.0] * 6)
    eight = np.minimum(dn, top) * 255 / top
    mean = (114.1099739, 114.81779093, 126.63977424, 84.33539309, 97.84789168, 103.94461911, 101.435633, 72.32804172)
    std = (77.84352553, 69.96844919, 67.42465279, 64.57022983, 61.72545487, 61.34187099, 60.29744676, 47.88519516)
    image = image_of(eight, (*mean, 56.66528851), (*std, 42.55886798))
    kept: list[torch.Tensor] = []
    network.blocks[-1].register_forward_hook(lambda *call: kept.append(call[2]))
    network(image, [0.665, 0.56, 0.49, 0.705, 0.74, 0.783, 0.842, 1.61, 2.19])
    write_golden(folder, base=(dn, 16, network.fc_norm(kept[0][0, 1:])))


def croma(folder: Path, place: str, size: str | None) -> None:
    import torch

    use(place, "torchgeo", "torchgeo.models")
    theirs = module("torchgeo.models.croma")
    if size:
        shape = {"encoder_dim": 1024, "encoder_depth": 24} if size == "large" else {}
        with torch.device("meta"):
            network = theirs.CROMA(("optical",), image_size=8, **shape)
        torch.save({"s2_encoder": network.s2_encoder.state_dict()}, folder / f"CROMA_{size}.pt")
        return
    bands = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    answers = {}
    record = module("bandloom.public_encoders.family").get_family("croma")
    mean, std = np.array(record.mean), np.array(record.std)
    for side in (120, 48):
        torch.manual_seed(0)
        network = randomised(theirs.CROMA(("optical",), image_size=side))
        if side == 120:
            state = network.s2_encoder.state_dict()
        network.s2_encoder.load_state_dict(state)
        dn = window(bands, side)
        image = image_of(dn, mean - 2 * std, 4 * std).clip(0, 1)
        answers[f"side{side}"] = (dn, 8, network(x_optical=image)["optical_encodings"][0])
    torch.save({"s2_encoder": state, "s1_encoder": {}}, folder / "CROMA_base.pt")
    write_golden(folder, **answers)


def ssl4eo_resnet(folder: Path, place: str, size: str | None) -> None:
    import torch

    import bandloom.model.torch_compat  # noqa: F401

    timm = module("timm")
    name = "resnet50_sentinel2_all_" + ("dino-d6c330e9" if size == "dino" else "moco-df8b932e") + ".pth"
    with torch.device("meta" if size else "cpu"):
        network = timm.create_model("resnet50", in_chans=13, num_classes=0)
    torch.save(network.state_dict(), folder / name)
    if size:
        return
    randomised(network)
    for key, value in network.state_dict().items():
        if "running" in key:
            value.copy_(0.5 + torch.rand_like(value))
    torch.save(network.state_dict(), folder / name)
    bands = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
    dn = window(bands, 96)
    features = network.forward_features(image_of(dn, 0.0, 10000.0))
    write_golden(folder, moco=(dn, 32, features[0].flatten(1).T))


def olmoearth(version: str) -> Callable[[Path, str, str | None], None]:
    """Return what builds one version; numbers at the shape of nano, which v1.3 has not but for this."""

    def write(folder: Path, place: str, size: str | None) -> None:
        import torch

        use(place, "olmoearth_pretrain_minimal")
        inner = "olmoearth_pretrain_minimal.olmoearth_pretrain_v1."
        theirs, datatypes = module(f"{inner}olmoearth_pretrain_v1"), module(f"{inner}utils.datatypes")
        theirs.V1_3_SUPPORTED_SIZES = ("nano", "base")
        name = size or "nano"
        with torch.device("meta" if size else "cpu"):
            encoder = theirs.OlmoEarthPretrain_v1(name, version, drop_path=0.0).model.encoder.eval()
        heads = theirs.MODEL_SIZE_CONFIGS[f"{name}_shallow_decoder"]["encoder_num_heads"]
        shape = {"num_heads": heads, "mlp_ratio": 4.0, "position_encoding": str(encoder.position_encoding)}
        (folder / "config.json").write_text(json.dumps({"model": {"encoder_config": shape}}))
        if not size:
            randomised(encoder)
        torch.save({f"encoder.{k}": v for k, v in encoder.state_dict().items()}, folder / "weights.pth")
        if size:
            return
        record = module("bandloom.public_encoders.family").get_family("olmoearth")
        mean, std = np.array(record.mean), np.array(record.std)
        answers = {}
        for patch_px, side in ((8, 48), (4, 48)):
            dn = window(record.bands, side)
            image = torch.from_numpy(((dn - (mean - 2 * std)) / (4 * std)).astype(np.float32))
            sample = datatypes.MaskedOlmoEarthSample(
                timestamps=torch.tensor([[[15, 6, 2025]]]),
                sentinel2_l2a=image[None, :, :, None],
                sentinel2_l2a_mask=torch.zeros(1, side, side, 1, 3 if version == "v1" else 1),
            )
            held = encoder(sample, patch_size=patch_px, fast_pass=True)
            tokens = held["tokens_and_masks"].sentinel2_l2a.mean(dim=(3, 4))
            tokens = held.get("location_tokens", tokens)[0].flatten(0, 1)
            answers[f"patch{patch_px}"] = (dn, patch_px, tokens)
        write_golden(folder, month=6, **answers)

    return write


def prithvi(folder: Path, place: str, size: str | None) -> None:
    import torch

    use(place, "terratorch", "terratorch.models", "terratorch.models.backbones")
    theirs = module("terratorch.models.backbones.prithvi_mae")
    shapes = {  # as prithvi_vit.py has them
        "300m": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
        "600m": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "patch_size": (1, 14, 14)},
        "tiny-tl": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    }
    shapes["300m-tl"], shapes["600m-tl"] = (
        shapes[name] | {"coords_encoding": ["time", "location"], "coords_scale_learn": True}
        for name in ("300m", "600m")
    )
    shape = {"in_chans": 6, **shapes[size or "tiny-tl"]}
    name = f"Prithvi_EO_V2_{(size or 'tiny-tl').upper().replace('-', '_').replace('TINY', 'tiny')}.pt"
    torch.manual_seed(0)
    four = theirs.PrithviViT(num_frames=4, **shape) if not size else None
    if size:
        with torch.device("meta"):
            four = theirs.PrithviViT(num_frames=1, **shape)
    if not size:
        randomised(four)
    state = {f"encoder.{key}": value for key, value in four.state_dict().items()}
    torch.save(state, folder / name)
    if size:
        return
    one = theirs.PrithviViT(num_frames=1, **shape).eval()  # its table of positions is made for one date
    own = {k: v for k, v in four.state_dict().items() if k != "pos_embed"}
    one.load_state_dict(own, strict=False)
    record = module("bandloom.public_encoders.family").get_family("prithvi")
    answers = {}
    for side in (224, 96):
        dn = window(record.bands, side, 30)
        image = image_of(dn, record.mean, record.std)
        answers[f"side{side}"] = (dn, 16, one.forward_features(image)[-1][0, 1:])
    write_golden(folder, **answers)


def clay(folder: Path, place: str, size: str | None) -> None:
    import torch

    use(place, "terratorch", "terratorch.models", "terratorch.models.backbones")
    use(place, "terratorch.models.backbones.clay_v15")
    theirs = module("terratorch.models.backbones.clay_v15.model")
    shape = (1024, 24, 16) if size else (256, 3, 4)
    with torch.device("meta" if size else "cpu"):
        encoder = theirs.Encoder(0.0, 8, False, shape[0], shape[1], shape[2], 64, 4)
    if not size:
        randomised(encoder)
    state = {f"model.encoder.{key}": value for key, value in encoder.state_dict().items()}
    torch.save({"state_dict": state | {"model.proj.weight": torch.zeros(1)}}, folder / "clay-v1.5.ckpt")
    if size:
        return
    record = module("bandloom.public_encoders.family").get_family("clay")
    answers = {}
    for side in (256, 48):
        dn = window(record.bands, side)
        cube = {
            "pixels": image_of(dn, record.mean, record.std),
            "time": torch.zeros(1, 4),
            "latlon": torch.zeros(1, 4),
            "gsd": torch.tensor(10.0),
            "waves": torch.tensor([0.493, 0.56, 0.665, 0.704, 0.74, 0.783, 0.842, 0.865, 1.61, 2.19]),
        }
        answers[f"side{side}"] = (dn, 8, encoder(cube)[0][0, 1:])
    write_golden(folder, **answers)


def terramind(level: str) -> Callable[[Path, str, str | None], None]:
    """Return what builds TerraMind's raw encoder of S2L2A or S2L1C."""

    def write(folder: Path, place: str, size: str | None) -> None:
        import torch

        use(place, "terratorch", "terratorch.models", "terratorch.models.backbones")
        use(place, "terratorch.models.backbones.terramind", "terratorch.models.backbones.terramind.model")
        theirs = module("terratorch.models.backbones.terramind.model.terramind_vit")
        norm = module("terratorch.models.backbones.terramind.model.tm_utils").LayerNorm
        dim, depth, heads = {"base": (768, 12, 12), "large": (1024, 24, 16), "small": (384, 12, 6)}.get(
            size or "", (192, 12, 3)
        )
        torch.manual_seed(0)
        torch.linspace = partial(torch.linspace, device="cpu")  # it asks the values of its rates of dropping
        with torch.device("meta" if size else "cpu"):
            network = theirs.TerraMindViT(
                modalities=["S2L2A", "S2L1C"],
                dim=dim,
                encoder_depth=depth,
                num_heads=heads,
                qkv_bias=False,
                proj_bias=False,
                mlp_bias=False,
                norm_layer=partial(norm, eps=1e-6, bias=False),
                act_layer=torch.nn.SiLU,
                gated_mlp=True,
            )
        family = "terramind" if level == "S2L2A" else "terramind_l1c"
        if not size:
            randomised(network)
        torch.save(network.state_dict(), folder / f"TerraMind_v1_{size or 'tiny'}.pt")
        (folder / "origin.json").write_text(json.dumps({"family": family}))
        if size:
            return
        record = module("bandloom.public_encoders.family").get_family(family)
        answers = {}
        for side in (240, 96):  # bands of 60 m tile neither 224 pixels nor 256
            dn = window(record.bands, side)
            answers[f"side{side}"] = (dn, 16, network({level: image_of(dn, record.mean, record.std)})[-1][0])
        write_golden(folder, **answers)

    return write


FAMILIES: dict[str, tuple[str, Callable[[Path, str, str | None], None]]] = {
    "dofa": ("torchgeo", dofa),
    "croma": ("torchgeo", croma),
    "ssl4eo_resnet": ("torchgeo", ssl4eo_resnet),
    "prithvi": ("terratorch", prithvi),
    "clay": ("terratorch", clay),
    "terramind": ("terratorch", terramind("S2L2A")),
    "terramind_l1c": ("terratorch", terramind("S2L1C")),
    "olmoearth v1": ("olmoearth", olmoearth("v1")),
    "olmoearth v1.1": ("olmoearth", olmoearth("v1.1")),
    "olmoearth v1.2": ("olmoearth", olmoearth("v1.2")),
    "olmoearth v1.3": ("olmoearth", olmoearth("v1.3")),
}

if __name__ == "__main__":
    family, folder, place, *size = sys.argv[1:]
    import torch

    with torch.no_grad():
        FAMILIES[family][1](Path(folder), place, size[0] if size else None)
