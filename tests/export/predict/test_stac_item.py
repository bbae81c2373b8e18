"""The item beside a map: valid by the specification's own schema, and true of the map."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

from bandloom.cli import main
from tests.export.stack_file import write_stack
from tests.export.tiny_model import LABELS, write_tiny_bundle

pystac = pytest.importorskip("pystac", reason="pystac is not installed; pip install 'bandloom[fetch]'")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map beside its item, of a scene whose height and width differ."""
    place = tmp_path_factory.mktemp("mapped")
    bundle, scene = write_tiny_bundle(place / "tiny"), write_stack(place / "scene.tif", (90, 126))
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(bundle), str(scene), "--out", str(place / "map.tif"), "--png", "--confidence"])
    assert ended.value.code == 0
    return place


def test_the_item_is_valid_by_the_schemas_that_pystac_carries(mapped):
    """Offline: the core schemas only. Those of the extensions are in no package; the tests below read their fields."""
    pytest.importorskip("jsonschema", reason="jsonschema is not installed; pip install 'bandloom[dev]'")
    from pystac.validation.local_validator import LocalValidator

    record = json.loads((mapped / "map.stac.json").read_text())
    assert LocalValidator().item_validator(record["stac_version"]).is_valid(record)
    spoilt = record | {"properties": record["properties"] | {"datetime": "yesterday"}}
    assert not LocalValidator().item_validator(record["stac_version"]).is_valid(spoilt)
    timeless = {k: v for k, v in record["properties"].items() if k != "datetime"} | {"datetime": None}
    assert not LocalValidator().item_validator(record["stac_version"]).is_valid(record | {"properties": timeless})


def test_the_items_grid_is_the_maps(mapped):
    from pystac.extensions.projection import ProjectionExtension

    projection = ProjectionExtension.ext(pystac.Item.from_file(str(mapped / "map.stac.json")))
    with rasterio.open(mapped / "map.tif") as file:
        assert projection.code == f"EPSG:{file.crs.to_epsg()}"
        assert projection.shape == list(file.shape)
        np.testing.assert_allclose(projection.transform, list(file.transform)[:6])
        bounds = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    np.testing.assert_allclose(projection.item.bbox, bounds, atol=1e-5)


def test_the_items_classes_are_the_label_sets(mapped):
    from pystac.extensions.classification import ClassificationExtension

    item = pystac.Item.from_file(str(mapped / "map.stac.json"))
    found = ClassificationExtension.ext(item.assets["map"]).classes
    assert [(c.value, c.description, f"#{c.color_hint}".lower()) for c in found or ()] == [
        (c.code, c.name, c.colour.lower()) for c in LABELS.classes
    ]


def test_every_asset_lies_where_the_item_says(mapped):
    item = pystac.Item.from_file(str(mapped / "map.stac.json"))
    assert set(item.assets) == {"map", "png", "qml", "confidence"}
    for asset in item.assets.values():
        assert Path(asset.get_absolute_href() or "").is_file()
