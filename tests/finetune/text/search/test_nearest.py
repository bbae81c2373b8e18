import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from bandloom.errors import OutputError, TextError
from bandloom.finetune.text.aligned_model import save_aligned
from bandloom.finetune.text.search.images import image_at, images_of, vectors_of
from bandloom.finetune.text.search.index import EmbeddingIndex, build_index, read_index, write_index
from bandloom.finetune.text.search.nearest import Searcher, write_found
from bandloom.finetune.text.search.search import query_vector, search, words_for
from tests.export.stack_file import write_stack
from tests.finetune.text.aligned_models import aligned
from tests.finetune.text.test_zeroshot import main_exits

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, chip_shards) -> tuple:
    model, path = aligned(), tmp_path_factory.mktemp("index") / "chips.parquet"
    assert build_index(model, chip_shards, path) > 50
    return model, path


def unit_rows(count: int, width: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("method", ["numpy", "faiss"])
def test_the_nearest_are_those_of_a_full_sort(method):
    if method == "faiss":
        pytest.importorskip("faiss")
    vectors = unit_rows(500, 24)
    query = vectors[7]
    rows, scores = Searcher(vectors, method).nearest(query, 10)
    expected = np.argsort(-(vectors @ query), kind="stable")[:10]
    assert rows.tolist() == expected.tolist()
    assert np.allclose(scores, (vectors @ query)[expected], atol=1e-6)
    assert len(Searcher(vectors[:3], method).nearest(query, 10)[0]) == 3


@pytest.mark.parametrize("method", ["numpy", "faiss"])
def test_where_the_cut_falls_among_equals_the_first_rows_are_taken(method):
    if method == "faiss":
        pytest.importorskip("faiss")
    vectors = np.repeat(unit_rows(3, 24), 40, axis=0)[np.random.default_rng(5).permutation(120)]
    query = vectors[17]
    expected = np.argsort(-(vectors @ query).round(5), kind="stable")
    for top in (1, 7, 39, 40, 41, 90, 120):
        assert Searcher(vectors, method).nearest(query, top)[0].tolist() == expected[:top].tolist()


def test_an_index_keeps_places_and_vectors_and_knows_its_model(indexed, chip_shards):
    model, path = indexed
    index = read_index(path, model.digest)
    image = next(iter(images_of(model, chip_shards)))
    assert index.place(0) == {name: getattr(image, name) for name in index.places}
    assert np.allclose(np.linalg.norm(index.vectors, axis=1), 1, atol=1e-4)
    with pytest.raises(TextError, match="built by another model"):
        read_index(path, "another")


def test_words_and_chips_find_chips(indexed):
    model, path = indexed
    index = read_index(path)
    found = search(model, path, "water", None, 5, None)
    expected = index.vectors @ model.text(["water"])[0]
    assert [each["key"] for each in found] == [index.places["key"][i] for i in np.argsort(-expected, kind="stable")[:5]]
    key = index.places["key"][3]
    assert search(model, path, None, key, 3, None)[0]["key"] == key


def test_a_chip_of_a_shard_and_of_a_scene_is_read_again_as_it_was(tmp_path, indexed, chip_shards, scenes_folder):
    model, _ = indexed
    scene = sorted((scenes_folder / "scenes").iterdir())[0]
    for source in (chip_shards, scene):
        image = list(images_of(model, source))[11]
        record = {name: value for name, value in vars(image).items() if name != "groups"}
        again = image_at(record, model.model.chip_px)
        assert all(np.array_equal(again[gsd], group) for gsd, group in image.groups.items())


def test_what_was_found_is_a_table_and_a_picture(tmp_path, indexed):
    model, path = indexed
    found = search(model, path, "forest", None, 7, tmp_path / "found")
    with (tmp_path / "found" / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == [each["key"] for each in found]
    with Picture.open(tmp_path / "found" / "found.png") as picture:
        assert picture.size[0] > 500
        assert len(set(picture.convert("RGB").resize((60, 40)).getdata())) > 100
    before = (tmp_path / "found" / "found.csv").read_bytes()
    with pytest.raises(OutputError, match=r"found\.csv exists already"):
        search(model, path, "water", None, 7, tmp_path / "found")  # another question
    assert (tmp_path / "found" / "found.csv").read_bytes() == before


def test_chips_find_words(indexed, chip_shards):
    model, _ = indexed
    found = words_for(model, chip_shards, 2)
    assert len(found) > 50
    assert all(texts[0][1] >= texts[1][1] for _, texts in found)
    assert all(text in model.kept.vectors for _, texts in found for text, _ in texts)


def test_the_command_builds_and_asks(tmp_path, chip_shards, capsys):
    model = aligned()
    save_aligned(tmp_path / "run" / "checkpoint", model)
    index = ["--index", str(tmp_path / "i.parquet")]
    main_exits(
        ["search", str(tmp_path / "run"), "--images", str(chip_shards), *index, "--query", "water", "--top", "3"]
    )
    assert "Nearest to" in capsys.readouterr().out
    main_exits(["search", str(tmp_path / "run"), *index, "--query", "water", "--like", "x"], 2)
    assert "one of --query" in capsys.readouterr().err
    main_exits(["search", str(tmp_path / "run"), *index, "--query", "water", "--method", "annoy"], 2)
    assert "--method 'annoy' is not known; use one of auto, numpy, faiss" in capsys.readouterr().err
    main_exits(["search", str(tmp_path / "run"), *index], 2)
    assert "say what to do" in capsys.readouterr().err


def test_what_is_no_index_or_no_query_is_refused_in_a_sentence(tmp_path, indexed):
    model, path = indexed
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(TextError, match="cannot be read"):
        read_index(tmp_path / "text.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(TextError, match="no index of this project"):
        read_index(tmp_path / "other.parquet")
    with pytest.raises(TextError, match="neither a key of the index"):
        query_vector(model, read_index(path), None, "nowhere")


def test_a_question_by_a_chip_must_mean_one_chip(tmp_path, indexed, scenes_folder):
    model, path = indexed
    index = read_index(path)
    index.places["key"][5] = index.places["key"][3]
    with pytest.raises(TextError, match="names 2 chips of the index"):
        query_vector(model, index, None, index.places["key"][3])
    scene = sorted((scenes_folder / "scenes").iterdir())[0]
    with pytest.raises(TextError, match=r"is several chips of 24 pixels, the first .*; index it"):
        query_vector(model, index, None, str(scene))
    one = write_stack(tmp_path / "one.tif", (24, 24))
    ((_, expected),) = vectors_of(model, images_of(model, one))
    vector, title = query_vector(model, index, None, str(one))
    assert np.array_equal(vector, expected[0])
    assert title == "like one.tif"


def test_a_table_of_what_was_found_names_the_rank(tmp_path: Path):
    index = EmbeddingIndex({"key": ["a", "b"]}, unit_rows(2, 4), "d")
    write_found(tmp_path / "f.csv", index, [1, 0], [0.5, 0.25])
    assert (tmp_path / "f.csv").read_text().splitlines() == ["rank,score,key", "1,0.500000,b", "2,0.250000,a"]
    write_index(tmp_path / "i.parquet", index)
    assert read_index(tmp_path / "i.parquet").places == {"key": ["a", "b"]}
