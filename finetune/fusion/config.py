"""The config of a fusion run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from bandloom.command_line.config import Config, ReadWhen
from bandloom.finetune.data.split_config import SplitConfig

Fusion = Literal["concatenate", "film", "cross_attention"]


class ImageConfig(Config):
    """What looks at the image."""

    network: Literal["vit", "resnet50"] = Field(
        default="vit", description="this project's encoder, or timm's ResNet-50"
    )
    checkpoint: Path | None = Field(
        default=None,
        description="vit: pretrained encoder or its run; resnet50: weights as .safetensors; null: random weights",
    )
    mode: Literal["frozen", "full"] = Field(
        default="frozen", description="frozen: features are computed once; full: the network trains in every fit"
    )
    size: Annotated[
        Literal["demo", "tiny", "S", "B", "L", "H", "g"],
        ReadWhen("checkpoint", (None,), refused=False),
        ReadWhen("network", ("vit",), refused=False),
    ] = Field(default="tiny", description="encoder when there is no checkpoint")
    token_m: Annotated[
        int, ReadWhen("checkpoint", (None,), refused=False), ReadWhen("network", ("vit",), refused=False)
    ] = Field(default=60, gt=0, description="metres a token covers when there is no checkpoint")


class ContextConfig(Config):
    """Where the words about a sample come from."""

    source: Literal["csv", "sidecar", "metadata"] = Field(
        description="csv: columns key and context; sidecar: FOLDER/KEY.txt, or the scene's; metadata: when and where"
    )
    path: Annotated[Path | None, ReadWhen("source", ("csv", "sidecar"))] = Field(
        default=None, description="the CSV, or the folder of text files"
    )
    words: str | None = Field(
        default=None, description="label set with synonyms for the check of leaks; null: the one of the shards' name"
    )


class ReaderConfig(Config):
    """What reads the context."""

    model: str = Field(default="minilm", description="minilm, a local Hugging Face folder, or a file of vectors")
    pooling: str = Field(default="auto", description="auto: as the model was trained; mean, cls, max, last or own")


class FusionConfig(Config):
    """``bandloom finetune CONFIG`` with ``task: fusion``."""

    task: Literal["fusion"] = Field(default="fusion", description="chips with a class each, and words about them")
    shards: Path = Field(description="folder of shards whose samples have a class each")
    sensor: str | None = Field(default=None, description="which of the shards' sensors; null: the only one")
    image: ImageConfig = Field(default_factory=ImageConfig)
    context: ContextConfig = Field(description="source and path")
    text: ReaderConfig = Field(default_factory=ReaderConfig)
    fusion: list[Fusion] = Field(
        default_factory=lambda: ["concatenate", "film", "cross_attention"],
        min_length=1,
        description="how the two are joined; each is a row, the first is saved as the model",
    )
    split: SplitConfig = Field(default_factory=SplitConfig)
    seeds: int = Field(default=3, gt=0, description="fits a row, each with other weights, batches and shuffles")
    steps: int = Field(default=300, gt=0, description="optimizer steps a fit")
    batch_size: int = Field(default=64, gt=0, description="chips a step")
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.05, ge=0, description="AdamW's")
    width: int = Field(default=128, gt=0, description="of the joined features, a multiple of 4")
    bootstrap: int = Field(default=1000, gt=0, description="draws of blocks behind the intervals")
    baselines: list[str] = Field(
        default_factory=lambda: ["majority", "stats_svm"], description="baselines on the image alone"
    )


def is_fusion(path: Path, overrides: Sequence[str]) -> bool:
    """Tell whether a config asks for fusion; one that cannot be read is left to who loads it."""
    try:
        held = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    tasks = [override.partition("=")[2] for override in overrides if override.startswith("task=")]
    return (tasks[-1] if tasks else isinstance(held, dict) and held.get("task")) == "fusion"
