"""The codebook of visual words: kinds of ground that k-means finds among tokens of the shards, before the first step.

Every rank reads the same samples, so a run that goes on, on however many ranks, has the same words.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bandloom.command_line.console import logger, track
from bandloom.draws.evenly import evenly
from bandloom.errors import ShardError
from bandloom.model.encoder import Encoder
from bandloom.model.token_layout import token_layout
from bandloom.pretrain.objectives.visual_words import DESCRIBED, VisualWords, describe, sides_of
from bandloom.pretrain.teacher_statistics import middle
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet

MOST_SAMPLES, MOST_TOKENS = 512, 65_536
LEAST_SPREAD = 1e-3

Groups = Mapping[int, Tensor]


def prepare_codebook(objective: VisualWords, encoder: Encoder, shards: ShardSet, indices: np.ndarray) -> None:
    """Find the words among samples of the sensor with the most bands; a codebook from a snapshot stays.

    Args:
        objective: on the host.
        encoder: whose statistics normalise samples.
        shards: to train on.
        indices: of the samples to train on, ``(N,)``.

    Raises:
        ShardError: the samples have too few complete tokens for as many words.
    """
    if int(objective.seen):
        return
    names = np.array([shards.entries[int(i)].sensor for i in indices])
    sensor = max((shards.sensors[name] for name in sorted(set(names))), key=lambda sensor: len(sensor.slots))
    own = indices[names == sensor.name]
    chosen = own[evenly(len(own), MOST_SAMPLES)]
    fit_codebook(objective, encoder, _whole_tokens(shards, chosen, encoder.config.token_m), sensor)


def fit_codebook(objective: VisualWords, encoder: Encoder, chips: Iterable[Groups], sensor: Sensor) -> None:
    """Find the words among complete tokens of chips ``{gsd_m: (B, C, h, w)}`` of a sensor.

    Raises:
        ShardError: there are fewer complete tokens than words.
    """
    from sklearn.cluster import MiniBatchKMeans

    layout = token_layout(sensor, encoder.config.token_m)
    sides = sides_of(layout)
    wanted = torch.cat([sides > 0, sides > 1])
    rows: list[Tensor] = []
    for groups in chips:
        numbers, known = describe(*encoder.samples(groups, sensor), layout)
        rows.append(numbers[(known == wanted).all(-1)])
    tokens = torch.cat(rows) if rows else torch.zeros(0, DESCRIBED)
    tokens = tokens[torch.from_numpy(evenly(len(tokens), MOST_TOKENS))].double()
    if len(tokens) < objective.size:
        raise ShardError(
            f"the shards have {len(tokens)} tokens without a gap, fewer than objective.codebook_size={objective.size};"
            " set that lower, or objective.kind=pixels."
        )
    centre, spread = tokens.mean(0), tokens.std(0).clamp(min=LEAST_SPREAD)
    spread[~wanted] = 1.0
    starts: Any = 3  # scikit-learn's stubs know "auto" alone
    clusters = MiniBatchKMeans(objective.size, random_state=0, n_init=starts, batch_size=4096)
    clusters.fit(((tokens - centre) / spread).numpy())
    words = torch.from_numpy(clusters.cluster_centers_)
    objective.set_codebook(len(tokens), centre.float(), spread.float(), words.float(), layout)
    logger.info("%d visual words of %s tokens", objective.size, f"{len(tokens):,}")


def _whole_tokens(shards: ShardSet, indices: np.ndarray, token_m: int) -> Iterator[Groups]:
    """Yield one sample's native groups at a time, as much of it as is whole tokens."""
    for index in track(indices.tolist(), "the visual words", len(indices)):
        try:
            sample = shards.read(index)
        except ShardError as error:
            logger.warning("a damaged sample is left out: %s", error)
            continue
        side_px = shards.entries[index].side_px // (token_m // 10) * (token_m // 10)
        yield {gsd: torch.from_numpy(group)[None] for gsd, group in middle(sample.groups, side_px).items()}
