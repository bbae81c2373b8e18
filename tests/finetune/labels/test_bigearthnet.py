"""BigEarthNet's folders as they lie on disk, version 1 and 2, with the names of 43 classes and of 19."""

import json
import shutil
from pathlib import Path

import pytest

from bandloom.classes.label_mapping import get_mapping
from bandloom.classes.taxonomy import get_taxonomy
from bandloom.finetune.labels.bigearthnet import from_bigearthnet
from bandloom.finetune.labels.prepare import Request, examine, prepare
from bandloom.shards.labels.problems import Problems

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
NINETEEN = get_taxonomy("bigearthnet19")
LABELS = {
    f"{TILE}_26_57": ["Arable land", "Pastures"],
    f"{TILE}_75_43": ["Urban fabric"],
    f"{TILE}_10_11": ["Marine waters"],
}


@pytest.fixture(name="patch")
def a_patch(scenes_folder) -> Path:
    return sorted((scenes_folder / "scenes").iterdir())[0]


def names(taxonomy, chip):
    return [taxonomy.classes[index].name for index in chip.classes or (chip.class_index,)]


def version_2(root: Path, patch: Path, labels: dict) -> Path:
    """Write ROOT/BigEarthNet-S2/TILE/PATCH and ROOT/metadata.parquet."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name in labels:
        place = root / "BigEarthNet-S2" / name.rsplit("_", 2)[0] / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(patch, place)
    rows = [{"patch_id": name, "labels": list(words), "split": "train"} for name, words in labels.items()]
    rows.append({"patch_id": f"{TILE}_0_0", "labels": ["Pastures"], "split": "test"})
    parquet.write_table(arrow.Table.from_pylist(rows), root / "metadata.parquet")
    return root


def version_1(root: Path, patch: Path, labels: list[list[str]]) -> Path:
    for number, words in enumerate(labels):
        shutil.copytree(patch, root / f"patch_{number}")
        (root / f"patch_{number}" / f"patch_{number}_labels_metadata.json").write_text(json.dumps({"labels": words}))
    return root


@pytest.mark.parametrize("source", [".", "BigEarthNet-S2"])
def test_tiles_with_one_table_are_read(tmp_path, patch, source):
    root, problems = version_2(tmp_path / "ben", patch, LABELS), Problems()
    chips = from_bigearthnet(root / source, NINETEEN, problems, several=True)
    found = {chip.path.name: names(NINETEEN, chip) for chip in chips}
    assert found == {name: sorted(words, key=NINETEEN.find) for name, words in LABELS.items()}
    assert [(problem.severity, problem.what) for problem in problems.found] == [
        ("warning", "lists 1 patches that are not there; they are left out.")
    ]


def test_the_table_may_lie_elsewhere_and_patches_outside_it_are_counted(tmp_path, patch):
    root = version_2(tmp_path / "ben", patch, LABELS)
    (root / "metadata.parquet").rename(tmp_path / "table.parquet")
    shutil.copytree(patch, root / "BigEarthNet-S2" / TILE / f"{TILE}_1_1")
    problems = Problems()
    chips = from_bigearthnet(root, NINETEEN, problems, several=True, metadata=tmp_path / "table.parquet")
    assert len(chips) == 3
    assert "1 of 4 patches are not in metadata.parquet" in problems.found[-1].what
    missing = Problems()
    from_bigearthnet(root, NINETEEN, missing)
    assert "has no JSON file with its labels, and there is no metadata.parquet" in missing.errors[0].what


def test_tiles_become_what_training_reads(tmp_path, patch):
    root = version_2(tmp_path / "ben", patch, LABELS)
    request = Request("bigearthnet", root, NINETEEN, several=True)
    manifest = prepare(request, tmp_path / "out")
    assert manifest["counts"] == {"Urban fabric": 1, "Arable land": 1, "Pastures": 1, "Marine waters": 1}
    table = json.loads((tmp_path / "out" / "chip_labels.json").read_text())
    assert table[f"{TILE}_26_57"] == ["Arable land", "Pastures"]


def test_the_43_names_become_19_classes_and_what_is_dropped_is_counted(tmp_path, patch):
    listed = [["Airports", "Rice fields", "Vineyards"], ["Airports"], ["Sea and ocean"], ["Bare rock", "Estuaries"]]
    root, problems = version_1(tmp_path, patch, listed), Problems()
    chips = from_bigearthnet(root, NINETEEN, problems, several=True)
    found = [names(NINETEEN, chip) for chip in chips]
    assert found == [["Arable land", "Permanent crops"], ["Marine waters"], ["Marine waters"]]
    assert [problem.what for problem in problems.found] == [
        "2 patches show 'Airports', which has no class in bigearthnet19: that label is left out.",
        "1 patches show 'Bare rock', which has no class in bigearthnet19: that label is left out.",
        "1 of 4 patches have no other class and are left out.",
    ]
    alone = from_bigearthnet(root, NINETEEN, Problems())
    assert [names(NINETEEN, chip) for chip in alone] == [["Marine waters"], ["Marine waters"]]


def test_every_one_of_the_43_names_is_translated_as_the_shipped_mapping_says(tmp_path, patch):
    mapping = get_mapping("bigearthnet43", "bigearthnet19")
    source = [land_class.name for land_class in mapping.source.classes]
    root = version_1(tmp_path, patch, [])
    shutil.copytree(patch, root / "p")
    for k, name in enumerate(source):
        (root / "p" / "l.json").write_text(json.dumps({"labels": [name]}))
        chips = from_bigearthnet(root, NINETEEN, Problems())
        assert [chip.class_index for chip in chips] == ([int(mapping.index[k])] if mapping.index[k] != 255 else [])
    assert (mapping.index == 255).sum() == 11


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Airport"], "'Airport' is no class"),
        ([], "expected a list of class names"),
        ("Pastures", "expected a list"),
        ([""], "is empty"),
    ],
)
def test_labels_that_cannot_be_used_are_named(tmp_path, patch, words, said):
    problems = Problems()
    from_bigearthnet(version_1(tmp_path, patch, [words]), NINETEEN, problems)
    assert said in problems.errors[0].what


def test_a_set_of_ones_own_is_not_translated(tmp_path, patch):
    own = get_taxonomy("eurosat10")
    problems = Problems()
    from_bigearthnet(version_1(tmp_path, patch, [["Rice fields"]]), own, problems)
    assert "'Rice fields' is no class of label set 'eurosat10'" in problems.errors[0].what


def test_a_real_patch_of_version_2_is_found(tmp_path):
    real = Path(__file__).resolve().parents[4] / "shared/data/unlabelled/bigearthnet_v2" / f"{TILE}_75_43"
    if not real.is_dir():
        pytest.skip("the real scenes (../shared/data) are not beside this checkout")
    root = version_2(tmp_path / "ben", real, {f"{TILE}_75_43": ["Urban fabric"], f"{TILE}_26_57": ["Pastures"]})
    found = examine(Request("bigearthnet", root, NINETEEN, several=True, offset=0))
    assert not found.problems.errors
    assert found.side_px == 120
    assert len(found.chips) == 2
