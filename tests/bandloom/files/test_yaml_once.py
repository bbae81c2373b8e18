"""A key that stands twice is refused wherever a person's YAML is read."""

import pytest
import yaml

from bandloom.classes.label_set import read_label_yaml
from bandloom.command_line.config import load_config
from bandloom.errors import ConfigError, LabelError, SensorError
from bandloom.files.yaml_once import load_once
from bandloom.finetune.config import FinetuneConfig
from bandloom.sensors import get_sensor

MERGED = "base: &base {a: 1, b: 2}\nown: {<<: *base, a: 3}\nagain: *base\nother:\n  <<: [*base, {c: 4}]\n  c: 5\n"


def test_without_a_double_key_it_reads_what_pyyaml_reads():
    for text in (MERGED, "", "a: [1, {b: 2}]", "- 1\n- {a: 1}\n- {a: 2}", "? [1, 2]\n: a\n? [1, 3]\n: b"):
        try:
            expected = yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        assert load_once(text) == expected


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3", "top: {a: 1, a: 1}", "- {a: 1, 'a': 2}", MERGED + "own: 1"])
def test_a_key_that_stands_twice_is_named_with_its_lines(text):
    with pytest.raises(yaml.YAMLError, match=r"the key '(a|own)' stands in line \d and again in line \d; keep one"):
        load_once(text)


def test_configs_sensors_and_label_sets_refuse_it_in_one_sentence(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("shards: a\ntrainer: {steps: 5}\nshards: b\n")
    with pytest.raises(ConfigError, match="'shards' stands in line 1 and again in line 3"):
        load_config(FinetuneConfig, path)
    path.write_text("name: a\nreflectance: toa\nname: b\nbands: []\n")
    with pytest.raises(SensorError, match="'name' stands in line 1 and again in line 3"):
        get_sensor(str(path))
    path.write_text("name: a\nclasses:\n- {code: 1, name: water, code: 2}\n")
    with pytest.raises(LabelError, match="'code' stands in line 3 and again in line 3"):
        read_label_yaml(path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfshards: a\n")
    assert str(load_config(FinetuneConfig, path).shards) == "a"
    path.write_bytes("name: größe\n".encode("latin-1"))
    with pytest.raises(SensorError, match="not readable YAML"):
        get_sensor(str(path))
