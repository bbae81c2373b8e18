"""BigEarthNet v1 as it is published: a JSON a patch with the names of 43 classes, and lists without snow."""

import json

import pytest

from bandloom.errors import LabelError
from bandloom.finetune.public_sets.registry import recognise
from tests.finetune.public_sets.replicas import bigearthnet
from tests.finetune.public_sets.replicas.writing import by_scene, prepared


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ben1")
    bigearthnet.write_v1(folder)
    return folder


def test_forty_three_names_become_nineteen_and_what_is_lost_is_said(root, tmp_path):
    shards = prepared("bigearthnet-v1", root, tmp_path / "out")
    table = json.loads((tmp_path / "out" / "chip_labels.json").read_text())
    one, two, _, four, _ = bigearthnet.V1
    assert table == {one: ["Arable land"], two: ["Marine waters"], four: ["Permanent crops"]}
    assert {entry.split for entry in shards.entries} == {"train", "val", "test"}
    said = " ".join(
        warning["what"] for warning in json.loads((tmp_path / "out" / "manifest.json").read_text())["warnings"]
    )
    for part in (
        "show 'Airports', which has no class",
        "show 'Port areas'",
        "1 patches have no other class",
        "1 samples",
    ):
        assert part in said
    assert recognise(root) == ["bigearthnet-v1"]


def test_all_forty_three_are_kept_where_that_is_asked_for(root, tmp_path):
    shards = prepared("bigearthnet-v1", root, tmp_path / "out", label_set="bigearthnet43")
    table = json.loads((tmp_path / "out" / "chip_labels.json").read_text())
    listed = {name: sorted(labels) for name, (labels, role) in bigearthnet.V1.items() if role}
    assert table == listed
    assert set(by_scene(shards)) == set(listed)


def test_without_its_lists_it_is_refused(root, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "BigEarthNet-v1.0").symlink_to(root / "BigEarthNet-v1.0")
    with pytest.raises(LabelError, match=r"has no bigearthnet-train\.csv"):
        prepared("bigearthnet-v1", folder, tmp_path / "out")
