import logging

import numpy as np
import pytest

from bandloom.errors import TextError
from bandloom.finetune.fusion.config import ContextConfig
from bandloom.finetune.fusion.context import context_vectors, read_context, sentences_of, shuffled
from bandloom.finetune.fusion.leaks import find_leaks, mean_vector, names_classes
from bandloom.finetune.text.captions.words import ClassWords, class_words
from bandloom.finetune.text.text_model.vectors import KeptVectors
from bandloom.shards.read.shard_set import ShardSet
from benchmarks.planted_context import HINTS, habitual, hinting, write_context
from tests.finetune.text.aligned_models import Vocabulary

WORDS = (ClassWords("lake", ("lake", "open water")), ClassWords("trees", ("trees", "forest")))


def test_a_context_is_read_by_key_from_a_table_from_text_files_and_from_metadata(tmp_path, chip_shards):
    shards = ShardSet(chip_shards)
    keys = [entry.key for entry in shards.entries[:3]]
    write_context(tmp_path / "c.csv", {keys[0]: "Two men fish. It rains.", keys[2]: "Quiet."})
    config = ContextConfig(source="csv", path=tmp_path / "c.csv")
    assert read_context(config, shards, [0, 1, 2]) == ["Two men fish. It rains.", "", "Quiet."]
    (tmp_path / "notes").mkdir()
    scene = keys[1].rpartition("_r")[0]
    (tmp_path / "notes" / f"{scene}.txt").write_text("Of the whole\nscene.")
    config = ContextConfig(source="sidecar", path=tmp_path / "notes")
    assert read_context(config, shards, [1]) == ["Of the whole scene."]
    assert "degrees north" in read_context(ContextConfig(source="metadata"), shards, [0])[0]


def test_contexts_of_other_samples_are_counted_and_what_macos_leaves_is_none(tmp_path, chip_shards, caplog):
    shards = ShardSet(chip_shards)
    key = shards.entries[0].key
    write_context(tmp_path / "c.csv", {key: "Quiet.", "elsewhere": "Loud."})
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / f"{key}.txt").write_text("Quiet.")
    (notes / "elsewhere.txt").write_text("Loud.")
    (notes / f"._{key}.txt").write_bytes(b"\x00\x05\x16\x07\xff")
    for source, path in (("csv", tmp_path / "c.csv"), ("sidecar", notes)):
        with caplog.at_level(logging.WARNING):
            config = ContextConfig.model_validate({"source": source, "path": path})
            assert read_context(config, shards, [0]) == ["Quiet."]
        assert f"1 of 2 contexts in {path} are of no labelled sample or scene, such as elsewhere" in caplog.text


def test_a_context_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, chip_shards):
    shards = ShardSet(chip_shards)
    with pytest.raises(TextError, match="names no file; add its path"):
        read_context(ContextConfig(source="csv"), shards, [0])
    with pytest.raises(TextError, match=r"is no folder; put KEY\.txt"):
        read_context(ContextConfig(source="sidecar", path=tmp_path / "none"), shards, [0])
    write_context(tmp_path / "c.csv", {"elsewhere": "Quiet."})
    with pytest.raises(TextError, match="no context for any of the 2 samples"):
        read_context(ContextConfig(source="csv", path=tmp_path / "c.csv"), shards, [0, 1])
    (tmp_path / "d.csv").write_text("key,caption\na,b\n")
    with pytest.raises(TextError, match="the first line must name the columns key and context"):
        read_context(ContextConfig(source="csv", path=tmp_path / "d.csv"), shards, [0])


def test_sentences_are_vectors_and_a_missing_one_is_zero():
    assert sentences_of("It rains. Is it 15.5 mm? yes") == ["It rains.", "Is it 15.5 mm?", "yes"]
    source = Vocabulary()
    found = context_vectors(["It rains. Quiet.", "", "Quiet."], KeptVectors("letters"), source)
    assert found.shape == (3, 2, 16)
    assert np.array_equal(found[0, 1], found[2, 0])
    assert not found[1].any()
    assert np.allclose(mean_vector(found)[0], source.encode(["It rains.", "Quiet."]).mean(0), atol=1e-6)
    assert not mean_vector(found)[1].any()
    many = context_vectors([" ".join(f"Note {i}." for i in range(11))], KeptVectors("letters"), source)
    assert np.allclose(many[0, 7], source.encode([f"Note {i}." for i in range(7, 11)]).mean(0), atol=1e-6)


def test_shuffling_deals_the_same_contexts_within_each_role():
    roles = np.array([0, 2, 0, 0, 2, 255, 0, 2])
    dealt = shuffled(roles, 3)
    assert sorted(dealt) == list(range(8))
    assert (roles[dealt] == roles).all()
    assert (dealt != shuffled(roles, 4)).any()


def test_class_words_are_found_whole_and_in_plural():
    texts = ["two lakes and a road", "a flake of forestry", "Open water; forests"]
    assert names_classes(texts, WORDS).tolist() == [[True, False], [False, False], [True, True]]


def test_a_context_that_names_the_class_is_warned_of(caplog):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    rows = np.arange(100), np.arange(100, 200)
    noise = rng.normal(size=(200, 1, 8))
    texts = [f"note about the {WORDS[k].name}" if rng.random() < 0.3 else "a note" for k in labels]
    with caplog.at_level(logging.WARNING, "bandloom"):
        found = find_leaks(texts, noise, labels, *rows, WORDS)
    assert 0.2 < found.named < 0.4
    assert "names the class in" in caplog.text
    assert "take class words out" in caplog.text
    assert len(found.warnings) == 1
    telling = np.eye(8)[labels][:, None] + 0.1 * noise
    found = find_leaks(["a note"] * 200, telling, labels, *rows, WORDS)
    assert found.text_only == 1.0
    assert "the context alone reaches a mean recall of 1.000" in found.warnings[0]
    fair = ["the lake or the forest" for _ in labels]
    assert find_leaks(fair, noise, labels, *rows, WORDS).warnings == []


def test_planted_hints_name_no_class_and_tell_of_it_by_a_known_share(chip_shards):
    shards = ShardSet(chip_shards)
    assert shards.label_set is not None
    words = class_words(shards.label_set)
    names = [shards.label_set.names[i % len(words)] for i in range(600)]
    hints = hinting(names, 0.4, 1)
    assert not names_classes([*hints, *habitual(600, 1)], words).any()
    own = {name: notes for group, notes in HINTS for name in group}
    true = np.mean([hint.startswith(own[name]) for hint, name in zip(hints, names, strict=True) if name in own])
    assert abs(true - (0.6 + 0.4 / 4)) < 0.07
