"""MADOS and MARIDA as they are published: bands by wavelength, the same numbers with other meanings."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.errors import SceneError
from bandloom.finetune.public_sets.registry import open_set, recognise
from bandloom.sensors import SLOT_GSD_M
from bandloom.shards.labels.problems import Problems
from tests.finetune.public_sets.replicas import marine
from tests.finetune.public_sets.replicas.writing import assert_same, by_scene, prepared, write_tif


@pytest.fixture(scope="module")
def mados(tmp_path_factory):
    root = tmp_path_factory.mktemp("mados")
    truth = marine.write_mados(root / "MADOS")
    return root, truth, prepared("mados", root / "MADOS", root / "out")


def test_mados_keeps_every_band_at_its_own_sampling(mados):
    _, truth, shards = mados
    for crop, index in by_scene(shards).items():
        bands, codes = truth[crop]
        sample = shards.read(index)
        for gsd, dn in sample.groups.items():
            own = [band for band in marine.BANDS if SLOT_GSD_M[band] == gsd]
            for got, band in zip(dn, own, strict=True):
                side = 240 // gsd
                expected = np.where(np.isnan(bands[band]), 0, np.rint(bands[band].astype(float) * 10000) + 1000)
                np.testing.assert_array_equal(got[:side, :side], expected)
                assert not got[side:].any()
        np.testing.assert_array_equal(sample.label[:24, :24], np.where(codes == 0, 255, codes.astype(int) - 1))
        assert shards.entries[index].split == marine.CROPS[crop][0]
    assert list(shards.sensors) == ["sentinel2-rhorc"]
    assert recognise(mados[0] / "MADOS") == ["mados"]


def test_marida_takes_out_what_is_nan(tmp_path):
    truth = marine.write_marida(tmp_path / "set")
    shards = prepared("marida", tmp_path / "set", tmp_path / "out")
    for patch, index in by_scene(shards).items():
        stack, codes = truth[patch]
        sample = shards.read(index)
        assert_same(
            sample.groups, dict(zip(marine.BANDS, stack.astype(float), strict=True)), 258, atol=1.01e-4
        )  # rounded, then averaged
        np.testing.assert_array_equal(sample.label[:24, :24], np.where(codes == 0, 255, codes - 1))
    assert recognise(tmp_path / "set") == ["marida"]


def test_their_numbers_mean_other_things():
    one, two = (get_taxonomy(name).classes for name in ("mados15", "marida15"))
    differ = {a.code for a, b in zip(one, two, strict=True) if a.name != b.name}
    assert differ == {3, 6, 12, 13, 14, 15}


def test_a_wavelength_of_no_band_is_refused(tmp_path):
    truth = marine.write_mados(tmp_path / "set")
    bands, _ = truth["Scene_12_1"]
    write_tif(tmp_path / "set" / "Scene_12" / "20" / "Scene_12_L2R_rhorc_900_1.tif", bands["B8A"], pixel=20.0)
    shards = prepared("mados", tmp_path / "set", tmp_path / "out")
    assert "is of 900 nm, which no band of 20 m" in (shards.path / "quarantine.jsonl").read_text()


def test_two_files_of_one_band_are_refused(tmp_path):
    marine.write_mados(tmp_path / "MADOS")
    public = open_set("mados", str(tmp_path / "MADOS"))
    sample = public.samples(Problems())[0]
    folder = Path(sample.path).parent
    whole = next(folder.glob("*_rhorc_560_*.tif"))
    shutil.copy(whole, whole.with_name(whole.name.replace("_560_", "_561_")))
    with pytest.raises(SceneError, match="is of B03, of which there is another file"):
        public.open(sample.path)
