import pytest
import torch

from finetune.losses import cross_entropy


def test_a_batch_without_labels_costs_nothing_and_has_no_gradient():
    logits = torch.randn(2, 3, 6, 6, requires_grad=True)
    loss = cross_entropy(logits, torch.full((2, 6, 6), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_known_labels_cost_what_torch_says(smoothing, weighted):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 6, 6), torch.randint(0, 3, (2, 6, 6)).to(torch.uint8)
    target[0, :2] = 255
    weight = torch.tensor([1.0, 2.0, 0.5]) if weighted else None
    expected = torch.nn.functional.cross_entropy(logits, target.long(), weight, ignore_index=255,
                                                 label_smoothing=smoothing)  # fmt: skip
    assert torch.allclose(cross_entropy(logits, target, weight, smoothing), expected)
    empty = torch.full_like(target, 255)
    assert cross_entropy(logits, empty, weight, smoothing).item() == 0.0
