"""The config of a fine-tuning run."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bandloom.command_line.config import Config, ReadWhen
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.model.task_model import ChangeLabels, HeadKind, Mode
from bandloom.tasks import TaskName
from bandloom.training.engine import EngineConfig
from bandloom.training.trainer import TrainerConfig

BandsKept = Literal["all", "L2A-12", "Landsat", "10m", "RGB"]
LossName = Literal[
    "cross_entropy",
    "focal",
    "dice",
    "cross_entropy_dice",
    "binary_cross_entropy",
    "asymmetric",
    "l2",
    "l1",
    "huber",
]


class PerturbConfig(Config):
    """Sensor perturbations of training chips; all are 0 by default."""

    gain: float = Field(default=0.0, ge=0, lt=1, description="a chip's reflectance times 1 +- up to this")
    band_gain: float = Field(default=0.0, ge=0, lt=1, description="each band's times 1 +- up to this, by itself")
    offset: float = Field(default=0.0, ge=0, description="reflectance plus or minus up to this, by band")
    noise: float = Field(default=0.0, ge=0, description="deviation of noise added to every sample, in reflectance")
    drop_band: float = Field(default=0.0, ge=0, lt=1, description="chance of each band to be absent from a chip")
    other_sensor: float = Field(
        default=0.0, ge=0, le=1, description="chance of a chip to keep the bands of Landsat, L2A, 10 m or RGB alone"
    )
    mix: Literal["none", "mixup", "cutmix"] = Field(
        default="none", description="mixup or cutmix of chips in pairs, with their labels"
    )
    mix_share: Annotated[float, ReadWhen("mix", ("mixup", "cutmix"))] = Field(
        default=0.5, ge=0, le=1, description="chance of a batch to be mixed"
    )


class SoftLabelConfig(Config):
    """Soft labels: what another fine-tuned model says of the same chips, learnt beside the labels."""

    teacher: Path = Field(description="run or checkpoint of a fine-tuned model of the same task, classes and sensor")
    weight: float = Field(default=0.5, gt=0, le=1, description="share of the soft labels in the loss")
    temperature: float = Field(default=2.0, gt=0, description="divides both models' logits before they are compared")


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
    task: TaskName = Field(
        default="segment",
        description="segment: a class a 10 m pixel; classify: one a chip; multilabel: any number; change: two dates;"
        " regress: a value a pixel; regress_chips: a value a chip",
    )
    change_labels: Annotated[ChangeLabels, ReadWhen("task", ("change",))] = Field(
        default="classes", description="change: where the classes of two dates differ; mask: the later date's raster"
    )
    checkpoint: Path | None = Field(
        default=None, description="encoder, its run, or hf://OWNER/NAME; null: random weights"
    )
    mode: Mode = Field(default="full", description="what trains beside the head: frozen, last, lora or full")
    last_blocks: Annotated[int, ReadWhen("mode", ("last",))] = Field(
        default=2, gt=0, description="mode last: how many of the encoder's blocks train"
    )
    lora_rank: Annotated[int, ReadWhen("mode", ("lora",))] = Field(
        default=8, gt=0, description="mode lora: rank of the low-rank matrices"
    )
    sensor: str | None = Field(default=None, description="which of the shards' sensors; null: the only one")
    bands: BandsKept = Field(
        default="all", description="train and score with these bands alone, as if there were no more"
    )
    size: Annotated[
        Literal["demo", "tiny", "S", "B", "L", "H", "g"], ReadWhen("checkpoint", (None,), refused=False)
    ] = Field(default="tiny", description="encoder when there is no checkpoint")
    token_m: Annotated[int, ReadWhen("checkpoint", (None,), refused=False)] = Field(
        default=60, gt=0, description="metres a token covers when there is no checkpoint"
    )
    chip_px: int | None = Field(default=None, gt=0, description="side of a chip in 10 m pixels; null: derived")
    presence: Annotated[float, ReadWhen("task", ("multilabel",))] = Field(
        default=0.02, gt=0, le=1, description="multilabel: share of a raster that makes a class"
    )
    chip_labels: Annotated[Path | None, ReadWhen("task", ("multilabel",))] = Field(
        default=None, description="multilabel: JSON of class names by scene"
    )
    loss: LossName | None = Field(default=None, description="what training minimises; null: the task's own first")
    soft: SoftLabelConfig | None = Field(default=None, description="null: learn from labels alone")
    warm_steps: Annotated[int, ReadWhen("task", ("segment", "regress"), also=(0,), refused=False)] = Field(
        default=2000,
        ge=0,
        description="segment: steps on single pixels before the first chip, fewer where validation stops gaining",
    )
    augment: bool = Field(default=True, description="turn and mirror chips (D4)")
    perturb: PerturbConfig = Field(default_factory=PerturbConfig)
    head: HeadKind = Field(
        default="linear",
        description="maps: linear on the last tokens, or fpn or dpt on four depths; chips: linear on the mean token,"
        " or joined: on it and the mean native samples",
    )
    band_drops: bool = Field(default=True, description="score the model with 10 m bands and with RGB alone, too")
    split: SplitConfig = Field(default_factory=SplitConfig)
    baselines: list[str] | None = Field(default=None, description="baselines to score; null: the standard ones")
    compare_random: bool = Field(default=True, description="train the same network from random weights beside it")
    seeds: int | None = Field(
        default=None,
        gt=0,
        description="number of trainings with seeds of their own; null: 3 where there is little to train on",
    )
    curve_points: int = Field(
        default=5, ge=0, description="looks at validation ground on the way, for the curve and for keep=best"
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="the model that a look scored best on validation ground, the fitted head's own among them, or the"
        " last step's",
    )
    bootstrap: int = Field(default=1000, ge=0, description="draws of blocks behind the intervals")
    trainer: FinetuneTrainerConfig = Field(default_factory=FinetuneTrainerConfig)
