"""Random text models of every kind, small, each a Hugging Face folder written here; nothing is ever fetched."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path
from typing import Any

import torch

from bandloom.finetune.text.text_model.scratch import word_tokenizer
from bandloom.finetune.text.text_model.tower import quiet

TEXTS = [
    "a satellite image of a forest",
    "mostly water, some sand",
    "a river",
    "houses beside a road in the north",
    "dense forest beside the water and a road",
]
KINDS = ("bert", "clip_text", "clip", "siglip_text", "siglip", "modernbert")


def write_model(folder: Path, kind: str) -> Any:
    """Write a random model of a kind with a tokenizer of the words above; returns the model."""
    transformers = quiet()
    tokenizer = word_tokenizer(TEXTS)
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    torch.manual_seed(0)
    tokenizer.model_max_length = 12
    if kind == "bert":
        model = transformers.BertModel(transformers.BertConfig(**ids, **size, max_position_embeddings=12))
    elif kind == "modernbert":
        config = transformers.ModernBertConfig(
            **ids, **size, max_position_embeddings=12, cls_token_id=2, sep_token_id=3, reference_compile=False
        )
        model = transformers.ModernBertModel(config)
    elif kind.startswith("clip"):
        text = transformers.CLIPTextConfig(**ids, **size, max_position_embeddings=12, projection_dim=24)
        vision = {**size, "image_size": 8, "patch_size": 4}
        whole = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision, projection_dim=24)
        model = transformers.CLIPTextModel(text) if kind == "clip_text" else transformers.CLIPModel(whole)
    else:
        text = transformers.SiglipTextConfig(**ids, **size, max_position_embeddings=12, projection_size=32)
        vision = {**size, "image_size": 8, "patch_size": 4}
        whole = transformers.SiglipConfig(text_config=text.to_dict(), vision_config=vision)
        model = transformers.SiglipTextModel(text) if kind == "siglip_text" else transformers.SiglipModel(whole)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model
