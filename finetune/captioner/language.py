"""A causal language model from a local folder, frozen, with LoRA, or whole."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bandloom.command_line.console import logger
from bandloom.errors import TextError
from bandloom.finetune.captioner.config import LanguageConfig
from bandloom.finetune.model.lora import LoraLinear
from bandloom.finetune.text.text_model.sources import licence_of
from bandloom.finetune.text.text_model.tower import load_tokenizer, quiet


def open_language(config: LanguageConfig) -> tuple[Any, Any]:
    """Return a language model and its tokenizer; nothing is fetched.

    Raises:
        TextError: the folder holds no causal language model that can be used offline.
    """
    folder = config.model.expanduser()
    if not (folder / "config.json").is_file():
        raise TextError(
            f"language.model {folder} is no folder with a config.json, and nothing is fetched from a hub; on a machine"
            " with a connection run `hf download NAME --local-dir FOLDER` once, and pass that folder."
        )
    if not list(folder.glob("*.safetensors")):
        raise TextError(f"{folder} has no *.safetensors; convert its weights (pickles are not read).")
    tokenizer = load_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise TextError(
            f"the tokenizer of {folder} has no end token, without which no answer ends; set eos_token in its"
            " tokenizer_config.json."
        )
    dtype = torch.float32 if config.mode == "full" else getattr(torch, config.dtype)
    try:
        model, report = quiet().AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=dtype
        )
    except (ValueError, OSError, RuntimeError, KeyError) as cause:
        line = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
        raise TextError(
            f"{folder} holds no causal language model that can be loaded ({line}); pass a folder such as"
            " GPT-2's, Llama's or Qwen's."
        ) from cause
    if report["missing_keys"]:
        raise TextError(
            f"{folder} lacks {len(report['missing_keys'])} weights of its model, such as"
            f" {min(report['missing_keys'])}, and they would be random; copy it again."
        )
    logger.info("language model %s, licence: %s", folder, licence_of(folder))
    prepare(model, config)
    return model, tokenizer


def prepare(model: Any, config: LanguageConfig) -> None:
    """Let train what the config says: nothing, thin products beside the named maps, or all of it.

    Raises:
        TextError: no linear map has one of the names.
    """
    model.requires_grad_(config.mode == "full")
    if config.mode == "lora":
        _add_lora(model, config)
    if config.gradient_checkpointing:
        model.config.use_cache = False
        # transformers renamed it within its version 5
        name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
        getattr(model, f"{name}_checkpointing_enable")(**{f"{name}_checkpointing_kwargs": {"use_reentrant": False}})


def forgets_activations(model: Any) -> bool:
    """Tell whether a language model computes its blocks again on the way back."""
    kind = "activation" if hasattr(model, "is_activation_checkpointing") else "gradient"
    return bool(getattr(model, f"is_{kind}_checkpointing"))


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that train, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _add_lora(model: nn.Module, config: LanguageConfig) -> None:
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in config.lora_modules
    ]
    if not layers:
        linear = sorted(
            {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        )
        raise TextError(
            f"language.lora_modules names {', '.join(config.lora_modules)}, but the linear maps of"
            f" {config.model} are {', '.join(linear)}; name some of these, or use language.mode=full."
        )
    for name in layers:
        parent, attribute = model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
        linear = getattr(parent, attribute)
        setattr(parent, attribute, LoraLinear(linear, config.lora_rank, config.lora_scale).to(linear.weight.device))


def describe(folder: Path, model: Any) -> dict[str, Any]:
    """Return what a checkpoint says of a language model, as plain JSON types."""
    config = model.config
    return {
        "model": str(folder),
        "kind": config.model_type,
        "hidden_size": int(config.hidden_size),
        "vocabulary": int(config.vocab_size),
        "licence": licence_of(folder),
    }
