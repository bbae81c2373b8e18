from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.run_state.pieces import Pieces, kept, kept_in


@dataclass
class Inner:
    counts: np.ndarray


@dataclass
class Outer:
    name: str
    confusions: dict[int, np.ndarray]
    inner: Inner
    table: list[dict[str, Any]] = field(default_factory=list)
    pair: tuple[float, None] = (0.1, None)


def outer() -> Outer:
    block = 2**63 + 5
    row = {"key": "a", "p": np.float32(0.3), "hit": True, "n": 3}
    return Outer("forest", {block: np.arange(4, dtype=np.int64).reshape(2, 2)}, Inner(np.ones(3, np.uint16)), [row])


def test_a_piece_comes_back_as_it_was(tmp_path: Path):
    made: list[int] = []

    def make() -> Outer:
        made.append(1)
        return outer()

    for _ in range(2):
        with kept_in(Pieces(tmp_path, {"lr": 1e-3})):
            found = kept("scores of forest", [1, "x"], make, Outer, Inner)
    assert len(made) == 1
    expected = outer()
    assert (found.name, found.pair) == (expected.name, expected.pair)
    assert list(found.confusions) == [2**63 + 5]
    np.testing.assert_array_equal(found.confusions[2**63 + 5], [[0, 1], [2, 3]])
    assert found.inner.counts.dtype == np.uint16
    assert found.table[0] == expected.table[0]
    assert type(found.table[0]["p"]) is np.float32


def test_another_origin_another_config_or_a_damaged_file_is_made_anew(tmp_path: Path):
    def take(config: Any, made_of: Any, value: int) -> int:
        with kept_in(Pieces(tmp_path, config)):
            return kept("count", made_of, lambda: value)

    assert take({"a": 1}, 1, 10) == 10
    assert take({"a": 1}, 1, 11) == 10
    assert take({"a": 1}, 2, 12) == 12
    assert take({"a": 2}, 1, 13) == 13
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:40])
    assert take({"a": 1}, 1, 14) == 14


def test_outside_of_a_run_nothing_is_kept():
    assert kept("count", 1, lambda: 1) == 1
    assert kept("count", 1, lambda: 2) == 2
