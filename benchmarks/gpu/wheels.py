"""Lists the wheels to carry to a GPU box: the project's dependencies, and theirs, that the box does not have."""

import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
EXTRAS = ("train", "deepspeed", "text")
BESIDE = ("packaging", "pytest", "pytest-timeout", "hypothesis", "psutil")  # what the rows import beside the project
# what a CUDA image with PyTorch usually has; `--there FILE` names what yours has, such as `pip list --format freeze`
USUAL = """
absl-py annotated-doc attrs certifi click cloudpickle contourpy cycler einops filelock flatbuffers fonttools
fsspec grpcio h11 hf-xet httpcore httpx huggingface-hub hypothesis idna iniconfig jinja2 joblib kiwisolver
markdown markdown-it-py markupsafe matplotlib mdurl ml-dtypes mpmath msgpack narwhals networkx ninja numpy
onnx onnx-ir onnxruntime onnxscript packaging pillow pip pluggy protobuf psutil py-cpuinfo pygments pyparsing
pytest pytest-timeout python-dateutil pyyaml regex requests rich safetensors scikit-learn scipy setuptools
shellingham six sortedcontainers sympy tensorboard tensorboard-data-server threadpoolctl timm tokenizers torch
torchvision tqdm transformers triton typer typing-extensions urllib3 werkzeug wheel xxhash anyio charset-normalizer
"""
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def needed() -> dict[str, str]:
    """Return versions by name of all that the rows import here, needs of needs included."""
    versions: dict[str, str] = {}
    for name in _own_needs():
        _add(name, versions)
    return versions


def lacking(there: Iterable[str]) -> dict[str, str]:
    """Return what of :func:`needed` is to be carried to a box that has ``there``."""
    has = {canonicalize_name(name) for name in there}
    return {name: version for name, version in needed().items() if name not in has}


def names_in(text: str) -> list[str]:
    """Return the package names in what ``pip list --format freeze`` prints, or in plain names."""
    return [word.split("==")[0] for word in text.split()]


def download_command(packages: dict[str, str], folder: str = "wheels") -> str:
    """Return the command that fetches wheels for the box on any machine, and makes those of source releases."""
    named = " ".join(f"{name}=={version}" for name, version in packages.items() if name not in SOURCE_ONLY)
    platforms = " ".join(f"--platform {platform}" for platform in PLATFORMS)
    sources = [f"{name}=={packages[name]}" for name in SOURCE_ONLY if name in packages]
    fetch = (
        f"{Path(sys.executable).name} -m pip download -q --no-deps --only-binary=:all: --python-version {PYTHON}"
        f" --implementation cp {platforms} -d {folder} {named}"
    )
    make = f"DS_BUILD_OPS=0 pip wheel -q --no-deps --no-build-isolation -w {folder} {' '.join(sources)}"
    return f"{fetch} && {make}" if sources else fetch


SOURCE_ONLY = ("deepspeed",)
INSTALL = (
    "python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target /tmp/site wheels/*.whl"
    " && export PYTHONPATH=/tmp/site:$PWD"
)


def _own_needs() -> Iterator[str]:
    import tomllib

    project = tomllib.loads(PROJECT.read_text())["project"]
    wanted, extras = list(project["dependencies"]), list(EXTRAS)
    while extras:
        for text in project["optional-dependencies"].get(extras.pop(), ()):
            requirement = Requirement(text)
            if requirement.name == project["name"]:
                extras += requirement.extras
            else:
                wanted.append(text)
    yield from (Requirement(text).name for text in wanted)
    yield from BESIDE


def _add(name: str, versions: dict[str, str]) -> None:
    key = canonicalize_name(name)
    if key in versions:
        return
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return
    versions[key] = found.version.partition("+")[0]
    for text in found.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": "", "python_version": PYTHON}):
            _add(requirement.name, versions)
