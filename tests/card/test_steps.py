"""Training steps of every loss and task on the pretended card: the CPU's losses, within a budget of waits."""

import math
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from bandloom.finetune.config import PerturbConfig
from bandloom.finetune.training import label_loss
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.side_stream import SideStream
from bandloom.training.step_loss import PlainLoss
from tests.bandloom.training import cuttings
from tests.card.pretend_card import CARD, TORCH, pretended_card

pytestmark = pytest.mark.skipif(not torch.__version__.startswith(TORCH), reason=f"pretended for torch {TORCH} alone")

HOST = torch.device("cpu")
WITHIN_A_STEP = ("pixels", "latent", "context", "visual words", "moving teacher")
MOST_WAITS = dict.fromkeys(WITHIN_A_STEP, 2)  # a step, whatever accumulate is; one is the late look at its report
MOST_WAITS_ELSEWHERE = 4
SLOW = {
    *("answers", "segment cross_entropy_dice", "change dice", "segment focal", "segment tversky"),
    *("classify focal", "classify dice", "pixels by token", "regress huber"),
}
ALL_PERTURBED = PerturbConfig(
    gain=0.1, band_gain=0.1, offset=0.01, noise=0.01, drop_band=0.2, other_sensor=0.2, mix="cutmix", mix_share=1.0
)


def moved(batch, device):
    """Bring a host batch to a device by the way that loaders' batches go."""
    host = replace(
        batch,
        groups={gsd: group.numpy() for gsd, group in batch.groups.items()},
        label=None if batch.label is None else batch.label.numpy(),
        class_index=None if batch.class_index is None else batch.class_index.numpy(),
    )
    return SideStream(device)(host)


def steps_of(case, device, accumulate, watch=None, precision="fp32"):
    """Return the losses of three steps, and the waits of the last one."""
    torch.manual_seed(0)
    model, loss, batch = cuttings.CASES[case]()
    for owner in (loss, getattr(loss, "alignment", None), getattr(loss, "conversation", None)):
        if owner is not None and hasattr(owner, "device"):
            owner.device = device
    ranks = Ranks(0, 0, 1, device)
    config = EngineConfig(accumulate=accumulate, lr=1e-3, warmup_steps=1, precision=precision, layer_decay=0.75)
    engine = make_engine(model.train(), config, ranks, 100, 2)
    if getattr(loss, "table", None) is not None:
        loss.table = loss.table.to(device)
    told = []
    for step in range(3):
        if watch is not None:
            watch.notes.clear()
        told.append(engine.train_step(moved(batch, device).split(accumulate), loss, step).read().loss)
    return told, [] if watch is None else watch.blocking()


CASES = [
    pytest.param(case, marks=[pytest.mark.slow] if case in SLOW or case.endswith("in pairs") else [])
    for case in cuttings.CASES
]


@pytest.mark.parametrize("case", CASES)
def test_a_step_on_the_card_is_the_cpus_and_hardly_waits(case):
    expected, _ = steps_of(case, HOST, 2)
    with pretended_card() as watch:
        losses, waits = steps_of(case, CARD, 2, watch)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert len(waits) <= MOST_WAITS.get(case, MOST_WAITS_ELSEWHERE), sorted({note.where for note in waits})


@pytest.mark.parametrize("mix", ["cutmix", "mixup"])
def test_perturbed_steps_hardly_wait_either(mix):
    perturb = ALL_PERTURBED.model_copy(update={"mix": mix})

    def steps(device, watch=None):
        augmented = label_loss.augmented
        with patch.object(
            label_loss,
            "augmented",
            lambda batch, config: augmented(batch, config.model_copy(update={"perturb": perturb})),
        ):
            return steps_of("segment cross_entropy", device, 1, watch)

    expected, _ = steps(HOST)
    with pretended_card() as watch:
        losses, waits = steps(CARD, watch)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert len(waits) <= MOST_WAITS_ELSEWHERE, sorted({note.where for note in waits})


def test_a_step_that_is_not_finite_changes_no_weight_and_is_told_late():
    """The decision is the device's own: the host learns of it when it reads the report."""
    with pretended_card() as watch:
        model = torch.nn.Linear(4, 1)
        engine = make_engine(model, EngineConfig(lr=0.1, warmup_steps=0, precision="fp32"), Ranks(0, 0, 1, CARD), 10)
        loss = PlainLoss(lambda module, batch: module(batch).mean())
        for step, factor in enumerate((1.0, math.nan, math.inf, 1.0)):
            before = [p.detach().cpu().clone() for p in engine.model.parameters()]
            moments = [m["exp_avg"].cpu().clone() for m in engine.optimizer.state.values()]
            watch.notes.clear()
            report = engine.train_step([torch.full((2, 4), factor).to(CARD)], loss, step)
            assert [note.where for note in watch.blocking() if "torch_engine" in note.where] == []
            told = report.read()
            changed = any(
                not np.array_equal(a.numpy(), b.detach().cpu().numpy())
                for a, b in zip(before, engine.model.parameters(), strict=True)
            )
            assert told.skipped == (not math.isfinite(factor))
            assert changed == math.isfinite(factor)
            if not math.isfinite(factor):
                for a, m in zip(moments, engine.optimizer.state.values(), strict=True):
                    np.testing.assert_array_equal(a.numpy(), m["exp_avg"].cpu().numpy())


@pytest.mark.parametrize("fault", ["host tensor", "item", "late copy"])
def test_a_planted_fault_breaks_the_budget(fault):
    planted = {
        "host tensor": lambda logits: logits + torch.zeros(1),
        "item": lambda logits: logits * (1 + 0 * sum(logits.mean().item() for _ in range(5))),
        "late copy": lambda logits: logits + sum(torch.zeros(1).to(CARD) for _ in range(5)),
    }[fault]
    with pretended_card() as watch:
        model, loss, batch = cuttings.CASES["segment cross_entropy"]()
        head = model.forward
        model.forward = lambda groups: planted(head(groups))
        engine = make_engine(model, EngineConfig(precision="fp32"), Ranks(0, 0, 1, CARD), 10, 2)
        if fault == "host tensor":
            with pytest.raises(RuntimeError, match="two devices"):
                engine.train_step([moved(batch, CARD)], loss, 0)
            return
        engine.train_step([moved(batch, CARD)], loss, 0).read()
    assert len(watch.blocking()) > MOST_WAITS_ELSEWHERE
