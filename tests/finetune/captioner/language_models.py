"""Random causal language models, small, each a Hugging Face folder written here; nothing is ever fetched."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path
from typing import Any

import torch

from bandloom.finetune.text.text_model.scratch import word_tokenizer
from bandloom.finetune.text.text_model.tower import quiet

WORDS = [
    "one lake beside a dark forest",
    "two roads cross many fields",
    "snow covers rock and ice",
    "houses stand in rows",
    "a river bends through marsh",
    "bare ground and dust",
    "orchards in straight lines",
    "salt water and mangroves",
    "Describe the image:",
    "Question: is it a rural or an urban area? Answer: yes no rural urban",
    "how many roads are there 0 1 2 3",
    "what is there 4 5 6 7 8 9",
]


def write_language(folder: Path, kind: str = "llama", width: int = 32) -> Any:
    """Write a random Llama or GPT-2 with a tokenizer of the words above; returns the model."""
    model, tokenizer = random_language(kind, width)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def random_language(kind: str = "llama", width: int = 32) -> tuple[Any, Any]:
    """Return a random Llama or GPT-2 and a tokenizer of the words above."""
    transformers = quiet()
    tokenizer = word_tokenizer(WORDS)
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    torch.manual_seed(0)
    if kind == "llama":
        config = transformers.LlamaConfig(
            **ids,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=128,
        )
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.GPT2Config(
            **ids, n_embd=width, n_layer=2, n_head=2, n_positions=128, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
        )
        model = transformers.GPT2LMHeadModel(config)
    return model.eval(), tokenizer
