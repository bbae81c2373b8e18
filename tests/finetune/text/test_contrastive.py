import math

import pytest
import torch
from torch import Tensor

from bandloom.finetune.text.contrastive import CONTRASTIVE, info_nce, positives, sigmoid
from tests.bandloom.tiny_training import run_ranks
from tests.finetune.text.ranked_losses import TwoTowers, data, loss_and_gradients

HERE = "tests.finetune.text.ranked_losses:loss_and_gradients"


def belongs(ids: Tensor, i: int, j: int) -> bool:
    return i == j or any(int(ids[i, k]) == int(ids[j, k]) >= 0 for k in range(2))


def naive_info_nce(image: Tensor, text: Tensor, scale: Tensor, ids: Tensor) -> Tensor:
    total = torch.zeros(())
    for one, other in ((image, text), (text, image)):
        for i in range(len(one)):
            scores = [scale * (one[i] @ other[j]) for j in range(len(other))]
            whole = sum(score.exp() for score in scores)
            right = [j for j in range(len(other)) if belongs(ids, i, j)]
            total = total - sum((scores[j].exp() / whole).log() for j in right) / len(right) / len(one)
    return total / 2


def naive_sigmoid(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, ids: Tensor) -> Tensor:
    total = torch.zeros(())
    for i in range(len(image)):
        for j in range(len(text)):
            sign = 1.0 if belongs(ids, i, j) else -1.0
            total = total - (1 / (1 + (-sign * (scale * (image[i] @ text[j]) + bias)).exp())).log()
    return total / len(image)


def naive(kind: str) -> tuple[float, dict[str, Tensor]]:
    model = TwoTowers(kind)
    image, text, ids = data()
    one, other, scale, bias = model(image, text)
    loss = naive_info_nce(one, other, scale, ids) if kind == "infonce" else naive_sigmoid(one, other, scale, bias, ids)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", sorted(CONTRASTIVE))
def test_a_loss_and_its_gradients_are_those_of_the_naive_loop(kind):
    expected, gradients = naive(kind)
    found = loss_and_gradients(kind)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["gradients"].keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(found["gradients"][name], gradient, atol=1e-5), name


@pytest.mark.parametrize("kind", sorted(CONTRASTIVE))
def test_two_ranks_have_the_loss_and_the_gradients_of_the_joined_batch(kind, tmp_path):
    expected, gradients = naive(kind)
    for found in run_ranks(HERE, 2, tmp_path, kind=kind):
        assert found["loss"] == pytest.approx(expected, rel=1e-5)
        for name, gradient in gradients.items():
            assert torch.allclose(found["gradients"][name], gradient, atol=1e-5), name


def test_with_one_positive_a_row_the_loss_is_cross_entropy_both_ways():
    image, text, _ = TwoTowers("infonce")(*data()[:2])[:3]
    ids, scale = torch.stack([torch.arange(8), torch.full((8,), -1)], 1), torch.tensor(10.0)
    logits, target = scale * image @ text.T, torch.arange(8)
    expected = (
        torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
    ) / 2
    assert torch.allclose(info_nce(image, text, scale, torch.zeros(()), ids), expected, atol=1e-6)


def test_repeated_captions_are_no_mistakes():
    image = torch.eye(4)[[0, 0, 1, 1]]
    scale, bias = torch.tensor(50.0), torch.tensor(-25.0)
    known = torch.tensor([[0, -1], [0, -1], [1, -1], [1, -1]])
    unknown = torch.stack([torch.arange(4), torch.full((4,), -1)], 1)
    assert info_nce(image, image, scale, bias, known).item() == pytest.approx(math.log(2), abs=1e-4)
    assert float(sigmoid(image, image, scale, bias, known)) < 1e-4 < float(sigmoid(image, image, scale, bias, unknown))


def test_pairs_belong_together_by_caption_or_by_class():
    rows = torch.tensor([[0, 3], [1, -1]])
    columns = torch.tensor([[0, 9], [7, 3], [1, -1], [-1, -1]])
    assert positives(rows, columns).tolist() == [[True, True, False, False], [False, False, True, False]]
