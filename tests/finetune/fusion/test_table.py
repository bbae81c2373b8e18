import numpy as np
import pytest
from sklearn.metrics import f1_score

from bandloom.finetune.fusion.table import FEWEST_BLOCKS, gains, rows_of, seed_scores, summed_row, verdict

NAMES = ["water", "forest", "field"]


def said(truth: np.ndarray, wrong: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < wrong, (truth + 1) % 3, truth)


@pytest.fixture(name="ground")
def of_labels_and_blocks():
    rng = np.random.default_rng(0)
    return rng.integers(0, 3, 600), rng.integers(0, 20, 600)


def row(ground, name: str, wrong: float):
    truth, blocks = ground
    return summed_row(name, [said(truth, wrong, seed) for seed in range(3)], truth, blocks, 3, 100, 1.0)


def test_a_ways_rows_are_it_and_its_controls():
    assert rows_of("text") == ["text only"]
    assert rows_of("image") == ["image only"]
    assert rows_of("film")[:3] == ["film, real text", "film, shuffled text", "film, empty text"]


def test_confusions_are_summed_over_seeds_block_by_block(ground):
    truth, blocks = ground
    made = row(ground, "x", 0.2)
    assert (made.seeds, made.fitted_on) == ((0, 1, 2), 100)
    total = sum(np.asarray(confusion).sum() for confusion in made.confusions.values())
    assert total == 3 * len(truth)
    assert {block: int(np.asarray(c).sum()) for block, c in made.confusions.items()} == {
        int(block): 3 * int((blocks == block).sum()) for block in np.unique(blocks)
    }


def test_every_seed_has_scikit_learns_macro_f1(ground):
    truth, _ = ground
    answers = [said(truth, 0.3, seed) for seed in range(2)]
    expected = [f1_score(truth, answer, average="macro") for answer in answers]
    assert seed_scores(answers, truth, NAMES) == pytest.approx(expected)


def told(real: float, shuffled: float, empty: float, image: float, ground):
    from bandloom.finetune.fusion.config import FusionConfig

    config = FusionConfig.model_validate(
        {"shards": "x", "context": {"source": "metadata"}, "fusion": ["film"], "bootstrap": 200}
    )
    rows = {
        "film, real text": row(ground, "real", real),
        "film, shuffled text": row(ground, "shuffled", shuffled),
        "film, empty text": row(ground, "empty", empty),
        "image only": row(ground, "image", image),
    }
    (gain,) = gains(rows, config)
    return gain


def test_a_gain_of_real_words_alone_is_believed_unless_the_context_names_the_class(ground):
    gain = told(0.05, 0.4, 0.4, 0.4, ground)
    assert gain["real over image"]["macro_f1"]["gain"] > 0.25
    assert gain["real over image"]["macro_f1"]["interval_95"][0] > 0.2
    assert "and shuffled text adds nothing" in verdict(gain, [])
    assert "but the context gives the class away" in verdict(gain, ["it names the class"])


def test_a_gain_of_shuffled_words_makes_any_gain_unbelievable(ground):
    assert "no gain of real text can be believed" in verdict(told(0.05, 0.1, 0.4, 0.4, ground), [])


def test_a_gain_within_its_interval_is_none(ground):
    assert "adds nothing beyond the interval" in verdict(told(0.4, 0.4, 0.4, 0.4, ground), [])


def test_a_gain_that_shuffled_words_have_too_is_not_sure(ground):
    assert "not surely more than shuffled text does" in verdict(told(0.3, 0.3, 0.3, 0.45, ground), [])


def test_too_few_blocks_allow_no_verdict(ground):
    truth, blocks = ground
    gain = told(0.05, 0.4, 0.4, 0.4, (truth, blocks % (FEWEST_BLOCKS - 1)))
    assert "too few for intervals" in verdict(gain, [])
