"""DeepSpeed's config: the project's values where they decide what is computed, the user's for everything else.

A user's file is read key by key against a table of what is understood: keys that say how to compute pass, keys that are
off say nothing, keys that would change numbers are refused with the place to set them, and so are unknown ones.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandloom.command_line.console import logger
from bandloom.errors import ConfigError
from bandloom.training.engine import EngineConfig

# set elsewhere: what a file says of them must be off, or what the run's config says
_OURS = {
    "optimizer": "fused AdamW is passed in: set trainer.engine.lr, betas and weight_decay",
    "scheduler": "the schedule is trainer.engine.lr, warmup_steps and min_lr_ratio",
    "bf16": "set trainer.engine.precision: bf16, which keeps fp32 weights; DeepSpeed's bf16 mode at stage 0 is not"
    " AdamW (its first update is 0.73 of it)",
    "bfloat16": "set trainer.engine.precision: bf16",
    "fp16": "set trainer.engine.precision: bf16",
    "amp": "set trainer.engine.precision: bf16",
    "torch_autocast": "set trainer.engine.precision",
    "activation_checkpointing": "set trainer.engine.activation_checkpointing: true",
    "train_batch_size": "set trainer.batch_size",
    "train_micro_batch_size_per_gpu": "it follows from trainer.batch_size, the ranks and trainer.engine.accumulate",
    "data_efficiency": "the order of samples is a function of trainer.seed",
    "curriculum_learning": "the order of samples is a function of trainer.seed",
    "data_types": "gradients add up in fp32",
    "communication_data_type": "gradients travel in the type they are computed in",
    "sparse_gradients": "all gradients are dense",
    "progressive_layer_drop": "set drop_path",
    "eigenvalue": "it changes what is trained",
    "quantize_training": "it changes what is trained",
    "compression_training": "it changes what is trained",
    "sparse_attention": "the encoder has its own attention",
    "prescale_gradients": "gradients are averaged over the ranks",
    "gradient_predivide_factor": "gradients are averaged over the ranks",
}
# how it is computed, watched and told: any value
_PASS = {
    "wall_clock_breakdown",
    "memory_breakdown",
    "dump_state",
    "flops_profiler",
    "comms_logger",
    "tensorboard",
    "wandb",
    "csv_monitor",
    "comet",
    "monitor_config",
    "autotuning",
    "elasticity",
    "aio",
    "checkpoint",
    "nebula",
    "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer",
    "disable_allgather",
    "seq_parallel_communication_data_type",
    "steps_per_print",
    "compile",
    "timers",
}
_PASS_ZERO = {
    "stage",
    "allgather_partitions",
    "allgather_bucket_size",
    "overlap_comm",
    "reduce_scatter",
    "reduce_bucket_size",
    "contiguous_gradients",
    "round_robin_gradients",
    "use_multi_rank_bucket_allreduce",
    "ignore_unused_parameters",
    "load_from_fp32_weights",
    "elastic_checkpoint",
    "sub_group_size",
    "stage3_max_live_parameters",
    "stage3_max_reuse_distance",
    "stage3_prefetch_bucket_size",
    "stage3_param_persistence_threshold",
    "stage3_model_persistence_threshold",
    "stage3_module_granularity_threshold",
    "stage3_use_all_reduce_for_fetch_params",
    "stage3_gather_16bit_weights_on_model_save",
    "stage3_gather_fp16_weights_on_model_save",
    "max_live_parameters",
    "max_reuse_distance",
    "prefetch_bucket_size",
    "param_persistence_threshold",
    "model_persistence_threshold",
    "gather_16bit_weights_on_model_save",
    "memory_efficient_linear",
    "pipeline_loading_checkpoint",
    "override_module_apply",
    "log_trace_cache_warnings",
    "zero_hpz_partition_size",
    "leaf_module",
}
_NO_OFFLOAD = "everything up to size g fits one card, and snapshots read weights and moments where they are"
_OURS_ZERO = {
    **dict.fromkeys(("offload_optimizer", "offload_param", "cpu_offload", "cpu_offload_params"), _NO_OFFLOAD),
    **dict.fromkeys(
        ("zero_quantized_gradients", "zero_quantized_weights", "zero_quantized_nontrainable_weights"),
        "it rounds what travels between the ranks",
    ),
    "mics_shard_size": "snapshots put sharded weights together over all ranks",
    "zenflow": "it changes when weights are updated",
}
_SAME_AS = {
    "gradient_accumulation_steps": "trainer.engine.accumulate",
    "gradient_clipping": "trainer.engine.clip_grad_norm",
    "zero_optimization.stage": "trainer.engine.zero_stage",
}


def deepspeed_config(config: EngineConfig) -> dict[str, Any]:
    """Return the config that DeepSpeed gets: what the user's file may say, merged into ours.

    Raises:
        ConfigError: the file contradicts the engine's config, sets what is set elsewhere, or has a key that is not
            known here.
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
    zero = _zero_of(given.pop("zero_optimization", None))
    for key in ("gradient_accumulation_steps", "gradient_clipping"):
        _check_same(key, given.pop(key, None), ours[key])
    _check_same("zero_optimization.stage", zero.pop("stage", None), config.zero_stage)
    kept = {key: value for key, value in given.items() if _understood(key, value, _PASS, _OURS, "")}
    kept_zero = {
        key: value
        for key, value in zero.items()
        if _understood(key, value, _PASS_ZERO, _OURS_ZERO, "zero_optimization.")
    }
    kept.pop("steps_per_print", None)  # the trainer tells of steps
    return (
        ours
        | kept
        | {"zero_allow_untested_optimizer": True, "zero_optimization": ours["zero_optimization"] | kept_zero}
    )


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


def _zero_of(zero: Any) -> dict[str, Any]:
    """Return the section of ZeRO; its first versions had true and false, which say less than a stage."""
    if zero in (None, False):
        return {}
    if zero is True:
        return {"stage": 1}
    if not isinstance(zero, dict):
        raise ConfigError(
            f'DeepSpeed\'s config sets zero_optimization to {zero!r}; expected a section such as {{"stage": 1}}.'
        )
    return dict(zero)


def _without_auto(given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out Hugging Face's ``"auto"``, and comments: here everything is derived that can be."""
    kept: dict[str, Any] = {}
    for key, value in given.items():
        if value == "auto" or key.startswith(("_", "//")):
            continue
        if isinstance(value, dict):
            left = _without_auto(value)
            if value.get("enabled") == "auto":  # the whole section follows the trainer
                continue
            if key in ("optimizer", "scheduler") and value.get("params") and not left.get("params"):
                logger.info("DeepSpeed's %s %s has nothing but auto: %s", key, value.get("type"), _OURS[key])
                continue
            kept[key] = left
        else:
            kept[key] = value
    return kept


def _understood(key: str, value: Any, passes: set[str], ours: Mapping[str, str], prefix: str) -> bool:
    """Tell whether a key goes to DeepSpeed; one that is off and not ours to give says nothing."""
    if key in passes:
        return value is not None
    if _is_off(value):
        return False
    instead = ours.get(key)
    if instead is None:
        raise ConfigError(
            f"DeepSpeed's config sets {prefix}{key}, of which it is not known here what it does to the numbers; take"
            " it out."
        )
    raise ConfigError(f"DeepSpeed's config sets {prefix}{key}; take it out: {instead}.")


def _is_off(value: Any) -> bool:
    """Tell whether a value asks for nothing: null, false, or a section that is switched off or moves nothing."""
    if isinstance(value, dict):
        return not value or _is_off(value.get("enabled", True)) or value.get("device", "") in ("none", None)
    return value is None or value is False


def _check_same(key: str, given: Any, ours: Any) -> None:
    if given is not None and given != ours:
        raise ConfigError(
            f"DeepSpeed's config sets {key} to {given!r}, the run's config to {ours!r}; take it out of DeepSpeed's, or"
            f" set {_SAME_AS[key]} alike."
        )
