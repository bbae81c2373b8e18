"""The config of a pretraining run: encoder and decoder, what is hidden and paid for, and the probes on the way."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bandloom.command_line.config import ANY_TIME, SET, WHEN_RESUMED, Config, ReadWhen
from bandloom.model.encoder import EncoderConfig
from bandloom.training.trainer import TrainerConfig


class DecoderConfig(Config):
    """The decoder that only pretraining has."""

    embed_dim: int = Field(default=512, gt=0, description="width; a multiple of 4 and of num_heads")
    depth: int = Field(default=4, gt=0, description="blocks")
    num_heads: int = Field(default=16, gt=0, description="attention heads")

    @classmethod
    def for_encoder(cls, encoder: EncoderConfig) -> "DecoderConfig":
        """Return 4 x 512 from ViT-B on, as measured by OlmoEarth and MAESTRO; half the encoder's width below it."""
        if encoder.embed_dim >= 768:
            return cls()
        return cls(embed_dim=encoder.embed_dim // 2, depth=2, num_heads=max(1, encoder.embed_dim // 64))


PIXELS = ("pixels", "distil", "context", "moving_teacher", "visual_words")  # kinds that may pay for samples


class ObjectiveConfig(Config):
    """The objective: masking and loss."""

    kind: Literal["pixels", "latent", "distil", "context", "moving_teacher", "visual_words"] = Field(
        default="pixels",
        description="native samples; a frozen random projection of them; the tokens of a teacher; samples and what"
        " surrounds a token; the tokens of the encoder's own moving average; or samples and which kinds of ground"
        " lie around a token",
    )
    mask_ratio: Annotated[float, WHEN_RESUMED] = Field(
        default=0.75, gt=0, lt=1, description="share of tokens hidden from the encoder (MAE)"
    )
    mask_block: Annotated[int, WHEN_RESUMED] = Field(
        default=1, gt=0, description="tokens are hidden in blocks of this side"
    )
    band_dropout: Annotated[float, WHEN_RESUMED] = Field(
        default=0.4, ge=0, le=1, description="share of samples whose encoder misses bands"
    )
    beta: Annotated[float, WHEN_RESUMED, ReadWhen("kind", PIXELS)] = Field(
        default=0.1, gt=0, description="where SmoothL1 on samples turns from square to straight (OlmoEarth)"
    )
    target_norm: Annotated[Literal["none", "group", "token"], ReadWhen("kind", PIXELS)] = Field(
        default="none", description="normalise targets by mean and deviation of their own band group or token"
    )
    latent_dim: Annotated[int, ReadWhen("kind", ("latent",))] = Field(
        default=128, gt=0, description="width of the latent target"
    )
    temperature: Annotated[float, WHEN_RESUMED, ReadWhen("kind", ("latent",))] = Field(
        default=0.1, gt=0, description="of the latent target's choice among a chip's tokens"
    )
    teacher: Annotated[Path | None, ReadWhen("kind", ("distil",))] = Field(
        default=None, description="distil: folder of a public encoder, or of a checkpoint or run of bandloom"
    )
    whitening: Annotated[Literal["channels", "full"], ReadWhen("kind", ("distil",))] = Field(
        default="channels",
        description="distil: each channel of the teacher's tokens by itself, or all of them together",
    )
    distance: Annotated[Literal["smooth_l1", "cosine"], ReadWhen("kind", ("distil",))] = Field(
        default="smooth_l1", description="distil: between predicted and whitened tokens"
    )
    pixel_weight: Annotated[float, ReadWhen("kind", ("distil", "moving_teacher"))] = Field(
        default=0.0,
        ge=0,
        description="distil, moving_teacher: weight of the pixel loss beside the tokens'; 0: tokens alone",
    )
    untaught: Annotated[Literal["refuse", "pixels"], ReadWhen("kind", ("distil",))] = Field(
        default="refuse", description="distil: of sensors that the teacher does not take, learn from pixels alone"
    )
    context_weight: Annotated[float, WHEN_RESUMED, ReadWhen("kind", ("context",))] = Field(
        default=0.75, gt=0, description="context: weight of either term of the surroundings beside one of the pixels"
    )
    textures: Annotated[bool, ReadWhen("kind", ("context",))] = Field(
        default=True, description="context: also the log power of windows by radius and direction"
    )
    codebook_size: Annotated[int, ReadWhen("kind", ("visual_words",))] = Field(
        default=64, gt=1, description="visual_words: kinds of ground that k-means finds in the shards"
    )
    words_weight: Annotated[float, WHEN_RESUMED, ReadWhen("kind", ("visual_words",))] = Field(
        default=0.75, gt=0, description="visual_words: weight of either term of the words beside one of the pixels"
    )
    momentum: Annotated[float, WHEN_RESUMED, ReadWhen("kind", ("moving_teacher",))] = Field(
        default=0.99, gt=0, lt=1, description="moving_teacher: share of it that the first step keeps; rises to 1"
    )

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, data: Any) -> Any:
        """Take ``target``, as ``kind`` was called in runs of before."""
        if isinstance(data, dict) and "target" in data and "kind" not in data:
            return {"kind" if key == "target" else key: value for key, value in data.items()}
        return data

    @model_validator(mode="after")
    def _check_teacher(self) -> "ObjectiveConfig":
        if self.kind != "distil":
            return self
        if self.teacher is None:
            raise ValueError("distil needs a teacher; set teacher to the folder of a public encoder or of a run")
        if self.untaught == "pixels" and not self.pixel_weight:
            raise ValueError("untaught is pixels where pixel_weight is 0; set pixel_weight, such as to 1")
        return self


class ProbeConfig(Config):
    """Which labels say, while pretraining goes on, what the frozen features are worth."""

    shards: Path = Field(description="labelled shards; none of their places should be in the shards trained on")
    every: int = Field(default=1000, gt=0, description="steps between scores")
    tokens: int = Field(default=5000, gt=0, description="labelled tokens (or chips) of each split at most")
    train_split: str = Field(default="train", description="split that the probes are fitted on")
    test_split: str = Field(default="val", description="split that they are scored on; the best snapshot is kept by it")


class PretrainConfig(Config):
    """``bandloom pretrain CONFIG``."""

    shards: Path = Field(description="folder of shards that `bandloom shards build` or `synth` wrote")
    size: Literal["demo", "tiny", "S", "B", "L", "H", "g"] = Field(
        default="tiny", description="width, depth and heads of the encoder, and of the decoder where it is null"
    )
    token_m: int = Field(default=60, gt=0, description="metres of ground a token covers, a multiple of 60")
    stem_filters: int = Field(
        default=0,
        ge=0,
        description="3 x 3 filters of all bands that every token is embedded by beside its samples (edges, textures);"
        " 0: none",
    )
    positions: Literal["added", "rotary"] = Field(
        default="added",
        description="where a token lies, in metres: a sine-cosine embedding added to it, or queries and keys rotated"
        " (RoPE), so that attention knows offsets alone",
    )
    checkpoint: Path | None = Field(
        default=None,
        description="weights to start from: a pretraining run, decoder included, or an encoder; null: random weights",
    )
    keep_optimizer: Annotated[bool, ReadWhen("checkpoint", (SET,))] = Field(
        default=False, description="go on with the moments of the run that the weights are from"
    )
    drop_path: Annotated[float, WHEN_RESUMED] = Field(default=0.0, ge=0, lt=1, description="stochastic depth")
    crop_px: int | None = Field(
        default=None, gt=0, description="side of the crop of a sample in 10 m pixels; null: all of it"
    )
    crops: Annotated[int, ReadWhen("crop_px", (SET,))] = Field(
        default=1, ge=1, description="crops for one decoding of a sample, far apart in the order; more spare decoding"
    )
    split: str | None = Field(default="train", description="split of the shards to train on; null: every sample")
    decoder: DecoderConfig | None = Field(default=None, description="null: derived from size")
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    trainer: TrainerConfig = Field(default_factory=TrainerConfig)
    probe: Annotated[ProbeConfig | None, ANY_TIME] = Field(default=None, description="null: no probes")
    pictures_every: Annotated[int, ANY_TIME] = Field(
        default=1000, gt=0, description="steps between reconstructions of a fixed set"
    )

    @model_validator(mode="after")
    def _check_weights(self) -> "PretrainConfig":
        engine = self.trainer.engine
        if self.objective.kind == "moving_teacher" and engine.kind == "deepspeed" and engine.zero_stage == 3:
            raise ValueError("objective.kind=moving_teacher needs whole weights on every rank; set zero_stage to 2")
        return self

    def encoder(self) -> EncoderConfig:
        """Return the encoder's shape."""
        own = {name: getattr(self, name) for name in ("token_m", "drop_path", "stem_filters", "positions")}
        return EncoderConfig.of_size(self.size, **own)

    def decoder_or_default(self) -> DecoderConfig:
        """Return the decoder's shape, derived from the encoder's where the config has none."""
        return self.decoder or DecoderConfig.for_encoder(self.encoder())
