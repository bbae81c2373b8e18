"""The pretended card itself: planted faults are caught, and numbers are the host's."""

import pytest
import torch

from bandloom.training.device_memory import constant, to_device
from tests.card.pretend_card import CARD, TORCH, pretended_card

pytestmark = pytest.mark.skipif(not torch.__version__.startswith(TORCH), reason=f"pretended for torch {TORCH} alone")


def on_card(*shape):
    return torch.ones(*shape, device=CARD)


def test_a_host_tensor_among_cards_is_refused_in_torchs_words():
    with pretended_card(), pytest.raises(RuntimeError, match="same device, but found at least two devices"):
        on_card(3) + torch.ones(3)


def test_numpy_of_a_card_tensor_is_refused():
    with pretended_card(), pytest.raises(TypeError, match="can't convert cuda:0"):
        on_card(3).numpy()


@pytest.mark.parametrize(
    "planted",
    [
        lambda: on_card(3).sum().item(),
        lambda: float(on_card(1)),
        lambda: bool(on_card(1) > 0),
        lambda: on_card(3).tolist(),
        lambda: on_card(3)[on_card(3) > 0],
        lambda: on_card(3).nonzero(),
        lambda: on_card(3).cpu(),
        lambda: torch.ones(3).to(CARD),
        lambda: torch.ones(3).to(CARD, non_blocking=True),  # from pageable memory it blocks all the same
        lambda: torch.tensor([1.0, 2.0], device=CARD),
        lambda: on_card(3).new_tensor([1.0]),
        lambda: on_card(3)[torch.tensor([0, 2])],
    ],
)
def test_what_makes_the_host_wait_is_noted(planted):
    with pretended_card() as watch:
        planted()
    assert len(watch.blocking()) == 1


def test_what_does_not_make_it_wait_is_not():
    with pretended_card() as watch:
        copied = to_device(torch.arange(6.0), CARD)
        kept = [constant(CARD, torch.arange, 6) for _ in range(3)]
        total = (copied * kept[0] + on_card(6)).sum()
        assert not watch.blocking()
        assert sum(note.kind == "to card" for note in watch.notes) == 2
        assert float(total) == 55 + 6
    assert len(watch.blocking()) == 1


def test_training_on_it_gives_the_hosts_numbers():
    def losses(device):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1)).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        told = []
        for step in range(4):
            loss = model(torch.arange(12.0).reshape(3, 4).to(device) + step).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            told.append(float(loss.detach()))
        return told

    expected = losses("cpu")
    with pretended_card():
        assert losses("cuda") == pytest.approx(expected, rel=1e-6)
