import pytest
import torch

from bandloom.errors import ConfigError
from bandloom.finetune.model.checkpoint import load_task_model, save_task_model
from bandloom.finetune.model.task_model import TaskModel, taps
from tests.finetune.models import LABELS, S2, chips, encoder


def with_head(head, **changes) -> TaskModel:
    return TaskModel(encoder(**changes), S2, LABELS, "segment", 24, head)


@pytest.mark.parametrize("head", ["linear", "fpn", "dpt"])
@pytest.mark.parametrize("token_m", [60, 120])
def test_every_head_gives_every_pixel_its_logits_and_starts_at_its_spectrum(head, token_m):
    model = with_head(head, token_m=token_m, depth=4).eval()
    logits = model(chips())
    assert logits.shape == (2, 3, 24, 24)
    pixels = model.pixel_bands(chips())
    # the surroundings' part begins at zero; what is left is the order in which a processor adds
    torch.testing.assert_close(logits, model.head.pixel(pixels)[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("head", ["fpn", "dpt"])
def test_every_part_of_a_head_and_every_depth_learns(head):
    model = with_head(head, depth=4)
    torch.nn.init.normal_(model.head.correct.weight)
    model(chips()).square().mean().backward()
    for name, parameter in model.named_parameters():
        left_out = ("encoder.embed", "head.pixel.wide.", "head.pixel.linear.")  # without weight before they are fitted
        assert parameter.grad is not None or name.startswith(left_out), name


@pytest.mark.parametrize("head", ["fpn", "dpt"])
def test_a_head_is_saved_and_read_back(tmp_path, head):
    model = with_head(head).eval()
    torch.nn.init.normal_(model.head.correct.weight)
    save_task_model(tmp_path / "m", model, {})
    assert torch.equal(load_task_model(tmp_path / "m")(chips()), model(chips()))


def test_taps_are_evenly_spaced_and_end_at_the_last_block():
    assert taps(12) == [2, 5, 8, 11]
    assert taps(4) == [0, 1, 2, 3]
    assert taps(2)[-1] == 1


def test_other_tasks_have_one_head():
    with pytest.raises(ConfigError, match="head 'fpn' is not available for task 'classify'"):
        TaskModel(encoder(), S2, LABELS, "classify", 24, "fpn")


def test_a_head_for_maps_is_not_one_for_chips():
    with pytest.raises(ConfigError, match=r"head 'joined' is not available .* use task=classify or multilabel"):
        TaskModel(encoder(), S2, LABELS, "segment", 24, "joined")


def test_a_joined_head_sees_the_samples_themselves_and_is_read_back(tmp_path):
    model = TaskModel(encoder(), S2, LABELS, "classify", 24, "joined").eval()
    samples, _ = model.encoder.samples(chips(), S2)
    tokens = model.encoder.forward_features(chips(), S2)
    assert torch.allclose(model.chip_tokens(chips()), torch.cat([tokens, samples], -1), atol=1e-6)
    torch.nn.init.normal_(model.head.beside.weight)
    save_task_model(tmp_path / "m", model, {})
    assert torch.equal(load_task_model(tmp_path / "m")(chips()), model(chips()))
