"""DeepSpeed against plain torch in fp32: every stage, two ranks on a CPU."""

import fcntl
import importlib.util
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bandloom.errors import ConfigError
from bandloom.training.deepspeed_build import prepare_build
from bandloom.training.deepspeed_config import deepspeed_config
from bandloom.training.engine import EngineConfig
from tests.bandloom.tiny_training import Ranked, follow, order, run_ranks, train, whole

SETTINGS: dict[str, Any] = {"precision": "fp32", "lr": 1e-2, "warmup_steps": 2, "clip_grad_norm": 0.5}
STAGES = [0, 1, 2, 3]
real = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None or shutil.which("c++") is None,
    reason="deepspeed or a compiler is not installed; pip install 'bandloom[deepspeed]'",
)


def deepspeed(stage: int, **changes: Any) -> dict[str, Any]:
    return SETTINGS | {"kind": "deepspeed", "zero_stage": stage} | changes


# ---- the config


def test_a_users_file_is_merged(tmp_path: Path):
    file = tmp_path / "ds_config.json"
    file.write_text(
        '{"zero_optimization": {"stage": "auto", "overlap_comm": true, "reduce_bucket_size": 5e8}'
        ', "gradient_clipping": 0.5, "bf16": {"enabled": "auto"}, "wall_clock_breakdown": true}'
    )
    merged = deepspeed_config(EngineConfig(**deepspeed(1, deepspeed=file)))
    assert merged["zero_optimization"] == {"stage": 1, "overlap_comm": True, "reduce_bucket_size": 5e8}
    assert merged["wall_clock_breakdown"] is True
    assert merged["gradient_clipping"] == 0.5
    assert merged["torch_autocast"]["enabled"] is False


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gradient_clipping": 3.0}, "clip_grad_norm"),
        ({"gradient_accumulation_steps": 4}, "trainer.engine.accumulate"),
        ({"zero_optimization": {"stage": 2}}, "trainer.engine.zero_stage"),
        ({"bf16": {"enabled": True}}, "not AdamW"),
        ({"fp16": {"enabled": True}}, "precision: bf16"),
        ({"optimizer": {"type": "Adam"}}, "fused AdamW"),
        ({"scheduler": {"type": "WarmupLR"}}, "warmup_steps"),
        ({"train_batch_size": 8}, "trainer.batch_size"),
        ({"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}, "take it out"),
        ({"zero_optimization": {"cpu_offload": True}}, "take it out"),
        ({"zero_optimization": True}, "zero_optimization.stage to 1"),
        ({"zero_optimization": "3"}, "expected a section"),
        ({"zero_optimization": {"zero_quantized_gradients": True}}, "rounds what travels"),
        ({"communication_data_type": "bf16"}, "the type they are computed in"),
        ({"data_types": {"grad_accum_dtype": "bf16"}}, "add up in fp32"),
        ({"progressive_layer_drop": {"enabled": True, "theta": 0.5}}, "drop_path"),
        ({"amp": {"enabled": True, "opt_level": "O1"}}, "precision: bf16"),
        ({"gradient_predivide_factor": 2.0}, "averaged over the ranks"),
        ({"a_key_of_next_year": 1}, "not known here"),
    ],
)
def test_what_contradicts_is_refused_with_the_place_to_set_it(given: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        deepspeed_config(EngineConfig(**deepspeed(0, deepspeed=given)))


HUGGING_FACE = """{
    "fp16": {"enabled": "auto", "loss_scale": 0, "loss_scale_window": 1000, "initial_scale_power": 16, "hysteresis": 2},
    "bf16": {"enabled": "auto"},
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}},
    "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": "auto", "warmup_max_lr": "auto"}},
    "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none", "pin_memory": true},
        "allgather_partitions": true, "allgather_bucket_size": 2e8, "overlap_comm": true, "reduce_scatter": true,
        "reduce_bucket_size": "auto", "contiguous_gradients": true},
    "gradient_accumulation_steps": "auto", "gradient_clipping": "auto", "steps_per_print": 2000,
    "train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto", "wall_clock_breakdown": false
}"""


def test_the_file_of_hugging_faces_documentation_is_read_as_its_authors_mean_it(tmp_path: Path):
    (tmp_path / "ds.json").write_text(HUGGING_FACE)
    merged = deepspeed_config(EngineConfig(**deepspeed(2, deepspeed=tmp_path / "ds.json")))
    assert merged["zero_optimization"] == {
        "stage": 2,
        "allgather_partitions": True,
        "allgather_bucket_size": 2e8,
        "overlap_comm": True,
        "reduce_scatter": True,
        "contiguous_gradients": True,
    }
    assert merged["steps_per_print"] is None
    assert not {"fp16", "bf16", "optimizer", "scheduler", "train_batch_size"} & merged.keys()


@pytest.mark.parametrize(
    "off",
    [
        {"fp16": {"enabled": False, "loss_scale": 0}},
        {"fp16": {"enabled": "auto", "loss_scale": 0}},
        {"amp": {"enabled": False}},
        {"zero_optimization": {"offload_optimizer": None, "offload_param": {"device": "none"}}},
        {"zero_optimization": {"offload_optimizer": {"device": None}, "cpu_offload": False}},
        {"zero_optimization": False},
        {"zero_optimization": None},
        {"optimizer": None},
        {"sparse_gradients": False, "prescale_gradients": False, "curriculum_learning": {"enabled": False}},
        {"steps_per_print": 2000},
        {"//": "a comment", "_comment": "another"},
    ],
)
def test_what_is_off_says_nothing(off: dict[str, Any]):
    assert deepspeed_config(EngineConfig(**deepspeed(0, deepspeed=off))) == deepspeed_config(
        EngineConfig(**deepspeed(0))
    )


def test_a_file_that_is_no_json_is_refused(tmp_path: Path):
    (tmp_path / "ds.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        deepspeed_config(EngineConfig(**deepspeed(0, deepspeed=tmp_path / "ds.json")))


# ---- the build


@pytest.mark.parametrize("missing", ["ninja", "no-such-compiler"])
def test_a_missing_tool_is_one_sentence(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if missing == "ninja":
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    else:
        (tmp_path / "ninja").write_text("#!/bin/sh\n")
        (tmp_path / "ninja").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("CXX", missing)
    with pytest.raises(ConfigError, match=f"{missing}.*(not installed|installed;)"):
        prepare_build(torch.device("cpu"))


@real
@pytest.mark.slow
def test_a_lock_that_a_killed_build_left_is_cleared(tmp_path: Path):
    run_ranks("follow", 1, tmp_path, engine=deepspeed(0), steps=1)  # builds where nothing is built yet
    from bandloom.training.deepspeed_build import extensions_folder

    [built] = extensions_folder().glob("deepspeed_shm_comm")
    (built / "lock").touch()
    assert len(run_ranks("follow", 1, tmp_path, engine=deepspeed(0), steps=1)) == 1
    assert not (built / "lock").exists()
    guard = next(extensions_folder().glob(".building"))
    with guard.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a build that is alive is waited for
        ranked = Ranked("follow", 1, tmp_path, engine=deepspeed(0), steps=1)
        time.sleep(8)
        assert ranked.processes[0].is_alive()
    ranked.outcome()


# ---- the numbers


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return follow(SETTINGS, save_at=9)


@real
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["plain", "accumulate", "checkpointing"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_follows_plain_torch_in_fp32(stage: int, variant: str, tmp_path: Path, plain: dict[str, Any]):
    change = {"accumulate": {"accumulate": 2}, "checkpointing": {"activation_checkpointing": True}}.get(variant, {})
    results = run_ranks("follow", 2, tmp_path, engine=deepspeed(stage, **change), save_at=9)
    assert results[0]["losses"] == results[1]["losses"]
    assert results[0]["losses"] == pytest.approx(plain["losses"], rel=1e-5)
    assert results[0]["norms"] == pytest.approx(plain["norms"], rel=1e-4)
    assert max(plain["norms"]) > SETTINGS["clip_grad_norm"]  # the clip binds
    state = whole(results)
    assert state.keys() == plain["state"].keys()
    for name, value in state.items():
        torch.testing.assert_close(value, plain["state"][name], rtol=1e-3, atol=2e-6)


@real
@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_bf16_follows_fp32_within_five_percent(stage: int, tmp_path: Path, plain: dict[str, Any]):
    """Autocast rounds activations to 8 bits of mantissa: the tolerance; DeepSpeed's own bf16 mode misses it."""
    results = run_ranks("follow", 2, tmp_path, engine=deepspeed(stage, precision="bf16"))
    worst = max(abs(a - b) / b for a, b in zip(results[0]["losses"], plain["losses"], strict=True))
    assert worst < 0.05


@real
@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_the_clip_scales_the_joined_gradient_to_its_bound(stage: int, tmp_path: Path):
    """With SGD the step is the gradient: AdamW would hide a wrong scale."""
    settings = deepspeed(stage, clip_grad_norm=0.05, warmup_steps=0, weight_decay=0.0)
    expected = follow(settings | {"kind": "torch"}, steps=1, optimizer="sgd")
    for result in run_ranks("follow", 2, tmp_path, engine=settings, steps=1, optimizer="sgd"):
        assert result["norms"][0] == pytest.approx(expected["norms"][0], rel=1e-5)
        assert result["norms"][0] > 0.05
        for name, weight in result["weights"].items():
            torch.testing.assert_close(weight, expected["weights"][name], rtol=1e-6, atol=1e-8)


@real
@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_restart_changes_no_bit(stage: int, tmp_path: Path):
    straight = run_ranks("follow", 2, tmp_path / "a", engine=deepspeed(stage), save_at=9)
    torch.save(whole(straight), tmp_path / "state.pt")
    again = run_ranks(
        "follow_from", 2, tmp_path / "b", engine=deepspeed(stage), state=str(tmp_path / "state.pt"), first=9, steps=20
    )
    loaded, saved = whole(again), whole(straight)
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in loaded.items())
    assert again[0]["losses"] == straight[0]["losses"][9:]


@real
@pytest.mark.slow
def test_a_run_may_change_engine_stage_and_world(tmp_path: Path, plain: dict[str, Any]):
    state = tmp_path / "state.pt"
    torch.save(plain["state"], state)
    chain = [(2, deepspeed(3)), (1, deepspeed(1)), (2, SETTINGS), (2, deepspeed(2)), (2, deepspeed(0))]
    for index, (world, engine) in enumerate(chain):
        results = run_ranks(
            "follow_from", world, tmp_path / str(index), engine=engine, state=str(state), first=9, steps=20
        )
        assert results[0]["losses"] == pytest.approx(plain["losses"][9:], rel=1e-4)
        assert all(torch.equal(value, plain["state"][name]) for name, value in whole(results).items())


@real
@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_bad_sample_costs_its_step_alone_on_every_stage(stage: int, tmp_path: Path):
    config = {"steps": 4, "batch_size": 8, "log_every": 1, "engine": deepspeed(stage)}
    bad = f"s{order(0, 0)[12]:03d}"
    results = run_ranks("train", 2, tmp_path, run=str(tmp_path / "run"), config=config, poisoned=[bad])
    assert [result["code"] for result in results] == [0, 0]
    assert all(torch.isfinite(weight).all() for result in results for weight in result["weights"].values())
    good = tmp_path / "good"
    good.mkdir()
    again = train(str(good / "run"), config | {"engine": SETTINGS}, (bad,))
    for name, weight in results[0]["weights"].items():
        torch.testing.assert_close(weight, again["weights"][name], rtol=1e-3, atol=1e-5)
    assert os.path.isdir(tmp_path / "run" / "snapshots" / "step-00000004")
