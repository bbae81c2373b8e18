"""The registry of public label sets: the one place where a set is looked up by its ``--form``."""

from functools import lru_cache
from pathlib import Path

from bandloom.errors import LabelError, nearest
from bandloom.finetune.public_sets.bigearthnet_v1 import BigEarthNetV1
from bandloom.finetune.public_sets.bigearthnet_v2 import BigEarthNetV2, BigEarthNetV2Maps
from bandloom.finetune.public_sets.cloudsen12 import CloudSen12L1C, CloudSen12L2A
from bandloom.finetune.public_sets.eurosat_ms import EuroSat
from bandloom.finetune.public_sets.geobench_sets import MBigEarthNet, MCashew, MEuroSat, MSaCropType, MSo2Sat
from bandloom.finetune.public_sets.hls_burn_scars import HlsBurnScars
from bandloom.finetune.public_sets.marine import Mados, Marida
from bandloom.finetune.public_sets.oscd import Oscd
from bandloom.finetune.public_sets.pastis import Pastis
from bandloom.finetune.public_sets.place import Place
from bandloom.finetune.public_sets.public_set import PublicSet
from bandloom.finetune.public_sets.sen1floods11 import Sen1Floods11
from bandloom.finetune.public_sets.sen12ms import Dfc2020, Sen12Ms
from bandloom.finetune.public_sets.so2sat import So2Sat

AUTO = "auto"
_SETS: tuple[type[PublicSet], ...] = (
    EuroSat,
    BigEarthNetV2,
    BigEarthNetV2Maps,
    BigEarthNetV1,
    So2Sat,
    Sen1Floods11,
    MEuroSat,
    MBigEarthNet,
    MSo2Sat,
    MCashew,
    MSaCropType,
    Oscd,
    Dfc2020,
    Sen12Ms,
    Mados,
    Marida,
    HlsBurnScars,
    Pastis,
    CloudSen12L1C,
    CloudSen12L2A,
)
SETS: dict[str, type[PublicSet]] = {each.facts.form: each for each in _SETS}


def recognise(root: Path) -> list[str]:
    """Return the forms of all sets that a folder or archive holds; it is looked at, not walked through."""
    return [form for form, kind in SETS.items() if kind.find(Place(root)) is not None]


def form_of(form: str, root: Path) -> str | None:
    """Return the set that ``--form`` names or, for ``auto``, the one that lies there; None: no public set is meant.

    Raises:
        LabelError: ``auto``, and there is none, or several.
    """
    if form != AUTO:
        return form if form in SETS else None
    recognised = recognise(root)
    if len(recognised) != 1:
        what = (
            f"several public sets ({', '.join(recognised)})"
            if recognised
            else f"no public set known here ({', '.join(SETS)})"
        )
        raise LabelError(f"{root} holds {what}; say which with --form.")
    return recognised[0]


@lru_cache(maxsize=8)
def open_set(form: str, root: str, take: str | None = None) -> PublicSet:
    """Return a set in its folder; one process opens it once.

    Raises:
        LabelError: the form is not known, or the folder does not hold it.
    """
    if form not in SETS:
        raise LabelError(f"--form {form!r} is no public set; use one of {', '.join(SETS)}.{nearest(form, SETS)}")
    if not Path(root).exists():
        raise LabelError(f"{root} does not exist; check the path.")
    return SETS[form](Place(Path(root)), take)
