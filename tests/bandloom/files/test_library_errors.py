"""What the operating system refused is known by the words of the libraries that hide its number."""

import errno

import pytest

from bandloom.errors import OutputError
from bandloom.files.library_errors import refusal_in
from bandloom.files.output import new_output


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("sqlite3_exec(COMMIT) failed: database or disk is full", errno.ENOSPC),
        ('Error while serializing: I/O error: Os { code: 28, message: "No space left on device" }', errno.ENOSPC),
        ("[Errno 28] Error writing bytes to file", errno.ENOSPC),
        ("Error while serializing: Disk quota exceeded (os error 122)", errno.EDQUOT),
        ("attempt to write: Read-only file system", errno.EROFS),
        ("Unexpected I/O failure: seeking to temp feature location", None),
        ("error 283 of 284", None),
    ],
)
def test_words_tell_the_number(words, number):
    told = refusal_in(RuntimeError(words))
    assert (told and told.errno) == number


def test_what_an_error_stems_from_tells_it():
    hidden = ValueError("a part could not be written")
    hidden.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    told = refusal_in(hidden)
    assert told is not None
    assert told.errno == errno.ENOSPC


def test_a_library_that_says_it_in_words_of_its_own_is_one_sentence(tmp_path):
    with (
        pytest.raises(OutputError, match=f"^the disk is full while writing {tmp_path / 'out'}; free some space"),
        new_output(tmp_path / "out"),
    ):
        raise RuntimeError("sqlite3_exec(COMMIT) failed: database or disk is full")
    with pytest.raises(RuntimeError, match="permission denied"), new_output(tmp_path / "out"):
        raise RuntimeError("permission denied: /somewhere/else")  # not of writing this one
