"""Networks from scratch on the same split, the same chips and as many steps as the fine-tuned model."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from bandloom.command_line.console import track
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.experiment import Experiment
from bandloom.finetune.scores.kept import kept_scores
from bandloom.finetune.scores.row import Row
from bandloom.finetune.training.batches import make_loss, training_steps
from bandloom.training.loader_state import BEGINNING
from bandloom.training.schedule import warm_cosine

PEAK_LR, WARMUP = 1e-3, 0.05  # AdamW's usual rate for networks from scratch; share of the steps that warms up


def run_networks(names: list[str], experiment: Experiment) -> list[Row]:
    """Train each named network from random weights for ``trainer.steps`` steps and score it on the test labels."""
    seed, task = experiment.config.trainer.seed, experiment.task

    def scored(name: str) -> Row:
        start = time.monotonic()
        torch.manual_seed(seed)
        model: Any = task.networks[name](
            experiment.data, experiment.config, experiment.chip_px
        )  # a task model's interface
        fit(name, model, experiment)
        row = task.scorer.other(name, model, experiment.data, experiment.config.trainer.batch_size)
        fitted_on, seconds = experiment.data.labels_in(TRAIN), time.monotonic() - start
        return replace(row, kind="network", seeds=(seed,), fitted_on=fitted_on, seconds=seconds)

    return [kept_scores(f"network {name}", [seed, experiment.data.describe()], partial(scored, name)) for name in names]


def fit(name: str, model: nn.Module, experiment: Experiment) -> None:
    """Train with AdamW and a cosine, as long and on as many chips a step as the config says."""
    plainly = replace(experiment, config=experiment.config.with_changes(soft=None))  # a baseline has no teacher
    steps, loss_of = experiment.config.trainer.steps, make_loss(plainly)
    optimizer = torch.optim.AdamW(model.to(experiment.ranks.device).parameters(), lr=PEAK_LR, weight_decay=0.05)
    batches = training_steps(experiment, BEGINNING)
    model.train()
    for step in track(range(steps), f"training {name}"):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR * warm_cosine(step, steps, WARMUP * steps)
        optimizer.zero_grad()
        loss_of(model, next(batches).batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]  (a generator)
