"""The torch engine against a naive loop, and against itself over ranks, accumulation and a restart."""

from pathlib import Path

import pytest
import torch

from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks, leave_group
from bandloom.training.schedule import learning_rate
from bandloom.training.step_loss import PlainLoss
from tests.bandloom.tiny_training import Ranked, batch_of, follow, loss_of, memory_loader, run_ranks, tiny_net, whole

ONE = Ranks(0, 0, 1, torch.device("cpu"))
SETTINGS = {"precision": "fp32", "lr": 1e-2, "warmup_steps": 2, "clip_grad_norm": 0.5}


def naive_losses(config: EngineConfig, steps: int) -> tuple[list[float], list[torch.Tensor]]:
    """What a person would write in a notebook."""
    model = tiny_net()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    order = [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(order, lr=1e-2, betas=(0.9, 0.95), fused=True)
    loader = memory_loader(8, ONE)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, steps)
        loss = model(next(loader).batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_grad_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses, list(model.parameters())


def test_one_process_follows_a_naive_loop_to_the_bit():
    config = EngineConfig(**SETTINGS)
    expected, weights = naive_losses(config, 20)
    engine = make_engine(tiny_net(), config, ONE, 20)
    loader = memory_loader(8, ONE)
    reports = [engine.train_step([next(loader).batch], loss_of, step) for step in range(20)]
    assert [report.loss for report in reports] == expected
    assert max(report.grad_norm for report in reports) > config.clip_grad_norm  # the clip binds
    for own, other in zip(engine.model.parameters(), weights, strict=True):
        assert torch.equal(own, other)


def test_micro_batches_add_up_to_the_whole_batch():
    config = EngineConfig(**SETTINGS)
    whole_batch = follow(SETTINGS)["losses"]
    in_parts = follow(SETTINGS | {"accumulate": 4})["losses"]
    assert in_parts == pytest.approx(whole_batch, rel=2e-5)
    assert config.accumulate == 1


def test_two_ranks_follow_one_process_with_the_joined_batch(tmp_path: Path):
    one = follow(SETTINGS)
    two = run_ranks("follow", 2, tmp_path, engine=SETTINGS | {"accumulate": 2})
    assert two[0]["losses"] == two[1]["losses"]
    assert two[0]["losses"] == pytest.approx(one["losses"], rel=1e-5)
    for name, weight in two[0]["weights"].items():
        assert torch.equal(weight, two[1]["weights"][name])  # the ranks never part


def test_the_clip_scales_the_joined_gradient_to_its_bound(tmp_path: Path):
    """With SGD the step is the gradient: AdamW would hide a wrong scale."""
    settings = SETTINGS | {"clip_grad_norm": 0.05, "warmup_steps": 0, "weight_decay": 0.0}
    for result in run_ranks("follow", 2, tmp_path, engine=settings, steps=1, optimizer="sgd"):
        step = torch.cat(
            [
                (w - before).flatten()
                for w, before in zip(result["weights"].values(), tiny_net().state_dict().values(), strict=True)
            ]
        )
        assert result["norms"][0] > 0.05
        assert float(step.norm()) == pytest.approx(0.05 * 1e-2, rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_restart_changes_no_bit(precision: str, tmp_path: Path):
    settings = SETTINGS | {"precision": precision}
    straight = follow(settings, save_at=9)
    engine = make_engine(tiny_net(), EngineConfig(**settings), ONE, 20)
    engine.load_state({name: value.clone() for name, value in straight["state"].items()})
    loader = memory_loader(8, ONE)
    batches = [next(loader).batch for _ in range(20)]
    again = [engine.train_step([batches[step]], loss_of, step).loss for step in range(9, 20)]
    assert again == straight["losses"][9:]
    for name, weight in engine.model.state_dict().items():
        assert torch.equal(weight, straight["weights"][name])


def test_two_ranks_save_the_state_of_one(tmp_path: Path):
    settings = SETTINGS | {"lr": 1e-3, "clip_grad_norm": 100.0}
    one = follow(settings, save_at=3, steps=3)["state"]
    both = run_ranks("follow", 2, tmp_path, engine=settings, save_at=3, steps=3)
    assert not both[0]["state"].keys() & both[1]["state"].keys()
    state = whole(both)
    assert state.keys() == one.keys()
    for name, value in state.items():
        torch.testing.assert_close(value, one[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_no_weight_and_no_moment(where: str):
    engine = make_engine(tiny_net(), EngineConfig(**SETTINGS), ONE, 20)
    engine.train_step([batch_of(torch.arange(8).numpy())], loss_of, 0)
    before = engine.state()

    def bad(module: torch.nn.Module, batch: object) -> torch.Tensor:
        loss = loss_of(module, batch)  # type: ignore[arg-type]
        return loss * torch.nan if where == "loss" else (loss - loss.detach()).clamp(min=0).sqrt() + 1.0

    report = engine.train_step([batch_of(torch.arange(8).numpy())], PlainLoss(bad), 1)
    assert report.skipped
    assert report.finite_here == (where == "gradient")
    after = engine.state()
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_activation_checkpointing_changes_no_number():
    assert follow(SETTINGS | {"activation_checkpointing": True})["losses"] == follow(SETTINGS)["losses"]


def test_one_process_may_take_the_way_of_several():
    """DDP and its process group, so that they can be tried on one GPU: the same numbers to the bit."""
    config = EngineConfig(**SETTINGS, ddp="always")
    expected, _ = naive_losses(config, 6)
    try:
        engine = make_engine(tiny_net(), config, ONE, 6)
        assert isinstance(engine.module, torch.nn.parallel.DistributedDataParallel)
        loader = memory_loader(8, ONE)
        assert [engine.train_step([next(loader).batch], loss_of, step).loss for step in range(6)] == expected
        assert not any(name.startswith("model.module.") for name in engine.state())
    finally:
        leave_group()
    assert not torch.distributed.is_initialized()


def test_ranks_leave_while_gloo_still_frees_its_last_exchange(tmp_path: Path):
    """The group's destructor joins a thread that may wait for the lock which the destructor's caller holds."""
    for attempt in range(4):
        ranked = Ranked("follow_greedily", 2, tmp_path / str(attempt), engine=SETTINGS)
        assert ranked.wait(60) == [0, 0]


@pytest.mark.slow
def test_a_compiled_model_follows_the_eager_one():
    eager = follow(SETTINGS)
    compiled = follow(SETTINGS | {"compile": True})
    assert compiled["losses"] == pytest.approx(eager["losses"], rel=1e-4)
    assert set(compiled["weights"]) == set(eager["weights"])  # a snapshot does not tell them apart
