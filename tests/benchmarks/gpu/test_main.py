"""The plan of a borrowed GPU, and every row of it on this CPU."""

from importlib.metadata import version

import pytest

from benchmarks.gpu import wheels
from benchmarks.gpu.__main__ import CALLS, main, plan
from benchmarks.gpu.inference import main as inference
from benchmarks.gpu.journal import Journal


def test_the_plan_names_each_call_and_each_wheel_that_the_box_lacks():
    said = plan("torch==2.11.0\nnumpy==2.5.2\n")
    assert f"pydantic=={version('pydantic')}" in said
    assert f"pydantic-core=={version('pydantic_core')}" in said  # a need of a need
    assert "torch==" not in said.split("The box must have:")[1].split("Carry")[1]
    order = [said.index(f"benchmarks.gpu {call} ") for call in CALLS]
    assert order == sorted(order)


def test_no_cuda_package_is_ever_carried():
    named = wheels.needed()
    assert not [name for name in named if name.startswith(("nvidia", "cuda", "tensorrt", "triton"))]
    assert "torch" not in wheels.lacking(wheels.names_in(wheels.USUAL))


def test_a_call_without_a_card_says_so(tmp_path):
    with pytest.raises(SystemExit, match="no CUDA device is visible"):
        main(["steps", "--out", str(tmp_path)])


def test_steps_run_tiny_on_this_cpu(tmp_path):
    assert main(["--smoke", "steps", "--out", str(tmp_path)]) == 0
    rows = Journal(tmp_path).rows()
    assert len(rows) == 2
    assert all(row["samples_per_s"] > 0 and row["memory_gb_predicted"] > 0 for row in rows.values())


@pytest.mark.slow
@pytest.mark.parametrize("call", [call for call in CALLS if call != "steps"])
def test_every_call_runs_tiny_on_this_cpu(call, tmp_path):
    assert main(["--smoke", call, "--out", str(tmp_path)]) == 0
    if call == "correct":
        parity = [row for name, row in Journal(tmp_path).rows().items() if name.startswith("parity")]
        assert all(row["within"] for row in parity)
    if call == "ranks":
        losses = [row["losses"] for name, row in Journal(tmp_path).rows().items() if name.startswith("one rank")]
        assert all(told == pytest.approx(losses[0], rel=1e-5) for told in losses)
    if call == "training":
        row = Journal(tmp_path).rows()["pretraining"]
        assert row["codes"] == [75, 0]
        assert row["ended_at"] > row["stopped_at"]


@pytest.mark.slow
def test_inference_runs_tiny_without_a_bundle(tmp_path):
    assert inference(["--smoke", "--out", str(tmp_path)]) == 0
    rows = Journal(tmp_path).rows()
    assert rows["onnxruntime-cpu fp32"]["tiles_per_s_1"] > 0
    assert len(rows["torch"]["rates"]) == 2
