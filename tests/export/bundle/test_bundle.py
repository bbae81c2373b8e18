"""A bundle that was changed in any way is refused, and the sentence says what differs."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bandloom.errors import BundleError
from bandloom.export.bundle.bundle import RECORD, read_bundle, seal
from bandloom.export.bundle.golden import GOLDEN, read_golden, write_golden
from bandloom.export.bundle.record import CONTRACT_KEY, Contract
from bandloom.export.bundle.tiling import Tiling
from bandloom.export.runtimes.replay import compare
from bandloom.export.runtimes.verify import verify
from bandloom.sensors import get_sensor
from tests.export.predict.test_map_scene import run
from tests.export.tiny_model import tiny_contract, write_tiny_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def edit_record(bundle, change, *, reseal=True):
    record = json.loads((bundle / RECORD).read_text())
    change(record)
    (bundle / RECORD).write_text(json.dumps(record))
    if reseal:
        seal(bundle, read_bundle(bundle).record)


def edit_model(bundle, change):
    model = onnx.load(bundle / "model.onnx")
    change(model)
    onnx.save(model, bundle / "model.onnx")
    seal(bundle, read_bundle(bundle).record)


def refused(bundle, capsys):
    assert run("bundle", "verify", bundle) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_a_copied_bundle_works(bundle, capsys):
    assert run("bundle", "verify", bundle) == 0
    assert "golden chips reproduced" in capsys.readouterr().out
    assert run("bundle", "inspect", bundle) == 0
    assert "sentinel2-l1c" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.onnx", GOLDEN])
def test_a_changed_byte_is_refused(bundle, capsys, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    assert f"{name} was changed: its sha256" in refused(bundle, capsys)


def test_a_truncated_bundle_is_refused(bundle, capsys):
    (bundle / GOLDEN).unlink()
    assert "lacks golden.npz" in refused(bundle, capsys)


def test_a_file_that_the_record_does_not_list_is_refused(bundle, capsys):
    (bundle / "extra.engine").write_text("?")
    assert "holds extra.engine" in refused(bundle, capsys)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path, capsys):
    assert "is no bundle" in refused(tmp_path, capsys)


def test_a_record_of_another_version_is_refused(bundle, capsys):
    edit_record(bundle, lambda record: record.update(schema_version=99), reseal=False)
    assert "of version 99" in refused(bundle, capsys)


def test_a_record_that_does_not_fit_its_schema_is_refused(bundle, capsys):
    edit_record(bundle, lambda record: record["contract"].update(tile_px="wide"), reseal=False)
    assert "contract.tile_px" in refused(bundle, capsys)


def swap_bands(contract):
    group = contract["groups"][0]
    group["bands"] = [group["bands"][1], group["bands"][0], *group["bands"][2:]]


def test_a_wrong_band_order_is_refused_though_its_checksums_were_made_anew(bundle, capsys):
    edit_record(bundle, lambda record: swap_bands(record["contract"]))
    assert "its groups differs from what golden.npz was made with" in refused(bundle, capsys)


def test_a_wrong_band_order_is_refused_though_golden_was_edited_too(bundle, capsys):
    edit_record(bundle, lambda record: swap_bands(record["contract"]))
    golden = read_golden(bundle / GOLDEN)
    swap_bands(golden.contract)
    write_golden(bundle / GOLDEN, golden)
    seal(bundle, read_bundle(bundle).record)
    assert "its groups are not those of its sensor" in refused(bundle, capsys)


def swap_in_sensor(contract):
    """Rename two bands in the sensor's record and in the groups, so that the contract agrees with itself."""
    for band in contract["sensor"]["bands"]:
        band["name"] = {"B02": "B03", "B03": "B02"}.get(band["name"], band["name"])
    swap_bands(contract)


def test_a_wrong_band_order_that_agrees_with_itself_everywhere_is_caught_by_the_models_own_answer(bundle, capsys):
    edit_record(bundle, lambda record: swap_in_sensor(record["contract"]))
    golden = read_golden(bundle / GOLDEN)
    swap_in_sensor(golden.contract)
    write_golden(bundle / GOLDEN, golden)
    seal(bundle, read_bundle(bundle).record)
    digest = read_bundle(bundle).contract.digest()
    assert "exported for another record" in refused(bundle, capsys)
    edit_model(bundle, lambda model: onnx.helper.set_model_props(model, {CONTRACT_KEY: digest}))
    assert "does not reproduce golden.npz" in refused(bundle, capsys)


@pytest.mark.parametrize(
    ("key", "value"),
    [("token_m", 120), ("margin_px", 0), ("task", "classify"), ("map_nodata", 0)],
)
def test_an_edited_meaning_is_refused(bundle, capsys, key, value):
    edit_record(bundle, lambda record: record["contract"].update({key: value}))
    assert f"its {key} differs" in refused(bundle, capsys)


def test_a_wrong_scale_in_the_record_is_refused(bundle, capsys):
    edit_record(bundle, lambda record: record["contract"]["values"].update(scale=1000))
    assert "its values differs" in refused(bundle, capsys)


def test_wrong_statistics_or_classes_in_the_record_are_refused(bundle, capsys):
    edit_record(bundle, lambda record: record["contract"]["statistics"]["mean"].update(B02=0.3))
    assert "its statistics differs" in refused(bundle, capsys)
    edit_record(bundle, lambda record: record["contract"]["statistics"]["mean"].update(B02=0.2))
    edit_record(bundle, lambda record: record["contract"]["label_set"]["classes"].reverse())
    assert "its label_set differs" in refused(bundle, capsys)


def test_another_value_convention_is_refused_even_when_all_files_agree(tmp_path, capsys):
    contract = Contract.model_validate(tiny_contract().model_dump() | {"values": {"offset": 0}})
    bundle = write_tiny_bundle(tmp_path / "other", contract)
    assert "stores samples as" in refused(bundle, capsys)


def initializer(model, name):
    return next(each for each in model.graph.initializer if each.name == name)


def test_a_wrong_weight_is_refused_though_its_checksum_was_made_anew(bundle, capsys):
    def nudge(model):
        weight = initializer(model, "g20_w")
        value = numpy_helper.to_array(weight).copy()
        value[0, 0, 2, 2] *= 1.5
        weight.CopyFrom(numpy_helper.from_array(value, "g20_w"))

    edit_model(bundle, nudge)
    assert "does not reproduce golden.npz" in refused(bundle, capsys)


def test_a_wrong_scale_inside_the_model_is_refused(bundle, capsys):
    pair = numpy_helper.from_array(np.array([1.0, 255.0], np.float32), "pair")
    edit_model(bundle, lambda model: initializer(model, "pair").CopyFrom(pair))
    assert "does not reproduce golden.npz" in refused(bundle, capsys)


def test_a_model_of_another_bundle_is_refused(bundle, tmp_path, capsys):
    other = write_tiny_bundle(tmp_path / "other", tiny_contract(get_sensor("sentinel2-l2a")))
    shutil.copy(other / "model.onnx", bundle / "model.onnx")
    seal(bundle, read_bundle(bundle).record)
    assert "exported for another record" in refused(bundle, capsys)


def test_a_model_file_that_is_no_model_is_refused(bundle, capsys):
    (bundle / "model.onnx").write_bytes(b"not a model")
    seal(bundle, read_bundle(bundle).record)
    assert "cannot be loaded by ONNX Runtime" in refused(bundle, capsys)


def test_a_precision_that_the_bundle_lacks_is_refused(bundle):
    with pytest.raises(BundleError, match="has no fp16 model, only fp32"):
        verify(read_bundle(bundle), "fp16")


def test_answers_that_are_not_finite_are_infinitely_far_away():
    contract = tiny_contract(tiling=Tiling(48), task="classify")
    assert compare(np.array([[1.0, np.nan]]), np.array([[1.0, 2.0]]), contract) == (float("inf"), 0.0)
    assert compare(np.array([[1.0, 2.0]]), np.array([[1.0, 2.5]]), contract) == (0.5, 1.0)
