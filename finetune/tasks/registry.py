"""The registry of tasks: the one place where a task is looked up by its name."""

from bandloom.finetune.tasks.change import CHANGE
from bandloom.finetune.tasks.classify import CLASSIFY
from bandloom.finetune.tasks.multilabel import MULTILABEL
from bandloom.finetune.tasks.regress import REGRESS, REGRESS_CHIPS
from bandloom.finetune.tasks.segment import SEGMENT
from bandloom.finetune.tasks.task import FinetuneTask

_TASKS = (SEGMENT, CLASSIFY, MULTILABEL, CHANGE, REGRESS, REGRESS_CHIPS)
TASKS: dict[str, FinetuneTask] = {task.name: task for task in _TASKS}


def get_task(name: str) -> FinetuneTask:
    """Return the task of that name."""
    return TASKS[name]
