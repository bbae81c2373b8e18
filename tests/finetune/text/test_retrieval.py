import numpy as np
import pytest

from bandloom.finetune.text.retrieval import chance_precision, chance_recall, retrieval


def by_hand(scores: np.ndarray, relevant: np.ndarray, depth: int = 100) -> tuple[list[float], float]:
    recalls, precisions = {1: [], 5: [], 10: []}, []
    for row, truth in zip(scores, relevant, strict=True):
        order = sorted(range(len(row)), key=lambda i: -row[i])[:depth]
        for k, found in recalls.items():
            found.append(any(truth[i] for i in order[:k]))
        seen = total = 0.0
        for rank, i in enumerate(order, 1):
            if truth[i]:
                seen += 1
                total += seen / rank
        precisions.append(total / min(truth.sum(), depth))
    return [float(np.mean(found)) for found in recalls.values()], float(np.mean(precisions))


def test_recall_and_precision_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    scores, relevant = rng.normal(size=(7, 150)), rng.random((7, 150)) < 0.1
    found = retrieval(scores, relevant)
    recalls, precision = by_hand(scores, relevant)
    assert [found[f"recall_at_{k}"] for k in (1, 5, 10)] == pytest.approx(recalls)
    assert found["map_at_100"] == pytest.approx(precision)


def test_chance_is_what_random_orders_reach():
    rng = np.random.default_rng(1)
    truth = np.zeros(120, bool)
    truth[:9] = True
    draws = [by_hand(rng.normal(size=(1, 120)), truth[None]) for _ in range(3000)]
    counts = np.array([9])
    for place, k in enumerate((1, 5, 10)):
        expected = np.mean([recalls[place] for recalls, _ in draws])
        assert float(chance_recall(counts, 120, k)[0]) == pytest.approx(expected, abs=0.03)
    assert chance_precision(9, 120) == pytest.approx(np.mean([p for _, p in draws]), abs=0.006)


def test_small_galleries_and_queries_without_answers_are_counted_right():
    found = retrieval(np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([[True, True], [False, False]]))
    assert (found["queries"], found["gallery"]) == (1, 2)
    assert found["recall_at_5"] == found["recall_at_5_chance"] == found["map_at_100"] == 1.0
    assert retrieval(np.zeros((1, 3)), np.zeros((1, 3), bool)) == {"queries": 0, "gallery": 3}
