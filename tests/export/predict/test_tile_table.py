"""Tables of tiles: a value is the model's own to all that float32 holds, however small its unit makes it."""

import csv
import json

import numpy as np
import pytest

from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.predict.in_memory import predict_arrays
from bandloom.export.predict.options import PredictOptions, scene_opener
from bandloom.export.predict.tile_table import write_table
from bandloom.export.runtimes.verify import verify
from bandloom.target import Target
from tests.export.stack_file import write_stack
from tests.export.tiny_model import tiny_contract, write_tiny_bundle


@pytest.mark.parametrize(("mean", "std"), [(2e5, 1e5), (3e-6, 1e-6), (5e-10, 2e-10)])
def test_a_value_of_any_size_is_in_the_table_as_the_model_gives_it(tmp_path, mean, std):
    target = Target(name="flux", unit="kg m-2 s-1", mean=mean, std=std)
    contract = tiny_contract(task="regress_chips").with_changes(target=target)
    bundle = read_bundle(write_tiny_bundle(tmp_path / "bundle", contract))
    scene, runner = write_stack(tmp_path / "scene.tif", (70, 80)), verify(bundle)
    given = predict_arrays(bundle.contract, runner, str(scene)).classes
    for name in ("tiles.json", "tiles.csv"):
        options = PredictOptions()
        write_table(bundle, runner, scene_opener(str(scene), options), tmp_path / name, options)
    features = json.loads((tmp_path / "tiles.json").read_text())["features"]
    rows = list(csv.DictReader((tmp_path / "tiles.csv").read_text().splitlines()))
    for told in ([feature["properties"]["value"] for feature in features], [float(row["value"]) for row in rows]):
        np.testing.assert_allclose(sorted(told), np.sort(given[np.isfinite(given)]), rtol=1e-6)
