import pytest

from bandloom.errors import ConfigError
from bandloom.finetune.text.captions.captions import Captions
from bandloom.finetune.text.captions.words import ClassWords
from bandloom.finetune.text.config import AlignConfig
from bandloom.finetune.text.setting import _held_out

CAPTIONS = Captions((), {}, {}, {}, tuple(ClassWords(name, (name,)) for name in ("lake", "field", "trees")))


def held_out(*names: str) -> tuple[int, ...]:
    return _held_out(AlignConfig.model_validate({"shards": "x", "holdout_classes": names}), CAPTIONS)


def test_a_class_that_is_held_out_twice_is_one_class_to_choose_from():
    assert held_out("trees", "lake", "trees") == (2, 0)
    assert held_out() == ()


def test_a_class_that_the_shards_lack_cannot_be_held_out():
    with pytest.raises(ConfigError, match=r"names 'sea', which is no class of the shards \(lake, field, trees\)"):
        held_out("lake", "sea")
