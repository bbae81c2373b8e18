import numpy as np
import pytest

from bandloom.classes.label_mapping import get_mapping, shipped_mappings
from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.classes.taxonomy import get_taxonomy
from bandloom.errors import LabelError


@pytest.mark.parametrize(("source", "target"), shipped_mappings())
def test_shipped_mappings_name_existing_classes(source, target):
    mapping = get_mapping(source, target)
    known = mapping.index[mapping.index != IGNORE_INDEX]
    assert len(mapping.index) == len(get_taxonomy(source).classes)
    assert known.max() < len(get_taxonomy(target).classes)


def test_bigearthnet_drops_the_eleven_classes_its_authors_dropped():
    mapping = get_mapping("bigearthnet43", "bigearthnet19")
    assert (mapping.index == IGNORE_INDEX).sum() == 11
    assert len(set(mapping.index.tolist()) - {IGNORE_INDEX}) == 19


def test_a_chain_of_mappings_is_found():
    mapping = get_mapping("corine44", "corine5")
    names = [land_class.name for land_class in mapping.target.classes]
    assert names[mapping.index[mapping.source.find("Vineyards")]] == "Agricultural areas"
    assert (mapping.index != IGNORE_INDEX).all()
    both = get_mapping("eurosat10", "dynamicworld9")
    assert both.lossy[both.source.find("Pasture")]


@pytest.mark.parametrize("source", ["dynamicworldtiles10", "esri9"])
def test_products_with_the_same_classes_meet_by_name_not_by_code(source):
    mapping = get_mapping(source, "dynamicworld9")
    plain = str.maketrans("", "", " &/")
    for place, index in enumerate(mapping.index.tolist()):
        name = mapping.source.classes[place].name
        if index == IGNORE_INDEX:
            assert name in ("Cloud", "Clouds", "Rangeland")
        else:
            assert mapping.target.classes[index].name.translate(plain) == name.translate(plain)
            assert mapping.target.classes[index].code != mapping.source.classes[place].code or source == "esri9"


def test_labels_without_a_target_are_ignored_and_counted():
    mapping = get_mapping("worldcover11", "dynamicworld9")
    moss = mapping.source.find("Moss and lichen")
    mapped, lost = mapping.labels(np.array([[moss, 0], [IGNORE_INDEX, moss]], np.uint8))
    assert mapped.tolist() == [[255, 1], [255, 255]]
    assert lost == {"Moss and lichen": 2}


def test_probabilities_of_members_add_up():
    mapping = get_mapping("corine15", "corine5")
    probability = np.random.default_rng(0).dirichlet(np.ones(15), 7)
    summed = mapping.probabilities(probability)
    assert summed.sum(-1) == pytest.approx(np.ones(7))
    assert summed[:, 0] == pytest.approx(probability[:, :4].sum(-1))
    dropped = get_mapping("bigearthnet43", "bigearthnet19").probabilities(np.eye(43)[[5]])
    assert dropped.sum() == pytest.approx(1)


def test_a_users_own_mapping_is_read_and_checked(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("from,to,lossy\nForest,Trees,no\nRiver,Water,no\n")
    assert (get_mapping("eurosat10", "dynamicworld9", path).index != 255).sum() == 2
    path.write_text("\ufefffrom,to,lossy\nForest,Trees,no\n")  # as spreadsheets write UTF-8
    assert (get_mapping("eurosat10", "dynamicworld9", path).index != 255).sum() == 1
    for text, said in (
        ("a,b\n", "expected from,to,lossy"),
        ("from,to,lossy\nForest,Trees\n", "line 2"),
        ("from,to,lossy\nForest,Tree,no\nForest,Water,no\n", "is no class"),
        ("from,to,lossy\nForest,Trees,no\nForest,Water,no\n", "to two classes"),
    ):
        path.write_text(text)
        with pytest.raises(LabelError, match=said):
            get_mapping("eurosat10", "dynamicworld9", path)


def test_without_a_way_the_known_ones_are_named():
    with pytest.raises(LabelError, match=r"no mapping leads from 'dynamicworld9'.*corine44 to corine15"):
        get_mapping("dynamicworld9", "eurosat10")
