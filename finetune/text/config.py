"""The config of an alignment."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bandloom.command_line.config import Config, ReadWhen
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.text.captions.captions import CaptionConfig
from bandloom.training.engine import EngineConfig
from bandloom.training.trainer import TrainerConfig

SCRATCH = "scratch"


class AlignEngineConfig(EngineConfig):
    """How the weights are trained on captions."""

    lr: Annotated[float, EngineConfig.model_fields["lr"]] = 3e-3
    warmup_steps: Annotated[int, EngineConfig.model_fields["warmup_steps"]] = 20
    betas: Annotated[tuple[float, float], EngineConfig.model_fields["betas"]] = (0.9, 0.999)
    weight_decay: Annotated[float, EngineConfig.model_fields["weight_decay"]] = 0.01


class AlignTrainerConfig(TrainerConfig):
    """How long, how much and how often an alignment is trained."""

    steps: Annotated[int, TrainerConfig.model_fields["steps"]] = 1500
    batch_size: Annotated[int, TrainerConfig.model_fields["batch_size"]] = 64
    engine: AlignEngineConfig = Field(default_factory=AlignEngineConfig)  # pyright: ignore  # frozen, so it may be narrower


class TextConfig(Config):
    """What reads the captions."""

    model: str = Field(
        default="minilm",
        description="minilm, a local Hugging Face folder, a file of vectors (.npz, .parquet), or scratch: a small one",
    )
    pooling: str = Field(default="auto", description="auto: as the model was trained; mean, cls, max, last or own")
    mode: Literal["frozen", "full"] = Field(default="frozen", description="whether the text model trains")
    projection: Literal["linear", "mlp"] = Field(
        default="linear", description="from the text's space to the image's; linear keeps more of unseen words"
    )
    noise: Annotated[float, ReadWhen("mode", ("frozen",))] = Field(
        default=0.5,
        ge=0,
        description="length of what is drawn and added to a caption's vector of length 1 while"
        " training, so that words near by are learnt too; not where the text model trains",
    )
    width: Annotated[int, ReadWhen("model", (SCRATCH,))] = Field(
        default=128, gt=0, description="scratch: width of its tokens, a multiple of 32"
    )
    depth: Annotated[int, ReadWhen("model", (SCRATCH,))] = Field(
        default=2, gt=0, description="scratch: number of its layers"
    )


class AlignConfig(Config):
    """``bandloom align CONFIG``."""

    shards: Path = Field(description="folder of shards")
    checkpoint: Path | None = Field(
        default=None, description="encoder, its run, or hf://OWNER/NAME; null: random weights"
    )
    mode: Literal["frozen", "lora", "full"] = Field(
        default="frozen", description="what of the encoder trains; lora and full want engine.lr a tenth"
    )
    lora_rank: Annotated[int, ReadWhen("mode", ("lora",))] = Field(
        default=8, gt=0, description="mode lora: rank of the low-rank matrices"
    )
    image: Literal["joined", "tokens"] = Field(
        default="joined", description="an image's vector: its mean token beside its mean native samples, or alone"
    )
    sensor: str | None = Field(default=None, description="which of the shards' sensors; null: the only one")
    size: Annotated[
        Literal["demo", "tiny", "S", "B", "L", "H", "g"], ReadWhen("checkpoint", (None,), refused=False)
    ] = Field(default="tiny", description="encoder when there is no checkpoint")
    token_m: Annotated[int, ReadWhen("checkpoint", (None,), refused=False)] = Field(
        default=60, gt=0, description="metres a token covers when there is no checkpoint"
    )
    captions: CaptionConfig = Field(default_factory=CaptionConfig)
    text: TextConfig = Field(default_factory=TextConfig)
    loss: Literal["infonce", "sigmoid"] = Field(
        default="infonce", description="contrastive loss; both take repeated captions as positives"
    )
    positives: Literal["label", "caption"] = Field(
        default="label",
        description="positive pairs of a batch: of one class or caption, or of one caption alone",
    )
    holdout_classes: list[str] = Field(
        default_factory=list, description="classes kept out of training, to measure zero-shot accuracy on them"
    )
    augment: bool = Field(default=True, description="turn and mirror images (D4); directions leave the captions then")
    split: SplitConfig = Field(default_factory=SplitConfig, description="kind block or given")
    curve_points: int = Field(default=5, ge=0, description="looks at validation samples on the way")
    trainer: AlignTrainerConfig = Field(default_factory=AlignTrainerConfig)
