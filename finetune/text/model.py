"""The alignment model: images and texts as unit vectors of one space; a class's cosine is an ordinary linear head.

The image's vector is the mean token, beside it the mean of the native samples (finetune/model/samples_beside.py),
after a norm without weights: its length is constant, so that a cosine with it is a plain product, and any text side,
however deep, ends as one row of a matrix. Texts are brought into the image's space, not images into the text's:
regression in that direction makes fewer hubs (Zhang et al. 2017, arXiv 1611.05088), and it is how LiT is set up in
big_vision. Features are standardised first, by statistics that are folded into the encoder's last norm and into what
joins the samples, since raw features of a frozen encoder share one large direction.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.finetune.model.lora import add_lora
from bandloom.finetune.model.samples_beside import SamplesBeside, tokens_of
from bandloom.model.any_encoder import AnyEncoder
from bandloom.sensors import Sensor

Projection = Literal["linear", "mlp"]
ImageKind = Literal["joined", "tokens"]
# big_vision's siglip_lit_coco for batches of hundreds; CLIP's 0.07
START = {"sigmoid": (math.log(10.0), -2.71), "infonce": (math.log(1 / 0.07), 0.0)}
MOST_SCALE = 100.0  # CLIP's clamp


class AlignModel(nn.Module):
    """An encoder and a projection of text vectors into its space.

    Args:
        encoder: pretrained or random.
        sensor: whose native groups arrive.
        chip_px: side of an image in 10 m pixels.
        text_dim: numbers of a text vector.
        projection: ``linear`` or ``mlp``.
        loss: ``sigmoid`` or ``infonce``, which decides where scale and bias start.
        tower: a text model that trains with it; None: text vectors come from outside.
        image: ``tokens``: an image is its mean token; ``joined``: beside its mean native samples.
    """

    def __init__(
        self,
        encoder: AnyEncoder,
        sensor: Sensor,
        chip_px: int,
        text_dim: int,
        projection: Projection = "linear",
        loss: Literal["sigmoid", "infonce"] = "sigmoid",
        tower: nn.Module | None = None,
        image: ImageKind = "joined",
    ) -> None:
        super().__init__()
        encoder.check_sensor(sensor)
        self.encoder, self.sensor, self.chip_px, self.loss = encoder, sensor, chip_px, loss
        self.text_dim, self.projection = text_dim, projection
        self.image_kind: ImageKind = image
        samples = encoder.samples_per_token(sensor) if image == "joined" else 0
        self.beside = SamplesBeside(samples).requires_grad_(False) if samples else None
        self.image_dim = width = encoder.embed_dim + samples
        hidden = 2 * width
        self.project = (
            nn.Linear(text_dim, width)
            if projection == "linear"
            else nn.Sequential(nn.Linear(text_dim, hidden), nn.GELU(), nn.Linear(hidden, width))
        )
        scale, bias = START[loss]
        self.log_scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.tensor(bias), requires_grad=loss == "sigmoid")  # a softmax does not see it
        self.tower = tower

    def forward(
        self, image: Mapping[int, Tensor] | Tensor, text: Tensor | tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return unit vectors of images and texts, ``(B, D)`` each, and the scale and bias of their products.

        Args:
            image: digital numbers ``{gsd_m: (B, C, H, W)}``, or vectors ``(B, D)`` that :meth:`image` gave.
            text: vectors ``(B, text_dim)``, or token ids and mask for the model's own tower.
        """
        if isinstance(text, tuple) and self.tower is not None:
            text = self.tower(*text)
        if isinstance(text, tuple):
            raise TypeError("token ids need a model with a text tower")
        image = image if isinstance(image, Tensor) else self.image(image)
        return image, self.text(text), self.scale(), self.bias * 1  # DDP wants no bare parameter back

    def image(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return the unit vectors of images, ``(B, D)``."""
        train = torch.is_grad_enabled() and any(p.requires_grad for p in self.encoder.parameters())
        with torch.set_grad_enabled(train):
            return unit(self.tokens(groups).mean(1))

    def tokens(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return the tokens of images, with their samples where they are joined, ``(B, T, D)``."""
        return tokens_of(self.encoder, groups, self.sensor, self.beside)

    def text(self, vectors: Tensor) -> Tensor:
        """Return the unit vectors of texts in the image's space, ``(N, D)``."""
        return functional.normalize(self.project(vectors).float(), dim=-1)

    def scale(self) -> Tensor:
        """Return the factor on the cosine."""
        return self.log_scale.clamp(max=math.log(MOST_SCALE)).exp()

    def set_trainable(self, mode: Literal["frozen", "lora", "full"], rank: int) -> None:
        """Let of the encoder nothing train, products of ``rank``, or all of it; the text side trains anyway."""
        self.encoder.requires_grad_(mode == "full")
        if mode == "lora":
            add_lora(self.encoder, rank)


def unit(features: Tensor) -> Tensor:
    """Return features ``(..., D)`` at the constant length that ``ClassifyHead``'s norm gives."""
    width = features.shape[-1]
    return functional.layer_norm(features.float(), (width,)) / math.sqrt(width)


@torch.no_grad()
def standardise(model: AlignModel, features: Tensor) -> None:
    """Fold the mean and deviation of pooled features ``(N, D)`` into the encoder's last norm, and into the joint."""
    first = 0
    for affine in (model.encoder.norm, model.beside):
        if affine is not None:
            own = features[:, first : first + len(affine.weight)]
            mean, std = own.mean(0), own.std(0).clamp(min=1e-3 * float(own.std()) + 1e-8)
            affine.weight.div_(std)
            affine.bias.copy_((affine.bias - mean) / std)
            first += len(affine.weight)
