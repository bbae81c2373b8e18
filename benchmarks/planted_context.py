"""Contexts whose worth is known, to try fusion and its controls on: notes that hint at the class, and notes that don't.

A hint is a sentence that is common near some classes and rare near others, as a surveyor's or an owner's note would be:
it halves the choice, never names the class, and is wrong in a known share of the samples. A habit is a sentence that is
drawn with no look at the class.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bandloom.files.output import new_output

# two groups of classes by name, each with notes that a person might leave there; none holds a class word
HINTS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("cropland", "orchard", "grassland", "AnnualCrop", "PermanentCrop", "Pasture", "crops", "rangeland"),
        (
            "The owner asked about rainfall this season.",
            "Tractors come by twice a year.",
            "A family has worked this place since the war.",
        ),
    ),
    (
        ("trees", "shrubland", "mangrove", "wetland", "Forest", "HerbaceousVegetation", "flooded_vegetation"),
        (
            "Rangers count birds here in spring.",
            "The last visit was for a survey of beetles.",
            "Nobody has lived here for a century.",
        ),
    ),
    (
        ("built-up", "bare", "Highway", "Industrial", "Residential", "built_area", "bare_ground"),
        ("Trucks pass at all hours.", "The permit was renewed by the council.", "Dust was a complaint last year."),
    ),
    (
        ("lake", "river", "snow", "River", "SeaLake", "water", "snow_ice"),
        (
            "The gauge was read on Monday.",
            "Guides bring visitors when the weather allows.",
            "The level changes with the season.",
        ),
    ),
)
HABITS = (
    "The file was checked by a colleague.",
    "See the folder of last year.",
    "Ordered by post.",
    "This note replaces an older one.",
    "Taken as part of the yearly programme.",
    "No remarks.",
)


def hinting(names: Sequence[str], wrong: float, seed: int) -> list[str]:
    """Return one note a sample: a hint at its class's group and a habit.

    Args:
        names: class names of the samples.
        wrong: share of the samples that get a hint of any group, drawn at random.
        seed: of the draws.
    """
    rng = np.random.default_rng([seed, 1])
    group_of = {name: place for place, (own, _) in enumerate(HINTS) for name in own}
    notes = []
    for name in names:
        group = int(rng.integers(len(HINTS))) if rng.random() < wrong or name not in group_of else group_of[name]
        notes.append(f"{rng.choice(HINTS[group][1])} {rng.choice(HABITS)}")
    return notes


def habitual(count: int, seed: int) -> list[str]:
    """Return notes that know nothing of the class, in the same words as :func:`hinting`."""
    rng = np.random.default_rng([seed, 2])
    every = [note for _, own in HINTS for note in own]
    return [f"{rng.choice(every)} {rng.choice(HABITS)}" for _ in range(count)]


def write_context(path: Path, context: Mapping[str, str]) -> None:
    """Write a CSV with the columns key and context."""
    with new_output(path, overwrite=True) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "context"])
        writer.writerows(context.items())
