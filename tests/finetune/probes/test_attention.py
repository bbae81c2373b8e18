import numpy as np
import pytest
import torch

from bandloom.finetune.probes.attention import AttentionProbe, attention_probe


def needles(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Chips of nine tokens, of which one tells the class and the others are noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    tokens = 0.3 * rng.normal(size=(count, 9, 8))
    at = rng.integers(0, 9, count)
    tokens[np.arange(count), at] = 0
    tokens[np.arange(count), at, labels] = 4
    return tokens.astype(np.float32), labels


def test_queries_of_nought_read_the_mean_token():
    probe = AttentionProbe(8, 3, heads=2)
    torch.nn.init.zeros_(probe.query)
    tokens = torch.randn(5, 9, 8)
    mean = tokens.mean(1)
    assert torch.allclose(probe(tokens), probe.classify(torch.cat([mean, mean], 1)), atol=1e-6)


@torch.no_grad()
def test_attention_equals_a_loop_over_heads_and_tokens():
    torch.manual_seed(0)
    probe, tokens = AttentionProbe(4, 3, heads=2), torch.randn(1, 3, 4)
    read = []
    for query in probe.query:
        weights = torch.tensor([float(query @ token) / 2 for token in tokens[0]]).exp()
        read.append(sum(weight * token for weight, token in zip(weights / weights.sum(), tokens[0], strict=True)))
    assert torch.allclose(probe(tokens)[0], probe.classify(torch.cat(read)), atol=1e-5)


def test_one_token_among_noise_is_found():
    train, test = needles(300, 0), needles(100, 1)
    predicted = attention_probe(*train, test[0], 3)
    assert (predicted == test[1]).mean() > 0.9


def test_the_same_seed_gives_the_same_answers_and_no_chip_gives_none():
    tokens, labels = needles(60, 0)
    one, two = (attention_probe(tokens, labels, tokens, 3, seed=4) for _ in range(2))
    assert one.tolist() == two.tolist()
    assert attention_probe(tokens, labels, tokens[:0], 3).shape == (0,)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_features_does_not_matter(scale):
    tokens, labels = needles(200, 2)
    plain = attention_probe(tokens, labels, tokens, 3)
    scaled = attention_probe(scale * tokens, labels, scale * tokens, 3)
    assert (plain == scaled).mean() > 0.95
