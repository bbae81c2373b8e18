"""RSVQA's own pictures and questions, where they are beside the checkout."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import from_origin

from bandloom.rasters.values import OFFSET
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from tests.finetune.captioner.language_models import write_language
from tests.finetune.captioner.test_train import FEW, exits

REAL = Path(__file__).parents[4] / "shared" / "data" / "rsvqa_lr"
RGB = {
    "name": "rgb-pictures",
    "reflectance": "toa",
    "bands": [
        {"name": "B04", "centre_nm": 665, "fwhm_nm": 31, "gsd_m": 10, "slot": "B04"},
        {"name": "B03", "centre_nm": 560, "fwhm_nm": 36, "gsd_m": 10, "slot": "B03"},
        {"name": "B02", "centre_nm": 490, "fwhm_nm": 66, "gsd_m": 10, "slot": "B02"},
    ],
}


def as_digital_numbers(picture: Path, out: Path, place: int) -> None:
    """Write a picture of bytes as digital numbers on a UTM grid of 10 m; byte 255 is a reflectance of 0.4."""
    with rasterio.open(picture) as file:
        dn = file.read().astype(np.float32) / 255 * 4000 + OFFSET
    with rasterio.open(
        out,
        "w",
        driver="GTiff",
        height=dn.shape[1],
        width=dn.shape[2],
        count=3,
        dtype="uint16",
        nodata=0,
        crs="EPSG:32631",
        transform=from_origin(300_000 + 12_000 * place, 6_000_000, 10, 10),
    ) as file:
        file.write(dn.round().astype(np.uint16))
        file.update_tags(RADIO_ADD_OFFSET=str(-OFFSET))
        for band, name in enumerate(("B04", "B03", "B02"), 1):
            file.set_band_description(band, name)


@pytest.mark.slow
def test_questions_about_real_pictures_are_learnt_and_answered(tmp_path):
    if not REAL.is_dir():
        pytest.skip("the real pictures and questions of ../shared/data are not here")
    (tmp_path / "pictures").mkdir()
    for place, picture in enumerate(sorted((REAL / "images").glob("*.tif"))):
        as_digital_numbers(picture, tmp_path / "pictures" / picture.name, place)
    (tmp_path / "rgb.yaml").write_text(yaml.safe_dump(RGB))
    shards = tmp_path / "shards"
    build([str(tmp_path / "pictures")], shards, BuildOptions(side_px=258, sensor=str(tmp_path / "rgb.yaml")))
    questions = tmp_path / "questions.jsonl"
    questions.write_text((REAL / "train.jsonl").read_text() + (REAL / "val.jsonl").read_text())
    write_language(tmp_path / "llama")
    config = tmp_path / "config.yaml"
    config.write_text(f"shards: {shards}\nlanguage: {{model: {tmp_path / 'llama'}, mode: full}}\n")
    few = (
        f"questions={questions}",
        "trainer.batch_size=4",
        "trainer.steps=40",
        "token_m=180",
        "split.block_m=12000",
        "test_pairs=20",
    )
    exits(["caption", "train", str(config), *FEW, *few, "--out", str(tmp_path / "run")])
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert report["questions"]["all"]["count"] == 20
    assert set(report["questions"]) >= {"count", "all"}
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    out = tmp_path / "answers.jsonl"
    some = tmp_path / "some.jsonl"
    some.write_text("".join(line + "\n" for line in (REAL / "val.jsonl").read_text().splitlines()[:20]))
    exits(
        [
            "caption",
            "generate",
            str(tmp_path / "run"),
            "--images",
            str(shards),
            "--questions",
            str(some),
            "--out",
            str(out),
            "--most-new",
            "3",
        ]
    )
    assert len(out.read_text().splitlines()) == 20
