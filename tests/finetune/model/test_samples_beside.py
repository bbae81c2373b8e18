import torch

from bandloom.finetune.model.samples_beside import SamplesBeside, tokens_of
from tests.finetune.models import S2, chips, encoder


def test_samples_stand_beside_tokens_scaled_and_shifted_one_by_one():
    beside = SamplesBeside(3)
    with torch.no_grad():
        beside.weight.copy_(torch.tensor([1.0, 2.0, 0.0]))
        beside.bias.copy_(torch.tensor([0.0, 0.5, 7.0]))
    joined = beside(torch.full((1, 2, 4), 9.0), torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]))
    assert joined.tolist() == [[[9, 9, 9, 9, 1, 4.5, 7], [9, 9, 9, 9, 4, 10.5, 7]]]


def test_untouched_it_adds_the_encoders_own_normalised_samples():
    model, groups = encoder().eval(), chips()
    samples, _ = model.samples(groups, S2)
    joined = tokens_of(model, groups, S2, SamplesBeside(samples.shape[-1]))
    assert torch.equal(joined[..., : model.embed_dim], model.forward_features(groups, S2))
    assert torch.equal(joined[..., model.embed_dim :], samples)


def test_without_it_tokens_are_the_encoders():
    model, groups = encoder().eval(), chips()
    assert torch.equal(tokens_of(model, groups, S2, None), model.forward_features(groups, S2))
