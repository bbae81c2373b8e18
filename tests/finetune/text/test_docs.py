"""The commands of docs/text.md, run as they stand, with a small random text model in MiniLM's place."""

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from bandloom.cli import main
from bandloom.finetune.text.captions.words import class_words, sentences
from bandloom.finetune.text.text_model.scratch import write_small_model
from bandloom.shards.read.shard_set import ShardSet

PAGE = (Path(__file__).parents[3] / "docs" / "text.md").read_text()
FEW = {"steps": 4, "batch_size": 8, "workers": 0, "snapshot_every": 4, "engine": {"warmup_steps": 1}}
MORE = ["burnt forest", "houses beside a lake", "open water", "farmland"]


@pytest.mark.slow
def test_the_pages_commands_lead_from_shards_to_a_bundle_a_table_and_a_map(
    tmp_path, monkeypatch, chip_shards, scenes_folder, encoder_folder
):
    words = class_words(ShardSet(chip_shards).label_set)
    texts = [text for word in words for text in sentences([*word.seen, *word.unseen])]
    write_small_model(tmp_path / "model", [*texts, *MORE], width=32, depth=1, seed=0)
    config = {
        "text": {"model": str(tmp_path / "model")},
        "trainer": FEW,
        "curve_points": 0,
        "split": {"block_m": 600, "buffer_m": 0},
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    shutil.copytree(chip_shards, tmp_path / "shards")
    shutil.copytree(encoder_folder, tmp_path / "runs" / "encoder")
    scene = next((scenes_folder / "scenes").iterdir())
    monkeypatch.chdir(tmp_path)
    for line in commands(scene, ShardSet(chip_shards).entries[0].key):
        code = exit_code(line)
        assert code == 0, line
    assert Path("classes.csv").read_text().startswith("key,source,x_m,y_m,class,river,wetland,burnt forest\n")
    assert Path("found/found.png").is_file()
    assert {path.name for path in Path("river.bundle").iterdir()} >= {"bundle.json", "model.onnx"}
    assert {path.name for path in Path().glob("words*")} == {"words.tif", "words-open-water.png", "words-farmland.png"}
    assert np.unique([line.split(",")[4] for line in Path("classes.csv").read_text().splitlines()[1:]]).size >= 1


def commands(scene: Path, key: str) -> list[str]:
    """Return the first block's lines that type bandloom; SCENE is a scene that is there, KEY a chip of the index."""
    block = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)[0]
    return [
        line.split("  #")[0].replace("SCENE", shlex.quote(os.fspath(scene))).replace("KEY", shlex.quote(key))
        for line in block.splitlines()
        if line.startswith("bandloom ")
    ]


def exit_code(line: str) -> int:
    try:
        main(shlex.split(line)[1:])
    except SystemExit as end:
        return int(end.code or 0)
    return 0
