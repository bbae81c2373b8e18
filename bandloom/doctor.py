"""``bandloom doctor``: what an issue reporter should paste; of a scene, what the program makes of it."""

import importlib.util
import os
import platform
import shutil
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Any

import typer

from bandloom import __version__
from bandloom.run_state.run_folder import REPORTED_PACKAGES, commit

PACKAGE_MODULES = {"scikit-learn": "sklearn"}  # packages whose module has another name
EXTRAS = ("shards", "train", "deepspeed", "text", "serve", "openvino", "tensorrt", "tensorrt-rtx", "dev")


# where the checks of the GPU box live: a string, as the verbs' are, since this floor imports no room above it
GPU_CHECKS = "bandloom.export.runtimes.gpu_checks:gpu_checks"
SCENES = "bandloom.shards.scenes.inspection"


def doctor(
    source: Annotated[str | None, typer.Argument(help="A scene: say what the program makes of it.")] = None,
    torch: Annotated[bool, typer.Option(help="Ask torch about the card too; imports it.")] = True,
    gpu: Annotated[bool, typer.Option("--gpu", help="Try what a GPU box needs, pass or fail line by line.")] = False,
    bundle: Annotated[Path | None, typer.Option(help="With --gpu: try this bundle's engines too.")] = None,
    png: Annotated[Path | None, typer.Option(help="Of a scene: write a small picture.")] = None,
    sensor: Annotated[str | None, typer.Option(help="Of a scene: sensor name or YAML.")] = None,
    band_order: Annotated[str | None, typer.Option(help="Of a scene: l1c, l2a, eurosat, or names with commas.")] = None,
    offset: Annotated[int | None, typer.Option(help="Of a scene: 0 or -1000, when the files do not say.")] = None,
    scale: Annotated[str | None, typer.Option(help="Of a scene: GAIN or GAIN,OFFSET to reflectance.")] = None,
    nodata: Annotated[str | None, typer.Option(help="Of a scene: the value that stands for absent, or none.")] = None,
    bands: Annotated[str | None, typer.Option(help="Of a scene: bands to read; -QA60 leaves it out.")] = None,
) -> None:
    """Print versions, extras, the GPU, files here that hide imports; or what is known of a scene and who says so.

    A scene of which something is only assumed ends with exit code 2.
    """
    if source is not None:
        told = (sensor, band_order, offset, scale, nodata, bands)
        raise typer.Exit(_look_at(source, told, png))
    if gpu or bundle:
        raise typer.Exit(_try_gpu(bundle))
    for name, value in _facts(ask_torch=torch):
        typer.echo(f"{name:<14} {value}")


def _look_at(source: str, told: tuple[Any, ...], picture: Path | None) -> int:
    """Print what a scene holds, and return the exit code: 2 when something of it is only assumed."""
    scenes = import_module(SCENES)
    findings = scenes.inspect(source, scenes.SceneOptions(*told), picture)
    for item in findings:
        typer.echo(item.line())
    assumed = [item.name for item in findings if item.assumed]
    if assumed:
        typer.echo(f"assumed, said by nobody: {', '.join(assumed)}; say it with --offset or --scale")
    return 2 if assumed else 0


def _try_gpu(bundle: Path | None) -> int:
    """Run the checks, say each as it ends, and return the exit code: 1 when one failed."""
    module, _, name = GPU_CHECKS.partition(":")
    failed = 0
    for check in getattr(import_module(module), name)(bundle):
        typer.echo(f"{check.verdict:<6} {check.name:<26} {check.said}")
        failed += check.verdict == "fail"
    typer.echo("this machine can run engines" if not failed else f"{failed} of these failed: engines will not run here")
    return min(failed, 1)


def _facts(*, ask_torch: bool) -> list[tuple[str, str]]:
    facts = [
        ("bandloom", f"{__version__} (commit {commit() or 'unknown: no checkout'})"),
        ("python", f"{platform.python_version()} at {sys.executable}"),
        ("platform", platform.platform()),
        ("machine", _machine()),
        ("compiler", shutil.which("g++") or shutil.which("c++") or "none: DeepSpeed cannot build its operators"),
        ("gdal", _gdal()),
    ]
    facts += [(name, _version(name)) for name in REPORTED_PACKAGES]
    facts += [(f"extra {name}", _extra(name)) for name in EXTRAS]
    if ask_torch:
        facts.append(("torch build", _torch_build()))
    facts.append(("shadowed", _shadowed()))
    return facts


def _machine() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    shm = shutil.disk_usage("/dev/shm").free / 2**30 if Path("/dev/shm").exists() else 0
    return f"{os.cpu_count()} cores, {total:.0f} GiB memory, {shm:.1f} GiB free in /dev/shm"


def _gdal() -> str:
    import rasterio
    from rasterio.drivers import raster_driver_extensions

    jp2 = "with" if "jp2" in raster_driver_extensions() else "WITHOUT"
    return f"{rasterio.__gdal_version__}, {jp2} JPEG 2000"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _extra(name: str) -> str:
    """Tell which packages of an extra are missing."""
    try:
        wanted = [line for line in requires("bandloom") or [] if f"extra == '{name}'" in line.replace('"', "'")]
    except PackageNotFoundError:
        return "bandloom is not installed, only on the path"
    names = [line.split(";")[0].split(">")[0].split("=")[0].split("[")[0].strip() for line in wanted]
    missing = [name for name in names if name != "bandloom" and _version(name) == "not installed"]
    return f"missing {', '.join(missing)}" if missing else "complete"


def _torch_build() -> str:
    if importlib.util.find_spec("torch") is None:
        return "no torch (none is needed to predict)"
    import torch

    if not torch.cuda.is_available():
        return f"{torch.__version__}, no CUDA device"
    card = torch.cuda.get_device_properties(0)
    return (
        f"{torch.__version__}, CUDA {torch.version.cuda}, {torch.cuda.device_count()} x {card.name},"
        f" {card.total_memory / 2**30:.0f} GiB, sm_{card.major}{card.minor}"
    )


def _shadowed() -> str:
    """Name files and folders here that hide what this program imports when it is started with ``python -m``."""
    names = ("bandloom", *(PACKAGE_MODULES.get(name, name.replace("-", "_")) for name in REPORTED_PACKAGES))
    home = Path(__file__).resolve().parent
    shadowing = [Path(f"{name}.py") for name in names if Path(f"{name}.py").exists()]
    shadowing += [Path(name) for name in names if Path(name, "__init__.py").exists() and Path(name).resolve() != home]
    return "; ".join(f"./{item} hides {item.stem}: rename it" for item in shadowing) or "nothing"
