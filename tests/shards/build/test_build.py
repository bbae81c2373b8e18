import hashlib
import json
import shutil

import numpy as np
import pytest
import rasterio

from bandloom.cli import main
from bandloom.shards.build.build import build, finish_build, workplace
from bandloom.shards.build.geography import split_of_cells
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.tar"))}


def test_shards_hold_the_scenes_pixels_and_labels_exactly(shards, synthetic):
    found = ShardSet(shards)
    assert len(found) == 24  # six scenes of 2 x 2 squares
    entry = next(e for e in found.entries if e.key == "scene_00003_r0001_c0000")
    sample = found.read(found.entries.index(entry))
    with rasterio.open(synthetic / "scenes/scene_00003/B8A.tif") as raster:
        np.testing.assert_array_equal(sample.groups[20][3], raster.read(1)[60:, :60])
    with rasterio.open(synthetic / "labels/scene_00003.tif") as raster:
        codes = raster.read(1)[120:, :120]
        assert (entry.x_m, entry.y_m) == (raster.transform.c, raster.transform.f - 1200)
    np.testing.assert_array_equal(np.array(found.label_set.codes)[sample.label], codes)
    assert found.mask(0, "cloud").shape == (120, 120)


def test_the_statistics_are_those_of_the_train_splits_measured_samples(shards):
    found = ShardSet(shards)
    blue = np.stack([found.read(i).groups[10][0] for i in found.indices("train")]).astype(np.float64)
    blue = (blue[(blue > 0) & (blue < 65535)] - 1000) / 10000
    assert found.statistics["mean"]["B02"] == pytest.approx(blue.mean(), abs=1e-9)
    assert found.statistics["std"]["B02"] == pytest.approx(blue.std(), abs=1e-9)
    assert found.statistics["split"] == "train"


def test_places_stay_whole_in_their_split_and_every_split_exists(shards):
    found = ShardSet(shards)
    splits = {}
    for entry in found.entries:
        splits.setdefault(entry.key[:11], set()).add(entry.split)
    assert all(len(s) == 1 for s in splits.values())
    assert {s for group in splits.values() for s in group} == {"train", "val", "test"}


def test_few_cells_still_give_a_train_split():
    for count in (1, 2, 3, 7):
        assigned = split_of_cells([(f"cell{k}",) for k in range(count)])
        assert set(assigned.values()) >= set(("train", "val", "test")[: min(count, 3)])
    for trial in range(200):
        two = split_of_cells([(f"a{trial}",), (f"b{trial}",)])
        assert set(two.values()) == {"train", "val"}
        three = split_of_cells([(f"a{trial}",), (f"b{trial}",), (f"c{trial}",)])
        assert set(three.values()) == {"train", "val", "test"}
    many = split_of_cells([(f"cell{k}",) for k in range(2000)])
    assert 0.76 < list(many.values()).count("train") / 2000 < 0.84


def test_a_small_scene_is_one_padded_sample(tmp_path, write_stack):
    write_stack(tmp_path / "small.tif")
    build([str(tmp_path / "small.tif")], tmp_path / "out", BuildOptions())
    found = ShardSet(tmp_path / "out")
    sample = found.read(0)
    assert len(found) == 1
    assert (sample.groups[10][:, :96, :108] > 0).all()
    assert sample.groups[10][:, 96:].max() == sample.groups[60][:, :, 18:].max() == 0
    assert found.entries[0].valid_fraction == pytest.approx(96 * 108 / 240**2)
    assert found.entries[0].inside_px == (96, 108)
    assert len(found.indices("train")) == 1


def test_a_stopped_build_goes_on_to_the_same_bytes(synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr("bandloom.shards.build.plan.UNIT_SAMPLES", 4)
    options = BuildOptions(120)
    build([str(synthetic / "scenes")], tmp_path / "whole", options)
    assert len(digests(tmp_path / "whole")) == 6
    from bandloom.shards.build import build as module

    real, calls = module.run_unit, []

    def dies(plan, unit, place):
        if unit == 2 and not calls:
            calls.append(unit)
            (place / ".00002-000.tar.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        return real(plan, unit, place)

    monkeypatch.setattr(module, "run_unit", dies)
    with pytest.raises(KeyboardInterrupt):
        build([str(synthetic / "scenes")], tmp_path / "again", options)
    assert not (tmp_path / "again").exists()
    assert workplace(tmp_path / "again").exists()
    build([str(synthetic / "scenes")], tmp_path / "again", options)
    assert digests(tmp_path / "again") == digests(tmp_path / "whole")
    assert not workplace(tmp_path / "again").exists()
    assert (tmp_path / "again/samples.jsonl").read_text() == (tmp_path / "whole/samples.jsonl").read_text()


def test_parts_on_several_machines_merge_to_the_same_shards(synthetic, tmp_path, monkeypatch, command):
    monkeypatch.setattr("bandloom.shards.build.plan.UNIT_SAMPLES", 4)
    build([str(synthetic / "scenes")], tmp_path / "whole", BuildOptions(120))
    arguments = ["shards", "build", synthetic / "scenes", "--side", "120", "--out", tmp_path / "parts"]
    for part in ("2/3", "1/3"):
        assert command(*arguments, "--part", part)[0] == 0
    code, said = command("shards", "finalize", "--out", tmp_path / "parts")
    assert (code, "units" in said and "not built yet" in said) == (2, True)
    assert command(*arguments, "--part", "3/3")[0] == 0
    finish_build(tmp_path / "parts")
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")


def test_two_processes_never_build_the_same_part(synthetic, tmp_path, command):
    from bandloom.shards.build.build import _Journal

    arguments = ["shards", "build", synthetic / "scenes", "--out", tmp_path / "out", "--side", "120", "--part", "1/1"]
    workplace(tmp_path / "out").mkdir()
    with _Journal(workplace(tmp_path / "out") / "journal-00000.jsonl"):
        code, said = command(*arguments)
    assert (code, "another process builds this part" in " ".join(said.split())) == (2, True)
    assert command(*arguments)[0] == 0


def test_another_build_in_the_same_place_is_refused(synthetic, tmp_path, command):
    arguments = ["shards", "build", synthetic / "scenes", "--out", tmp_path / "out", "--part", "1/1"]
    assert command(*arguments, "--side", "120")[0] == 0
    code, said = command(*arguments, "--side", "60")
    assert code == 2
    assert "unfinished build from other sources or options" in said


def test_a_source_that_fails_is_quarantined_with_its_reason_and_the_rest_is_kept(tmp_path, write_stack, command):
    folder = tmp_path / "scenes"
    folder.mkdir()
    write_stack(folder / "good.tif")
    write_stack(folder / "nan.tif", np.full((13, 60, 60), np.nan, np.float32))
    cut = write_stack(folder / "cut.tif").read_bytes()
    (folder / "cut.tif").write_bytes(cut[: len(cut) // 2])
    code, said = command("shards", "build", folder, "--out", tmp_path / "out")
    assert code == 0
    assert "2 sources could not be used" in " ".join(said.split())
    reasons = {
        r["key"]: r["reason"] for r in map(json.loads, (tmp_path / "out/quarantine.jsonl").read_text().splitlines())
    }
    assert "NaN" in reasons["nan"]
    assert "truncated" in reasons["cut"]
    found = ShardSet(tmp_path / "out")
    assert [e.key for e in found.entries] == ["good_r0000_c0000"]
    assert found.manifest["quarantined"] == 2


LABELS = "name: two\nignore: [0]\nclasses: [{code: 1, name: a}, {code: 2, name: b}]\n"


@pytest.mark.parametrize(
    ("values", "origin", "sentence"),
    [
        (1, (700_040.0, 5_300_040.0), "does not lie on scene"),
        (7, (500_040.0, 5_300_040.0), "holds 7, not in label set 'two' (codes 1, 2)"),
    ],
)
def test_labels_that_do_not_fit_stop_the_build_with_nothing_left(
    tmp_path, write_stack, command, values, origin, sentence
):
    write_stack(tmp_path / "scene.tif")
    mask = np.full((1, 96, 108), values, np.uint8)
    write_stack(tmp_path / "mask.tif", mask, names=("label",), tags={}, origin=origin)
    (tmp_path / "set.yaml").write_text(LABELS)
    code, said = command(
        "shards",
        "build",
        tmp_path / "scene.tif",
        "--out",
        tmp_path / "out",
        "--labels",
        tmp_path / "mask.tif",
        "--label-set",
        tmp_path / "set.yaml",
    )
    assert code == 2
    assert sentence in said
    assert "Traceback" not in said
    assert {p.name for p in tmp_path.iterdir()} == {"scene.tif", "mask.tif", "set.yaml"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--side", "100"], "multiple of 6"),
        (["--sensor", "sentinel2"], "is not known"),
        (["--codec", "zip"], "is not known; use one of speed, default, archive"),
        (["--split", "dev"], "is not known; use one of train"),
        (["--part", "0/3"], "write I/N"),
        (["--part", "4/3"], "write I/N"),
        (["--labels", "x"], "needs --label-set"),
    ],
)
def test_options_that_cannot_be_used_are_one_sentence_and_leave_nothing(
    tmp_path, write_stack, command, arguments, sentence
):
    write_stack(tmp_path / "scene.tif")
    code, said = command("shards", "build", tmp_path / "scene.tif", "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert sentence in said
    assert [p.name for p in tmp_path.iterdir()] == ["scene.tif"]


@pytest.mark.parametrize("damage", ["empty", "truncated", "nodata", "floats", "no crs", "twelve", "tiny"])
def test_a_lone_bad_scene_stops_the_build_with_exit_code_2_and_a_clean_disk(tmp_path, write_stack, command, damage):
    path = tmp_path / "scene.tif"
    pixels = np.random.default_rng(0).integers(1010, 3000, (13, 60, 60), dtype=np.uint16)
    changed = {
        "nodata": pixels * 0,
        "floats": pixels.astype(np.float32) / 1e4,
        "twelve": pixels[:12],
        "tiny": pixels[:, :5, :5],
    }.get(damage, pixels)
    names = [f"B{k:02d}" for k in range(1, 9)] + ["B8A"] + [f"B{k:02d}" for k in range(9, 13)]
    write_stack(path, changed, names=names[: len(changed)], crs=None if damage == "no crs" else "EPSG:32633")
    if damage in ("empty", "truncated"):
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -2000])
    code, said = command("shards", "build", path, "--out", tmp_path / "out")
    assert code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["scene.tif"]


def test_an_output_that_exists_is_left_alone(tmp_path, write_stack, command):
    write_stack(tmp_path / "scene.tif")
    (tmp_path / "out").mkdir()
    code, said = command("shards", "build", tmp_path / "scene.tif", "--out", tmp_path / "out")
    assert code == 2
    assert "exists already" in said
    assert not any((tmp_path / "out").iterdir())


def test_a_full_disk_is_one_sentence_and_the_build_can_go_on(tmp_path, write_stack, monkeypatch, command):
    write_stack(tmp_path / "scene.tif")
    from bandloom.shards.store import tar_file

    def full(self, name, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tar_file.TarFile, "add", full)
        code, said = command("shards", "build", tmp_path / "scene.tif", "--out", tmp_path / "out")
    assert code == 2
    assert "disk is full" in said
    assert not (tmp_path / "out").exists()
    assert command("shards", "build", tmp_path / "scene.tif", "--out", tmp_path / "out")[0] == 0


def test_class_folders_give_every_chip_its_class(tmp_path, write_stack, command):
    for name in ("Forest", "River"):
        (tmp_path / "chips" / name).mkdir(parents=True)
        write_stack(tmp_path / "chips" / name / f"{name}_1.tif")
    code, said = command("shards", "build", tmp_path / "chips", "--class-folders", "--out", tmp_path / "out")
    assert code == 0, said
    found = ShardSet(tmp_path / "out")
    assert found.label_set.names == ("Forest", "River")
    assert {e.key.split("_")[0]: e.class_index for e in found.entries} == {"Forest": 0, "River": 1}
    assert all(e.has_label for e in found.entries)


def test_real_eurosat_chips_shard_with_their_band_order(real, tmp_path, command):
    arguments = ["shards", "build", real / "eurosat_ms", "--class-folders", "--out", tmp_path / "out"]
    code, said = command(*arguments)
    assert code == 2
    assert "--band-order" in said
    assert command(*arguments, "--band-order", "eurosat", "--side", "66")[0] == 0
    found = ShardSet(tmp_path / "out")
    assert len(found) == 5
    assert found.label_set.names == ("AnnualCrop", "Forest", "Pasture")
    cirrus = found.read(0).groups[60][2]
    assert np.median(cirrus[cirrus > 0]) < 1100


def test_real_flood_labels_travel_through_the_warp(real, tmp_path, command):
    (tmp_path / "set.yaml").write_text(
        "name: flood\nignore: [-1]\nclasses: [{code: 0, name: dry}, {code: 1, name: water}]\n"
    )
    code, said = command(
        "shards",
        "build",
        real / "flood_seg/Spain_7370579/S2Hand.tif",
        "--out",
        tmp_path / "out",
        "--labels",
        "{folder}/LabelHand.tif",
        "--label-set",
        tmp_path / "set.yaml",
    )
    assert code == 0, said
    found = ShardSet(tmp_path / "out")
    labels = np.concatenate([found.read(i).label.ravel() for i in range(len(found))])
    share = (labels == 1).sum() / (labels < 2).sum()
    assert share == pytest.approx(22462 / (22462 + 108571), abs=0.01)
    source = next(iter(found.manifest["sources"].values()))
    assert source["warped_from"] == "EPSG:4326"
    assert source["own_samples"] == [10, 20, 60]  # its export copied Sentinel-2's samples


def test_info_prints_counts_and_statistics(shards, command):
    code, said = command("shards", "info", shards)
    assert code == 0
    assert "24 samples" in " ".join(said.split())
    assert "B8A" in said
    assert command("shards", "info", shards.parent)[0] == 2


def test_help_of_every_verb_is_there(command):
    for verb in ("synth", "build", "finalize", "info"):
        assert command("shards", verb, "--help")[0] == 0
    with pytest.raises(SystemExit):
        main(["shards", "nonsense"])


def test_shards_need_their_sources_no_more(tmp_path, synthetic):
    copy = tmp_path / "scenes"
    shutil.copytree(synthetic / "scenes", copy)
    build([str(copy)], tmp_path / "out", BuildOptions(120))
    shutil.rmtree(copy)
    assert len(ShardSet(tmp_path / "out").read(3).groups) == 3


def test_a_build_says_scenes_samples_bytes_and_the_time_left(tmp_path, write_stack, monkeypatch, caplog):
    from functools import partial

    from bandloom.command_line.console import track

    (tmp_path / "scenes").mkdir()
    for k in range(3):
        write_stack(tmp_path / "scenes" / f"s{k}.tif")
    (tmp_path / "scenes" / "s3.tif").write_bytes(b"no raster")
    monkeypatch.setattr("bandloom.shards.build.build.track", partial(track, every_s=-1.0))
    monkeypatch.setattr("bandloom.shards.build.plan.UNIT_SAMPLES", 4)
    with caplog.at_level("INFO", logger="bandloom"):
        build([str(tmp_path / "scenes")], tmp_path / "out", BuildOptions(60))
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("units")]
    assert lines[0].startswith("units: 1 of 3, 1 scenes, 4 samples, 0.00 GB, ")
    assert lines[-1] == "units: 3 of 3, 3 scenes, 1 failed, 12 samples, 0.00 GB, 0 min left"
