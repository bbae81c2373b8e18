"""The config of a captioner."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bandloom.command_line.config import SET, Config, ReadWhen
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.text.captions.captions import CaptionConfig
from bandloom.training.engine import EngineConfig
from bandloom.training.trainer import TrainerConfig


class CaptionEngineConfig(EngineConfig):
    """How the weights are trained on captions and answers."""

    lr: Annotated[float, EngineConfig.model_fields["lr"]] = 1e-3
    warmup_steps: Annotated[int, EngineConfig.model_fields["warmup_steps"]] = 20
    betas: Annotated[tuple[float, float], EngineConfig.model_fields["betas"]] = (0.9, 0.999)
    weight_decay: Annotated[float, EngineConfig.model_fields["weight_decay"]] = 0.0


class CaptionTrainerConfig(TrainerConfig):
    """How long, how much and how often a captioner is trained."""

    steps: Annotated[int, TrainerConfig.model_fields["steps"]] = 1000
    engine: CaptionEngineConfig = Field(default_factory=CaptionEngineConfig)  # pyright: ignore  # frozen, so it may be narrower


class LanguageConfig(Config):
    """Which language model, and what of it trains."""

    model: Path = Field(description="local Hugging Face folder of a causal language model, with its tokenizer")
    mode: Literal["frozen", "lora", "full"] = Field(
        default="frozen", description="what of it trains beside the projector; LLaVA's first stage is frozen"
    )
    lora_rank: Annotated[int, ReadWhen("mode", ("lora",))] = Field(
        default=16, gt=0, description="mode lora: rank of the low-rank matrices"
    )
    lora_scale: Annotated[float, ReadWhen("mode", ("lora",))] = Field(
        default=32.0, gt=0, description="mode lora: how much it counts, over the rank"
    )
    lora_modules: Annotated[list[str], ReadWhen("mode", ("lora",))] = Field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        min_length=1,
        description="mode lora: names of linear maps; Llama's, Mistral's and Qwen's by default",
    )
    dtype: Annotated[Literal["float32", "bfloat16"], ReadWhen("mode", ("frozen", "lora"))] = Field(
        default="float32", description="of the weights that do not train; bfloat16 halves a 7B model's 28 GB"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute the language model's blocks again on the way back: far less memory"
    )


class CaptionerConfig(Config):
    """``bandloom caption train CONFIG``."""

    shards: Path = Field(description="folder of shards")
    checkpoint: Path | None = Field(
        default=None, description="encoder, its run, or hf://OWNER/NAME; null: random weights"
    )
    sensor: str | None = Field(default=None, description="which of the shards' sensors; null: the only one")
    size: Annotated[
        Literal["demo", "tiny", "S", "B", "L", "H", "g"], ReadWhen("checkpoint", (None,), refused=False)
    ] = Field(default="tiny", description="encoder when there is no checkpoint")
    token_m: Annotated[int, ReadWhen("checkpoint", (None,), refused=False)] = Field(
        default=60, gt=0, description="metres a token covers when there is no checkpoint"
    )
    image_tokens: int = Field(
        default=64, gt=0, description="most image tokens that the language model reads: a square grid of mean tokens"
    )
    language: LanguageConfig = Field(description="model and mode")
    captions: CaptionConfig | None = Field(default=None, description="captions to learn; null: none, questions alone")
    questions: Path | None = Field(
        default=None, description="JSON lines with image, question and answer (and type), as RSVQA's; null: none"
    )
    prompt: Annotated[str, ReadWhen("captions", (SET,))] = Field(
        default="Describe the image:", min_length=1, description="what stands before a caption"
    )
    question_prompt: Annotated[str, ReadWhen("questions", (SET,))] = Field(
        default="Question: {} Answer:", description="with {}; what stands before an answer"
    )
    most_tokens: int = Field(default=128, gt=0, description="of a prompt and of an answer; the rest is cut and counted")
    augment: bool = Field(
        default=False, description="turn and mirror images (D4); directions leave the captions, and questions with them"
    )
    split: SplitConfig = Field(default_factory=SplitConfig, description="kind block or given")
    test_pairs: int = Field(default=200, ge=0, description="test questions and captions that the report looks at")
    trainer: CaptionTrainerConfig = Field(default_factory=CaptionTrainerConfig)
