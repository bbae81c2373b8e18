"""Maps of similarity against a naive loop, and of clusters against scikit-learn's own labels."""

import json

import numpy as np
import pytest
import rasterio

from bandloom.embeddings.raster import EmbeddingRaster, pack
from bandloom.export.maps.class_grid import ClassGrid
from bandloom.export.products.similar import NOTHING
from tests.bandloom.embeddings.features import CORNER, CRS, features_of_ground, write_features
from tests.view.command import run

HOLE = (4, 5)  # row and column where nothing was measured


@pytest.fixture(name="files")
def embeddings(tmp_path):
    plain = write_features(tmp_path / "plain.tif", features_of_ground())
    pack(plain, tmp_path / "packed.tif", 8, "int8")
    return {"plain": plain, "packed": tmp_path / "packed.tif"}


def at(row, column):
    """Return the place of a token, off its centre."""
    return f"{CORNER[0] + 60 * column + 41},{CORNER[1] - 60 * row - 7}"


@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_every_cosine_is_that_of_a_naive_loop_and_nothing_stays_nothing(files, tmp_path, capsys, kind):
    assert run("similar", files[kind], "--at", at(10, 20), "--crs", CRS, "--out", tmp_path / "similar.tif") == 0
    features = EmbeddingRaster(files[kind]).read().astype(float)
    query = features[:, 10, 20]
    expected = np.full(features.shape[1:], np.nan)
    for row in range(features.shape[1]):
        for column in range(features.shape[2]):
            token = features[:, row, column]
            expected[row, column] = (token @ query) / (np.sqrt(token @ token) * np.sqrt(query @ query))
    with rasterio.open(tmp_path / "similar.tif") as file:
        made = file.read(1)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert json.loads(file.tags()["SIMILAR_TO"])["crs"] == CRS
        assert np.isnan(file.nodata)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert np.isnan(made[HOLE])
    assert made[10, 20] == pytest.approx(1)
    assert f"{np.nanmean(np.where(np.isnan(expected), np.nan, expected >= 0.9)):.1%} of the" in capsys.readouterr().out


def test_a_place_in_degrees_is_the_same_place(files, tmp_path):
    from rasterio.warp import transform

    x, y = map(float, at(10, 20).split(","))
    lon, lat = (values[0] for values in transform(CRS, "EPSG:4326", [x], [y])[:2])
    assert run("similar", files["plain"], "--at", f"{lon},{lat}", "--out", tmp_path / "degrees.tif") == 0
    assert run("similar", files["plain"], "--at", f"{x},{y}", "--crs", CRS, "--out", tmp_path / "metres.tif") == 0
    with rasterio.open(tmp_path / "degrees.tif") as one, rasterio.open(tmp_path / "metres.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at", at(-1, 0), "--crs", CRS], "lies outside of"),
        (["--at", at(23, 0), "--crs", CRS], "lies outside of"),
        (["--at", at(0, 31), "--crs", CRS], "lies outside of"),
        (["--at", "nan,13"], "lies outside of"),
        (["--at", at(*HOLE), "--crs", CRS], "nothing was measured at"),
        (["--at", "100.1,13.5", "--crs", "EPSG:0"], "--crs 'EPSG:0' is not known"),
        (["--at", "100.1"], "write two numbers with a comma"),
        (["--at", "x,y"], "write two numbers with a comma"),
        ([], "takes --at X,Y"),
        (["--at", "1,2", "--clusters", 3], "takes --at X,Y"),
        (["--clusters", 1], "can be parted into 2 to 250"),
        (["--clusters", 251], "can be parted into 2 to 250"),
    ],
)
def test_what_cannot_be_mapped_is_one_sentence_and_no_file(files, tmp_path, capsys, words, said):
    assert run("similar", files["plain"], *words, "--out", tmp_path / "out.tif") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.tif").exists()


def test_clusters_are_those_of_k_means_the_largest_first_with_colours_that_other_verbs_read(files, tmp_path):
    from sklearn.cluster import MiniBatchKMeans

    for name in ("one", "again"):
        assert run("similar", files["plain"], "--clusters", 4, "--seed", 3, "--out", tmp_path / f"{name}.tif") == 0
    with rasterio.open(tmp_path / "one.tif") as file, rasterio.open(tmp_path / "again.tif") as again:
        made, colours = file.read(1), file.colormap(1)
        np.testing.assert_array_equal(made, again.read(1))
        assert file.nodata == NOTHING
    features = features_of_ground()
    known = np.isfinite(features).all(0)
    theirs = MiniBatchKMeans(4, random_state=3, n_init=3, batch_size=4096).fit(features[:, known].T)
    labels = theirs.predict(np.ascontiguousarray(features[:, known].T))
    assert (made[~known] == NOTHING).all()
    pairs = set(zip(made[known].tolist(), labels.tolist(), strict=True))
    assert len(pairs) == 4  # one code a label
    counts = np.bincount(made[known], minlength=5)[1:]
    assert counts[0] == counts.max()
    grid = ClassGrid(tmp_path / "one.tif")
    assert [land_class.name for land_class in grid.classes] == [f"cluster {n}" for n in range(1, 5)]
    assert len({colours[code] for code in range(1, 5)}) == 4
    assert [land_class.hectares for land_class in grid.classes] == pytest.approx(counts * 0.36)
