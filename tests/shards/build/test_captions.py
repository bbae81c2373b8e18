import json
import tarfile

import pytest
from rasterio.warp import transform

from bandloom.errors import LabelError
from bandloom.shards.build.build import build
from bandloom.shards.build.captions import read_captions
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.repack import repack
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.read.verify import verify


@pytest.fixture
def scenes(tmp_path, write_stack):
    folder = tmp_path / "scenes"
    folder.mkdir()
    write_stack(folder / "north.tif")
    write_stack(folder / "south.tif", origin=(500_040.0, 5_200_020.0))
    return folder


def captions_of(tmp_path, scenes, text):
    (tmp_path / "captions.csv").write_text(text)
    build([str(scenes)], tmp_path / "out", BuildOptions(60, captions=str(tmp_path / "captions.csv")))
    found = ShardSet(tmp_path / "out")
    assert [found.read(i).captions for i in range(len(found))] == [entry.captions for entry in found.entries]
    return found, {entry.key: entry.captions for entry in found.entries}


def test_a_scenes_captions_are_all_its_samples_in_the_order_of_the_rows(tmp_path, scenes):
    text = 'scene,caption\nnorth,a lake\nnorth,"  water,\n and fields "\nnorth,a lake\n'
    found, captions = captions_of(tmp_path, scenes, text)
    assert len(captions) == 8
    for key, own in captions.items():
        assert own == (("a lake", "water, and fields") if key.startswith("north") else ())
    with tarfile.open(found.path / found.entries[0].shard) as tar:
        sidecar = json.load(tar.extractfile(f"{found.entries[0].key}.json"))
    assert sidecar["captions"] == ["a lake", "water, and fields"]
    assert verify(found.path, deep=True) == []
    repack(found.path, tmp_path / "again", "speed")
    assert [e.captions for e in ShardSet(tmp_path / "again").entries] == list(captions.values())


def test_a_key_names_one_sample(tmp_path, scenes):
    _, captions = captions_of(tmp_path, scenes, "caption,key\nroofs,south_r0000_c0001\n")
    assert {key: own for key, own in captions.items() if own} == {"south_r0000_c0001": ("roofs",)}


def test_a_place_is_of_the_sample_that_holds_it_and_of_one_alone(tmp_path, scenes):
    # the corner that four samples share, and a place outside of all
    (lon,), (lat,) = transform("EPSG:32633", "EPSG:4326", [500_040 + 605], [5_300_040 - 595])
    _, captions = captions_of(tmp_path, scenes, f"lon,lat,caption\n{lon},{lat},a mill\n0,0,the sea\n")
    assert {key: own for key, own in captions.items() if own} == {"north_r0000_c0001": ("a mill",)}


def test_without_captions_an_index_has_no_word_of_them(shards):
    assert "captions" not in (shards / "samples.jsonl").read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scene,text\nnorth,x\n", "has the columns scene, text; expected caption, and key, scene, or lon and lat"),
        ("scene,caption\nnorth,\n", "line 2 of .* has an empty caption"),
        ("scene,caption\n,x\n", "line 2 of .* has an empty scene"),
        ("lon,lat,caption\n5,95,x\n", "5, 95 are no degrees"),
        ("lon,lat,caption\neast,5,x\n", "east, 5 are no degrees"),
        ("scene,caption\nwest,x\n", "tells of west, they are like north"),
        ("key,caption\nwest_r0000_c0000,x\n", "mend its column key"),
        ("scene,caption\nnorth,a lake, and a road\n", "line 2 has more cells than the first"),
        ('scene,caption\nnorth,"a lake\nsouth,sand\n', "unexpected end of data"),
        ("scene,caption,caption\nnorth,a lake,sand\n", "'caption' twice"),
    ],
)
def test_a_caption_file_that_cannot_be_used_is_one_sentence_before_anything_is_built(tmp_path, scenes, text, says):
    with pytest.raises(LabelError, match=says):
        captions_of(tmp_path, scenes, text)
    assert not list(tmp_path.glob(".out*"))


def test_a_caption_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(LabelError, match="cannot be read"):
        read_captions(tmp_path / "none.csv")
