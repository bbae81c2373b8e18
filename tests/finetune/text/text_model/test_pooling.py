import json
from types import SimpleNamespace

import pytest
import torch

from bandloom.errors import TextError
from bandloom.finetune.text.text_model.pooling import choose_pooling, pool

STATES = torch.arange(24.0).reshape(2, 4, 3)
RIGHT = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])  # padded on the right
LEFT = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 1]])
OUTPUT = SimpleNamespace(last_hidden_state=STATES)


@pytest.mark.parametrize(
    ("pooling", "mask", "rows"),
    [
        ("mean", RIGHT, [[3.0, 4, 5], [12, 13, 14]]),
        ("mean", LEFT, [[6.0, 7, 8], [21, 22, 23]]),
        ("max", RIGHT, [[6.0, 7, 8], [12, 13, 14]]),
        ("max", LEFT, [[9.0, 10, 11], [21, 22, 23]]),
        ("cls", RIGHT, [[0.0, 1, 2], [12, 13, 14]]),
        ("cls", LEFT, [[3.0, 4, 5], [21, 22, 23]]),
        ("last", RIGHT, [[6.0, 7, 8], [12, 13, 14]]),
        ("last", LEFT, [[9.0, 10, 11], [21, 22, 23]]),
    ],
)
def test_padding_on_either_side_is_never_pooled(pooling, mask, rows):
    assert pool(OUTPUT, mask, pooling).tolist() == rows


def test_a_models_own_head_comes_first():
    pooled, projected = torch.ones(2, 3), torch.zeros(2, 5)
    assert pool(SimpleNamespace(pooler_output=pooled), RIGHT, "own") is pooled
    assert pool(SimpleNamespace(pooler_output=pooled, text_embeds=projected), RIGHT, "own") is projected


@pytest.mark.parametrize(
    ("key", "pooling"),
    [
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_max_tokens", "max"),
        ("pooling_mode_lasttoken", "last"),
        ("pooling_mode_mean_sqrt_len_tokens", "mean"),  # the same direction
    ],
)
def test_a_sentence_transformers_folder_says_how(tmp_path, key, pooling):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 3, key: True}))
    assert choose_pooling(tmp_path, "bert", None) == pooling
    assert choose_pooling(tmp_path, "clip", None) == "own"  # whatever the folder says
    assert choose_pooling(tmp_path, "bert", None, "max") == "max"  # whatever anybody says


@pytest.mark.parametrize(
    "held",
    [{"pooling_mode_weightedmean_tokens": True}, {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}],
)
def test_a_pooling_that_is_not_done_here_is_never_replaced_by_another(tmp_path, held):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(held))
    with pytest.raises(TextError, match=r"which is not done here; set text\.pooling"):
        choose_pooling(tmp_path, "bert", None)
    assert choose_pooling(tmp_path, "bert", None, "mean") == "mean"


def test_a_layer_after_the_pooling_is_never_left_out(tmp_path):
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    (tmp_path / "modules.json").write_text(json.dumps([{"type": f"sentence_transformers.models.{k}"} for k in kinds]))
    with pytest.raises(TextError, match="lists a part Dense"):
        choose_pooling(tmp_path, "bert", None)


def test_otherwise_a_causal_model_ends_in_its_text_and_others_are_averaged(tmp_path):
    assert choose_pooling(tmp_path, "qwen3", ["Qwen3ForCausalLM"]) == "last"
    assert choose_pooling(tmp_path, "bert", ["BertModel"]) == "mean"
    assert choose_pooling(tmp_path, "bert", None) == "mean"
    with pytest.raises(TextError, match=r"text\.pooling is 'first'; use auto, mean, cls"):
        choose_pooling(tmp_path, "bert", None, "first")
