"""Every task: its record holds together, and nothing else decides by a task's name."""

import re
from pathlib import Path
from typing import get_args

import pytest

from bandloom.errors import ConfigError
from bandloom.finetune.scores.scorer import Scorer
from bandloom.finetune.tasks.registry import TASKS, get_task
from bandloom.tasks import ANSWERS, TaskName

ROOT = Path(__file__).parents[3]


def test_every_name_has_a_record_whose_answer_is_the_one_that_bundles_know():
    assert set(TASKS) == set(get_args(TaskName)) == set(ANSWERS)
    for name, task in TASKS.items():
        assert task.name == name
        assert task.answer is task.data.answer is ANSWERS[name]


@pytest.mark.parametrize("name", list(TASKS))
def test_the_names_in_a_record_are_its_own(name):
    task = get_task(name)
    scorer: Scorer = task.scorer
    assert set(task.standard) <= set(task.baselines)
    assert task.leakage is None or task.leakage in task.baselines
    assert not set(task.baselines) & set(task.networks)
    assert scorer.main in scorer.headlines
    assert set(scorer.table) <= set(scorer.headlines)
    assert task.loss(None) is next(iter(task.losses.values()))
    assert [each for each, baseline in task.baselines.items() if baseline.kind == "trivial"] == [task.standard[0]]


def test_a_loss_of_another_task_is_a_sentence():
    with pytest.raises(ConfigError, match="loss is 'dice', which task multilabel cannot use; use one of binary_cross"):
        get_task("multilabel").loss("dice")


def test_no_file_decides_by_comparing_the_name_of_a_task():
    compared = re.compile(r"""task\s*(==|!=|in|not in)\s*[("'\[{]""")
    rooms = ("bandloom", "finetune", "export", "view")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if compared.search(line) and "for task in" not in line
    ]
    assert found == []
