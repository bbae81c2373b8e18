"""Pictures that several runs have of the same name, beside each other."""

from bandloom.view.comparison.compared import Compared
from bandloom.view.sections.parts import Section, picture
from bandloom.view.sections.training import caption_of

SHOWN = ("confusion", "reliability", "scatter")


def sections(group: Compared) -> list[Section]:
    """Return pictures of one name side by side; what only one has stays on its own page."""
    held = [{path.stem: path for path in record.pictures} for record in group.records]
    return [
        Section(
            caption_of(stem),
            pictures=[
                picture(paths[stem], note=name) for name, paths in zip(group.names, held, strict=True) if stem in paths
            ],
        )
        for stem in SHOWN
        if sum(stem in paths for paths in held) > 1
    ]
