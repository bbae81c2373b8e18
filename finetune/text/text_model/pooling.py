"""Pooling of a text model's token states to one vector a text, the way that the model was trained."""

from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from bandloom.errors import TextError
from bandloom.finetune.text.text_model.sentence_settings import PARTS, parts_of, pooling_file, pooling_modes

Pooling = Literal["mean", "cls", "max", "last", "own"]
OWN = ("clip", "clip_text_model", "siglip", "siglip_text_model", "siglip2", "siglip2_text_model")
_PARTS = ("Transformer", "Pooling", "Normalize")  # what is done here of a folder of sentence-transformers
_NAMED = {
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean",  # of another length, which is made 1 afterwards
    "cls": "cls",
    "max": "max",
    "lasttoken": "last",
}


def choose_pooling(folder: Path, model_type: str, architectures: list[str] | None, asked: str = "auto") -> Pooling:
    """Return how a folder's model wants its tokens pooled.

    ``own``: CLIP takes the end token and SigLIP the last position through heads of their own. A sentence-transformers
    folder says it in ``1_Pooling``. A causal model has seen the whole text at its last token. Others are averaged.

    Args:
        folder: the model's folder.
        model_type: of its config.
        architectures: of its config.
        asked: ``auto``, or one of :data:`Pooling`.

    Raises:
        TextError: ``asked`` is not known.
    """
    if asked in get_args(Pooling):
        return asked  # type: ignore[return-value]
    if asked != "auto":
        raise TextError(f"text.pooling is {asked!r}; use auto, {', '.join(get_args(Pooling))}.")
    if model_type in OWN:
        return "own"
    _check_parts(folder)
    wanted = pooling_modes(folder)
    if wanted and (len(wanted) > 1 or wanted[0] not in _NAMED):
        raise TextError(
            f"{pooling_file(folder)} pools by {' and '.join(wanted)}, which is not done here; set text.pooling to one"
            f" of {', '.join(get_args(Pooling))}, or use another model."
        )
    if wanted:
        return _NAMED[wanted[0]]  # type: ignore[return-value]
    return "last" if any(name.endswith("ForCausalLM") for name in architectures or ()) else "mean"


def _check_parts(folder: Path) -> None:
    """Refuse a folder of sentence-transformers with further layers after the pooling, which would be left out."""
    if others := [kind for kind in parts_of(folder) if kind not in _PARTS]:
        raise TextError(
            f"{folder / PARTS} lists a part {others[0]}, which is not done here, so that its vectors would be others;"
            " use a model of Transformer and Pooling alone, or a file of vectors that sentence-transformers made."
        )


def pool(output: Any, mask: Tensor, pooling: Pooling) -> Tensor:
    """Return one vector a text, ``(B, D)``.

    Args:
        output: what the model returned.
        mask: 1 where a token is a real one, ``(B, L)``.
        pooling: see :func:`choose_pooling`.
    """
    if pooling == "own":
        projected = getattr(output, "text_embeds", None)
        return output.pooler_output if projected is None else projected
    states, real = output.last_hidden_state, mask[..., None].bool()  # (B, L, D), (B, L, 1)
    if pooling == "mean":
        return (states * real).sum(1) / real.sum(1).clamp(min=1)
    if pooling == "max":
        return states.masked_fill(~real, -torch.inf).amax(1)
    places = torch.arange(mask.shape[1], device=mask.device)
    place = torch.where(mask.bool(), places, mask.shape[1] if pooling == "cls" else -1)
    first_or_last = place.amin(1) if pooling == "cls" else place.amax(1)
    return states[torch.arange(len(states), device=states.device), first_or_last]
