"""Options without their partner are refused; those that go together reach the work."""

from pathlib import Path

import pytest

from bandloom.errors import ConfigError
from bandloom.finetune.text.options import SearchOptions, ZeroshotOptions

HERE = Path("here")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (ZeroshotOptions(), "say what to do with the words"),
        (ZeroshotOptions(bake=HERE, out=HERE), "--out goes with --images, which is not given; add it, or leave --out"),
        (ZeroshotOptions(images=HERE, query=["water"]), "--query goes with --map, which is not given"),
        (ZeroshotOptions(images=HERE, map_out=HERE), "--map-out goes with --map"),
        (ZeroshotOptions(scene=HERE, query=["water"], classes="a,b"), "--classes goes with --images or --bake"),
        (ZeroshotOptions(scene=HERE, query=["water"], templates=HERE), "--templates goes with --images or --bake"),
        (ZeroshotOptions(bake=HERE, classes="a,b", classes_file="c"), "--classes and --classes-file both name classes"),
        (SearchOptions(), "say what to do"),
        (SearchOptions(images=HERE, out=HERE), "--out goes with --query or --like"),
        (SearchOptions(query="water", top=0), "--top 0 is refused; give 1 or more"),
    ],
)
def test_what_has_no_effect_is_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        options.check()


@pytest.mark.parametrize(
    "options",
    [
        ZeroshotOptions(images=HERE, out=HERE, classes="a,b", templates=HERE),
        ZeroshotOptions(bake=HERE, classes_file="c"),
        ZeroshotOptions(scene=HERE, query=["water"], map_out=HERE),
        SearchOptions(images=HERE),
        SearchOptions(words=HERE, top=3),
        SearchOptions(like="key", out=HERE, method="numpy"),
    ],
)
def test_what_goes_together_is_taken(options):
    options.check()
