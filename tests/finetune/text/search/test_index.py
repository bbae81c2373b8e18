import numpy as np
import pytest

from bandloom.errors import OutputError, TextError
from bandloom.finetune.text.search.index import COLUMNS, EmbeddingIndex, build_index, read_index, write_index
from tests.finetune.text.aligned_models import aligned

pq = pytest.importorskip("pyarrow.parquet")


def index(count: int = 3) -> EmbeddingIndex:
    places = {name: [f"{name}{n}" for n in range(count)] for name in COLUMNS}
    return EmbeddingIndex(places, np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32), "a model")


def test_what_was_written_reads_back_value_for_value(tmp_path):
    write_index(tmp_path / "i.parquet", index())
    again = read_index(tmp_path / "i.parquet", "a model")
    assert np.array_equal(again.vectors, index().vectors)
    assert (len(again), again.digest) == (3, "a model")
    assert again.place(1) == {name: f"{name}1" for name in COLUMNS}


def test_any_parquet_reader_sees_a_row_a_chip(tmp_path):
    write_index(tmp_path / "i.parquet", index())
    rows = pq.read_table(tmp_path / "i.parquet").to_pylist()
    assert [row["key"] for row in rows] == ["key0", "key1", "key2"]
    assert rows[2]["embedding"] == pytest.approx(index().vectors[2].tolist())


def test_an_index_of_another_model_or_of_nothing_is_a_sentence(tmp_path):
    write_index(tmp_path / "i.parquet", index())
    with pytest.raises(TextError, match=r"built by another model \(a model, this one is mine\)"):
        read_index(tmp_path / "i.parquet", "mine")
    (tmp_path / "text").write_text("no table")
    with pytest.raises(TextError, match="cannot be read"):
        read_index(tmp_path / "text")
    with pytest.raises(TextError, match="cannot be read"):
        read_index(tmp_path / "absent")
    table = pq.read_table(tmp_path / "i.parquet")
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "plain.parquet")
    with pytest.raises(TextError, match="is no index of this project"):
        read_index(tmp_path / "plain.parquet")


def test_an_index_that_is_there_is_refused_before_an_image_is_looked_at(tmp_path):
    (tmp_path / "i.parquet").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        build_index(aligned(), tmp_path / "no-source", tmp_path / "i.parquet")
    assert (tmp_path / "i.parquet").read_text() == "mine"


def test_every_chip_of_shards_is_in_the_index_with_its_class(tmp_path, chip_shards):
    from bandloom.shards.read.shard_set import ShardSet

    model, shards = aligned(), ShardSet(chip_shards)
    count = build_index(model, chip_shards, tmp_path / "i.parquet")
    made = read_index(tmp_path / "i.parquet")
    kept = [entry for entry in shards.entries if entry.split != "duplicate"]
    assert count == len(made) == len(kept)
    assert made.places["key"] == [entry.key for entry in kept]
    assert made.places["class_name"] == [shards.label_set.names[entry.class_index] for entry in kept]
    assert np.linalg.norm(made.vectors, axis=1) == pytest.approx(np.ones(count), abs=1e-4)
