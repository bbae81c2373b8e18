"""Text towers from local Hugging Face folders: BERT, CLIP, SigLIP, ModernBERT or others, each pooled its own way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.command_line.console import logger
from bandloom.errors import TextError
from bandloom.finetune.text.text_model.pooling import Pooling, choose_pooling, pool
from bandloom.finetune.text.text_model.sentence_settings import copy_settings, default_prompt, limits_of
from bandloom.model import torch_compat  # noqa: F401  (transformers needs it)
from bandloom.run_state.pulse import pulse

BATCH = 64
# AutoModel gives both towers of a pair, or refuses a text half; these classes take the text half out of either
_CLASSES = {
    "clip": "CLIPTextModelWithProjection",
    "clip_text_model": "CLIPTextModel",
    "siglip": "SiglipTextModel",
    "siglip_text_model": "SiglipTextModel",
    "siglip2": "Siglip2TextModel",
    "siglip2_text_model": "Siglip2TextModel",
}

_VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)


class TextTower(nn.Module):
    """Texts in, unit vectors out.

    Args:
        folder: ``config.json``, ``model.safetensors`` and the tokenizer's files.
        pooling: ``auto``, or one of :data:`bandloom.finetune.text.text_model.pooling.Pooling`.

    Raises:
        TextError: the folder holds no text model that can be used offline.
    """

    def __init__(self, folder: Path, pooling: str = "auto") -> None:
        super().__init__()
        self.folder = folder
        config = _config(folder)
        self.pooling: Pooling = choose_pooling(folder, config.model_type, config.architectures, pooling)
        self.tokenizer: Any = load_tokenizer(folder)
        self.model: Any = _model(folder, config, self.pooling)
        inner = getattr(config, "text_config", None) or config
        self.fixed_length = config.model_type.startswith("siglip")  # its vector is read at the last of 64 positions
        self.end_token = inner.eos_token_id if config.model_type.startswith("clip") else None
        self.lowers = bool(limits_of(folder).get("do_lower_case"))
        self.prompt = default_prompt(folder)
        self.limit = _limit(folder, self.tokenizer, inner)
        self.dim = int(self._width(inner))

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token ids and mask, ``(B, L)`` int64 each, cut to the model's limit.

        Raises:
            TextError: the tokenizer marks no end where the model reads its vector there.
        """
        padding = "max_length" if self.fixed_length else True
        tokens = self.tokenizer(
            self._as_read(texts),
            padding=padding,
            truncation=True,
            max_length=self.limit,
            return_tensors="pt",
            return_attention_mask=True,
        )
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        if self.end_token not in (None, 2) and not (ids == self.end_token).any(1).all():
            raise TextError(
                f"the tokenizer of {self.folder} ends no text with the token {self.end_token} that its CLIP model"
                " reads; use the tokenizer that was saved with the model."
            )
        return ids, mask

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors ``(B, D)`` of token ids and mask, ``(B, L)`` each."""
        # SigLIP was trained without a mask: padding counts
        output = self.model(input_ids=ids) if self.fixed_length else self.model(input_ids=ids, attention_mask=mask)
        return functional.normalize(pool(output, mask, self.pooling).float(), dim=1)

    def too_long(self, texts: Sequence[str]) -> int:
        """Count the texts that the model does not see to their end."""
        ids = self.tokenizer(self._as_read(texts), truncation=False, verbose=False)["input_ids"]
        lengths = [len(own) for own in ids]
        return sum(length > self.limit for length in lengths)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors ``(N, D)`` float32; texts over the limit are cut, counted and said.

        Raises:
            TextError: a vector is not finite.
        """
        self.say_cut(texts)
        self.say_unknown(texts)
        self.eval()
        device = next(self.parameters()).device
        parts = [np.zeros((0, self.dim), np.float32)]
        for first in range(0, len(texts), BATCH):
            pulse("encoding captions")
            ids, mask = self.tokenize(texts[first : first + BATCH])
            parts.append(self(ids.to(device), mask.to(device)).cpu().numpy())
        vectors = np.concatenate(parts)
        lost = np.flatnonzero(~np.isfinite(vectors).all(1))
        if len(lost):
            raise TextError(
                f"the text model {self.folder} gives {len(lost)} of {len(texts)} texts no finite vector, such as"
                f" {texts[int(lost[0])]!r}; copy its weights again, or use another."
            )
        return vectors

    def say_cut(self, texts: Sequence[str]) -> None:
        """Warn of texts that the model does not see to their end."""
        cut = self.too_long(texts) if texts else 0
        if cut:
            logger.warning(
                "%d of %d captions are longer than the %d tokens of %s; their ends are not seen",
                cut,
                len(texts),
                self.limit,
                self.folder.name,
            )

    def unknown_words(self, texts: Sequence[str]) -> list[str]:
        """Return the words, each once, for which the tokenizer has its one token of unknown words."""
        if self.tokenizer.unk_token_id is None or not self.tokenizer.is_fast or not texts:
            return []
        given = self._as_read(texts)
        told = self.tokenizer(given, truncation=True, max_length=self.limit, return_offsets_mapping=True)
        return list(
            dict.fromkeys(
                text[first:last]
                for text, ids, spans in zip(given, told["input_ids"], told["offset_mapping"], strict=True)
                for token, (first, last) in zip(ids, spans, strict=True)
                if token == self.tokenizer.unk_token_id and last > first
            )
        )

    def say_unknown(self, texts: Sequence[str]) -> None:
        """Warn of words that the model never read: whatever they are, it takes them all for the same."""
        unknown = self.unknown_words(texts)
        if unknown:
            logger.warning(
                "the text model %s never read %d of these words (%s), and takes each for the same unknown one; use the"
                " captions' own words, or start from a text model that has read more",
                self.folder.name,
                len(unknown),
                ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else ""),
            )

    def save(self, folder: Path) -> None:
        """Write model and tokenizer as a Hugging Face folder."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)
        copy_settings(self.folder, folder)

    def _as_read(self, texts: Sequence[str]) -> list[str]:
        """Return texts as the tokenizer is to see them: behind the default prompt, some in small letters alone."""
        prompted = [self.prompt + text for text in texts]
        return [text.lower() for text in prompted] if self.lowers else prompted

    def _width(self, inner: Any) -> int:
        if hasattr(self.model, "text_projection"):
            return self.model.text_projection.out_features
        return getattr(inner, "projection_size", None) or inner.hidden_size if self.fixed_length else inner.hidden_size


def quiet() -> Any:
    """Import transformers without its progress bars and advice; what matters is checked here."""
    import transformers  # type: ignore[import-not-found]

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _config(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise TextError(
            f"{folder} is no text model (no config.json); pass a folder with config.json, model.safetensors"
            " and the tokenizer's files."
        )
    try:
        return quiet().AutoConfig.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError, KeyError) as cause:
        raise TextError(
            f"the text model {folder} is of a kind that transformers does not know ({_line(cause)}); use"
            " BERT, CLIP, SigLIP, ModernBERT or another that it loads."
        ) from cause


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder, padding on the right.

    Raises:
        TextError: there is none.
    """
    try:
        if not any((folder / name).is_file() for name in _VOCABULARIES):
            raise OSError("no " + ", ".join(_VOCABULARIES))  # else transformers makes up an empty one
        tokenizer = quiet().AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as cause:
        raise TextError(
            f"{folder} has no tokenizer that can be read ({_line(cause)}); copy the model's tokenizer files"
            " (tokenizer.json, tokenizer_config.json) beside it."
        ) from cause
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def _model(folder: Path, config: Any, pooling: Pooling) -> Any:
    if not list(folder.glob("*.safetensors")):
        raise TextError(
            f"{folder} has no model.safetensors; convert its weights to safetensors (pickles are not read)."
        )
    transformers = quiet()
    name = _CLASSES.get(config.model_type, "AutoModel")
    if "CLIPTextModelWithProjection" in (config.architectures or ()):
        name = "CLIPTextModelWithProjection"
    try:
        model, report = getattr(transformers, name).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except (ValueError, OSError, RuntimeError, KeyError) as cause:
        raise TextError(f"the text model {folder} cannot be loaded ({_line(cause)}); copy it again.") from cause
    missing = sorted(key for key in report["missing_keys"] if pooling == "own" or "pooler" not in key)
    if missing:
        raise TextError(
            f"{folder} lacks {len(missing)} weights of its model, such as {missing[0]}, and they would be random; copy"
            " the folder again."
        )
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    return model.eval()


def _limit(folder: Path, tokenizer: Any, config: Any) -> int:
    """Return the most tokens that the model reads: the least of what tokenizer, positions and sentence settings say."""
    said = [int(tokenizer.model_max_length), int(getattr(config, "max_position_embeddings", None) or 10**9)]
    said.append(int(limits_of(folder).get("max_seq_length") or 10**9))
    return min(min(said), 8192)


def _line(cause: BaseException) -> str:
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
