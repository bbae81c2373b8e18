"""Networks from scratch on the same split, the same chips and as many steps as the fine-tuned model."""

import math
import time
from collections.abc import Callable

import torch
from torch import nn

from bandloom.console import track
from bandloom.finetune.baselines.pixel_networks import PixelNetwork, UNet, timm_classifier
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.confusion import Row
from bandloom.finetune.scores.scoring import score_model
from bandloom.finetune.setting import Setting
from bandloom.finetune.training.batches import make_loss, training_steps
from bandloom.finetune.training.warm_start import warm_start
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics

PEAK_LR, WARMUP = 1e-3, 0.05  # AdamW's usual rate for networks from scratch; share of the steps that warms up


def run_rivals(names: list[str], setting: Setting) -> list[Row]:
    """Train each named network from random weights for ``trainer.steps`` steps and score it on the test labels."""
    rows = []
    for name in names:
        start = time.monotonic()
        torch.manual_seed(setting.config.trainer.seed)
        model = RIVALS[setting.config.task][name](setting)
        fit(name, model, setting)
        row = score_model(name, model, setting.data, TEST, setting.config.trainer.batch_size)  # pyright: ignore[reportArgumentType]  (same interface)
        fitted_on = int(setting.data.counts.sum((0, 2))[TRAIN])
        rows.append(Row(name, row.confusions, fitted_on, row.scored_on, time.monotonic() - start))
    return rows


def fit(name: str, model: nn.Module, setting: Setting) -> None:
    """Train with AdamW and a cosine, as long and on as many chips a step as the config says."""
    steps, loss_of = setting.config.trainer.steps, make_loss(setting)
    optimizer = torch.optim.AdamW(model.to(setting.ranks.device).parameters(), lr=PEAK_LR, weight_decay=0.05)
    batches = training_steps(setting, None)
    model.train()
    for step in track(range(steps), f"training {name}"):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR * learning_rate(step, steps)
        optimizer.zero_grad()
        loss_of(model, next(batches).batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]  (a generator)


def learning_rate(step: int, steps: int) -> float:
    """Return the share of the peak at a step: a linear rise, then half a cosine."""
    return min(1.0, (step + 1) / max(1, WARMUP * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _on_pixels(make: Callable[[int, int], nn.Module]) -> Callable[[Setting], nn.Module]:
    def build(setting: Setting) -> nn.Module:
        data = setting.data
        network = make(len(data.sensor.slots), len(data.label_set))
        statistics = Statistics.from_mapping(data.shards.statistics)
        return PixelNetwork(network, data.sensor, data.label_set, setting.config.task, setting.chip_px, statistics)

    return build


def _random_vit(setting: Setting) -> nn.Module:
    config, data = setting.config, setting.data
    encoder = Encoder(
        EncoderConfig.of_size(config.size, token_m=config.token_m), Statistics.from_mapping(data.shards.statistics)
    )
    model = TaskModel(encoder, data.sensor, data.label_set, config.task, setting.chip_px)
    warm_start(model, data, config)
    return model


RIVALS: dict[str, dict[str, Callable[[Setting], nn.Module]]] = {
    "segment": {"unet": _on_pixels(UNet), "random_vit": _random_vit},
    "change": {"random_vit": _random_vit},
    "classify": {
        "resnet50": _on_pixels(lambda bands, classes: timm_classifier("resnet50", bands, classes)),
        "efficientnet_b0": _on_pixels(lambda bands, classes: timm_classifier("efficientnet_b0", bands, classes)),
        "random_vit": _random_vit,
    },
}
