import torch

from bandloom.finetune.model.checkpoint import load_task_model, save_task_model
from bandloom.finetune.model.lora import LoraLinear, add_lora, merge_lora
from bandloom.finetune.model.task_model import set_trainable
from bandloom.model.encoder import count_parameters
from tests.finetune.models import chips, task_model


def learn(model: torch.nn.Module, steps: int = 3) -> None:
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        model(chips()).square().mean().backward()
        optimiser.step()


def test_adding_lora_changes_no_output():
    model = task_model()
    before = model(chips())
    add_lora(model.encoder, 4)
    assert torch.equal(model(chips()), before)


def test_merged_lora_computes_the_same_and_is_the_plain_model_again(tmp_path):
    model = task_model()
    names = set(model.state_dict())
    set_trainable(model, "lora", rank=4)
    learn(model)
    assert any(isinstance(module, LoraLinear) and module.up.abs().max() > 0 for module in model.modules())
    before = model(chips())
    merge_lora(model.encoder)
    assert (model(chips()) - before).abs().max() < 1e-5
    assert set(model.state_dict()) == names
    save_task_model(tmp_path / "m", model, {})
    assert (load_task_model(tmp_path / "m")(chips()) - before).abs().max() < 1e-5


def test_only_the_products_and_the_head_learn():
    model = task_model()
    plain = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    set_trainable(model, "lora", rank=2)
    assert count_parameters(model.encoder, trainable=True) < 0.3 * count_parameters(model.encoder)
    learn(model)
    after = {name.replace(".base.", "."): value for name, value in model.encoder.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in plain.items())


def test_the_last_blocks_alone_learn():
    model = task_model()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    set_trainable(model, "last", blocks=1)
    learn(model)
    moved = {name for name, value in model.encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(("blocks.1.", "norm.")) for name in moved)
