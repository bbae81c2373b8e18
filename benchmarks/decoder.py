"""Which decoder serves the encoder best at equal time: the default against deeper, and against shallower and narrower.

Each contender pretrains the same encoder, from the same weights, on the same scenes, for the same seconds of one core
(processor time, so that other work on the machine takes nothing from anyone). The encoder alone is then probed.
"""

import time

import numpy as np
import torch

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.pretrain.config import DecoderConfig, ObjectiveConfig
from bandloom.pretrain.loss import MaskedLoss
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from benchmarks import pretraining_pays as testbed
from benchmarks.harness import Figure

SIZE, SECONDS, LABELS, SEEDS, SCHEDULE = "demo", 240.0, 1_000, (0, 1), 1_000
LABELLED = f"{LABELS:,} labelled tokens of frozen features joined with raw samples"


def run(size: str = SIZE, seconds: float = SECONDS, seeds: tuple[int, ...] = SEEDS) -> list[Figure]:
    """Return the accuracy of a ridge probe at 1,000 labels after equal time, the default over each rival."""
    config = EncoderConfig.of_size(size)
    own = DecoderConfig.for_encoder(config)
    deeper = own.with_changes(depth=2 * own.depth)
    narrower = own.with_changes(embed_dim=own.embed_dim // 2, depth=max(1, own.depth // 2))
    found: dict[str, list[float]] = {}
    steps: dict[str, list[int]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for seed in seeds:
            for decoder in (own, deeper, narrower):
                name = f"{decoder.depth} x {decoder.embed_dim}"
                accuracy, taken = _score(config, decoder, seconds, seed)
                found.setdefault(name, []).append(accuracy)
                steps.setdefault(name, []).append(taken)
                print(f"seed {seed}, decoder {name}: {taken} steps, probe {accuracy:.4f}", flush=True)
    finally:
        torch.set_num_threads(threads)
    (default, value), *rivals = ((name, float(np.mean(result))) for name, result in found.items())
    return [
        Figure(
            f"decoder {default} against {rival}",
            value,
            "accuracy",
            f"decoder {rival}",
            other,
            ">= 1",
            note=f"encoder {size}, {seconds:.0f} s of one core each, {len(seeds)} seeds; steps"
            f" {np.mean(steps[default]):.0f} against {np.mean(steps[rival]):.0f}; ridge on {LABELLED}",
        )
        for rival, other in rivals
    ]


def _score(config: EncoderConfig, decoder: DecoderConfig, seconds: float, seed: int) -> tuple[float, int]:
    torch.manual_seed(seed)
    groups, labels = testbed.scenes()
    encoder = Encoder(config, testbed.statistics())
    model = MaskedAutoencoder(encoder, decoder, ObjectiveConfig())
    engine = make_engine(model, EngineConfig(warmup_steps=SCHEDULE // 10), testbed.CPU, SCHEDULE)
    loss, rng = MaskedLoss(model, [testbed.SENSOR]), np.random.default_rng([seed, 1])
    taken, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        moment = int(spent / seconds * SCHEDULE)  # the schedule runs over time: each contender sees all of it
        engine.train_step([testbed.random_crops(groups, rng)], loss, moment)
        taken += 1
    chips, targets = testbed.tiles(groups, labels, range(testbed.LABELLED), config.token_m)
    unseen, wanted = testbed.tiles(groups, labels, range(testbed.PRETRAINED_ON, testbed.SCENES), config.token_m)
    raw = testbed.features(encoder, chips, unseen, None)
    own = testbed.features(encoder, chips, unseen, config.depth - 1)
    joined = tuple(np.concatenate(pair, 1) for pair in zip(own, raw, strict=True))
    rows = testbed.pick(targets.ravel(), LABELS, seed)
    scored = wanted.ravel() != IGNORE_INDEX
    return testbed.ridge_accuracy(joined, targets.ravel(), rows, wanted.ravel(), scored), taken
