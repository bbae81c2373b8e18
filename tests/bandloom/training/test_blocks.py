"""Blocks: what they keep with activation checkpointing, and that a compiler takes each without a break."""

import pytest
import torch

from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.training.blocks import blocks_of, checkpoint_blocks, compile_blocks
from tests.bandloom.model.test_encoder import STATISTICS
from tests.bandloom.tiny_training import batch_of, tiny_net
from tests.pretrain.test_mae import model as autoencoder


def test_checkpointed_blocks_keep_only_their_input():
    model = tiny_net()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        model(batch_of(torch.arange(8).numpy()))
    plain = sum(kept)
    kept.clear()
    assert checkpoint_blocks(model) == 2
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        model(batch_of(torch.arange(8).numpy()))
    assert sum(kept) < 0.7 * plain


def test_the_decoders_blocks_count_too():
    model = autoencoder()
    own = {id(block) for block in (*model.encoder.blocks, *model.decoder_blocks)}
    assert {id(block) for block in blocks_of(model)} == own


@pytest.mark.parametrize(("drop_path", "forgetful"), [(0.0, False), (0.3, True)])
def test_no_block_breaks_its_graph(drop_path, forgetful):
    torch._dynamo.reset()
    encoder = Encoder(EncoderConfig.of_size("demo", depth=2, drop_path=drop_path), STATISTICS).train()
    if forgetful:
        checkpoint_blocks(encoder)
    explained = torch._dynamo.explain(encoder.blocks[1])(torch.randn(2, 16, 128))  # the one that is dropped at times
    assert explained.graph_break_count == 0, explained.break_reasons
    assert explained.graph_count == 1


@pytest.mark.slow
def test_compiled_blocks_compute_the_same_and_keep_their_names():
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig.of_size("demo", depth=2), STATISTICS).eval()
    names, tokens = list(encoder.state_dict()), torch.randn(2, 16, 128)
    expected = [block(tokens) for block in encoder.blocks]
    assert compile_blocks(encoder) == 2
    for block, answer in zip(encoder.blocks, expected, strict=True):
        torch.testing.assert_close(block(tokens), answer, rtol=1e-5, atol=1e-5)
    assert list(encoder.state_dict()) == names
