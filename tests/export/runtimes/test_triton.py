import re

from bandloom.export.bundle.tiling import Tiling
from tests.export.predict.test_map_scene import run
from tests.export.tiny_model import tiny_contract, write_tiny_bundle


def test_a_repository_has_the_layout_and_shapes_that_triton_reads(tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    assert run("bundle", "triton", bundle, tmp_path / "models") == 0
    folder = tmp_path / "models" / "tiny"
    assert (folder / "1" / "model.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()
    config = (folder / "config.pbtxt").read_text()
    assert 'platform: "onnxruntime_onnx"' in config
    found = re.findall(r'name: "(\w+)" data_type: (\w+) dims: \[ ([\d, ]+) \]', config)
    assert found == [
        ("g10", "TYPE_UINT8", "4, 48, 48, 2"),
        ("g20", "TYPE_UINT8", "6, 24, 24, 2"),
        ("g60", "TYPE_UINT8", "3, 8, 8, 2"),
        ("logits", "TYPE_FP32", "4, 48, 48"),
    ]
    assert config.count("{") == config.count("}")
    assert config.count("[") == config.count("]")
    assert run("bundle", "triton", bundle, tmp_path / "models") == 2
    assert "exists already" in capsys.readouterr().err


def test_a_classifier_gives_one_logit_a_class(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny", tiny_contract(tiling=Tiling(48), task="classify"))
    assert run("bundle", "triton", bundle, tmp_path / "models") == 0
    assert "dims: [ 4 ]" in (tmp_path / "models" / "tiny" / "config.pbtxt").read_text()


def test_a_changed_bundle_is_not_deployed(tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    with (bundle / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    assert run("bundle", "triton", bundle, tmp_path / "models") == 2
    assert "was changed" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
