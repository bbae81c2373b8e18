"""Commands ``view`` and ``report``."""

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandloom.command_line.console import logger
from bandloom.errors import ConfigError

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, shards, bundles or maps; several: side by side.")],
    out: Annotated[Path, typer.Option(help="The page to write; must not exist.")] = Path("report.html"),
    pictures: Annotated[
        Path | None, typer.Option(help="A folder of NUMBER.png of samples; `bandloom shards show` draws it.")
    ] = None,
) -> None:
    """Write one self-contained page about what a stage left."""
    from bandloom.view.report import write_report

    logger.info("%s: open it in a browser, or send it", write_report(runs, out, pictures))


def view(
    maps: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MAP.tif...", help="Maps of predict; all but the first folded at first."),
    ] = None,
    scene: Annotated[
        list[Path] | None,
        typer.Option(help="The scene that was mapped, shown under the map; of a mosaic each one, in its order."),
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="Another map of the same place, behind a swipe.")] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(metavar="EMBEDDINGS.tif", help="Of the same place: a click maps what looks alike."),
    ] = None,
    label: Annotated[
        Path | None,
        typer.Option(metavar="POINTS", help="Label points of `bandloom assess sample`, the map hidden."),
    ] = None,
    port: Annotated[int, typer.Option(help="Of this machine; 0 takes a free one.")] = 8765,
    export: Annotated[Path | None, typer.Option(help="Write one file to send instead of serving.")] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Look at maps: classes over the scene, areas, spectra, two maps side by side, similar ground; or label points."""
    named = maps or []
    if label is not None:
        if compare is not None or export is not None or embeddings is not None or len(named) != 1:
            raise ConfigError("--label takes one map and goes without --compare, --export and --embeddings.")
        _serve(_label_server(named[0], scene or [], label, port), f"the points of {label}", open_browser)
        return
    if not named and (embeddings is None or compare is not None):
        raise ConfigError("bandloom view shows MAP.tif of bandloom predict, or --embeddings; name one.")
    if embeddings is not None and export is not None:
        raise ConfigError(
            "--embeddings answers clicks, which a page to send cannot; leave out --embeddings or --export."
        )
    from bandloom.view.fetch_maplibre import fetch
    from bandloom.view.scene_mosaic import scenes_under
    from bandloom.view.server import Views, make_server
    from bandloom.view.similarity import Similarity
    from bandloom.view.standalone import write_page
    from bandloom.view.value_map import open_map

    first, layers = [open_map(file) for file in named[:1]], [open_map(file) for file in named[1:]]
    if compare is not None:
        first.append(open_map(compare))
    views = Views(
        first,
        scenes_under(scene or [], first[0] if first else None),
        layers=layers,
        similarity=Similarity(embeddings) if embeddings is not None else None,
    )
    fetch()
    if export is not None:
        logger.info("%s: open it in a browser, or send it", write_page(views, export))
        return
    _serve(
        make_server(views, port),
        " and ".join(map(str, [*named, *(one for one in (compare, embeddings) if one)])),
        open_browser,
    )


def _label_server(map_file: Path, scenes: Sequence[Path], label: Path, port: int) -> "ThreadingHTTPServer":
    from bandloom.files.points_file import read_points_file
    from bandloom.view.class_map import ClassMap
    from bandloom.view.labelling.server import LabelHandler, Labelling
    from bandloom.view.labelling.session import Session
    from bandloom.view.scene_mosaic import scenes_under
    from bandloom.view.server import listen

    class_map = ClassMap(map_file)
    under = scenes_under(scenes, class_map)
    if under is None:
        raise ConfigError("--label shows the points over a scene; name it with --scene.")
    session = Session(read_points_file(label), class_map.classes)
    if session.unknown:
        logger.warning(
            "%d points of %s have a class that %s does not name, the first %r; they count as open and stay as they are"
            " until they are answered",
            len(session.unknown),
            label,
            map_file,
            session.unknown[0],
        )
    labelling = Labelling(session, class_map, under)
    return listen(type("Handler", (LabelHandler,), {"labelling": labelling}), port)


def _serve(made: "ThreadingHTTPServer", shown: str, open_browser: bool) -> None:
    with made as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        logger.info("%s shows %s; stop with Ctrl-C", address, shown)
        if open_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            logger.info("stopped")
