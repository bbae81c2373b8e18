import numpy as np
import pytest

from bandloom.finetune.text.captions.words import ClassWords
from bandloom.finetune.text.word_scores import class_mean, word_accuracies

WORDS = (
    ClassWords("lake", ("lake", "pond"), ("tarn",)),
    ClassWords("wood", ("wood", "trees"), ("grove",)),
    ClassWords("road", ("road", "street")),
    ClassWords("snow", ("snow",)),
)
TRUE = np.eye(4, dtype=np.float32)


def vectors_that(knows: dict[str, int]):
    """Give each class the axis of what its first word is known as."""

    def vectors(prompts):
        return np.stack([TRUE[knows[own[0]]] for own in prompts.values()])

    return vectors


def test_each_question_is_asked_of_its_own_samples_and_classes():
    asked: list[tuple[tuple[str, ...], ...]] = []

    def vectors(prompts):
        asked.append(tuple(tuple(own) for own in prompts.values()))
        return np.stack([TRUE[[w.name for w in WORDS].index(name)] for name in prompts])

    classes = np.array([0, 0, 1, 2, 3, -1])
    found = word_accuracies(TRUE[[0, 1, 1, 2, 3, 0]], classes, WORDS, [0, 1], [2, 3], vectors, ["{}"])
    assert asked == [
        (("lake", "pond"), ("wood", "trees")),
        (("tarn",), ("grove",)),
        (("road", "street"), ("snow",)),
        (("lake", "pond"), ("wood", "trees"), ("road", "street"), ("snow",)),
    ]
    seen = found["seen classes, training words"]
    assert (seen["samples"], seen["classes"], seen["chance"]) == (3, 2, 0.5)
    assert seen["accuracy"] == pytest.approx(2 / 3)
    assert seen["mean_recall"] == pytest.approx(0.75)  # half of the lakes, all of the woods
    assert found["held-out classes among themselves"]["mean_recall"] == 1.0
    assert found["held-out classes among all"]["chance"] == 0.25


def test_a_model_that_never_says_a_new_class_is_shown_to():
    knows = {"lake": 0, "wood": 1, "tarn": 0, "grove": 1, "road": 2, "snow": 3}
    # new ground looks like wood first, and only then like what it is
    image = np.array([[0, 1, 0.5, 0], [0, 1, 0, 0.5]], np.float32)
    found = word_accuracies(image, np.array([2, 3]), WORDS, [0, 1], [2, 3], vectors_that(knows), ["{}"])
    assert found["held-out classes among themselves"]["mean_recall"] == 1.0
    assert found["held-out classes among all"] == {
        "classes": 4,
        "samples": 2,
        "accuracy": 0.0,
        "mean_recall": 0.0,
        "chance": 0.25,
    }


def test_rare_classes_count_as_much_as_common_ones():
    said, truth = np.array([0] * 9 + [0]), np.array([0] * 9 + [1])
    assert class_mean(said, truth, [0, 1], 2) == {
        "classes": 2,
        "samples": 10,
        "accuracy": 0.9,
        "mean_recall": 0.5,
        "chance": 0.5,
    }
