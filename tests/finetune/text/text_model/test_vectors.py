import logging

import numpy as np
import pytest

from bandloom.finetune.text.text_model.vectors import KeptVectors


class Counted:
    """A source that gives every text its length and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts):
        self.asked += texts
        return np.array([[len(text), 1.0] for text in texts], np.float32)


def test_a_text_is_encoded_once_and_rows_follow_the_question():
    kept, source = KeptVectors("d"), Counted()
    assert kept.of(["lake", "a", "lake"], source).tolist() == [[4, 1], [1, 1], [4, 1]]
    assert kept.of(["a", "forest"], source).tolist() == [[1, 1], [6, 1]]
    assert source.asked == ["lake", "a", "forest"]
    assert kept.missing(["sea", "a", "sea"]) == ["sea"]


def test_without_a_source_an_unknown_text_is_a_key_error():
    with pytest.raises(KeyError):
        KeptVectors("d").of(["lake"])


def test_what_was_written_reads_back(tmp_path):
    kept = KeptVectors("d", {"b": np.array([1, 2], np.float32), 'ä "': np.array([3, 4], np.float32)})
    kept.write(tmp_path / "v.safetensors")
    again = KeptVectors.read(tmp_path / "v.safetensors", "d")
    assert again.of(['ä "', "b"]).tolist() == [[3, 4], [1, 2]]


def test_vectors_of_another_source_and_of_no_file_count_as_none(tmp_path):
    KeptVectors("one", {"a": np.ones(2, np.float32)}).write(tmp_path / "v.safetensors")
    assert KeptVectors.read(tmp_path / "v.safetensors", "two").vectors == {}
    assert KeptVectors.read(tmp_path / "none.safetensors", "two").vectors == {}
    KeptVectors("one").write(tmp_path / "empty.safetensors")
    assert KeptVectors.read(tmp_path / "empty.safetensors", "one").vectors == {}


def test_a_damaged_file_is_said_and_counts_as_empty(tmp_path, caplog):
    path = tmp_path / "v.safetensors"
    KeptVectors("d", {"a": np.ones(2, np.float32)}).write(path)
    path.write_bytes(path.read_bytes()[:20])
    with caplog.at_level(logging.WARNING):
        assert KeptVectors.read(path, "d").vectors == {}
    assert "its vectors are made anew" in caplog.text
