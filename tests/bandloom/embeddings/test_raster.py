"""Packed embeddings on disk: read back by themselves, by GDAL's own scales, and by another scene's basis."""

import json

import numpy as np
import pytest
import rasterio

from bandloom.embeddings.raster import TAG, EmbeddingRaster, pack
from bandloom.errors import OutputError, SceneError
from tests.bandloom.embeddings.features import features_of_ground, write_features


@pytest.fixture(name="plain")
def features_on_disk(tmp_path):
    return write_features(tmp_path / "plain.tif", features_of_ground())


def test_a_packed_file_reads_back_what_its_basis_says_and_is_a_cog(plain, tmp_path):
    basis = pack(plain, tmp_path / "packed.tif", 8, "int8")
    features = features_of_ground()
    opened = EmbeddingRaster(tmp_path / "packed.tif")
    np.testing.assert_array_equal(opened.read(), basis.decode(basis.encode(features)))
    np.testing.assert_array_equal(np.concatenate([part for _, part in opened.strips()], axis=1), opened.read())
    assert opened.dims == 24
    assert opened.tags["SCENE"] == "ground"
    with rasterio.open(tmp_path / "packed.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.count, file.dtypes[0], file.nodata) == (8, "int8", -128)
        principal = file.read(masked=True) * np.array(file.scales)[:, None, None]  # as a GIS reads them
        with rasterio.open(plain) as source:
            assert (file.crs, file.transform) == (source.crs, source.transform)
    known = np.isfinite(features).all(0)
    np.testing.assert_array_equal(principal.mask.any(0), ~known)
    expected = basis.components @ (features[:, known] - basis.mean[:, None])
    assert np.abs(principal[:, known] - expected).mean() < float(basis.scale.mean())
    with pytest.raises(OutputError, match="exists already"):
        pack(plain, tmp_path / "packed.tif", 8, "int8")


def test_another_scene_packed_like_the_first_has_the_same_codes_for_the_same_features(plain, tmp_path):
    pack(plain, tmp_path / "first.tif", 8, "int8")
    features = features_of_ground()
    other = write_features(tmp_path / "other.tif", features[:, :, ::-1] * np.float32(1))
    pack(other, tmp_path / "second.tif", 8, "int8", tmp_path / "first.tif")
    with rasterio.open(tmp_path / "first.tif") as one, rasterio.open(tmp_path / "second.tif") as two:
        np.testing.assert_array_equal(one.read()[:, :, ::-1], two.read())
        assert one.tags()[TAG] == two.tags()[TAG]
    for dims, dtype, said in ((9, "int8", "has 8 dimensions of int8"), (None, "float32", "ask for the same")):
        with pytest.raises(SceneError, match=said):
            pack(other, tmp_path / "third.tif", dims, dtype, tmp_path / "first.tif")
    with pytest.raises(SceneError, match="holds no basis of 24 dimensions"):
        pack(other, tmp_path / "third.tif", 8, "int8", plain)


@pytest.mark.parametrize("tag", ["ENCODER", "ENCODER_SHA256"])
def test_the_basis_of_another_encoders_embeddings_is_refused_and_of_one_that_nobody_knows_is_taken(tmp_path, tag):
    plain = {name: write_features(tmp_path / f"{name}.tif", features_of_ground()) for name in ("one", "two", "unknown")}
    for name in ("one", "two"):
        with rasterio.open(plain[name], "r+") as file:
            file.update_tags(**{tag: f"{name}'s weights"})
    basis = pack(plain["one"], tmp_path / "packed.tif", 8, "int8")
    assert pack(plain["one"], tmp_path / "again.tif", 8, "int8", tmp_path / "packed.tif").record() == basis.record()
    with pytest.raises(SceneError, match=r"was made by another encoder \(one's we, this one is two's we\)"):
        pack(plain["two"], tmp_path / "other.tif", 8, "int8", tmp_path / "packed.tif")
    assert pack(plain["unknown"], tmp_path / "taken.tif", 8, "int8", tmp_path / "packed.tif").encoder == basis.encoder


def test_a_file_whose_bands_or_type_were_changed_is_refused_and_nodata_of_others_is_nothing(plain, tmp_path):
    pack(plain, tmp_path / "packed.tif", 8, "int8")
    with rasterio.open(tmp_path / "packed.tif") as file:
        tags, profile, codes = file.tags(), file.profile | {"driver": "GTiff"}, file.read()
    for name, dtype, kept in (("fewer", "int8", codes[:5]), ("unscaled", "float32", codes.astype("float32"))):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", **(profile | {"count": len(kept), "dtype": dtype, "nodata": None})
        ) as file:
            file.write(kept)
            file.update_tags(**tags)
        with pytest.raises(SceneError, match="is no embedding; bandloom embed"):
            EmbeddingRaster(tmp_path / f"{name}.tif")
    one = write_features(tmp_path / "one.tif", features_of_ground()[:1])
    with pytest.raises(SceneError, match="is no embedding"):
        EmbeddingRaster(one)
    with pytest.raises(SceneError, match="cannot be read as a raster"):
        EmbeddingRaster(tmp_path / "none.tif")
    with rasterio.open(plain) as file:
        filled = np.nan_to_num(file.read(), nan=-9999.0)
        with rasterio.open(tmp_path / "filled.tif", "w", **(file.profile | {"nodata": -9999.0})) as other:
            other.write(filled)
    np.testing.assert_array_equal(EmbeddingRaster(tmp_path / "filled.tif").read(), features_of_ground())
    assert json.loads(tags[TAG])["dims"] == 8
