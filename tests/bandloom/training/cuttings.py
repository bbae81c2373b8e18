"""Every loss of every task on eight samples of which some lack labels or pixels, cut into micro batches and ranks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.finetune.captioner.model import Captioner
from bandloom.finetune.captioner.pairs import Exchange, Pairs
from bandloom.finetune.captioner.train import AnswerLoss
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.tasks.registry import get_task
from bandloom.finetune.text.model import AlignModel
from bandloom.finetune.text.train import CaptionLoss
from bandloom.finetune.training.label_loss import label_loss
from bandloom.finetune.training.losses import LOSSES, MULTILABEL_LOSSES
from bandloom.finetune.training.soft_labels import SoftLabelLoss
from bandloom.model.encoder import Encoder
from bandloom.pretrain.loss import MaskedLoss
from bandloom.target import Target
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import StepLoss
from tests.finetune.captioner.language_models import WORDS, random_language
from tests.finetune.models import S2, chips, encoder, task_model
from tests.finetune.text.aligned_models import Vocabulary
from tests.pretrain.test_mae import model as autoencoder

SAMPLES = 8
Case = tuple[nn.Module, StepLoss, DeviceBatch]


def eight(*, dates: int = 1) -> DeviceBatch:
    """Chips: two wholly absent, two half; labels missing in three, nearly missing in one."""
    groups = {}
    for gsd, group in chips(batch=SAMPLES).items():
        group[[1, 4]] = 0
        group[[2, 7], :, : 120 // gsd] = 0
        groups[gsd] = (torch.cat([group, group.flip(0)], 1) if dates == 2 else group).to(torch.uint16)
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, (SAMPLES, 24, 24)).astype(np.uint8)
    label[0, :3] = 2  # a class of one chip alone
    label[[3, 5, 6]] = 255
    label[7, 1:] = 255
    classes = torch.tensor([0, 1, 2, -1, 1, -1, -1, 0])
    draws = np.arange(SAMPLES, dtype=np.uint64) + 40
    return DeviceBatch(S2, groups, tuple("abcdefgh"), draws, torch.from_numpy(label), classes)


def of_labels(task: Any, name: str, **perturb: Any) -> Case:
    config = FinetuneConfig(shards=Path("nowhere"), task=task, loss=name, perturb=perturb)  # type: ignore[arg-type]
    given = eight(dates=2 if task == "change" else 1)
    if task == "multilabel":
        targets = torch.from_numpy(np.random.default_rng(2).integers(0, 2, (SAMPLES, 3)).astype(np.float32))
        targets[3] = torch.nan
        targets[5:7, 1:] = torch.nan
        given = replace(given, label=None, class_index=targets)
    model: TaskModel = task_model(task)
    return model, label_loss(config, get_task(task).loss(name)), given


def of_values(task: Any, name: str) -> Case:
    """Regression: of every pixel, or of every chip; some values are not known."""
    config = FinetuneConfig(shards=Path("nowhere"), task=task, loss=name)  # type: ignore[arg-type]
    height = Target(name="height", unit="m", mean=12.0, std=5.0)
    model = TaskModel(encoder(), S2, height.label_set, task, 24, target=height)
    given, rng = eight(), np.random.default_rng(3)
    values = rng.normal(0, 1, (SAMPLES, 24, 24)).astype(np.float32)
    values[[3, 5, 6]] = np.nan
    values[7, 1:] = np.nan
    if task == "regress":
        given = replace(given, label=torch.from_numpy(values), class_index=None)
    else:
        given = replace(given, label=None, class_index=torch.from_numpy(values[:, 0, 0]))
    return model, label_loss(config, get_task(task).loss(name)), given


def of_soft_labels(name: str) -> Case:
    """A segmenter with a teacher, of chips most of which have no label."""
    soft: Any = {"teacher": "nowhere", "weight": 0.3, "temperature": 3.0}
    config = FinetuneConfig(shards=Path("nowhere"), task="segment", loss=name, soft=soft)  # type: ignore[arg-type]
    teacher, (model, _, batch) = task_model("segment", depth=3), of_labels("segment", name)
    return model, SoftLabelLoss(config, get_task("segment").loss(name), teacher.eval()), batch  # type: ignore[arg-type]


def of_one_pixel_a_chip(name: str) -> Case:
    """A segmenter of chips with one labelled pixel each, but for two that have none."""
    model, loss, batch = of_labels("segment", name)
    label = torch.full((SAMPLES, 24, 24), 255, dtype=torch.uint8)
    for chip in (0, 1, 3, 4, 6, 7):
        label[chip, chip, 2 * chip] = chip % 3
    return model, loss, replace(batch, label=label)


def of_five_networks() -> Case:
    """A segmenter whose per-pixel networks all count."""
    model, loss, batch = of_labels("segment", "cross_entropy")
    pixel: Any = model.head.pixel  # type: ignore[union-attr]
    pixel.weigh([0.3, 0.2, 0.2, 0.2, 0.1])
    pixel.require_grad()
    return model, loss, batch


def of_pixels(**objective: Any) -> Case:
    model = autoencoder(**objective)
    return model, MaskedLoss(model, [S2]), eight()


def of_captions(loss: Any, mode: str) -> Case:
    torch.manual_seed(2)
    source, texts = Vocabulary(), WORDS[:6]
    config = SimpleNamespace(
        loss=loss,
        mode=mode,
        positives="label",
        augment=True,
        text=SimpleNamespace(noise=0.5),
        trainer=SimpleNamespace(engine=SimpleNamespace(kind="torch")),
    )
    captions = SimpleNamespace(
        texts=texts, draw=lambda key, draw: int(draw) % len(texts), class_of={"a": 0, "b": 0, "c": 1, "g": 1}
    )
    alignment: Any = SimpleNamespace(captions=captions, config=config, ranks=SimpleNamespace(device="cpu"))
    kept: Any = SimpleNamespace(of=source.encode)
    model = AlignModel(encoder(), S2, 24, source.dim, loss=loss)
    model.set_trainable(mode, 2)  # type: ignore[arg-type]
    return model, CaptionLoss(alignment, model, kept), eight()


def of_answers() -> Case:
    model = Captioner(encoder(), S2, 24, *random_language(), image_tokens=4)
    pairs = Pairs({key: [Exchange("Describe", WORDS[i], "caption")] for i, key in enumerate("abcdefgh")})
    conversation: Any = SimpleNamespace(
        pairs=pairs, config=SimpleNamespace(augment=True), ranks=SimpleNamespace(device="cpu")
    )
    return model, AnswerLoss(conversation, model), eight()


def with_depth(case: Case) -> Case:
    """Let every block of a case's encoder but the first leave samples out."""
    model, loss, batch = case
    torch.manual_seed(3)
    own: Any = model
    own.encoder = Encoder(own.encoder.config.with_changes(drop_path=0.6), own.encoder.statistics)
    return model, loss, batch


CASES: dict[str, Callable[[], Case]] = {
    **{f"{task} {name}": lambda t=task, n=name: of_labels(t, n) for task in ("segment", "classify") for name in LOSSES},
    **{f"change {name}": lambda n=name: of_labels("change", n) for name in ("cross_entropy", "dice")},
    **{f"multilabel {name}": lambda n=name: of_labels("multilabel", n) for name in MULTILABEL_LOSSES},
    **{
        f"{task} {name} {way} in pairs": lambda t=task, n=name, w=way: of_labels(t, n, mix=w, mix_share=0.7)
        for task, name in (("segment", "cross_entropy_dice"), ("classify", "focal"), ("classify", "dice"))
        for way in ("mixup", "cutmix")
    },
    **{
        f"{task} {name}": lambda t=task, n=name: of_values(t, n)
        for task, name in (("regress", "l2"), ("regress", "huber"), ("regress_chips", "l1"))
    },
    "segment by all five networks": of_five_networks,
    "segment beside soft labels": lambda: of_soft_labels("cross_entropy"),
    "segment of a pixel a chip": lambda: of_one_pixel_a_chip("cross_entropy_dice"),
    "pixels": of_pixels,
    "pixels by token": lambda: of_pixels(target_norm="token"),
    "latent": lambda: of_pixels(target="latent", latent_dim=16),
    "context": lambda: of_pixels(kind="context"),
    "visual words": lambda: of_pixels(kind="visual_words", codebook_size=8),
    "moving teacher": lambda: of_pixels(kind="moving_teacher", pixel_weight=0.5),
    **{
        f"{loss} {mode}": lambda n=loss, m=mode: of_captions(n, m)
        for loss in ("infonce", "sigmoid")
        for mode in ("frozen", "full")
    },
    "answers": of_answers,
    "segment with stochastic depth": lambda: with_depth(of_labels("segment", "cross_entropy")),
    "change with stochastic depth": lambda: with_depth(of_labels("change", "dice")),
    "pixels with stochastic depth": lambda: with_depth(of_pixels()),
    "moving teacher with stochastic depth": lambda: with_depth(of_pixels(kind="moving_teacher")),
    "infonce with stochastic depth": lambda: with_depth(of_captions("infonce", "full")),
}


def rows_of(batch: DeviceBatch, rows: list[int]) -> DeviceBatch:
    groups = {gsd: group[rows] for gsd, group in batch.groups.items()}
    label, classes = (None if each is None else each[rows] for each in (batch.label, batch.class_index))
    keys = tuple(batch.keys[row] for row in rows)
    return DeviceBatch(batch.sensor, groups, keys, batch.draws[rows], label, classes)


def one_step(case: str, engine: dict[str, Any], accumulate: int, ranks: Ranks) -> tuple[float, dict[str, Tensor]]:
    """Return the loss and, by a step of SGD at rate 1, the gradient of every weight."""
    model, loss, batch = CASES[case]()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    config = EngineConfig(
        **engine, accumulate=accumulate, lr=1.0, warmup_steps=0, weight_decay=0.0, clip_grad_norm=1e9, precision="fp32"
    )
    made = make_engine(model.train(), config, ranks, 1)
    together = 2 if case.endswith("in pairs") else 1
    own = rows_of(batch, [at for at in range(SAMPLES) if at // together % ranks.world == ranks.rank])
    report = made.train_step(own.split(accumulate), loss, 0)
    after = dict(made.whole_model().named_parameters())
    return report.loss, {name: (value - after[name]).detach() for name, value in before.items()}


def goes_on(case: str, stage: int) -> dict[str, Any]:
    """Return shapes of what DeepSpeed saves, and the loss of the fourth step, taken on and after setting it again."""
    ranks = Ranks.from_environment()
    ranks.start(60)
    try:
        model, loss, batch = CASES[case]()
        shapes = {f"model.{name}": tuple(value.shape) for name, value in model.named_parameters()}
        config = EngineConfig(kind="deepspeed", zero_stage=stage, lr=1e-3, warmup_steps=0, precision="fp32")
        made = make_engine(model.train(), config, ranks, 10)
        own = batch[ranks.rank :: ranks.world].split(1)  # type: ignore[misc]
        for step in range(3):
            made.train_step(own, loss, step).read()
        parts: list[Any] = [None] * ranks.world
        torch.distributed.all_gather_object(parts, made.state())
        whole = {name: value for part in parts for name, value in part.items()}
        straight = made.train_step(own, loss, 3).read().loss
        made.load_state(whole)
        again = made.train_step(own, loss, 3).read().loss
        moments = {
            name: tuple(whole[f"optimizer.exp_avg.{name}"].shape)
            for name in ("log_scale", "bias")
            if f"optimizer.exp_avg.{name}" in whole
        }
        kept = {name: tuple(value.shape) for name, value in whole.items() if name in shapes}
        return {"same shapes": kept == shapes, "moments": moments, "straight": straight, "again": again}
    finally:
        ranks.stop()


def parts_pairs(case: str, parts: int) -> bool:
    """Tell whether a case may be cut into so many parts: mixed chips stay in pairs."""
    return not case.endswith("in pairs") or SAMPLES // parts % 2 == 0


def cut(cases: list[str], cuttings: list[int], engine: dict[str, Any]) -> dict[str, Any]:
    """Return what each case gives under each number of micro batches; a rank that ``Ranked`` can start."""

    def sgd(groups: list[dict[str, Any]], config: EngineConfig) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=config.lr)

    ranks = Ranks.from_environment()
    ranks.start(60)
    try:
        with (
            patch("bandloom.training.deepspeed_engine.make_optimizer", sgd),
            patch("bandloom.training.torch_engine.make_optimizer", sgd),
        ):
            return {
                case: {n: one_step(case, engine, n, ranks) for n in cuttings if parts_pairs(case, n * ranks.world)}
                for case in cases
            }
    finally:
        ranks.stop()
