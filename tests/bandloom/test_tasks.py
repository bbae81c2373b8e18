"""What each task answers."""

from typing import get_args

import pytest

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.export.bundle.record import Contract, contract_of
from bandloom.export.bundle.tiling import Tiling
from bandloom.sensors import get_sensor
from bandloom.tasks import ANSWERS, TaskName

LABELS = LabelSet("two", (LabelClass(1, "land", "#00ff00"), LabelClass(2, "water", "#0000ff")))


def contract(task: TaskName) -> Contract:
    sensor = get_sensor("sentinel2-l2a")
    statistics = {"mean": dict.fromkeys(sensor.slots, 0.25), "std": dict.fromkeys(sensor.slots, 0.125)}
    return contract_of(sensor, LABELS, task, 60, Tiling(24), statistics, temperature=1.5)


def test_every_name_has_its_answer():
    assert set(ANSWERS) == set(get_args(TaskName))
    assert [ANSWERS[name].per_pixel for name in ("segment", "classify", "multilabel", "change")] == [
        True,
        False,
        False,
        True,
    ]
    assert [name for name, answer in ANSWERS.items() if answer.several] == ["multilabel"]
    assert [name for name, answer in ANSWERS.items() if answer.dates == 2] == ["change"]


@pytest.mark.parametrize("task", ["segment", "classify", "multilabel", "change"])
def test_a_contract_of_an_earlier_version_keeps_its_digest(task: TaskName):
    """Measured with the code before tasks were records: models carry these digests."""
    assert contract(task).digest() == DIGESTS[task]


DIGESTS = {
    "segment": "1d8efac546b57a1dcaf4a0e9dbf55b4619fd1e56c2f97b15a938200193aa0deb",
    "classify": "a8cf925d2d2fe594ed764c0d00e83fb135ea5e4aa208695e65cee13d23afc74e",
    "multilabel": "0d619ef4e0e3a918bf31f76ed6b1e22edf3f73b7a36d85e7c48d2557b61a9627",
    "change": "906cc99625d152773df38907c5adf73052f291a0ce31d0ca460592f873f63e56",
}
