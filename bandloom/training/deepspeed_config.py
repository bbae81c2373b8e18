"""DeepSpeed's config: the project's values where they decide what is computed, the user's for everything else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandloom.errors import ConfigError
from bandloom.training.engine import EngineConfig

# what a user's file may not set, and where it is set instead
_OURS = {
    "optimizer": "fused AdamW is passed in: set trainer.engine.lr, betas and weight_decay",
    "scheduler": "the schedule is trainer.engine.lr, warmup_steps and min_lr_ratio",
    "bf16": "set trainer.engine.precision: bf16, which keeps fp32 weights; DeepSpeed's bf16 mode at stage 0 is not"
    " AdamW (its first update is 0.73 of it)",
    "fp16": "set trainer.engine.precision: bf16",
    "torch_autocast": "set trainer.engine.precision",
    "activation_checkpointing": "set trainer.engine.activation_checkpointing: true",
    "train_batch_size": "set trainer.batch_size",
    "train_micro_batch_size_per_gpu": "it follows from trainer.batch_size, the ranks and trainer.engine.accumulate",
    "data_efficiency": "the order of samples is a function of trainer.seed",
    "curriculum_learning": "the order of samples is a function of trainer.seed",
}


def deepspeed_config(config: EngineConfig) -> dict[str, Any]:
    """Return the config that DeepSpeed gets: the user's keys merged into ours.

    Raises:
        ConfigError: the user's file contradicts the engine's config, or sets what is set elsewhere.
    """
    ours: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # only scales DeepSpeed's own reports
        "gradient_accumulation_steps": config.accumulate,
        "gradient_clipping": config.clip_grad_norm,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,  # torch's AdamW, fused
        "torch_autocast": {"enabled": config.precision == "bf16", "dtype": "bfloat16"},
        "steps_per_print": None,
    }
    given = _without_auto(_given(config.deepspeed))
    for key, instead in _OURS.items():
        if key in given and given[key] not in ({}, {"enabled": False}):
            raise ConfigError(f"DeepSpeed's config sets {key!r}; take it out: {instead}.")
    for part in ("offload_optimizer", "offload_param"):
        if (given.get("zero_optimization") or {}).get(part, {}).get("device", "none") != "none":
            raise ConfigError(
                f"DeepSpeed's config sets zero_optimization.{part}; take it out: everything up to size g fits one card,"
                " and snapshots read weights and moments where they are."
            )
    return _merge(ours, {key: value for key, value in given.items() if key not in _OURS}, "")


def _given(deepspeed: dict[str, Any] | Path) -> dict[str, Any]:
    if isinstance(deepspeed, dict):
        return deepspeed
    try:
        given = json.loads(deepspeed.read_text())
    except (OSError, ValueError) as cause:
        raise ConfigError(f"DeepSpeed's config {deepspeed} cannot be read as JSON ({cause}).") from cause
    if not isinstance(given, dict):
        raise ConfigError(f"DeepSpeed's config {deepspeed} holds a {type(given).__name__}; expected keys and values.")
    return given


def _without_auto(given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out Hugging Face's ``"auto"``: here everything is derived that can be."""
    return {
        key: _without_auto(value) if isinstance(value, dict) else value
        for key, value in given.items()
        if value != "auto"
    }


def _merge(ours: Mapping[str, Any], given: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    merged = dict(ours)
    for key, value in given.items():
        if key not in ours:
            merged[key] = value
        elif isinstance(ours[key], dict) and isinstance(value, dict):
            merged[key] = _merge(ours[key], value, f"{prefix}{key}.")
        elif ours[key] != value:
            raise ConfigError(
                f"DeepSpeed's config sets {prefix}{key} to {value!r}, the run's config to {ours[key]!r};"
                f" take it out of DeepSpeed's, or set {_SAME_AS.get(prefix + key, 'both')} alike."
            )
    return merged


_SAME_AS = {
    "gradient_accumulation_steps": "trainer.engine.accumulate",
    "gradient_clipping": "trainer.engine.clip_grad_norm",
    "zero_optimization.stage": "trainer.engine.zero_stage",
}
