import pytest
import torch

from bandloom.finetune.training.losses import (
    LOSSES,
    Asymmetric,
    Focal,
    asymmetric,
    binary_cross_entropy,
    cross_entropy,
    dice,
    huber,
    l1,
    l2,
)


def test_a_batch_without_labels_costs_nothing_and_has_no_gradient():
    logits = torch.randn(2, 3, 6, 6, requires_grad=True)
    loss = cross_entropy(logits, torch.full((2, 6, 6), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


def test_known_labels_cost_what_torch_says():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 6, 6), torch.randint(0, 3, (2, 6, 6)).to(torch.uint8)
    target[0, :2] = 255
    expected = torch.nn.functional.cross_entropy(logits, target.long(), ignore_index=255)
    assert torch.allclose(cross_entropy(logits, target), expected, atol=1e-6)
    assert cross_entropy(logits, torch.full_like(target, 255)).item() == 0.0


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("shape", [(4,), (2, 6, 6)])
def test_every_loss_is_nought_without_labels_and_falls_as_the_model_learns(name, shape):
    torch.manual_seed(0)
    target = torch.randint(0, 3, shape).to(torch.uint8)
    empty = torch.zeros(shape[0], 3, *shape[1:], requires_grad=True)
    nothing = LOSSES[name](empty, torch.full_like(target, 255))
    nothing.backward()
    assert nothing.item() == 0.0
    assert torch.isfinite(empty.grad).all()
    right = torch.nn.functional.one_hot(target.long(), 3).movedim(-1, 1).float()
    assert LOSSES[name](8 * right, target) < LOSSES[name](right, target) < LOSSES[name](-right, target)


def test_focal_without_its_focus_is_cross_entropy():
    torch.manual_seed(0)
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 255, 1])
    assert torch.allclose(Focal(gamma=0.0)(logits, target), cross_entropy(logits, target), atol=1e-6)


def test_dice_does_not_see_unknown_pixels():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 6, 6), torch.randint(0, 3, (2, 6, 6))
    target[:, 3:] = 255
    other = logits.clone()
    other[:, :, 3:] = 50.0
    assert torch.allclose(dice(logits, target), dice(other, target), atol=1e-6)


def test_binary_cross_entropy_is_torchs_and_the_asymmetric_loss_forgets_easy_absences():
    logits, target = torch.randn(4, 3, requires_grad=True), torch.tensor([[0.0, 1, 0]] * 4)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    assert torch.allclose(binary_cross_entropy(logits, target), expected, atol=1e-6)
    assert torch.allclose(Asymmetric(gamma=0.0, margin=0.0)(logits, target), expected, atol=1e-5)
    absent = asymmetric(torch.full((1, 1), -3.0), torch.zeros(1, 1))
    assert absent < 1e-3 * binary_cross_entropy(torch.full((1, 1), -3.0), torch.zeros(1, 1))
    for loss in (binary_cross_entropy, asymmetric):
        nothing = loss(logits, torch.full((4, 3), torch.nan))
        nothing.backward()
        assert nothing == 0
        assert logits.grad is not None
        assert (logits.grad == 0).all()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (l1, lambda e: e.abs().mean()),
        (l2, lambda e: e.square().mean()),
        (huber, lambda e: torch.where(e.abs() < 1, 0.5 * e.square(), e.abs() - 0.5).mean()),
    ],
)
@pytest.mark.parametrize("shape", [(6,), (6, 4, 4)])
def test_losses_of_values_are_means_over_known_ones(loss, expected, shape):
    torch.manual_seed(0)
    output, target = torch.randn(shape[0], 1, *shape[1:], requires_grad=True), 2 * torch.randn(shape)
    target[0] = float("nan")
    found = loss(output, target)
    assert torch.allclose(found, expected((output[1:, 0] - target[1:]).detach()), atol=1e-6)
    found.backward()
    assert torch.isfinite(output.grad).all()
    assert (output.grad[0] == 0).all()


def test_a_batch_without_a_value_costs_nothing():
    output = torch.randn(3, 1, 2, 2, requires_grad=True)
    found = l2(output, torch.full((3, 2, 2), float("nan")))
    found.backward()
    assert found.item() == 0.0
    assert (output.grad == 0).all()


@pytest.mark.parametrize("loss", [l1, l2, huber])
def test_losses_of_values_may_be_summed_in_any_parts(loss):
    torch.manual_seed(0)
    output, target = torch.randn(6, 1, 4, 4), torch.randn(6, 4, 4)
    target[:2, 1:] = float("nan")  # so that the parts have other counts
    parts = [slice(0, 2), slice(2, 6)]
    sums = torch.stack([loss.sums(output[part], target[part]) for part in parts]).sum(0)
    counts = torch.stack([loss.counts(target[part], 1) for part in parts]).sum(0)
    assert torch.allclose(loss.value(sums, counts), loss(output, target), atol=1e-6)
