"""Patch kernels made from wavelengths (DOFA, Xiong et al. 2024, 2403.15356): run once, when a file is read.

DOFA and Clay have no kernel a band but a small network that makes one of a band's wavelength. For the bands of a
sensor the result never changes, so it is computed once and kept as a plain linear layer.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS = 128, 4  # of the small network
HIDDEN = 2048  # torch's default of a transformer layer


@torch.no_grad()
def kernels_of(
    theirs: Mapping[str, Tensor],
    wavelengths: Tensor,
    residual: Sequence[str],
    activation: Callable[[Tensor], Tensor],
    transformer: str,
) -> tuple[Tensor, Tensor]:
    """Return a kernel for each band, ``(C, P * P * D)`` in its authors' order, and the bias ``(D,)``, both unscaled.

    Args:
        theirs: weights under ``fclayer.`` and ``weight_generator.``.
        wavelengths: sines and cosines of the bands' wavelengths, ``(C, 128)``.
        residual: names of the two layers of ``fclayer``.
        activation: after each of them.
        transformer: name of the transformer inside ``weight_generator``.
    """

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, theirs[f"{name}.weight"], theirs[f"{name}.bias"])

    inner = wavelengths
    for name in residual:
        inner = activation(linear(f"fclayer.{name}", inner))
    waves = wavelengths + inner
    sequence = torch.cat([theirs["weight_generator.weight_tokens"], waves, theirs["weight_generator.bias_token"]])
    out = _layer(theirs, f"weight_generator.{transformer}.layers.0.")(sequence[None])[0]
    bands = out[-1 - len(waves) : -1] + waves
    return linear("weight_generator.fc_weight", bands), linear("weight_generator.fc_bias", out[-1])


def _layer(theirs: Mapping[str, Tensor], prefix: str) -> nn.Module:
    """Return the one transformer layer with their weights."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, dropout=0.0, activation="gelu", batch_first=True)
    layer.load_state_dict({name.removeprefix(prefix): v for name, v in theirs.items() if name.startswith(prefix)})
    return layer.eval()
