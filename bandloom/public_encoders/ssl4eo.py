"""SSL4EO-S12's ViT-S/16 (Wang et al. 2023, arXiv 2211.07044) on thirteen bands of Level-1C: timm's own ViT."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.errors import CheckpointError
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.public_encoder import PublicConfig, PublicEncoder, SlotStatistics, own_statistics
from bandloom.sensors import Sensor

FAMILY = "ssl4eo"
BASE_SIDE = 14  # tokens a side of the position table, 224 pixels in patches of 16
HEAD_DIM = 64  # of ViT-S to H
NORM_EPS = 1e-6
DIVIDE = 10_000.0
WRAPPERS = ("model", "state_dict", "teacher")
PREFIXES = ("module.base_encoder.", "module.", "backbone.", "encoder.")
OWN = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.")  # heads and decoders are left aside
CUBIC = -0.5  # of torch's antialiased bicubic interpolation, and PIL's


class ViTEmbedding(SlotStatistics):
    """Pixels of a patch to one vector, the class token, and the table of positions."""

    def __init__(self, config: PublicConfig, statistics: Statistics, bands: int) -> None:
        super().__init__(statistics)
        width = config.embed_dim
        self.project = nn.Linear(bands * config.patch_px**2, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1 + BASE_SIDE**2, width).normal_(std=0.02))

    def forward(self, samples: Tensor, positions: Tensor) -> Tensor:
        """Return ``(B, 1 + T, D)``, the class token first, of samples ``(B, T, S)`` and positions ``(T, D)``."""
        tokens = self.project(samples) + positions
        first = (self.class_token + self.positions[:1]).to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        return torch.cat([first, tokens], dim=1)


class Ssl4eo(PublicEncoder):
    """A plain vision transformer; see the record ``ssl4eo.yaml``."""

    def __init__(self, config: PublicConfig, statistics: Statistics | None = None) -> None:
        family = get_family(FAMILY)
        embedding = ViTEmbedding(config, statistics or own_statistics(config, family), len(family.bands))
        super().__init__(config, statistics, embedding, NORM_EPS)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the table of positions brought to a grid of tokens, bicubic as timm does it, ``(T, D)``."""
        table = self.embed.positions[1:].unflatten(0, (BASE_SIDE, BASE_SIDE)).permute(2, 0, 1)  # (D, 14, 14)
        down, across = (torch.from_numpy(bicubic(BASE_SIDE, side)).to(table) for side in (rows, columns))
        return (down @ table @ across.T).flatten(1).T

    def to_sequence(self, samples: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Return the class token and the tokens of the image, ``(B, 1 + T, D)``."""
        return self.embed(samples, positions)

    def to_tokens(self, sequence: Tensor, tokens: int) -> Tensor:
        """Return the tokens of the image, ``(B, T, D)``."""
        return sequence[:, 1:]


def bicubic(given: int, wanted: int) -> np.ndarray:
    """Return the matrix of antialiased bicubic interpolation along one axis, ``(wanted, given)`` float32."""
    scale = given / wanted
    stretch = max(scale, 1.0)
    centre = (np.arange(wanted) + 0.5) * scale
    distance = np.abs((np.arange(given)[None] + 0.5 - centre[:, None]) / stretch)
    near = (CUBIC + 2) * distance**3 - (CUBIC + 3) * distance**2 + 1
    far = CUBIC * distance**3 - 5 * CUBIC * distance**2 + 8 * CUBIC * distance - 4 * CUBIC
    weight = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds one of the published files."""
    return _file(folder) is not None


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> Ssl4eo:
    """Read the encoder from the published file.

    Args:
        folder: that holds it.
        patch_px: 16 or None: the kernels have one size.
        month: None: it knows no date.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    family, found = get_family(FAMILY), _file(folder)
    if found is None:
        raise CheckpointError(f"{folder} holds none of the files of {FAMILY}; see `bandloom encoder show {FAMILY}`.")
    if patch_px not in (None, family.patch_px) or month is not None:
        raise CheckpointError(f"{FAMILY} takes patches of {family.patch_px} pixels and no month; leave both out.")
    path, size = found
    theirs = _weights(path)
    try:
        width = theirs["cls_token"].shape[-1]
        depth = 1 + max(int(name.split(".")[1]) for name in theirs if name.startswith("blocks."))
        config = PublicConfig(
            family=FAMILY,
            size=size,
            embed_dim=width,
            depth=depth,
            num_heads=width // HEAD_DIM,
            gsd_m=family.gsd_m,
            patch_px=family.patch_px,
            mean=family.mean,
            std=family.std,
            shift=(0.0,) * len(family.bands),
            divide=(DIVIDE,) * len(family.bands),
        )
        encoder = Ssl4eo(config)
        encoder.load_state_dict(_renamed(theirs), strict=True)
    except (KeyError, ValueError, RuntimeError) as cause:
        first = str(cause).strip().partition("\n")[2].strip() or str(cause)
        raise CheckpointError(
            f"{path} is no ViT of {len(family.bands)} bands and patches of {family.patch_px} ({first})."
        ) from cause
    return encoder


def _file(folder: Path) -> tuple[Path, str] | None:
    """Return the published file that lies in a folder and the size that it is of."""
    for size, download in get_family(FAMILY).sizes.items():
        for name in download.files:
            if (folder / name).is_file():
                return folder / name, size
    return None


def _weights(path: Path) -> dict[str, Tensor]:
    """Return the encoder's weights under timm's names, whatever they were saved in."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as cause:
        raise CheckpointError(f"the weights {path} cannot be read ({cause}); fetch them again.") from cause
    for wrapper in WRAPPERS:
        held = held[wrapper] if isinstance(held.get(wrapper), Mapping) else held
    prefix = next((each for each in PREFIXES if f"{each}cls_token" in held), "")
    plain = {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}
    return {name: value.float() for name, value in plain.items() if name.startswith(OWN)}


def _renamed(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = {name: value for name, value in theirs.items() if name.startswith(("blocks.", "norm."))}
    return own | {
        "embed.project.weight": theirs["patch_embed.proj.weight"].flatten(1),
        "embed.project.bias": theirs["patch_embed.proj.bias"],
        "embed.class_token": theirs["cls_token"],
        "embed.positions": theirs["pos_embed"][0],
    }
