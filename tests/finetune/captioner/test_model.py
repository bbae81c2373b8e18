import numpy as np
import pytest
import torch

from bandloom.errors import TextError
from bandloom.finetune.captioner.config import LanguageConfig
from bandloom.finetune.captioner.language import open_language, prepare, trained_parameters
from bandloom.finetune.captioner.model import IGNORED, Captioner
from bandloom.finetune.text.text_model.scratch import word_tokenizer
from tests.finetune.captioner.language_models import WORDS, write_language
from tests.finetune.models import S2, chips, encoder


def captioner(folder, kind: str = "llama", **changes) -> Captioner:
    if not folder.exists():
        write_language(folder, kind)
    language, tokenizer = open_language(LanguageConfig(model=folder, **changes))
    torch.manual_seed(1)
    return Captioner(encoder(), S2, 24, language, tokenizer, image_tokens=4)


def learn(model: Captioner, pairs, groups, steps: int, lr: float) -> list[float]:
    ids, targets, _ = model.encode(pairs)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    model.train()
    losses = []
    for _ in range(steps):
        loss = model(groups, ids, targets) / (targets != IGNORED).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_eight_captions_are_learnt_by_heart_and_said_of_their_own_images(tmp_path, kind):
    model = captioner(tmp_path / kind, kind, mode="full")
    groups = chips(batch=8)
    losses = learn(model, [("Describe the image:", text) for text in WORDS[:8]], groups, 100, 1e-2)
    assert losses[-1] < 0.02 < losses[0]
    assert model.generate(groups, "Describe the image:", 12) == WORDS[:8]


def test_a_frozen_language_model_learns_through_its_projector_alone_and_stays_as_it_was(tmp_path):
    model = captioner(tmp_path / "llama")
    before = {name: value.clone() for name, value in model.language.state_dict().items()}
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(name.startswith("project.") for name in names)
    assert not any("language" in name or name.startswith("inside") for name in model.state_dict())
    losses = learn(model, [("Describe the image:", text) for text in WORDS[:2]], chips(), 60, 1e-2)
    assert losses[-1] < losses[0] - 0.04  # all that can be said through a random model
    assert all(torch.equal(value, before[name]) for name, value in model.language.state_dict().items())


def test_lora_trains_inside_a_bfloat16_model_with_checkpointing(tmp_path):
    model = captioner(tmp_path / "llama", mode="lora", lora_rank=2, dtype="bfloat16", gradient_checkpointing=True)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    inside = trained_parameters(model.language)
    assert len(inside) == 2 * 7 * 2  # two layers of seven maps, down and up
    assert {id(p) for p in inside.values()} < {id(p) for p in trained.values()}
    assert all(p.dtype == torch.float32 for p in inside.values())
    assert model.language.get_input_embeddings().weight.dtype == torch.bfloat16
    assert model.train().language.training
    losses = learn(model, [("Describe the image:", text) for text in WORDS[:2]], chips(), 40, 1e-2)
    assert losses[-1] < losses[0] - 0.2
    assert any(name.startswith("adapters.") for name in model.state_dict())
    assert not model.language.training


def test_checkpointing_changes_no_gradient(tmp_path):
    gradients = []
    for on in (False, True):
        model = captioner(tmp_path / "llama", mode="lora", lora_rank=2, gradient_checkpointing=on).train()
        for name, value in model.adapters.items():
            torch.nn.init.constant_(value, 0.01 if name.endswith("up") else 0.02)
        ids, targets, _ = model.encode([("Describe", WORDS[0]), ("Describe the image:", WORDS[1])])
        model(chips(), ids, targets).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[1][name], value, atol=1e-6) for name, value in gradients[0].items())


def test_the_loss_is_the_language_models_own_of_the_answers_tokens(tmp_path):
    model = captioner(tmp_path / "llama").eval()
    groups, pairs = chips(), [("Describe the image:", WORDS[0]), ("what is there", "yes")]
    ids, targets, cut = model.encode(pairs)
    assert cut == 0
    assert (targets[1] != IGNORED).sum() == 2  # yes, end
    total, count = 0.0, 0
    with torch.no_grad():
        for row, (prompt, answer) in enumerate(pairs):
            one = {gsd: group[row : row + 1] for gsd, group in groups.items()}
            asked = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            told = [*model.tokenizer(answer, add_special_tokens=False)["input_ids"], model.tokenizer.eos_token_id]
            read = model.language.get_input_embeddings()
            start = read(torch.tensor([[model.tokenizer.bos_token_id]]))
            embedded = torch.cat([start, model.image(one), read(torch.tensor([[*asked, *told]]))], 1)
            logits = model.language(inputs_embeds=embedded).logits[0].log_softmax(1)
            first = 1 + 4 + len(asked)
            total -= sum(float(logits[first + place - 1, token]) for place, token in enumerate(told))
            count += len(told)
        assert float(model(groups, ids, targets)) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_no_mask_is_a_mask_of_ones(tmp_path, kind):
    model = captioner(tmp_path / kind, kind).eval()
    ids, _, _ = model.encode([("Describe the image:", text) for text in WORDS[:2]])
    with torch.no_grad():
        embedded = model._sequence(chips(), ids)
        mask = torch.ones(embedded.shape[:2], dtype=torch.long)
        masked = model.language(inputs_embeds=embedded, attention_mask=mask, use_cache=False).logits
        assert torch.equal(model.language(inputs_embeds=embedded, use_cache=False).logits, masked)


def test_long_texts_are_cut_and_counted(tmp_path):
    model = captioner(tmp_path / "llama")
    model.most_tokens = 3
    ids, targets, cut = model.encode([("what", WORDS[0]), ("what", "yes")])
    assert cut == 1
    assert ids.shape == (2, 5)
    assert targets[0, -1] == model.tokenizer.eos_token_id


def test_folders_that_are_no_language_model_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(TextError, match="hf download NAME --local-dir FOLDER"):
        open_language(LanguageConfig(model=tmp_path / "none"))
    write_language(tmp_path / "gpt2", "gpt2")
    with pytest.raises(TextError, match=r"linear maps of .*gpt2 are .*; name some of these"):
        open_language(LanguageConfig(model=tmp_path / "gpt2", mode="lora"))
    word_tokenizer(WORDS).save_pretrained(tmp_path / "gpt2")
    (tmp_path / "gpt2" / "model.safetensors").rename(tmp_path / "w")
    with pytest.raises(TextError, match="pickles are not read"):
        open_language(LanguageConfig(model=tmp_path / "gpt2"))


def test_products_beside_maps_are_found_by_name(tmp_path):
    model = write_language(tmp_path / "llama")
    prepare(model, LanguageConfig(model=tmp_path / "llama", mode="lora", lora_modules=["v_proj"], lora_rank=3))
    assert sorted({name.split(".")[-2] for name in trained_parameters(model)}) == ["v_proj"]
    assert np.sum([p.numel() for p in trained_parameters(model).values()]) == 2 * 3 * (32 + 32)
