"""Tokens of a chip seen in windows, against every window encoded by itself."""

import pytest
import torch

from bandloom.export.bundle.tiling import Tiling
from bandloom.finetune.model.task_model import taps
from tests.export.from_torch.test_export_run import task_model
from tests.export.tiny_model import random_chips, tiny_contract


def naive(encode, groups, window_px, tokens):
    """Encode window by window in a loop and lay the tokens ``(B, rows, columns, D)`` where they belong."""
    side = groups[10].shape[-1]
    out = torch.zeros(len(groups[10]), side // 6, side // 6, tokens)
    for top in range(0, side, window_px):
        for left in range(0, side, window_px):
            spans = {
                g: (
                    slice(top * 10 // g, (top + window_px) * 10 // g),
                    slice(left * 10 // g, (left + window_px) * 10 // g),
                )
                for g in groups
            }
            part = encode({g: dn[..., spans[g][0], spans[g][1]] for g, dn in groups.items()})
            inner = window_px // 6
            out[:, top // 6 : top // 6 + inner, left // 6 : left // 6 + inner] = part.unflatten(1, (inner, inner))
    return out.flatten(1, 2)


@pytest.fixture(scope="module")
def chips():
    given = random_chips(tiny_contract(tiling=Tiling(72)), 2, seed=3)
    return {g: torch.from_numpy(dn.astype("int32")) for g, dn in given.items()}


def test_a_larger_chip_is_encoded_window_by_window(chips):
    model = task_model()
    whole = model.features(chips)
    model.window_px = 36
    with torch.no_grad():
        seen = model.features(chips)
        expected = naive(lambda part: model.encoder.forward_features(part, model.sensor), chips, 36, 32)
    torch.testing.assert_close(seen, expected)
    assert (seen - whole).abs().max() > 0.01  # attention over the whole chip is another function


def test_a_chip_of_one_window_is_what_it_was(chips):
    model = task_model()
    small = {g: dn[..., : 360 // g, : 360 // g] for g, dn in chips.items()}
    plain = model(small)
    model.window_px = 36
    torch.testing.assert_close(model(small), plain, rtol=0, atol=0)


def test_heads_of_several_depths_see_windows_too(chips):
    model = task_model(head="fpn")
    model.window_px, depths = 36, taps(2)
    with torch.no_grad():
        tokens = {}
        model.head.register_forward_pre_hook(lambda _, given: tokens.update(of=given[0]))
        model(chips)
        for place, depth in enumerate(tokens["of"]):
            expected = naive(
                lambda part, place=place: model.encoder.forward_intermediates(part, model.sensor, depths)[place],
                chips,
                36,
                32,
            )
            torch.testing.assert_close(depth, expected)
