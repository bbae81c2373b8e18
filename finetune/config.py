"""The config of a fine-tuning run."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bandloom.config import Config
from bandloom.engine import EngineConfig
from bandloom.trainer import TrainerConfig
from finetune.model import ChangeLabels, HeadKind, Mode, Task
from finetune.perturb import PerturbConfig
from finetune.splits import SplitKind

BandsKept = Literal["all", "L2A-12", "Landsat", "10m", "RGB"]
LossName = Literal["cross_entropy", "focal", "dice", "cross_entropy_dice", "binary_cross_entropy", "asymmetric"]


class SplitConfig(Config):
    """Which ground trains, validates and tests."""

    kind: SplitKind = Field(default="block", description="block by default; random leaks and is warned of")
    block_m: int | None = Field(default=None, gt=0, description="side of a block; null: the largest that serves")
    buffer_m: int = Field(default=60, ge=0, description="ground dropped between blocks of different roles")
    val: float = Field(default=0.15, gt=0, lt=1, description="share for validation")
    test: float = Field(default=0.25, gt=0, lt=1, description="share for the test, which is looked at once")
    seed: int = Field(default=0, ge=0, description="another seed deals the blocks anew")


class FinetuneEngineConfig(EngineConfig):
    """How the weights are trained on labels."""

    lr: Annotated[float, EngineConfig.model_fields["lr"]] = 1e-3
    warmup_steps: Annotated[int, EngineConfig.model_fields["warmup_steps"]] = 50
    betas: Annotated[tuple[float, float], EngineConfig.model_fields["betas"]] = (0.9, 0.999)


class FinetuneTrainerConfig(TrainerConfig):
    """How long, how much and how often a model is fine-tuned."""

    steps: Annotated[int, TrainerConfig.model_fields["steps"]] = 500
    batch_size: Annotated[int, TrainerConfig.model_fields["batch_size"]] = 16
    engine: FinetuneEngineConfig = Field(default_factory=FinetuneEngineConfig)  # pyright: ignore  # frozen, so it may be narrower


class FinetuneConfig(Config):
    """``bandloom finetune CONFIG``."""

    shards: Path = Field(description="folder of labelled shards")
    task: Task = Field(
        default="segment",
        description="segment: a class a 10 m pixel; classify: one a chip; multilabel: any number; change: two dates",
    )
    change_labels: ChangeLabels = Field(
        default="classes", description="change: where the classes of two dates differ; mask: the later date's raster"
    )
    checkpoint: Path | None = Field(default=None, description="pretrained encoder or its run; null: random weights")
    mode: Mode = Field(default="full", description="what trains beside the head: frozen, last, lora or full")
    last_blocks: int = Field(default=2, gt=0, description="mode last: how many of the encoder's blocks train")
    lora_rank: int = Field(default=8, gt=0, description="mode lora: inner width of what is learnt beside each matrix")
    sensor: str | None = Field(default=None, description="which of the shards' sensors; null: the only one")
    bands: BandsKept = Field(
        default="all", description="train and score with these bands alone, as if there were no more"
    )
    size: Literal["demo", "tiny", "S", "B", "L", "H", "g"] = Field(
        default="tiny", description="encoder when there is no checkpoint"
    )
    token_m: int = Field(default=60, gt=0, description="metres a token covers when there is no checkpoint")
    chip_px: int | None = Field(default=None, gt=0, description="side of a chip in 10 m pixels; null: derived")
    presence: float = Field(default=0.02, gt=0, le=1, description="multilabel: share of a raster that makes a class")
    chip_labels: Path | None = Field(default=None, description="multilabel: JSON of class names by scene")
    loss: LossName | None = Field(
        default=None, description="what training minimises; null: cross_entropy, of multilabel binary_cross_entropy"
    )
    warm_steps: int = Field(default=600, ge=0, description="segment: steps on single pixels before the first chip")
    augment: bool = Field(default=True, description="turn and mirror chips (D4)")
    perturb: PerturbConfig = Field(default_factory=PerturbConfig)
    head: HeadKind = Field(
        default="linear",
        description="maps: linear on the last tokens, or fpn or dpt on four depths; chips: linear on the mean token,"
        " or joined: on it and the mean native samples",
    )
    band_drops: bool = Field(default=True, description="score the model with 10 m bands and with RGB alone, too")
    split: SplitConfig = Field(default_factory=SplitConfig)
    baselines: list[str] | None = Field(default=None, description="floors to score; null: the standard ones")
    compare_random: bool = Field(default=True, description="train the same network from random weights beside it")
    seeds: int | None = Field(
        default=None,
        gt=0,
        description="trainings from weights and orders of their own; null: 3 where there is little to train on",
    )
    curve_points: int = Field(default=5, ge=0, description="looks at validation ground on the way, for the curve")
    bootstrap: int = Field(default=1000, ge=0, description="draws of blocks behind the intervals")
    trainer: FinetuneTrainerConfig = Field(default_factory=FinetuneTrainerConfig)
