"""The zip of the QGIS plugin: what QGIS needs of one, the same bytes each time."""

import configparser
import io
import py_compile
import zipfile
from pathlib import Path

import bandloom
from bandloom.export.qgis.plugin.verbs import VERBS
from bandloom.export.qgis.plugin_zip import plugin_files, write_plugin
from tests.test_docs_commands import blocks_of
from tests.view.command import run


def test_the_command_writes_the_same_bytes_each_time_and_never_over_a_file(tmp_path, capsys):
    write_plugin(tmp_path / "one.zip")
    assert run("qgis", "--out", tmp_path / "two.zip") == 0
    assert "Install from ZIP" in capsys.readouterr().out
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert run("qgis", "--out", tmp_path / "two.zip") == 2
    assert "two.zip" in capsys.readouterr().err
    assert run("qgis", "--out", tmp_path / "plugin.tar") == 2
    assert "plugin.tar is no zip; QGIS installs plugins from a .zip" in capsys.readouterr().err


def test_it_is_one_package_with_what_qgis_asks_of_its_metadata(tmp_path):
    write_plugin(tmp_path / "plugin.zip")
    with zipfile.ZipFile(tmp_path / "plugin.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        metadata = configparser.ConfigParser(interpolation=None)
        metadata.read_file(io.StringIO(archive.read("bandloom_qgis/metadata.txt").decode()))
        archive.extractall(tmp_path)
    assert {name.partition("/")[0] for name in names} == {"bandloom_qgis"}
    assert "bandloom_qgis/__init__.py" in names
    told = metadata["general"]
    for key in ("name", "description", "about", "version", "qgisMinimumVersion", "author"):
        assert told[key].strip(), key
    assert told["version"] == bandloom.__version__
    assert told["hasProcessingProvider"] == "yes"
    for path in sorted((tmp_path / "bandloom_qgis").glob("*.py")):
        py_compile.compile(str(path), doraise=True)


def test_no_file_of_it_imports_bandloom_which_qgis_need_not_have():
    for name, content in plugin_files().items():
        lines = [line.strip() for line in content.decode().splitlines()]
        assert not [line for line in lines if line.startswith(("import bandloom", "from bandloom"))], name


def test_the_command_of_the_page_writes_what_it_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[3] / "docs" / "qgis.md"
    (line,) = [line for block in blocks_of(page) if block.run_by for line in block.commands]
    assert run(*line.split()[1:]) == 0
    assert (tmp_path / "bandloom_qgis.zip").is_file()
    for verb in VERBS:
        assert f"`bandloom:{verb.name}` | `bandloom {' '.join(verb.words)}`" in page.read_text()
