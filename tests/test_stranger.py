"""A stranger finds the file to change from docs/files.md alone: no other row has more of the question's words."""

import re
from collections import Counter

import pytest

from tests.readme_tree import ROOT

PAGE = (ROOT / "docs" / "files.md").read_text()
QUESTIONS = {
    "Where are the definitions of scores from a confusion matrix?": "finetune/scores/confusion.py",
    "Where do I change how neighbouring tiles are blended into the map?": "export/predict/blend.py",
    "Where is the learning rate by step, warm-up and cosine, defined?": "bandloom/training/schedule.py",
    "Where are tokens and bands masked in pretraining?": "pretrain/masking.py",
    "Where is a Landsat Collection 2 product read?": "shards/scenes/readers/landsat.py",
    "Where are train, validation and test splits made from ground coordinates?": "finetune/data/splits.py",
    "Where are LoRA matrices added beside the encoder?": "finetune/model/lora.py",
    "Where is the batch script for Slurm rendered from a job and a profile?": "slurm/render.py",
    "Where is INT8 static quantisation done?": "export/from_torch/quantise.py",
    "Where are image vectors indexed for search, in a Parquet table?": "finetune/text/search/index.py",
    "Where are recall at k and other retrieval scores computed?": "finetune/text/retrieval.py",
    "Where is dark-object subtraction (DOS1) applied?": "shards/scenes/atmosphere.py",
}
SMALL = "where is are the a an of to and or in on for how do i it by from with at into be made beside other"


def rows() -> dict[str, str]:
    """Return what every file holds, by its path."""
    held, folder = {}, ""
    for line in PAGE.splitlines():
        if head := re.match(r"#+ (\S+/)$", line):
            folder = head[1]
        elif row := re.match(r"\| `([^`]+\.py)` \| (.*) \|$", line):
            held[folder + row[1]] = row[2]
    return held


def words(text: str) -> set[str]:
    """Return the words of a text that tell something, without the endings of English."""
    found = re.findall(r"[a-z0-9]+", text.lower())
    return {re.sub(r"(?:ings?|ed|es|s|e)$", "", word) for word in found} - {
        re.sub(r"e$", "", word) for word in SMALL.split()
    }


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_row_fits_a_question_better_than_its_answer(question: str):
    held = {path: words(f"{path} {told}") for path, told in rows().items()}
    seen = Counter(word for told in held.values() for word in told)
    asked = words(question)
    score = {path: sum(1 / seen[word] for word in asked & told) for path, told in held.items()}
    assert max(score, key=lambda path: score[path]) == QUESTIONS[question]
