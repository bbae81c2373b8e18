"""What the algorithms type, against the command line itself."""

from typing import Any

import pytest
import typer.main

from bandloom.cli import bandloom
from bandloom.export.qgis.plugin.verbs import VERBS, Parameter, Verb, words_of

OF_KIND = {
    "map": "map.tif",
    "features": ["points.gpkg", "--layer", "points"],
    "field of ZONES": "district",
    "path": "scene",
    "folder": "my.bundle",
    "box": "-14.2,45.9,14.4,46.1",
    "count": 7,
    "number": 7.0,
    "text": "2024-06-01/2024-06-30",
    "switch": True,
    "new map": "new.tif",
    "new features": "new.gpkg",
    "new points": "new.gpkg",
    "new table": "new.csv",
    "new json": "new.json",
    "new folder": "place",
}


def command_of(verb: Verb) -> Any:
    command: Any = typer.main.get_command(bandloom)
    for word in verb.words:
        command = command.get_command(None, word)
    return command


def filled(parameter: Parameter) -> Any:
    return OF_KIND[parameter.kind]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_command_line_takes_every_word_and_gives_it_to_the_option_that_is_meant(verb: Verb):
    command = command_of(verb)
    for left_out in (False, True):
        values = {told.name: filled(told) for told in verb.parameters if not (left_out and told.optional)}
        words = words_of(verb, values)
        assert words[: len(verb.words)] == list(verb.words)
        given = command.make_context("bandloom", words[len(verb.words) :]).params
        by_flag = {flag: parameter.name for parameter in command.params for flag in parameter.opts}
        for told in verb.parameters:
            if told.flag and told.name in values:
                assert str(given[by_flag[told.flag]]) == str(values[told.name]), told.name


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_defaults_are_the_commands_own_and_what_it_needs_is_asked_for(verb: Verb):
    by_flag = {flag: parameter for parameter in command_of(verb).params for flag in parameter.opts}
    for told in verb.parameters:
        if told.flag:
            option = by_flag[told.flag]
            assert option.required or told.optional or told.default == option.default or told.kind == "switch", told
            assert not (option.required and told.optional), told
    flags = {told.flag for told in verb.parameters}
    needed = {option.opts[0] for flag, option in by_flag.items() if flag.startswith("--") and option.required}
    assert needed <= flags


def test_what_is_left_empty_or_off_is_not_typed():
    (polygons,) = (verb for verb in VERBS if verb.name == "polygons")
    values = {"MAP": "a map.tif", "LEAST_HA": 0.0, "SMOOTH": None, "OUT": "x.gpkg"}
    assert words_of(polygons, values) == ["polygons", "a map.tif", "--least-ha", "0.0", "--out", "x.gpkg"]
    (predict,) = (verb for verb in VERBS if verb.name == "predict")
    assert "--confidence" not in words_of(predict, {"BUNDLE": "b", "SCENE": "s", "CONFIDENCE": False, "OUT": "m.tif"})


def test_names_of_algorithms_and_parameters_are_unique():
    assert len({verb.name for verb in VERBS}) == len(VERBS)
    for verb in VERBS:
        assert len({told.name for told in verb.parameters}) == len(verb.parameters)
