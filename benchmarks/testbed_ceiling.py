"""What the testbed leaves to context: token statistics, random filters and a supervised network with every label.

``python -m benchmarks.testbed_ceiling --steps 1500`` prints one JSON line; docs/decisions/testbed.md holds the figures.
The supervised network is the demo's encoder with a linear layer a token, trained on the labels of all 64 scenes; the
others are fitted on 40,000 tokens of the same scenes. The step and the classifier are chosen on the validation scenes.
"""

import argparse
import json
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.shards.synth import SENSOR
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import PlainLoss
from benchmarks import testbed
from benchmarks.search_scores import local_accuracy
from benchmarks.testbed import Chips, Groups

LOCAL, LOCAL_TOKENS = ("statistics", "random conv"), 40_000
CPU = Ranks(0, 0, 1, torch.device("cpu"))
Batch = tuple[Groups, torch.Tensor]


class TokenClassifier(nn.Module):
    """The encoder and a linear layer on its last layer."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.embed_dim, testbed.CLASSES)

    def forward(self, groups: Groups) -> torch.Tensor:
        """Return logits ``(B, T, K)``."""
        return self.head(self.encoder(groups, SENSOR))


def supervised(steps: int, batch: int, lr: float, seed: int, every: int) -> dict[str, float]:
    """Train with every label; returns the accuracy on test scenes of the step that the validation scenes prefer."""
    torch.manual_seed(seed)
    model = TokenClassifier(Encoder(EncoderConfig.of_size("demo"), testbed.statistics()))
    engine = make_engine(model, EngineConfig(lr=lr, warmup_steps=min(200, steps // 5)), CPU, steps)
    rng, began = np.random.default_rng([seed, 1]), time.monotonic()
    validation, best = testbed.tiles(testbed.VALIDATION), {"validation": 0.0}
    for step in range(1, steps + 1):
        model.train()
        report = engine.train_step([_random_batch(rng, batch)], PlainLoss(_loss), step - 1).read()
        if step % every == 0 or step == steps:
            score = accuracy(model, validation)
            print(
                f"step {step}: loss {report.loss:.3f}, validation {score:.4f}, {time.monotonic() - began:.0f} s",
                flush=True,
            )
            if score > best["validation"]:
                kept = {name: value.clone() for name, value in model.state_dict().items()}
                best = {"validation": score, "step": step}
    model.load_state_dict(kept)
    return best | {"test": accuracy(model, testbed.tiles(testbed.TEST))}


@torch.no_grad()
def accuracy(model: TokenClassifier, chips: Chips) -> float:
    """Return the share of labelled tokens whose class is found."""
    model.eval()
    found = [
        model({gsd: group[i : i + 64] for gsd, group in chips.groups.items()}).argmax(-1)
        for i in range(0, len(chips.classes), 64)
    ]
    hits = torch.cat(found).numpy() == chips.classes
    return float(hits[chips.classes != IGNORE_INDEX].mean())


def _random_batch(rng: np.random.Generator, batch: int) -> Batch:
    last = testbed.SIDE_PX * 10 // testbed.TOKEN_M - testbed.CHIP_TOKENS
    places = np.stack([rng.integers(0, most + 1, batch) for most in (testbed.PRETRAINED_ON - 1, last, last)], 1)
    chips = testbed.cut(places)
    classes = torch.from_numpy(chips.classes).long().unflatten(1, (testbed.CHIP_TOKENS, testbed.CHIP_TOKENS))
    turn, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def turned(images: torch.Tensor) -> torch.Tensor:
        around = torch.rot90(images, turn, (-2, -1))
        return around.flip(-1) if mirror else around

    return {gsd: turned(group) for gsd, group in chips.groups.items()}, turned(classes).flatten(1)


def _loss(module: nn.Module, batch: Batch) -> torch.Tensor:
    groups, classes = batch
    return F.cross_entropy(module(groups).flatten(0, 1).float(), classes.flatten(), ignore_index=IGNORE_INDEX)


def main() -> None:
    """Train and print the scores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=250)
    given = vars(parser.parse_args())
    which = range(testbed.PRETRAINED_ON)
    local = {name: local_accuracy(name, which, LOCAL_TOKENS, given["seed"]) for name in LOCAL}
    print(json.dumps(local), flush=True)
    print(json.dumps(given | local | {"supervised": supervised(**given) if given["steps"] else None}))


if __name__ == "__main__":
    main()
