"""CONTRIBUTING.md's table of additions, taken at its word: each thing is added to a copy of the project, and works."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
ROOMS = ("bandloom", "shards", "pretrain", "finetune", "export", "slurm", "view")
ROWS = dict(re.findall(r"^\| an? ([a-z ]+) \| (.*) \|$", PAGE, re.MULTILINE))
# what is added: files with their text, lines after (file, line that is there), and a check
NEW = {
    "baseline": (
        {},
        [
            (
                "finetune/baselines/classifiers.py",
                "from typing import Any, Protocol\n",
                "def centroid(seed: int):\n    from sklearn.neighbors import NearestCentroid\n\n"
                "    return filled(NearestCentroid(), scale=True)\n",
            ),
            ("finetune/tasks/classify.py", "import forest, ", "centroid, "),
            (
                "finetune/tasks/classify.py",
                "baselines={\n",
                '        "stats_centroid": Baseline(statistics_of_chip, centroid),\n',
            ),
        ],
        """
from bandloom.finetune.data.splits import BlockSplit
from bandloom.finetune.tasks.registry import get_task
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2
task = get_task("classify")
data = task.data(FakeShards(40, 36, chips=True), BlockSplit(600, 0), S2)
(row,) = task.run_baselines(["stats_centroid"], data, 0, task.baselines)
assert row.name == "stats_centroid" and row.confusions
""",
    ),
    "task": (
        {
            "finetune/data/coarse.py": (
                '"""Chips with one class each, once more."""\n\n'
                "from bandloom.finetune.data.chips import ChipData\nfrom bandloom.tasks import ANSWERS\n\n\n"
                'class CoarseData(ChipData):\n    answer = ANSWERS["coarse"]\n'
            ),
            "finetune/tasks/coarse.py": (
                '"""Coarse: a class for every chip, once more."""\n\nfrom dataclasses import replace\n\n'
                "from bandloom.finetune.data.coarse import CoarseData\n"
                "from bandloom.finetune.tasks.classify import CLASSIFY\n\n"
                "COARSE = replace(\n    CLASSIFY,\n    answer=CoarseData.answer,\n    data=CoarseData,\n"
                "    make_data=lambda shards, config, split, sensor: CoarseData(shards, split, sensor),\n)\n"
            ),
        },
        [
            ("bandloom/tasks.py", 'Literal["segment", ', '"coarse", '),
            (
                "bandloom/tasks.py",
                "_ANSWERS = (\n",
                '    Answer("coarse", "a class for every chip", per_pixel=False),\n',
            ),
            ("finetune/tasks/registry.py", "import CLASSIFY\n", "from bandloom.finetune.tasks.coarse import COARSE\n"),
            ("finetune/tasks/registry.py", "_TASKS = (SEGMENT, ", "COARSE, "),
        ],
        """
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import BlockSplit
from bandloom.finetune.tasks.registry import get_task
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2
config = FinetuneConfig(shards="x", task="coarse")
data = get_task("coarse").make_data(FakeShards(40, 36, chips=True), config, BlockSplit(600, 0), S2)
assert data.task == "coarse" and data.counts.sum() > 0
""",
    ),
    "sensor": (
        {
            "two_bands.yaml": "name: two bands\nreflectance: toa\nbands:\n"
            "  - {name: red, centre_nm: 665, fwhm_nm: 31, gsd_m: 10, slot: B04}\n"
            "  - {name: nir, centre_nm: 842, fwhm_nm: 106, gsd_m: 20, slot: B08}\n"
        },
        [],
        """
from bandloom.sensors import get_sensor
assert [group.gsd_m for group in get_sensor("two_bands.yaml").groups] == [10, 20]
""",
    ),
    "scene reader": (
        {
            "shards/scenes/readers/pointer.py": '"""A text file that names a raster."""\n\nfrom pathlib import Path\n\n'
            "from bandloom.shards.scenes.options import SceneOptions\n"
            "from bandloom.shards.scenes.readers.plain import open_stack\n"
            "from bandloom.shards.scenes.scene import Scene\n\n\n"
            'def is_pointer(path: Path) -> bool:\n    return path.suffix == ".pointer"\n\n\n'
            "def open_pointer(path: Path) -> Scene:\n"
            '    return open_stack(path.read_text().strip(), SceneOptions("sentinel2-l1c", "l1c", 0))\n'
        },
        [
            (
                "shards/scenes/__init__.py",
                "import is_landsat, open_landsat\n",
                "from bandloom.shards.scenes.readers.pointer import is_pointer, open_pointer\n",
            ),
            ("shards/scenes/__init__.py", "    if is_eopf(path) or ", "is_pointer(path) or "),
            (
                "shards/scenes/__init__.py",
                "def _open(path: str | Path, options: SceneOptions) -> Scene:\n",
                "    if is_pointer(Path(path)):\n        return open_pointer(Path(path))\n",
            ),
        ],
        """
from pathlib import Path
import numpy as np, rasterio
from bandloom.shards.scenes import is_scene, open_scene
profile = dict(driver="GTiff", width=60, height=60, count=13, dtype="uint16", crs="EPSG:32633",
               transform=rasterio.transform.from_origin(600000, 4800000, 10, 10))
with rasterio.open("all.tif", "w", **profile) as file:
    file.write(np.full((13, 60, 60), 3000, np.uint16))
Path("all.pointer").write_text("all.tif")
assert is_scene(Path("all.pointer"))
assert open_scene("all.pointer").read((0, 0, 600, 600))[60].shape == (3, 10, 10)
""",
    ),
    "runtime": (
        {
            "export/runtimes/plain_runner.py": '"""ONNX Runtime without optimisations."""\n\n'
            "from bandloom.export.runtimes.onnx_runner import OnnxRunner\n\n\n"
            "class PlainRunner(OnnxRunner):\n    def __init__(self, path, *, threads=0):\n"
            "        super().__init__(path, threads=threads, exact=True)\n"
            '        self.name = "plain"\n'
        },
        [
            (
                "export/runtimes/choose.py",
                "import OpenVinoRunner\n",
                "from bandloom.export.runtimes.plain_runner import PlainRunner\n",
            ),
            ("export/runtimes/choose.py", 'RUNTIMES = ("tensorrt", ', '"plain", '),
            (
                "export/runtimes/choose.py",
                "Runner]] = {\n",
                '    "plain": lambda bundle, model, count: PlainRunner(bundle.path / model.file, threads=count),\n',
            ),
        ],
        """
from pathlib import Path
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.runtimes.choose import load_runner
from tests.export.tiny_model import write_tiny_bundle
assert load_runner(read_bundle(write_tiny_bundle(Path("tiny"))), runtime="plain").name == "plain"
""",
    ),
    "augmentation": (
        {},
        [
            (
                "finetune/config.py",
                'deviation of noise added to every sample, in reflectance")\n',
                '    haze: float = Field(default=0.0, ge=0, description="reflectance added to every sample")\n',
            ),
            (
                "finetune/training/perturb.py",
                "def perturb(batch: DeviceBatch, config: PerturbConfig) -> DeviceBatch:\n",
                "    if config.haze:\n"
                "        hazy = {gsd: group.float() + config.haze * SCALE for gsd, group in batch.groups.items()}\n"
                "        batch = replace(batch, groups=hazy)\n",
            ),
        ],
        """
import numpy as np, torch
from bandloom.finetune.config import PerturbConfig
from bandloom.finetune.training.perturb import perturb
from bandloom.training.device_batch import DeviceBatch
from tests.finetune.models import S2, chips
groups = chips()
values = {"keys": ("a", "b"), "groups": groups, "sensor": S2, "draws": np.arange(2, dtype=np.uint64)}
batch = DeviceBatch(**values, label=None, class_index=None)
hazy = perturb(batch, PerturbConfig(haze=0.1))
assert torch.allclose(hazy.groups[10], groups[10].float() + 1000, atol=1e-6)
""",
    ),
    "caption source": (
        {
            "finetune/text/captions/sentences_of_size.py": '"""Captions that name a sample\'s size."""\n\n\n'
            'def size_caption(entry) -> str:\n    return f"ground of {10 * entry.side_px} metres"\n'
        },
        [
            ("finetune/text/captions/captions.py", 'Literal["csv", ', '"size", '),
            (
                "finetune/text/captions/captions.py",
                "import mask_caption, metadata_caption\n",
                "from bandloom.finetune.text.captions.sentences_of_size import size_caption\n",
            ),
            (
                "finetune/text/captions/captions.py",
                "    for key, index in entries.items():\n",
                '        if "size" in config.sources:\n'
                "            captions[key] += [size_caption(shards.entries[index])]\n",
            ),
        ],
        """
import numpy as np
from bandloom.finetune.text.captions.captions import CaptionConfig, make_captions
from tests.finetune.fake_shards import FakeShards
made = make_captions(CaptionConfig(sources=["size"]), FakeShards(3, 36, chips=True), np.arange(3), turned=False)
assert made.texts == ("ground of 360 metres",)
""",
    ),
    "objective": (
        {
            "pretrain/objectives/mean.py": '"""The mean of a token\'s samples."""\n\n'
            "import torch\n\nfrom bandloom.pretrain.objectives.objective import Decoded, Objective\n"
            "from bandloom.training.step_loss import LossSums\n\n\n"
            "class MeanTarget(Objective):\n    outputs = 1\n\n"
            "    def forward(self, decoded: Decoded) -> LossSums:\n"
            "        error = (decoded.outputs[..., 0] - decoded.samples.mean(-1)).abs()[decoded.mask]\n"
            "        return LossSums(error.sum()[None], decoded.mask.sum()[None])\n\n"
            "    def terms(self, sensor) -> int:\n        return 1\n\n"
            "    def counts(self, valid, mask, sensor) -> torch.Tensor:\n        return mask.sum()[None]\n"
        },
        [
            ("pretrain/config.py", 'kind: Literal["pixels", ', '"mean", '),
            (
                "pretrain/objectives/__init__.py",
                "import LatentTarget\n",
                "from bandloom.pretrain.objectives.mean import MeanTarget\n",
            ),
            (
                "pretrain/objectives/__init__.py",
                '"""Return the objective that ``config.kind`` names."""\n',
                '    if config.kind == "mean":\n        return MeanTarget()\n',
            ),
        ],
        """
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives import make_objective
from bandloom.sensors import SLOTS
statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.2), std=dict.fromkeys(SLOTS, 0.1))
assert type(make_objective(ObjectiveConfig(kind="mean"), 60, statistics)).__name__ == "MeanTarget"
""",
    ),
    "verb": (
        {},
        [
            (
                "pretrain/cli.py",
                "import typer\n",
                '\n\ndef hello() -> None:\n    """Say hello."""\n    typer.echo("hello")\n',
            ),
            ("bandloom/cli.py", "VERBS = {\n", '    "hello": ("bandloom.pretrain.cli:hello", "Say hello."),\n'),
        ],
        """
import subprocess, sys
said = subprocess.run([sys.executable, "-m", "bandloom.cli", "hello"], capture_output=True, text=True, check=True)
assert said.stdout == "hello\\n"
""",
    ),
}


def copy_of_the_project(folder: Path) -> Path:
    for name in (*ROOMS, "tests"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("*.xz"))
    return folder


@pytest.fixture(scope="module", name="project")
def with_everything_added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    for files, lines, _ in NEW.values():
        for name, text in files.items():
            (project / name).write_text(text)
        for name, before, line in lines:
            text = (project / name).read_text()
            (project / name).write_text(text.replace(before, before + line, 1))
    return project


EVERY_CHECK = """
import json, pathlib, sys, traceback
said = {}
for thing, code in json.load(sys.stdin).items():
    try:
        exec(compile(code, thing, "exec"), {"__name__": thing})
        said[thing] = "works"
    except BaseException:
        said[thing] = traceback.format_exc()
pathlib.Path("said.json").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(project: Path) -> dict[str, str]:
    """What each check says, all of them in one process that knows the copy alone: torch is imported once."""
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    checks = json.dumps({thing: check for thing, (_, _, check) in NEW.items()})
    command = [sys.executable, "-c", EVERY_CHECK]
    done = subprocess.run(command, cwd=project, env=env, input=checks, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((project / "said.json").read_text())


@pytest.mark.parametrize("thing", NEW)
def test_what_is_added_as_the_table_says_works(project: Path, said: dict[str, str], thing: str):
    for name, before, line in NEW[thing][1]:
        assert before + line in (project / name).read_text(), f"{name} has no {before!r}; does the table still hold?"
    assert said[thing] == "works"


@pytest.mark.parametrize("thing", NEW)
def test_a_rows_files_are_those_that_were_touched(thing: str):
    files, lines, _ = NEW[thing]
    row = ROWS[thing]
    for name in [*files, *(name for name, _, _ in lines)]:
        if name.endswith(".py"):
            assert name in row or str(Path(name).parent) + "/`" in row or f"the stage's `{Path(name).name}`" in row, (
                name
            )


def test_the_table_has_a_row_for_everything_that_was_tried():
    assert set(ROWS) == set(NEW)


@pytest.mark.parametrize("thing", ROWS)
def test_every_file_of_a_row_is_there(thing: str):
    for path in re.findall(r"`([a-z]+/[\w./-]*)`", ROWS[thing]):
        assert (ROOT / path).exists(), path
