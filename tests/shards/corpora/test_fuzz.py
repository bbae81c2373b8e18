"""Two hundred damages of containers: each sample kept is the one that was written, others are named with a reason."""

import json
import random
import shutil
import sys
import tarfile
import warnings
import zipfile
from collections import Counter

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from bandloom.errors import BandloomError
from bandloom.shards.build.build import build, workplace
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from tests.shards.corpora import cloudsen_replica
from tests.shards.corpora.replica import L1C, L2A, SIDE, copied, patch, truth_of, write_ssl4eo_v11
from tests.shards.corpora.test_copernicus_pretrain import CELL, PLACE
from tests.shards.corpora.test_copernicus_pretrain import write as write_tif
from tests.shards.corpora.test_major_tom import PRODUCT, row, write_parquet
from tests.shards.corpora.test_major_tom import SIDE as TOM_SIDE
from tests.shards.corpora.test_terramesh import PLACES, write_sample, write_tar

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]
TRIALS = 200
ZIP = "ssl4eos12_train_seasonal_data_000001.zarr.zip"
WRONG = {
    "shape": lambda old: [each + 1 for each in old],
    "chunks": lambda old: [max(1, each // 2) for each in old],
    "dtype": lambda old: "<f4" if old == "<i2" else "<i2",
    "order": lambda old: "F",
    "compressor": lambda old: {"id": "lzma"},
    "filters": lambda old: [{"id": "delta", "dtype": "<i2"}],
    "zarr_format": lambda old: 3,
}


def ssl4eo(folder):
    truth = write_ssl4eo_v11(folder / "S2L1C" / ZIP, ["0000173", "0101001"], "S2L1C")
    return folder / "S2L1C" / ZIP, {(place, season): each for (place, season), each in truth.items()}


def terramesh(folder):
    files, truth = {}, {}
    for number, place in enumerate(PLACES):
        made = patch(number, L1C, -1000 if number else 0, copied)
        truth[place, None] = made.truth
        files[f"{place}.zarr.zip"] = write_sample(folder / "one.zarr.zip", made.pixels, L1C).read_bytes()
    (folder / "one.zarr.zip").unlink()
    return write_tar(folder / "S2L1C/majortom_shard_000001.tar", files), truth


def major_tom(folder):
    rows, truth = [], {}
    for number in range(3):
        made, truth[f"{number}U_1R", None] = row(f"{number}U_1R", PRODUCT.format("1C", "0500"), -1000, L1C, number)
        rows.append(made)
    return write_parquet(folder / "images/part_00001.parquet", rows), truth


def copernicus(folder):
    made = patch(3, L1C, -1000, copied)
    path = folder / "images" / CELL / PLACE / "20221121T170629_20221121T170955_T14TQP.tif"
    write_tif(path, made.pixels)
    return path, {(f"{CELL}/{PLACE}", 0): made.truth}


def mmearth(folder):
    made = [patch(number, L2A, 0) for number in range(3)]
    order = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B08", "B09", "B10", "B11", "B12")
    path = folder / "data_1M_v001.h5"
    with h5py.File(path, "w") as file:
        stacks = []
        for each in made:
            planes = dict(zip(L2A, each.pixels.astype(np.uint16), strict=True))
            stacks.append(np.stack([planes.get(name, np.zeros((SIDE, SIDE), np.uint16)) for name in order]))
        chunks = (1, 13, SIDE, SIDE)
        file.create_dataset("sentinel2", data=np.stack(stacks), chunks=chunks, compression="gzip", fletcher32=True)
        names = [(f"tile{number}", "l2a") for number in range(3)]
        file.create_dataset("metadata", data=np.array(names, [("tile_id", "S100"), ("S2_type", "S10")]))
    facts = {"S2_type": "l2a", "S2_DATE": "2018-07-14", "CRS": "EPSG:32632", "lat": 47.1, "lon": 9.2}
    infos = {f"tile{number}": facts for number in range(3)}
    (folder / "data_1M_v001_tile_info.json").write_text(json.dumps(infos))
    return path, {(f"tile{number}", None): each.truth for number, each in enumerate(made)}


def cloudsen(folder):
    truth, items = {}, []
    for number in range(3):
        image, label, bands, _ = cloudsen_replica.patch(number, "l1c", SIDE)
        told = cloudsen_replica.row(f"a{number}", number, side=SIDE, roi_id=f"ROI_{number}")
        items.append((told, cloudsen_replica.packed(f"a{number}", image, label)))
        truth[f"ROI_{number}", None] = truth_of(bands)
    path = folder / "cloudsen12-l1c.0000.part.taco"
    path.write_bytes(cloudsen_replica.tortilla(items))
    return path, truth


KINDS = {each.__name__: each for each in (ssl4eo, terramesh, major_tom, copernicus, mmearth, cloudsen)}


def rewritten(path, change):
    """Write a zip again, each member through ``change(name, content)``, which may leave it out by None."""
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.NameToInfo.values()}
    changed = {name: change(name, content) for name, content in members.items()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in changed.items():
            if content is not None:
                new.writestr(name, content)


def damage_zarr(path, chance):
    """Damage one thing of a zip of Zarr: a chunk, a description, a coordinate, or its bytes."""
    kind = chance.choice(["cut", "bits", "no chunk", "short chunk", "swapped", "wrong", "nan", "units", "names"])
    if kind in ("cut", "bits"):
        return kind, damage_bytes(path, chance, kind)
    with zipfile.ZipFile(path) as archive:
        chunks = sorted(name for name in archive.NameToInfo if name.startswith("bands/") and "/." not in name)
    target = chance.choice(chunks)
    if kind == "no chunk":
        rewritten(path, lambda name, content: None if name == target else content)
    elif kind == "short chunk":
        rewritten(path, lambda name, content: content[: len(content) // 2] if name == target else content)
    elif kind == "wrong":
        key = chance.choice(sorted(WRONG))

        def change(name, content):
            if name != "bands/.zarray":
                return content
            told = json.loads(content)
            return json.dumps(told | {key: WRONG[key](told[key])}).encode()

        rewritten(path, change)
        kind = f"wrong {key}"
    elif kind == "nan":  # decoded floats with NaN, as a careless copy writes them
        rewritten(path, lambda name, content: as_floats(name, content))
    elif kind == "units":
        rewritten(path, lambda name, content: content.replace(b" since ", b" after "))
    elif kind == "names":
        rewritten(path, lambda name, content: content[:-2] if name == "band/0" else content)
    else:
        rewritten(path, lambda name, content: b"" if name == "x_/0.0" or name == "x/0" else content)
    return kind, None


def as_floats(name, content):
    if name == "bands/.zarray":
        told = json.loads(content)
        return json.dumps(told | {"dtype": "<f4", "compressor": None, "fill_value": "NaN"}).encode()
    if name.startswith("bands/") and "/." not in name:
        return np.full(SIDE * SIDE * 13 * 2, np.nan, "<f4").tobytes()
    return content


def damage_bytes(path, chance, kind):
    content = bytearray(path.read_bytes())
    if kind == "cut":
        path.write_bytes(content[: chance.randrange(1, len(content))])
        return
    for _ in range(chance.choice([1, 8])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def damage(name, path, chance):
    """Damage a container in one way that its kind can be damaged; return which."""
    if name == "ssl4eo":
        return damage_zarr(path, chance)[0]
    if name == "terramesh":
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        if chance.random() < 0.25:
            damage_bytes(path, chance, "cut")
            return "tar cut"
        one, target = path.parent / "one.zip", chance.choice(sorted(files))
        one.write_bytes(files[target])
        kind = damage_zarr(one, chance)[0]
        write_tar(path, files | {target: one.read_bytes()})
        one.unlink()
        return kind
    if name == "major_tom":
        kind = chance.choice(["cut", "empty group", "no band", "cut band", "floats", "no product"])
        if kind == "cut":
            damage_bytes(path, chance, "cut")
            return kind
        table = pq.read_table(path).to_pylist()
        target, band = chance.choice(table), chance.choice(L1C)
        if kind == "no product":
            target["product_id"] = "S2X"
        elif kind != "empty group":
            target[band] = {
                "no band": None,
                "cut band": target[band][: chance.randrange(8, len(target[band]) - 40)],
            }.get(kind)
        if kind == "floats":
            from tests.shards.corpora.test_major_tom import GSD_M, tif

            side = TOM_SIDE * 10 // GSD_M[band]
            target[band] = tif(np.full((side, side), np.nan, np.float32), GSD_M[band])
        empty = chance.randrange(3) if kind == "empty group" else -1
        schema = pq.read_schema(path)
        with pq.ParquetWriter(path, schema) as writer:
            import pyarrow as pa

            for number, each in enumerate(table):
                writer.write_table(pa.Table.from_pylist([] if number == empty else [each], schema=schema))
        return kind
    if name == "cloudsen":
        kind = chance.choice(["cut", "table", "no item", "header"])
        content = path.read_bytes()
        begin = int.from_bytes(content[2:10], "little")
        if kind == "cut":
            damage_bytes(path, chance, "cut")
        elif kind == "header":
            at = chance.randrange(2, 18)
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
        elif kind == "table":
            at = chance.randrange(begin, len(content))
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
        else:  # the middle of a patch was never written
            at = chance.randrange(200, begin - 5000)
            path.write_bytes(content[:at] + bytes(5000) + content[at + 5000 :])
        return kind
    if name == "copernicus":
        kind = chance.choice(["cut", "bands", "floats", "place", "nodata"])
        if kind == "cut":
            damage_bytes(path, chance, "cut")
            return kind
        with rasterio.open(path) as raster:
            pixels, profile = raster.read(), raster.profile
        pixels = pixels[:12] if kind == "bands" else pixels.astype("f4") if kind == "floats" else pixels
        told = {"count": len(pixels), "dtype": pixels.dtype} | ({"crs": None} if kind == "place" else {})
        told |= {"nodata": 77} if kind == "nodata" else {}
        path.unlink()
        with rasterio.open(path, "w", **{**profile, **told}) as raster:
            raster.write(pixels)
        return kind
    kind = chance.choice(["cut", "bits", "level", "no tile", "short json"])
    infos = path.with_name("data_1M_v001_tile_info.json")
    if kind in ("cut", "bits"):
        damage_bytes(path, chance, kind)
    elif kind == "short json":
        infos.write_text(infos.read_text()[: chance.randrange(200)])
    else:
        told = json.loads(infos.read_text())
        told["tile1"] = told["tile1"] | {"S2_type": "l1c"} if kind == "level" else {}
        infos.write_text(json.dumps(told))
    return kind


def is_a_sentence(text):
    return "\n" not in text and len(text) > 20 and text.rstrip()[-1] in ".!"


def check_kept(out, truth, what):
    """Fail where a sample that was kept holds other pixels than were written; return how many were kept."""
    found = ShardSet(out)
    for index, entry in enumerate(found.entries):
        wanted = truth[entry.origin["place"], entry.origin.get("season")]
        for gsd_m, pixels in found.read(index).groups.items():
            assert np.array_equal(pixels, wanted.group(gsd_m)), (what, entry.origin["address"], gsd_m)
    bad = out / "quarantine.jsonl"
    reasons = [json.loads(line)["reason"] for line in bad.read_text().splitlines()] if bad.is_file() else []
    assert all(is_a_sentence(reason) for reason in reasons), (what, reasons)
    return len(found), len(reasons)


def refused(root, out, side):
    """Return why a build refuses all of its input; None where it does not."""
    try:
        build([str(root)], out, BuildOptions(side))
    except BandloomError as error:
        return str(error)
    return None


def test_no_damage_of_a_container_gives_wrong_pixels(tmp_path):
    whole = {}
    for name, write in KINDS.items():
        (tmp_path / "whole" / name).mkdir(parents=True)
        path, truth = write(tmp_path / "whole" / name)
        whole[name] = path.relative_to(tmp_path / "whole" / name), truth
    outcomes = Counter()
    for trial in range(TRIALS):
        chance = random.Random(trial)
        name = chance.choice(sorted(KINDS))
        root, out = tmp_path / "damaged" / name, tmp_path / "out"
        for place in (root, out, workplace(out)):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tmp_path / "whole" / name, root)
        inner, truth = whole[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = damage(name, root / inner, chance)
        side = TOM_SIDE if name == "major_tom" else SIDE
        refusal = refused(root, out, side)
        if refusal is not None:
            assert is_a_sentence(refusal), (trial, name, kind, refusal)
            outcomes["refused"] += 1
            continue
        kept, left_out = check_kept(out, truth, (trial, name, kind))
        outcomes["some left out" if left_out else "all kept, equal" if kept == len(truth) else "fewer, unsaid"] += 1
        assert left_out or kept == len(truth), (trial, name, kind, kept)
    sys.stdout.write(f"\n{TRIALS} damages of containers: {dict(outcomes)}\n")
