"""The encoder: a vision transformer over tokens of ground, every band at its native sampling."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bandloom import __version__
from bandloom.command_line.config import Config
from bandloom.model import torch_compat  # noqa: F401  (timm needs it)
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.embedding import TokenEmbedding, slot_of_sample
from bandloom.model.rotary import rotary_embedding
from bandloom.model.statistics import Statistics
from bandloom.model.stochastic_depth import StochasticDepth, draw_depth
from bandloom.model.token_layout import token_layout
from bandloom.sensors import REFERENCE_TOKEN_M, Sensor
from bandloom.training.device_memory import constant

SIZES: dict[str, dict[str, Any]] = {
    # demo and tiny are ours; B, L, H: Dosovitskiy 2021, table 1; S: Touvron 2021; g: Zhai 2022, table 2
    "demo": {"embed_dim": 128, "depth": 4, "num_heads": 2},
    "tiny": {"embed_dim": 192, "depth": 6, "num_heads": 3},
    "S": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "B": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "L": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "H": {"embed_dim": 1280, "depth": 32, "num_heads": 16},
    "g": {"embed_dim": 1408, "depth": 40, "num_heads": 16, "mlp_ratio": 6144 / 1408},
}


class EncoderConfig(Config):
    """The shape of an encoder; :meth:`of_size` derives it from one dial."""

    embed_dim: int = Field(default=192, gt=0, description="D, the width of a token; a multiple of 4 and of num_heads")
    depth: int = Field(default=6, gt=0, description="number of transformer blocks")
    num_heads: int = Field(default=3, gt=0, description="attention heads a block")
    mlp_ratio: float = Field(default=4.0, gt=0, description="width of a block's MLP over embed_dim")
    token_m: int = Field(
        default=60, gt=0, description="metres of ground a token covers; any multiple of 60, fixed in a checkpoint"
    )
    drop_path: float = Field(
        default=0.0, ge=0, lt=1, description="stochastic depth of the last block, rising linearly to it"
    )
    stem_filters: int = Field(
        default=0,
        ge=0,
        description="3 x 3 filters of all bands whose rectified mean over a token is embedded too; 0: none",
    )
    positions: Literal["added", "rotary"] = Field(
        default="added",
        description="where a token lies, in metres: a sine-cosine embedding added to it, or queries and keys rotated"
        " (RoPE), so that attention knows offsets alone",
    )

    @model_validator(mode="after")
    def _check(self) -> "EncoderConfig":
        if self.embed_dim % (4 * self.num_heads) and (self.embed_dim % 4 or self.embed_dim % self.num_heads):
            raise ValueError(f"embed_dim {self.embed_dim} must be a multiple of 4 and of num_heads {self.num_heads}")
        if self.positions == "rotary" and self.embed_dim % (4 * self.num_heads):
            raise ValueError(f"positions rotary: embed_dim {self.embed_dim} must be a multiple of 4 x num_heads")
        if self.token_m % REFERENCE_TOKEN_M:
            raise ValueError(f"token_m {self.token_m} must be a multiple of {REFERENCE_TOKEN_M}")
        return self

    @classmethod
    def of_size(cls, size: str, **changes: Any) -> "EncoderConfig":
        """Return the shape of a named size (demo, tiny, S, B, L, H or g), with some fields changed."""
        return cls(**(SIZES[size] | changes))


def position_embedding(rows: int, columns: int, embed_dim: int, token_m: int) -> Tensor:
    """Return the sine-cosine embedding of token centres in metres, ``(rows * columns, D)``.

    One unit is 60 m of ground whatever ``token_m``, half of the width for each axis (He et al. 2022, appendix A.1).
    """
    rate = 10000.0 ** -(torch.arange(embed_dim // 4) / (embed_dim / 4))
    unit = token_m / REFERENCE_TOKEN_M

    def axis(count: int) -> Tensor:
        angle = ((torch.arange(count) + 0.5) * unit)[:, None] * rate  # (count, D / 4)
        return torch.cat([angle.sin(), angle.cos()], dim=1)  # (count, D / 2)

    y = axis(rows)[:, None].expand(rows, columns, -1)
    x = axis(columns)[None].expand(rows, columns, -1)
    return torch.cat([x, y], dim=-1).reshape(rows * columns, embed_dim)


def take_tokens(tokens: Tensor, ids: Tensor) -> Tensor:
    """Gather tokens: ``(B, T, X)`` and ids ``(B, V)`` give ``(B, V, X)``."""
    return tokens.gather(1, ids[..., None].expand(-1, -1, tokens.shape[-1]))


class Encoder(AnyEncoder):
    """Embed native samples, place them in metres, and run timm's transformer blocks (their parameter names too)."""

    def __init__(self, config: EncoderConfig, statistics: Statistics) -> None:
        super().__init__()
        self.config = config
        self.embed_dim = config.embed_dim
        self.embed = TokenEmbedding(config.embed_dim, config.token_m, statistics, config.stem_filters)
        rates = [config.drop_path * index / max(1, config.depth - 1) for index in range(config.depth)]
        self.blocks = nn.ModuleList(_block(config, rate) for rate in rates)
        self._depth_layers = _by_sample(self.blocks, rates)
        self.norm = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.blocks.apply(_init_linear)
        self._licence: dict[str, str] | None = None

    def owe(self, licence: Mapping[str, str] | None) -> None:
        """Note under which conditions its teacher's weights stand; they go with its own from then on.

        Args:
            licence: as :meth:`licence` of the teacher returns it; a second one is added to the first.
        """
        if licence and self._licence and licence != self._licence:
            before = self._licence
            joined = {key: dict.fromkeys((before.get(key, ""), licence.get(key, ""))) for key in {**before, **licence}}
            self._licence = {key: "; ".join(filter(None, values)) for key, values in joined.items()}
        elif licence:
            self._licence = dict(licence)

    def licence(self) -> dict[str, str] | None:
        """Return under which conditions its teacher's weights stand; None where it had no teacher of others."""
        return self._licence

    def licence_lines(self) -> list[str]:
        """Return what a model card says of its teacher's licence, as Markdown."""
        if self._licence is None:
            return []
        of = self._licence
        return [
            "",
            "## The teacher's licence",
            "",
            f"The encoder learnt from {of['encoder']}, {of['source']}, under {of['name']}. {of['conditions']}",
        ]

    def untrained(self) -> "Encoder":
        """Return the same network with weights drawn anew."""
        return Encoder(self.config, self.statistics)

    def to_record(self) -> dict[str, Any]:
        """Return what ``config.json`` says of it."""
        record = {
            "bandloom_version": __version__,
            "encoder": self.config.model_dump(mode="json"),
            "statistics": self.statistics.model_dump(mode="json"),
        }
        return record | ({"encoder_licence": self._licence} if self._licence else {})

    def samples_per_token(self, sensor: Sensor) -> int:
        """Return S, the native samples of a token of this sensor."""
        return token_layout(sensor, self.config.token_m).samples

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the embedding of a token grid's positions on the encoder's device, ``(T, P)``.

        P is D where positions are added to tokens, and twice a head's width where they rotate queries and keys.
        """
        config = self.config
        if config.positions == "rotary":
            of = (rows, columns, self.embed_dim // config.num_heads, config.token_m)
            return constant(self.norm.weight.device, rotary_embedding, *of)
        return constant(self.norm.weight.device, position_embedding, rows, columns, self.embed_dim, config.token_m)

    def samples(self, groups: Mapping[int, Tensor], sensor: Sensor) -> tuple[Tensor, Tensor]:
        """Return normalised samples ``(B, T, S)`` and their validity; see :meth:`TokenEmbedding.samples`."""
        return self.embed.samples(groups, sensor)

    def forward_tokens(self, samples: Tensor, valid: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Encode tokens that may be a selection: samples ``(B, V, S)``, positions ``(V, P)`` or ``(B, V, P)``."""
        tokens = self.embed(samples, valid, sensor)
        draw_depth(self._depth_layers, tokens)
        return self.norm(deque(self.through_blocks(tokens, positions), maxlen=1)[0])

    def through_blocks(self, tokens: Tensor, positions: Tensor) -> Iterator[Tensor]:
        """Yield what each block makes of embedded tokens ``(B, V, D)``, not normalised; see :meth:`positions`."""
        rotated = self.config.positions == "rotary"
        if rotated:
            positions = positions.unsqueeze(-3)  # the same for every head: (1, V, P) or (B, 1, V, P)
        else:
            tokens = tokens + positions
        for block in self.blocks:
            tokens = block(tokens, positions) if rotated else block(tokens)
            yield tokens

    def forward_intermediates(
        self, groups: Mapping[int, Tensor], sensor: Sensor, indices: Sequence[int]
    ) -> list[Tensor]:
        """Return the outputs of the blocks at ``indices`` (0 is the first), normalised, ``(B, T, D)`` each."""
        samples, valid = self.samples(groups, sensor)
        embedded = self.embed(samples, valid, sensor)
        draw_depth(self._depth_layers, embedded)
        outputs = enumerate(self.through_blocks(embedded, self.positions(*self.grid(groups))))
        kept = {index: self.norm(tokens) for index, tokens in outputs if index in indices}
        return [kept[index] for index in indices]


def drop_slots(valid: Tensor, sensor: Sensor, token_m: int, dropped: Tensor) -> Tensor:
    """Return the validity ``(B, T, S)`` with whole slots removed; ``dropped`` is ``(B, 13)`` bool, True removed."""
    slot = constant(valid.device, slot_of_sample, sensor, token_m)
    return valid & ~dropped[:, None, slot]


def count_parameters(module: nn.Module, *, trainable: bool = False) -> int:
    """Return the number of parameters, or of those that train."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def _block(config: EncoderConfig, rate: float) -> nn.Module:
    """Return a block of timm's, with stochastic depth ``rate``; names of weights are the same in both."""
    if config.positions == "rotary":
        from timm.models.eva import EvaBlock

        return EvaBlock(
            config.embed_dim,
            config.num_heads,
            mlp_ratio=config.mlp_ratio,
            attn_type="rope",
            rotate_half=True,
            num_prefix_tokens=0,
            drop_path=rate,
        )
    from timm.models.vision_transformer import Block

    return Block(config.embed_dim, config.num_heads, config.mlp_ratio, qkv_bias=True, drop_path=rate)


def _by_sample(blocks: nn.ModuleList, rates: Sequence[float]) -> list[StochasticDepth]:
    """Let timm's blocks draw their stochastic depth by sample; returns the layers that draw."""
    layers = []
    for block, rate in zip(blocks, rates, strict=True):
        for name in ("drop_path1", "drop_path2") if rate else ():
            layers.append(StochasticDepth(rate))
            setattr(block, name, layers[-1])
    return layers


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
