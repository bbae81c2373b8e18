"""Report sections of an alignment: word scores and retrieval, every number beside chance."""

from bandloom.view.records import Record
from bandloom.view.sections.parts import Section, plain, table

MEASURES = ("recall_at_1", "recall_at_5", "recall_at_10", "map_at_100")


def words(record: Record) -> Section:
    """Return the lines that must not be mixed up: known classes, unseen words, held-out classes."""
    rows = [
        [name, row.get("classes"), row.get("samples"), row.get("mean_recall"), row.get("chance")]
        for name, row in (record.result.get("three_numbers") or {}).items()
    ]
    note = "Mean recall over classes on test ground that training never touched."
    return Section(
        "What it knows of words", note, tables=table(("", "classes", "samples", "mean recall", "chance"), rows)
    )


def retrieval(record: Record) -> Section:
    """Return recall and mean average precision of every direction, beside a random order."""
    directions = (record.result.get("retrieval") or {}).items()
    rows = [
        [name, key.replace("_", " "), row.get("queries"), row.get("gallery"), row[key], row.get(f"{key}_chance")]
        for name, row in directions
        for key in MEASURES
        if key in row
    ]
    head = ("", "measure", "queries", "gallery", "score", "a random order")
    return Section("Retrieval", tables=table(head, rows))


def few_shot(record: Record) -> Section:
    """Return what a few labels a class add, from a head that starts at the words and from one that starts at random."""
    rows = [
        [row.get("shots"), row.get("from words"), row.get("from random"), row.get("chance")]
        for row in record.result.get("few_shot") or []
    ]
    head = ("labels a class", "started from the words", "started at random", "chance")
    return Section("With a few labels", "Mean recall over classes.", tables=table(head, rows))


def text(record: Record) -> Section:
    """Return which text model stood on the other side, and what the captions were made from."""
    result = record.result
    rows = plain(result.get("text") or {}) + plain(result.get("captions") or {})
    rows += [
        ["captions from", ", ".join(map(str, (result.get("captions") or {}).get("sources") or []))],
        ["classes held out", ", ".join(result.get("held_out") or []) or "none"],
    ]
    return Section("Words and where they came from", tables=table(("", ""), rows))
