"""The search for a pretraining objective: variants x seeds on the testbed, frozen features beside baselines.

``nice -n 19 python -m benchmarks.objective_search`` runs every row that is not in
benchmarks/results/objective_search.jsonl yet, appends each as it is done, and takes up a pretraining where it was
stopped; ``--only tex --seeds 0 1 2`` names rows, ``--table`` prints what there is. Every row is fitted by the same
sweep (ridge and RandomForest, alone or joined with raw samples), chosen on the validation scenes and scored on the
test scenes once.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.pretrain.codebook import fit_codebook
from bandloom.pretrain.config import DecoderConfig, ObjectiveConfig
from bandloom.pretrain.loss import MaskedLoss
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.pretrain.objectives import VisualWords
from bandloom.shards.synth import SENSOR
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import Engine, EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from benchmarks import testbed
from benchmarks.search_scores import MAPS, score_baseline, score_encoder

ROWS = Path(__file__).parent / "results" / "objective_search.jsonl"
CPU = Ranks(0, 0, 1, torch.device("cpu"))
SAVE_EVERY = 250  # steps
STEM = 256  # filters


@dataclass(frozen=True)
class Variant:
    """One way to pretrain.

    Args:
        objective: keys of the objective's config.
        size: of the encoder.
        stem_filters: of the encoder's stem; 0: none.
        positions: added or rotary.
        steps: of 24 chips each.
        scenes: the first so many of the testbed's are pretrained on.
        lr: peak learning rate.
    """

    objective: dict[str, Any] = field(default_factory=dict)
    size: str = "demo"
    stem_filters: int = 0
    positions: str = "added"
    steps: int = 1000
    batch: int = 24
    lr: float = 1.5e-3
    scenes: int = testbed.PRETRAINED_ON


VARIANTS = {
    "random": Variant(steps=0),
    "mae": Variant(),
    "tex": Variant({"kind": "context"}),
    "ema": Variant({"kind": "moving_teacher", "pixel_weight": 1.0}),
    "context": Variant({"kind": "context", "textures": False}),
    "words": Variant({"kind": "visual_words"}),
    "words_blocks": Variant({"kind": "visual_words", "mask_block": 3}),
    "random_rotary": Variant(steps=0, positions="rotary"),
    "words_rotary": Variant({"kind": "visual_words"}, positions="rotary"),
    "words_stem_rotary": Variant({"kind": "visual_words"}, stem_filters=STEM, positions="rotary"),
    "words_256": Variant({"kind": "visual_words", "codebook_size": 256}),
    "words_3000": Variant({"kind": "visual_words"}, steps=3000),
    "words_10000": Variant({"kind": "visual_words"}, steps=10_000),
    "words_of_8": Variant({"kind": "visual_words"}, scenes=8),
    "words_of_16": Variant({"kind": "visual_words"}, scenes=16),
    "words_3000_of_8": Variant({"kind": "visual_words"}, steps=3000, scenes=8),
    "words_of_32": Variant({"kind": "visual_words"}, scenes=32),
    "words_tiny_1000": Variant({"kind": "visual_words"}, size="tiny"),
    "words_tiny": Variant({"kind": "visual_words"}, size="tiny", steps=3000),
    "random_stem": Variant(steps=0, stem_filters=STEM),
    "mae_stem": Variant(stem_filters=STEM),
    "words_stem": Variant({"kind": "visual_words"}, stem_filters=STEM),
    "words_stem_3000": Variant({"kind": "visual_words"}, stem_filters=STEM, steps=3000),
    "ema_alone": Variant({"kind": "moving_teacher"}),
    "latent": Variant({"kind": "latent", "mask_ratio": 0.5}),
    "mae_blocks": Variant({"mask_block": 3}),
    "tex_blocks": Variant({"kind": "context", "mask_block": 3}),
    "mae_3000": Variant(steps=3000),
    "tex_3000": Variant({"kind": "context"}, steps=3000),
    "ema_3000": Variant({"kind": "moving_teacher", "pixel_weight": 1.0}, steps=3000),
    "tex_tiny": Variant({"kind": "context"}, size="tiny", steps=3000),
}


def run_row(name: str, seed: int) -> dict[str, Any]:
    """Pretrain and score one variant on one seed, or score a baseline; returns the row."""
    began = time.process_time()
    if name in MAPS:
        return {"name": name, "seed": seed, **score_baseline(name, seed), "cpu_s": round(time.process_time() - began)}
    encoder, losses = pretrained(name, seed)
    trained = time.process_time() - began
    scores = score_encoder(encoder, seed)
    cpu_s = {"cpu_s": round(time.process_time() - began), "pretraining_cpu_s": round(trained)}
    loss = {"loss": round(float(np.mean(losses[-50:])), 4)} if losses else {}
    return {"name": name, "seed": seed, **scores, **loss, **cpu_s}


def pretrained(name: str, seed: int) -> tuple[Encoder, list[float]]:
    """Return the encoder of a variant and its losses; a run that was stopped goes on from its last snapshot."""
    variant = VARIANTS[name]
    torch.manual_seed(seed)
    shape = {"stem_filters": variant.stem_filters, "positions": variant.positions}
    encoder = Encoder(EncoderConfig.of_size(variant.size, **shape), testbed.statistics())
    if not variant.steps:
        return encoder, []
    model = MaskedAutoencoder(encoder, DecoderConfig.for_encoder(encoder.config), ObjectiveConfig(**variant.objective))
    if isinstance(model.objective, VisualWords):
        fit_codebook(model.objective, encoder, _seen_chips(variant.scenes), SENSOR)
    settings = EngineConfig(lr=variant.lr, warmup_steps=min(200, variant.steps // 5))
    engine = make_engine(model, settings, CPU, variant.steps)
    file = testbed.CACHE / f"{name}-{seed}.pt"
    first, losses = _resume(engine, file)
    loss = MaskedLoss(model, [SENSOR])
    for step in range(first, variant.steps):
        batch = random_crops(np.random.default_rng([seed, 1, step]), variant.batch, variant.scenes)
        losses.append(engine.train_step([batch], loss, step).read().loss)
        if (step + 1) % SAVE_EVERY == 0:
            _save(engine, file, step + 1, losses)
            print(f"{name} {seed}: step {step + 1}, loss {np.mean(losses[-100:]):.4f}", flush=True)
    return encoder, losses


def _seen_chips(scenes: int) -> Iterator[dict[int, torch.Tensor]]:
    """Yield chips of every scene that is pretrained on, the same for all seeds."""
    for scene in range(scenes):
        yield testbed.tiles(range(scene, scene + 1)).groups


def random_crops(rng: np.random.Generator, batch: int, scenes: int = testbed.PRETRAINED_ON) -> DeviceBatch:
    """Draw chips of 720 m of the first so many scenes, turned and mirrored."""
    last = testbed.SIDE_PX * 10 // testbed.TOKEN_M - testbed.CHIP_TOKENS
    places = np.stack([rng.integers(0, most + 1, batch) for most in (scenes - 1, last, last)], 1)
    turns = rng.integers(0, 8, batch).tolist()
    groups = {
        gsd: torch.stack([_turned(chip, turn) for chip, turn in zip(group, turns, strict=True)])
        for gsd, group in testbed.cut(places).groups.items()
    }
    draws = rng.integers(0, 2**63, batch).astype(np.uint64)
    return DeviceBatch(SENSOR, groups, tuple(map(str, range(batch))), draws, None, None)


def _turned(chip: torch.Tensor, turn: int) -> torch.Tensor:
    return torch.rot90(chip.flip(-1) if turn > 3 else chip, turn % 4, (-2, -1))


def _resume(engine: Engine, file: Path) -> tuple[int, list[float]]:
    if not file.exists():
        return 0, []
    held = torch.load(file, weights_only=True)
    engine.load_state(held["state"])
    return held["step"], held["losses"]


def _save(engine: Engine, file: Path, step: int, losses: list[float]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state": engine.state(), "step": step, "losses": losses}, file.with_suffix(".part"))
    file.with_suffix(".part").rename(file)


def rows_so_far() -> list[dict[str, Any]]:
    """Return the rows that are done."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def table(rows: list[dict[str, Any]]) -> str:
    """Return the mean over seeds of every row's scores, as Markdown; the spread beside it where there are several."""
    keys = [key for key in rows[0] if key.startswith(("tokens", "chips"))] if rows else []
    lines = ["| | seeds | " + " | ".join(keys) + " |", "|---|---|" + "---|" * len(keys)]
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        cells = []
        for key in keys:
            values = [row[key] for row in own]
            spread = f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
        lines.append(f"| {name} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", default=[*MAPS, *VARIANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = {(row["name"], row["seed"]) for row in rows_so_far()}
    for seed in given.seeds if not given.table else ():
        for name in given.only:
            if (name, seed) not in done:
                row = run_row(name, seed)
                with ROWS.open("a") as out:
                    out.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    print(table(rows_so_far()))


if __name__ == "__main__":
    main()
