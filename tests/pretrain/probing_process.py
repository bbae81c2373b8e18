"""Probes of a pretraining as one of several ranks."""

from pathlib import Path
from typing import Any

import bandloom.pretrain.feature_scores as stage
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import PretrainConfig, ProbeConfig
from bandloom.pretrain.start import random_model
from bandloom.run_state.pulse import StopRequested
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.ranks import Ranks


def scores(shards: str, splits: dict[str, str], tokens: tuple[int, ...]) -> dict[str, Any]:
    """Return a random encoder's scores and how many samples this rank read, and whether a stop of one ends all."""
    ranks, of_a_batch = Ranks.from_environment(), stage._BATCH
    ranks.start(60)
    try:
        stage._BATCH = 1  # there are few samples
        config = PretrainConfig.model_validate({"shards": shards, "size": "demo", "crop_px": 36, "split": None})
        encoder = random_model(config, Statistics.from_mapping(ShardSet(Path(shards)).statistics)).encoder
        told = []
        for count in tokens:
            probe = ProbeConfig.model_validate({"shards": shards, "tokens": count} | splits)
            probes = stage.FeatureScores(probe, encoder, ranks)
            told.append((probes(encoder), len(probes.train.classes)))
        return {"scores": [scores for scores, _ in told], "samples": [n for _, n in told], "stopped": _stopped(ranks)}
    finally:
        stage._BATCH = of_a_batch
        ranks.stop()


def _stopped(ranks: Ranks) -> bool:
    def work() -> None:
        if ranks.rank == ranks.world - 1:
            raise StopRequested

    try:
        ranks.together(work)
    except StopRequested:
        return True
    return False
