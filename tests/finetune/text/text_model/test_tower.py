import json
import logging

import numpy as np
import pytest
import torch

from bandloom.errors import TextError
from bandloom.finetune.text.contrastive import info_nce
from bandloom.finetune.text.text_model.scratch import write_small_model
from bandloom.finetune.text.text_model.tower import TextTower
from tests.finetune.text.text_models import KINDS, TEXTS, write_model


def by_hand(model, kind: str, tower: TextTower, text: str) -> torch.Tensor:
    """The vector of one text alone, unpadded but for SigLIP, from the model's own states."""
    ids = tower.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        if kind == "clip":
            found = model.get_text_features(ids)
            vector = getattr(found, "pooler_output", found)[0]
        elif kind == "clip_text":
            vector = model(ids).last_hidden_state[0, ids[0].tolist().index(tower.tokenizer.sep_token_id)]
        elif kind.startswith("siglip"):
            padded = torch.full((1, 12), tower.tokenizer.pad_token_id)
            padded[0, : ids.shape[1]] = ids[0]
            if kind == "siglip":
                found = model.get_text_features(padded)
                vector = getattr(found, "pooler_output", found)[0]
            else:
                inner = getattr(model, "text_model", model)
                vector = inner.head(model(padded).last_hidden_state[0, -1])
        else:
            vector = model(ids).last_hidden_state[0].mean(0)
    return vector / vector.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_each_kind_gives_the_vector_that_its_model_means(tmp_path, kind):
    model = write_model(tmp_path / kind, kind)
    tower = TextTower(tmp_path / kind)
    found = tower.encode(TEXTS)
    assert found.shape == (len(TEXTS), tower.dim)
    for text, vector in zip(TEXTS, found, strict=True):
        assert np.allclose(vector, by_hand(model, kind, tower, text), atol=1e-5), text


def test_a_vector_that_is_not_finite_is_refused(tmp_path):
    write_model(tmp_path / "bert", "bert")
    tower = TextTower(tmp_path / "bert")
    with torch.no_grad():
        next(tower.parameters()).fill_(torch.nan)
    with pytest.raises(TextError, match="gives 2 of 2 texts no finite vector, such as 'a river'"):
        tower.encode(["a river", "a road"])


def test_a_model_that_trains_says_what_it_does_not_see(tmp_path, caplog):
    write_model(tmp_path / "bert", "bert")
    with caplog.at_level(logging.WARNING):
        TextTower(tmp_path / "bert").say_cut(["a river", "a river " * 20])
    assert "1 of 2 captions are longer than the 12 tokens of bert" in caplog.text


def test_words_that_a_model_from_scratch_never_read_are_said_by_name(tmp_path, caplog):
    """Two texts of unknown words alone have one vector: a user has to know."""
    write_small_model(tmp_path / "small", ["a river", "a road by a river", "many houses"])
    tower = TextTower(tmp_path / "small")
    with caplog.at_level(logging.WARNING):
        known = tower.encode(["A River", "houses"])
    assert "never read" not in caplog.text
    assert not np.allclose(known[0], known[1])
    with caplog.at_level(logging.WARNING):
        glacier, moraine = tower.encode(["a glacier", "a moraine"])
    assert "the text model small never read 2 of these words (glacier, moraine)" in caplog.text
    np.testing.assert_allclose(glacier, moraine, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_each_kind_trains_and_comes_back_as_it_was_saved(tmp_path, kind):
    write_model(tmp_path / kind, kind)
    tower = TextTower(tmp_path / kind)
    before = tower.encode(TEXTS)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=1e-3)
    image = torch.eye(tower.dim)[: len(TEXTS)]
    ids = torch.stack([torch.arange(len(TEXTS)), torch.full((len(TEXTS),), -1)], 1)
    losses = []
    for _ in range(4):
        loss = info_nce(image, tower(*tower.tokenize(TEXTS)), torch.tensor(5.0), torch.zeros(()), ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    after = tower.encode(TEXTS)
    tower.save(tmp_path / "saved")
    again = TextTower(tmp_path / "saved", tower.pooling).encode(TEXTS)
    assert np.allclose(again, after, atol=1e-6)
    assert not np.allclose(again, before, atol=1e-3)


def test_sentence_transformers_settings_decide_pooling_and_length(tmp_path):
    model = write_model(tmp_path / "bert", "bert")
    (tmp_path / "bert" / "1_Pooling").mkdir()
    (tmp_path / "bert" / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (tmp_path / "bert" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 7}))
    tower = TextTower(tmp_path / "bert")
    ids = tower.tokenizer("a river", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        first = model(ids).last_hidden_state[0, 0]
    assert np.allclose(tower.encode(["a river"])[0], first / first.norm(), atol=1e-5)
    assert tower.limit == 7


def test_a_sentence_model_that_reads_small_letters_is_given_small_letters(tmp_path):
    write_model(tmp_path / "bert", "bert")
    plain = TextTower(tmp_path / "bert").encode(["a river"])
    (tmp_path / "bert" / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))
    assert np.array_equal(TextTower(tmp_path / "bert").encode(["A River"]), plain)


def test_the_last_token_can_be_asked_for(tmp_path):
    model = write_model(tmp_path / "bert", "bert")
    tower = TextTower(tmp_path / "bert", "last")
    ids = tower.tokenizer("a river", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        last = model(ids).last_hidden_state[0, -1]
    assert np.allclose(tower.encode(["a river", TEXTS[-1]])[0], last / last.norm(), atol=1e-5)


def test_captions_over_the_limit_are_counted(tmp_path, caplog):
    write_model(tmp_path / "bert", "bert")
    long = " ".join(["forest"] * 30)
    with caplog.at_level(logging.WARNING, "bandloom"):
        TextTower(tmp_path / "bert").encode(["a river", long, long])
    assert "2 of 3 captions are longer than the 12 tokens of bert" in caplog.text


def test_a_small_model_from_the_captions_alone_tells_texts_apart(tmp_path):
    write_small_model(tmp_path / "small", TEXTS, width=32)
    tower = TextTower(tmp_path / "small")
    found = tower.encode([*TEXTS, "unheard syllables"])
    assert found.shape == (6, 32)
    assert np.abs(found @ found.T - np.eye(6)).max() < 0.9999 + 1e-3
    with pytest.raises(TextError, match="hold no words"):
        write_small_model(tmp_path / "none", ["", " "])


def test_folders_that_are_no_text_model_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(TextError, match=r"no config\.json"):
        TextTower(tmp_path)
    write_model(tmp_path / "bert", "bert")
    (tmp_path / "bert" / "model.safetensors").rename(tmp_path / "weights")
    with pytest.raises(TextError, match=r"no model\.safetensors"):
        TextTower(tmp_path / "bert")
    (tmp_path / "weights").rename(tmp_path / "bert" / "model.safetensors")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bert" / name).unlink()
    with pytest.raises(TextError, match="no tokenizer"):
        TextTower(tmp_path / "bert")
    with pytest.raises(TextError, match=r"text\.pooling is 'middle'"):
        TextTower(tmp_path / "bert", "middle")


def test_weights_that_are_missing_are_never_random(tmp_path):
    from safetensors.torch import load_file, save_file

    write_model(tmp_path / "bert", "bert")
    path = tmp_path / "bert" / "model.safetensors"
    weights = load_file(path)
    weights.pop(next(name for name in weights if "layer.1.output.dense.weight" in name))
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(TextError, match="lacks 1 weights"):
        TextTower(tmp_path / "bert")
