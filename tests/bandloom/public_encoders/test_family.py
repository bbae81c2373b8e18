"""The records of public encoders: each says where every one of its facts comes from."""

import pytest
from pydantic import ValidationError

from bandloom.errors import CheckpointError
from bandloom.public_encoders.family import FACTS, Family, families, get_family
from bandloom.public_encoders.load import CODE


def test_every_record_has_code_and_says_how_each_fact_was_verified():
    assert set(families()) == set(CODE)
    for family in families().values():
        assert set(family.verified) >= FACTS
        assert family.licence.conditions
        assert family.sizes


def test_a_record_that_hides_where_a_fact_comes_from_is_refused():
    record = get_family("galileo").model_dump()
    record["verified"] = {key: value for key, value in record["verified"].items() if key != "licence"}
    with pytest.raises(ValidationError, match="verified says nothing of licence"):
        Family.model_validate(record)


def test_a_record_with_an_unknown_band_is_refused():
    record = get_family("galileo").model_dump()
    with pytest.raises(ValidationError, match="'B99' is no slot"):
        Family.model_validate(record | {"bands": ["B99"], "band_groups": []})


def test_a_family_that_is_not_known_is_named_with_the_nearest():
    with pytest.raises(CheckpointError, match="Did you mean 'galileo'"):
        get_family("galilei")
