import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandloom.files.csv_rows import NamedRows

CELLS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=12)


def rows(text: str) -> list[tuple[int, dict[str, str]]]:
    return list(NamedRows(io.StringIO(text, newline="")))


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6))
@settings(max_examples=100, deadline=None)
def test_what_a_csv_writer_wrote_is_read_as_it_was(table):
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(["key", "caption"])
    writer.writerows(table)
    assert [(row["key"], row["caption"]) for _, row in rows(file.getvalue())] == table


def test_lines_end_as_windows_and_unix_end_them_and_missing_cells_are_empty():
    assert rows("key,caption\r\na,sea\r\nb\r\n") == [
        (2, {"key": "a", "caption": "sea"}),
        (3, {"key": "b", "caption": ""}),
    ]
    assert rows("key,caption\na,sea,,\n") == [(2, {"key": "a", "caption": "sea"})]  # as Excel ends some rows


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("key,caption\na,forest, river and lake\n", "line 2 has more cells than the first; put cells that hold commas"),
        ('key,caption\na,"big lake\nb,forest\n', "unexpected end of data"),
        ('key,caption\na,"big" lake\n', "expected after"),
    ],
)
def test_cells_that_would_be_cut_or_run_together_are_refused(text, sentence):
    with pytest.raises(csv.Error, match=sentence):
        rows(text)


def test_a_column_that_is_needed_is_there_once():
    table = NamedRows(io.StringIO("key,caption,caption,x,x\n"))
    table.require_once("key")
    with pytest.raises(csv.Error, match="'caption' twice"):
        table.require_once("key", "caption")
