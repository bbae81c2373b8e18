"""The second kind of ground: the same pixels have another class where other ground lies around them."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from scipy import ndimage

from bandloom.classes.label_set import LabelSet
from bandloom.cli import main
from bandloom.errors import SceneError
from bandloom.shards.synth import label_set, synthesise
from bandloom.shards.synth.light import draw_sky, image, shading
from bandloom.shards.synth.matter import abundances
from bandloom.shards.synth.surroundings import TELLS, WATER, draw_surroundings
from bandloom.shards.synth.write import write_scenes

FROZEN = json.loads(Path(__file__).with_name("surroundings_v1.json").read_text())


def seen(*, warm: bool, winter: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 10 m reflectance, classes and matter of one place under one sky."""
    place = draw_surroundings(np.random.default_rng(5), 240, warm=warm, winter=winter)
    sky = draw_sky(np.random.default_rng(1), 240, 0.0)
    shade = shading(place.ground, place.ground.label == WATER, sky)
    return image(np.random.default_rng(2), abundances(place), shade, sky)[10], place.label, place.ground.label


def test_it_is_frozen_to_within_a_rounding_of_the_last_digit() -> None:
    scene = synthesise(96, 11, acquisition=1, ground="surroundings")
    for gsd_m, pixels in scene.groups.items():
        np.testing.assert_allclose(pixels.mean((1, 2)), FROZEN["mean"][str(gsd_m)], atol=0.5)
    codes, counts = np.unique(scene.label, return_counts=True)
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        assert abs(count - FROZEN["label"].get(str(code), 0)) <= 18  # 0.2 % of the pixels


def test_equal_pixels_are_of_another_class_where_other_ground_lies_around_them() -> None:
    """A cold and a warm place drawn alike: wet cells look the same to the bit, marsh in the one, paddy in the other."""
    cold, cold_label, matter = seen(warm=False)
    warm, warm_label, warm_matter = seen(warm=True)
    np.testing.assert_array_equal(matter, warm_matter)
    wet = cold_label == 91
    assert wet.sum() > 500
    assert (warm_label[wet] == 92).all()
    inside = ndimage.binary_erosion(wet, iterations=3)
    np.testing.assert_array_equal(cold[:, inside], warm[:, inside])
    telling = ndimage.binary_erosion(matter >= TELLS, iterations=3)
    assert np.abs(cold[:, telling] - warm[:, telling]).mean() > 0.01


def test_a_crop_keeps_its_class_over_the_year_and_looks_like_the_other_one_in_the_other_season() -> None:
    summer, label, _ = seen(warm=True)
    winter, winter_label, _ = seen(warm=True, winter=True)
    np.testing.assert_array_equal(label, winter_label)
    infrared = 3
    means = {
        (code, season): float(pixels[infrared][ndimage.binary_erosion(label == code, iterations=3)].mean())
        for code in (41, 42)
        for season, pixels in (("summer", summer), ("winter", winter))
    }
    assert means[41, "winter"] > means[41, "summer"]
    assert means[42, "summer"] > means[42, "winter"]


def test_a_belt_of_sixty_metres_lies_between_a_cell_and_the_next() -> None:
    """From inside of a cell 3 x 3 tokens show the cell and the belt; only waters come nearer where they cross."""
    label = synthesise(240, 3, ground="surroundings").label
    number, _ = ndimage.label(label > 0)
    highest = ndimage.maximum_filter(number, 13)
    lowest = ndimage.minimum_filter(np.where(number > 0, number, 10**6), 13)
    near_another = (number > 0) & ((highest != number) | (lowest != number))
    assert near_another[~np.isin(label, (82, 86, 87))].mean() < 0.03


def test_pairs_of_classes_share_the_ground_about_evenly() -> None:
    counts = np.zeros(256, int)
    for seed in range(8):
        counts += np.bincount(synthesise(240, seed, ground="surroundings").label.ravel(), minlength=256)
    assert (counts[list(label_set("surroundings").codes)] > 0).all()
    for one, other in ((31, 32), (51, 52), (46, 47), (41, 42), (91, 92)):
        assert 0.4 < counts[one] / counts[other] < 2.5


def test_another_acquisition_is_the_same_ground_under_another_sky() -> None:
    one, two = (synthesise(96, 5, acquisition=day, ground="surroundings") for day in (0, 1))
    np.testing.assert_array_equal(one.label, two.label)
    assert np.abs(one.groups[10].astype(int) - two.groups[10].astype(int)).mean() > 20


def test_a_kind_of_ground_that_is_not_known_is_refused() -> None:
    with pytest.raises(SceneError, match="use one of land-cover, surroundings"):
        synthesise(96, 0, ground="moon")


def test_the_command_writes_the_scenes_that_the_function_makes(tmp_path) -> None:
    out = tmp_path / "synth"
    with pytest.raises(SystemExit) as stop:
        main(["shards", "synth", "--out", str(out), "--scenes", "1", "--size", "96", "--ground", "surroundings"])
    assert not stop.value.code
    scene = synthesise(96, 0, ground="surroundings")
    with rasterio.open(out / "scenes/scene_00000/B11.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), scene.groups[20][4])
    with rasterio.open(out / "labels/scene_00000.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), scene.label)
    assert LabelSet.from_dict(yaml.safe_load((out / "label_set.yaml").read_text())) == label_set("surroundings")


def test_the_first_kind_of_ground_is_written_as_before_where_none_is_named(tmp_path) -> None:
    write_scenes(tmp_path / "one", 1, 48, 0)
    write_scenes(tmp_path / "two", 1, 48, 0, ground="land-cover")
    for file in sorted((tmp_path / "one").rglob("*.tif")):
        assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes()
