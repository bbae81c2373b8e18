import pytest

from bandloom.finetune.text.captions.directions import without_directions


@pytest.mark.parametrize(
    ("caption", "kept"),
    [
        ("a river in the upper left corner of the image", "a river"),
        ("houses to the north of a road", "houses a road"),
        ("a northern road, some trees on the right", "a road, some trees"),
        ("on the left side, a lake", "a lake"),
        ("many planes are parked at the right and left", "many planes are parked"),
        ("a forest near 48 degrees north, 11 degrees east", "a forest near 48 degrees north, 11 degrees east"),
        ("two roads at right angles", "two roads at right angles"),
        ("a copyright office and eastward paths", "a copyright office and eastward paths"),
        ("in the north", ""),
    ],
)
def test_what_turns_with_the_image_is_taken_out_and_the_rest_stays(caption, kept):
    assert without_directions(caption) == kept
