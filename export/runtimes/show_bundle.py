"""``bandloom bundle inspect``: a bundle's inputs, outputs and parity as tables."""

from typing import Any

from rich.table import Table

from bandloom.command_line.console import table
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.runtimes.choose import survey


def _licence(said: Any) -> list[tuple[str, str]]:
    """Return whose encoder is inside and under which conditions, where it is another's."""
    if not isinstance(said, dict):
        return []
    return [("encoder", str(said.get("encoder"))), ("its licence", f"{said.get('name')}. {said.get('conditions')}")]


def tables(bundle: Bundle) -> list[Table]:
    """Return what the bundle takes, what it gives, and how close its models are to torch."""
    contract, record = bundle.contract, bundle.record
    tiling = contract.tiling
    about = [
        ("task", contract.task),
        *([("quantity", contract.target.title)] if contract.target is not None else []),
        ("sensor", contract.sensor["name"]),
        ("token", f"{contract.token_m} m"),
        ("tile", f"{tiling.tile_px} px of {MAP_PIXEL_M} m, margin {tiling.margin_px}, taper {tiling.taper_px}"),
        ("values", f"dn = reflectance * {contract.values.scale} + {contract.values.offset}"),
        ("temperature", f"{contract.temperature:g}"),
        *(
            [("thresholds", " ".join(f"{threshold:.2f}" for threshold in contract.thresholds))]
            if contract.thresholds
            else []
        ),
        *_licence(record.provenance.get("encoder_licence")),
        ("created", record.created),
        *((name, version) for name, version in record.versions.items()),
        *((f"from {key}", value) for key, value in record.provenance.items() if isinstance(value, str | int | float)),
    ]
    return [
        table(record.name, ("what", "value"), about),
        table(
            "Inputs",
            ("name", "bands", "slots"),
            [(g.name, " ".join(g.bands), " ".join(g.slots)) for g in contract.groups],
        ),
        table(
            "Classes",
            ("code", "name", "colour"),
            [(c.code, c.name, c.colour) for c in contract.get_label_set().classes],
        ),
        table(
            "Models",
            ("file", "precision", "kept in fp32", "max difference", "classes agree", "chips", "runtime"),
            [
                (
                    m.file,
                    m.precision,
                    " ".join(m.fp32_layers) or "-",
                    f"{m.parity.max_abs:.2g}",
                    f"{m.parity.argmax_agreement:.5f}",
                    m.parity.chips,
                    m.parity.runtime,
                )
                for m in record.models
            ],
        ),
        *(
            [
                table(
                    "Engines",
                    ("file", "backend", "precision", "for", "run here"),
                    [
                        (
                            e.file,
                            f"{e.backend} {e.backend_version}",
                            e.precision,
                            " ".join(e.compute_capabilities),
                            "yes" if e.executed else "no",
                        )
                        for e in record.engines
                    ],
                )
            ]
            if record.engines
            else []
        ),
        table(
            "Runtimes here, in order",
            ("runtime", "what became of it"),
            [(offer.runtime, offer.verdict) for offer in survey(bundle)],
        ),
    ]
