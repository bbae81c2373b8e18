import logging

import numpy as np
import pytest

from bandloom.finetune.fusion.leaks import Leaks, find_leaks, mean_vector, names_classes
from bandloom.finetune.text.captions.words import ClassWords

WORDS = (ClassWords("lake", ("lake", "pond")), ClassWords("forest", ("forest",), ("trees",)))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Two LAKES in spring", [True, False]),
        ("a pond.", [True, False]),
        ("flakes of snow", [False, False]),  # a whole word, or its plural
        ("a tree beside a lake", [True, True]),
        ("forests", [False, True]),
        ("", [False, False]),
    ],
)
def test_whole_words_singular_or_plural_seen_or_unseen_name_a_class(text, named):
    assert names_classes([text], WORDS).tolist() == [named]


def test_no_text_gives_no_row():
    assert names_classes([], WORDS).shape == (0, 2)


def test_the_mean_is_of_sentences_that_are_there():
    vectors = np.array([[[2.0, 0], [4, 2]], [[6, 6], [0, 0]], [[0, 0], [0, 0]]])
    assert mean_vector(vectors).tolist() == [[3, 1], [6, 6], [0, 0]]


def test_what_is_named_by_chance_is_told_beside_what_is_named():
    texts = ["a lake"] * 6 + ["trees"] * 2 + ["rain"] * 2
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 0, 1])
    vectors = np.random.default_rng(0).normal(size=(10, 1, 4))
    found = find_leaks(texts, vectors, labels, np.arange(5), np.arange(5, 10), WORDS)
    assert found.named == 0.7  # five lakes of class 0, two trees of class 1
    assert found.expected == pytest.approx(0.6 * 0.6 + 0.2 * 0.4)
    assert found.example == "a lake"


def test_a_vector_that_is_the_class_is_found_and_warned_of(caplog):
    labels = np.arange(40) % 2
    vectors = np.eye(2)[labels][:, None, :] + 0.01
    with caplog.at_level(logging.WARNING):
        found = find_leaks(["rain"] * 40, vectors, labels, np.arange(20), np.arange(20, 40), WORDS)
    assert (found.named, found.expected, found.example, found.text_only) == (0.0, 0.0, "", 1.0)
    assert "mean recall of 1.000" in caplog.text


@pytest.mark.parametrize(
    ("leaks", "warnings"),
    [
        (Leaks(0.5, 0.1, "a lake", 0.4), 1),
        (Leaks(0.5, 0.4, "a lake", 0.4), 0),  # as often as other samples' classes
        (Leaks(0.04, 0.0, "a lake", 0.4), 0),
        (Leaks(0.5, 0.1, "a lake", 0.97), 2),
    ],
)
def test_a_warning_needs_a_share_and_a_lift(leaks, warnings):
    assert len(leaks.warnings) == len(leaks.to_dict()["warnings"]) == warnings
    assert leaks.to_dict()["named_by_chance"] == leaks.expected
