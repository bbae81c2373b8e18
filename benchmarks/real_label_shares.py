"""Does pretraining pay on real scenes? Tokens of each labelled scene, by share of labels, probed and fine-tuned.

Reads what ``python -m benchmarks.real_scenes --out RUNS`` left (the pretrained encoder and each scene's shards), and
compares as ``benchmarks.pretraining_pays`` does: raw samples, random weights and the pretrained encoder, alone and
joined with raw samples. A third of the blocks of 8 x 8 tokens is held out; three seeds of blocks, labels and weights.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from bandloom.classes.label_set import IGNORE_INDEX, majority_classes
from bandloom.model.checkpoint import load_encoder
from bandloom.model.encoder import Encoder
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet
from benchmarks import pretraining_pays as testbed

SCENES = ("282D", "433D", "flood")
SHARES = (0.1, 0.3, 1.0)
SEEDS = (0, 1, 2)
BLOCK = 8  # tokens a side
CHIP = 8  # tokens a side of what the encoder sees at once: one block, so that nothing crosses from train to test


def main() -> None:
    """Print one row a scene, share and contender, and the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    runs: Path = parser.parse_args().runs
    pretrained = load_encoder(runs / "pretrain" / "checkpoint").eval()
    rows: dict[tuple[str, float, str], list[float]] = {}
    for name in SCENES:
        chips, classes, sensor = tokens_of(ShardSet(runs / f"shards-{name}"))
        for seed in SEEDS:
            torch.manual_seed(seed)
            untrained = Encoder(pretrained.config, pretrained.statistics).eval()
            for share, contender, accuracy in compare(chips, classes, sensor, pretrained, untrained, seed):
                rows.setdefault((name, share, contender), []).append(accuracy)
                print(json.dumps([name, seed, share, contender, round(accuracy, 4)]), flush=True)
    print(markdown(rows))


def tokens_of(shards: ShardSet) -> tuple[dict[int, torch.Tensor], np.ndarray, Sensor]:
    """Return chips of one block each ``{gsd: (N, C, h, w)}`` and classes of their tokens ``(N, CHIP * CHIP)``."""
    sensor = next(iter(shards.sensors.values()))
    groups: dict[int, list[np.ndarray]] = {}
    classes = []
    for sample in (shards.read(int(index)) for index in shards.indices()):
        side = shards.side_px // 6
        if sample.label is None:
            continue
        majority = majority_classes(sample.label, 6)
        for y in range(0, side, CHIP):
            for x in range(0, side, CHIP):
                classes.append(majority[y : y + CHIP, x : x + CHIP].ravel())
                for gsd, group in sample.groups.items():
                    n = 60 // gsd
                    groups.setdefault(gsd, []).append(group[:, y * n : (y + CHIP) * n, x * n : (x + CHIP) * n])
    kept = [i for i, land_class in enumerate(classes) if (land_class != IGNORE_INDEX).any()]
    chips = {
        gsd: torch.from_numpy(np.stack([group[i] for i in kept]).astype(np.int32)) for gsd, group in groups.items()
    }
    return chips, np.stack([classes[i] for i in kept]), sensor


def compare(
    chips: dict[int, torch.Tensor],
    classes: np.ndarray,
    sensor: Sensor,
    pretrained: Encoder,
    untrained: Encoder,
    seed: int,
) -> list[tuple[float, str, float]]:
    """Return ``(share, contender, accuracy)`` of one scene and seed."""
    rng = np.random.default_rng([seed, 11])
    test = np.zeros(len(classes), bool)
    test[rng.permutation(len(classes))[: len(classes) // 3]] = True
    parts = [{gsd: group[torch.from_numpy(which)] for gsd, group in chips.items()} for which in (~test, test)]
    labels, wanted = classes[~test], classes[test]
    scored = wanted.ravel() != IGNORE_INDEX
    raw = testbed.features(pretrained, *parts, None, sensor)
    layers = {"raw": raw}
    for name, encoder in (("random", untrained), ("pretrained", pretrained)):
        own = testbed.features(encoder, *parts, encoder.config.depth - 1, sensor)
        layers[name] = own
        layers[f"{name} + raw"] = tuple(np.concatenate(pair, 1) for pair in zip(own, raw, strict=True))
    known = np.flatnonzero(labels.ravel() != IGNORE_INDEX)
    found = []
    for share in SHARES:
        rows = rng.permutation(known)[: max(20, int(share * len(known)))]
        for name, own in layers.items():
            accuracy = testbed.ridge_accuracy(own, labels.ravel(), rows, wanted.ravel(), scored)
            found.append((share, f"probe, {name}", accuracy))
        for name, encoder in (("random", untrained), ("pretrained", pretrained)):
            accuracy = testbed.finetune(encoder, parts[0], labels, rows, parts[1], wanted, seed, sensor=sensor)
            found.append((share, f"fine-tuned, {name}", accuracy))
    return found


def markdown(rows: dict[tuple[str, float, str], list[float]]) -> str:
    """Return the table: mean over seeds by scene and share, contenders in rows."""
    columns = [(scene, share) for scene in SCENES for share in SHARES]
    lines = [
        "| accuracy of tokens | " + " | ".join(f"{scene} {share:.0%}" for scene, share in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for contender in dict.fromkeys(contender for _, _, contender in rows):
        values = [rows[scene, share, contender] for scene, share in columns]
        lines.append(f"| {contender} | " + " | ".join(f"{np.mean(value):.3f}" for value in values) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
