"""Scores of a captioner: its answers beside the commonest ones, and its own image beside another's."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bandloom.command_line.console import table
from bandloom.draws.evenly import evenly
from bandloom.finetune.captioner.model import IGNORED, Captioner
from bandloom.finetune.captioner.pairs import Exchange, Pairs
from bandloom.finetune.text.samples import centre_crop
from bandloom.run_state.pulse import pulse
from bandloom.shards.read.shard_set import ShardSet

CAPTION, SHOWN = "caption", 8


def answer_report(
    model: Captioner, shards: ShardSet, test: np.ndarray, pairs: Pairs, train: np.ndarray, most: int
) -> dict[str, Any]:
    """Return what ``metrics.json`` holds, on at most ``most`` test exchanges.

    The losses with the own image and with another's are of the same exchanges: a model that does not look has both the
    same. There is no other where all exchanges are about one image.
    ``accuracy`` is of questions, by type, beside ``commonest``: the answer that this question, or else its type, has
    most often in training, which is what can be said without looking.
    """
    known = [(int(i), pair) for i in test for pair in pairs.of_key[shards.entries[int(i)].key]]
    asked = [known[i] for i in evenly(len(known), most)]
    if not asked:
        return {"schema": 1, "task": "caption", "exchanges": 0, "loss": {}, "questions": {}, "examples": []}
    blind = _Commonest([pair for i in train for pair in pairs.of_key[shards.entries[int(i)].key]])
    said = [(pair, *_one(model, shards, index, pair)) for index, pair in asked]
    losses = {"own_image": _a_token([loss for _, _, loss in said])}
    others = other_images([index for index, _ in asked])
    if others:
        elsewhere = [
            _one(model, shards, other, pair, speak=False)[1] for other, (_, pair) in zip(others, asked, strict=True)
        ]
        losses["other_image"] = _a_token(elsewhere)
    return {
        "schema": 1,
        "task": "caption",
        "exchanges": len(asked),
        "loss": losses,
        "questions": _by_type([(pair, answer, blind.answer(pair)) for pair, answer, _ in said if pair.kind != CAPTION]),
        "examples": [{"prompt": pair.prompt, "said": answer, "truth": pair.answer} for pair, answer, _ in said[:SHOWN]],
    }


def other_images(own: Sequence[int]) -> list[int]:
    """Return another image for each, from about half the list on; nothing where all are the same one."""
    count = len(own)
    if len(set(own)) < 2:
        return []
    further = [[own[(place - 1 - count // 2 - more) % count] for more in range(count)] for place in range(count)]
    return [next(image for image in images if image != own[place]) for place, images in enumerate(further)]


def answer_table(report: dict[str, Any]) -> Any:
    """Return the console's table of a report."""
    rows = [
        [f"questions: {kind}", row["count"], f"{row['accuracy']:.3f}", f"{row['commonest']:.3f}"]
        for kind, row in report["questions"].items()
    ]
    if report["loss"]:
        rows.append(
            [
                "loss of an answer's token",
                report["exchanges"],
                f"{report['loss']['own_image']:.3f}",
                f"{report['loss']['other_image']:.3f}" if "other_image" in report["loss"] else "",
            ]
        )
    return table("What it says of test images", ["", "count", "with the image", "without (commonest, another's)"], rows)


def same_answer(one: str, other: str) -> bool:
    """Tell whether two answers are the same but for case, spaces and a full stop."""
    return " ".join(one.lower().split()).rstrip(". ") == " ".join(other.lower().split()).rstrip(". ")


class _Commonest:
    """The answer that a question, or else its type, has most often in training."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.of: dict[str, Counter[str]] = defaultdict(Counter)
        for exchange in exchanges:
            self.of["prompt " + exchange.prompt][exchange.answer] += 1
            self.of["kind " + exchange.kind][exchange.answer] += 1

    def answer(self, exchange: Exchange) -> str:
        held = self.of.get("prompt " + exchange.prompt) or self.of.get("kind " + exchange.kind)
        return held.most_common(1)[0][0] if held else ""


def _a_token(losses: Sequence[tuple[float, int]]) -> float:
    """Return the mean loss of a token, of sums over answers and the tokens of each."""
    return sum(loss for loss, _ in losses) / max(1, sum(tokens for _, tokens in losses))


@torch.no_grad()
def _one(
    model: Captioner, shards: ShardSet, index: int, each: Exchange, *, speak: bool = True
) -> tuple[str, tuple[float, int]]:
    """Return what the model says to a prompt, and its loss of the true answer: the sum, and over how many tokens."""
    pulse("asking")
    device = next(model.project.parameters()).device
    groups = {
        gsd: torch.from_numpy(np.ascontiguousarray(group[None])).to(device)
        for gsd, group in centre_crop(shards.read(index).groups, model.chip_px).items()
    }
    ids, targets, _ = model.encode([(each.prompt, each.answer)])
    loss = float(model(groups, ids.to(device), targets.to(device))), int((targets != IGNORED).sum())
    return model.generate(groups, each.prompt)[0] if speak else "", loss


def _by_type(answered: Sequence[tuple[Exchange, str, str]]) -> dict[str, Any]:
    by_type: dict[str, Any] = {}
    for kind in [*sorted({pair.kind for pair, _, _ in answered}), "all"]:
        own = [
            (same_answer(said, pair.answer), same_answer(blind, pair.answer))
            for pair, said, blind in answered
            if kind in (pair.kind, "all")
        ]
        if own:
            by_type[kind] = {
                "count": len(own),
                "accuracy": float(np.mean([one for one, _ in own])),
                "commonest": float(np.mean([other for _, other in own])),
            }
    return by_type
