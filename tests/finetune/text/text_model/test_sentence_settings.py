"""Settings of sentence-transformers folders, as its versions before and after 5.4 write them, against its semantics.

``SentenceTransformer.encode`` puts ``prompts[default_prompt_name]`` before every text unless it is told otherwise.
"""

import json

import numpy as np
import pytest
import torch

from bandloom.errors import TextError
from bandloom.finetune.text.text_model.pooling import choose_pooling
from bandloom.finetune.text.text_model.sentence_settings import PROMPTS, default_prompt
from bandloom.finetune.text.text_model.sources import folder_digest
from bandloom.finetune.text.text_model.tower import TextTower
from tests.finetune.text.text_models import TEXTS, write_model

PROMPT = "a satellite image of "
QUERY = {"prompts": {"query": PROMPT, "document": ""}, "default_prompt_name": "query"}


def write(path, record):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("kind", ["bert", "clip", "siglip"])
def test_the_default_prompt_stands_before_every_text(tmp_path, kind):
    write_model(tmp_path / "model", kind)
    plain = TextTower(tmp_path / "model")
    prompted, bare = plain.encode([PROMPT + "a river"]), plain.encode(["a river"])
    write(tmp_path / "model" / PROMPTS, QUERY)
    tower = TextTower(tmp_path / "model")
    np.testing.assert_allclose(tower.encode(["a river"]), prompted, atol=1e-6)
    assert not np.allclose(prompted, bare, atol=1e-3)
    assert tower.too_long(["a river " * 4]) == 1  # of 12 tokens, which the text alone would not fill
    assert plain.too_long(["a river " * 4]) == 0
    tower.save(tmp_path / "saved")
    np.testing.assert_allclose(TextTower(tmp_path / "saved", tower.pooling).encode(["a river"]), prompted, atol=1e-6)


@pytest.mark.parametrize(
    "record",
    [
        {"prompts": {"query": PROMPT}, "default_prompt_name": None},
        {"prompts": {"query": PROMPT}},
        {"prompts": {"query": "", "document": ""}, "default_prompt_name": "query"},
        {"__version__": {"pytorch": "2"}, "similarity_fn_name": "cosine"},
        {},
    ],
)
def test_prompts_that_nobody_asked_for_are_not_used(tmp_path, record):
    before = folder_digest(tmp_path, "auto")
    write(tmp_path / PROMPTS, record)
    assert default_prompt(tmp_path) == ""
    assert folder_digest(tmp_path, "auto") == before  # vectors that were kept are still those of this folder


def test_vectors_without_the_prompt_are_of_another_source(tmp_path):
    before = folder_digest(tmp_path, "auto")
    write(tmp_path / PROMPTS, QUERY)
    assert folder_digest(tmp_path, "auto") != before


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"prompts": {"document": ""}, "default_prompt_name": "query"}, "names 'query' as its default prompt"),
        ({"prompts": [PROMPT], "default_prompt_name": "query"}, "not among its prompts"),
        ({"prompts": {"query": 3}, "default_prompt_name": "query"}, "not among its prompts"),
        ([QUERY], "holds no settings"),
    ],
)
def test_a_prompt_that_is_not_there_is_refused(tmp_path, record, said):
    write(tmp_path / PROMPTS, record)
    with pytest.raises(TextError, match=said):
        default_prompt(tmp_path)


def test_a_prompt_that_is_left_out_of_the_pooling_is_refused(tmp_path):
    write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True, "include_prompt": False})
    assert default_prompt(tmp_path) == ""
    write(tmp_path / PROMPTS, QUERY)
    with pytest.raises(TextError, match="leaves its default prompt 'a satellite image of ' out when it pools"):
        default_prompt(tmp_path)


@pytest.mark.parametrize(
    ("record", "pooling"),
    [
        ({"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"embedding_dimension": 32, "pooling_mode": "lasttoken"}, "last"),
        ({"embedding_dimension": 32, "pooling_mode": ["max"]}, "max"),
        ({"embedding_dimension": 32, "pooling_mode": "mean_sqrt_len_tokens"}, "mean"),
        ({"embedding_dimension": 32}, "mean"),
        ({"word_embedding_dimension": 32, "pooling_mode_cls_token": False}, "mean"),
    ],
)
def test_the_pooling_that_later_versions_name_is_taken(tmp_path, record, pooling):
    write(tmp_path / "1_Pooling" / "config.json", record)
    assert choose_pooling(tmp_path, "qwen3", ["Qwen3ForCausalLM"]) == pooling


@pytest.mark.parametrize("mode", ["weightedmean", ["mean", "max"], "median"])
def test_a_named_pooling_that_is_not_done_here_is_refused(tmp_path, mode):
    write(tmp_path / "1_Pooling" / "config.json", {"embedding_dimension": 32, "pooling_mode": mode})
    with pytest.raises(TextError, match="which is not done here"):
        choose_pooling(tmp_path, "bert", None)


def test_the_list_of_parts_says_where_the_pooling_lies(tmp_path):
    model = write_model(tmp_path / "bert", "bert")
    kinds = {"": "base.modules.transformer.Transformer", "2_Pooling": "sentence_transformer.modules.pooling.Pooling"}
    parts = [{"path": path, "type": f"sentence_transformers.{kind}"} for path, kind in kinds.items()]
    write(tmp_path / "bert" / "modules.json", parts)
    write(tmp_path / "bert" / "2_Pooling" / "config.json", {"embedding_dimension": 32, "pooling_mode": "cls"})
    tower = TextTower(tmp_path / "bert")
    ids = tower.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        first = model(ids).last_hidden_state[0, 0]
    assert np.allclose(tower.encode(TEXTS[:1])[0], first / first.norm(), atol=1e-5)


@pytest.mark.parametrize("name", ["modules.json", "1_Pooling/config.json", PROMPTS])
def test_a_file_of_settings_that_is_cut_off_is_refused(tmp_path, name):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / name).write_text('{"pooling_mode": "c')
    with pytest.raises(TextError, match="cannot be read"):
        choose_pooling(tmp_path, "bert", None) and default_prompt(tmp_path)
