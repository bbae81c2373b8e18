"""What the stages leave, made by the stages themselves on two small scenes, and a real browser to look at it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.made_once import made_once
from tests.view.command import run

SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, a pretraining, a fine-tuning, a bundle and a map; all test processes share one."""
    return made_once(tmp_path_factory, "chain", _make_chain)


def _make_chain(place: Path) -> None:
    assert run("shards", "synth", "--out", place / "data", "--scenes", 4, "--size", 120) == 0
    labels = ("--labels", place / "data/labels", "--label-set", place / "data/label_set.yaml")
    built = ("--out", place / "shards", "--side", 120, "--split", "train")
    assert run("shards", "build", place / "data/scenes", *labels, *built) == 0
    engine = {"precision": "fp32", "warmup_steps": 1}
    trainer = {"steps": 4, "batch_size": 4, "log_every": 1, "workers": 0, "engine": engine}
    probe = {"shards": str(place / "shards"), "every": 2, "tokens": 400, "train_split": "train", "test_split": "train"}
    shared = {"shards": str(place / "shards"), "size": "demo", "trainer": trainer}
    configs = {
        "pretrain": shared | {"crop_px": 60, "pictures_every": 2, "probe": probe},
        "finetune": shared
        | {
            "chip_px": 60,
            "checkpoint": str(place / "pretrain"),
            "compare_random": False,
            "warm_steps": 20,
            "bootstrap": 50,
            "seeds": 1,
            "baselines": ["majority", "pixel_logistic"],
        },
    }
    for verb, config in configs.items():
        (place / f"{verb}.yaml").write_text(yaml.safe_dump(config))
        assert run(verb, place / f"{verb}.yaml", "--out", place / verb) == 0
    assert run("export", place / "finetune", "--out", place / "bundle") == 0
    scene = next((place / "data" / "scenes").iterdir())
    assert run("predict", place / "bundle", scene, "--out", place / "map.tif", "--png", "--confidence") == 0


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium of the system, through Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install 'bandloom[dev]'")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("BANDLOOM_REQUIRE_BROWSER") == "1":
            pytest.fail("BANDLOOM_REQUIRE_BROWSER=1, but there is no chromium")
        pytest.skip("no chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *SOFTWARE_GL])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must end without an error in its console."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert not errors
