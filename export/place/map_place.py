"""From a box and a time to maps, polygons, areas and pages; each step is kept, so that the same command goes on."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bandloom.command_line.child import child_command, child_environment
from bandloom.errors import BundleError, OutputError, SceneError
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.place.areas import MapAreas, areas_within, write_areas
from bandloom.export.place.begun import Begun
from bandloom.export.place.choose import Choice, choose, day_of, polygon_of, told
from bandloom.export.place.mosaic import Parts, write_mosaic
from bandloom.export.predict.claim import claimed
from bandloom.export.predict.one_scene import predict_missing
from bandloom.export.predict.options import PredictOptions
from bandloom.export.products.polygons import PolygonOptions, write_polygons
from bandloom.export.runtimes.verify import verify
from bandloom.files.output import new_output
from bandloom.run_state.pulse import EVERY_S, pulse
from bandloom.shards import fetch as fetching
from bandloom.shards.scenes.readers.stac_assets import keys_of

BOX, AREAS, MOSAIC = "box.geojson", "areas.csv", "mosaic.tif"
MOST_ITEMS = 10_000  # of a catalogue's answer
# where catalogues keep a sensor's scenes, by the names of Earth Search
COLLECTIONS = {
    "sentinel2-l2a": "sentinel-2-l2a",
    "sentinel2-l1c": "sentinel-2-l1c",
    "landsat89-l2": "landsat-c2-l2",
}


def check_bundle(bundle: Bundle) -> None:
    """Check that a bundle maps classes from one date.

    Raises:
        BundleError: it answers something else.
    """
    contract = bundle.contract
    if not contract.makes_map or contract.answer.continuous or contract.dates > 1:
        raise BundleError(
            f"the bundle {bundle.path} does not map classes of one date; fetch scenes with bandloom shards fetch and"
            " use bandloom predict for it."
        )


@dataclass
class Place:
    """One box, one time, one bundle, one output folder."""

    bundle: Bundle
    wanted: fetching.Search
    out: Path
    begun: Begun
    options: PredictOptions
    page: bool = True

    @cached_property
    def choice(self) -> Choice:
        """The items to map: those that were chosen when the folder was begun, else the catalogue's best.

        Raises:
            SceneError: the catalogue cannot be asked, has none, or no longer has what was begun with.
        """
        if self.begun.items is not None and (kept := self._kept(self.begun.items)):
            return Choice(kept, "chosen when this folder was begun, and fetched")
        items = fetching.search(self.wanted)
        if self.begun.items is None:
            choice = choose(items, self.wanted.bbox)
        else:
            by_id = {item["id"]: item for item in items}
            if missing := [name for name in self.begun.items if name not in by_id]:
                raise SceneError(f"{self.wanted.api} no longer has {missing[0]}, with which {self.out} was begun.")
            choice = Choice([by_id[name] for name in self.begun.items], "chosen when this folder was begun")
        self._check_bands(choice.items)
        return choice

    def _kept(self, names: Sequence[str]) -> list[Any]:
        """Return the items of these names as they were fetched; none unless all were."""
        folders = [fetching.folder_of({"id": name}, self.scenes) for name in names]
        files = [folder / fetching.ITEM for folder in folders]
        return [json.loads(file.read_text()) for file in files] if all(file.is_file() for file in files) else []

    def _check_bands(self, items: Sequence[Any]) -> None:
        needed = {slot for group in self.bundle.contract.get_sensor().groups for slot in group.slots}
        for item in items:
            if missing := sorted(needed - set(keys_of(item["assets"]))):
                raise SceneError(
                    f"item {item['id']} has no asset for {', '.join(missing)}, which the bundle {self.bundle.path}"
                    f" takes; name a --collection of {self.bundle.contract.get_sensor().name}."
                )

    @property
    def scenes(self) -> Path:
        """Where items are fetched to."""
        return self.out / "scenes"

    def plan(self) -> Iterator[str]:
        """Yield what would be done."""
        yield from self._chosen()
        size, room = fetching.total_bytes([dict(item) for item in self.choice.items]), fetching.free_bytes(self.out)
        stated = f"{size / 1e9:.2f} GB" if size else "size not stated"
        yield f"to fetch: {stated}; {room / 1e9:.1f} GB free"
        one = f"MAP.tif, {'MAP.html, ' if self.page else ''}"
        products = f"{one}MAP.gpkg, {AREAS}"
        if len(self.choice.items) > 1:
            products = f"{one}of each, and of all as {MOSAIC}, its polygons, {AREAS}"
        yield f"to write below {self.out}: {products}"

    def run(self) -> Iterator[str]:
        """Fetch, map, and write every product that is not there yet; yield what to tell the user.

        Raises:
            BandloomError: a step fails; what is finished stays, and the same command goes on.
        """
        yield from self._chosen()  # a box that nobody covers leaves no folder behind
        with claimed(self.out / "map"):
            if self.begun.items is None:
                self.begun.begin([str(item["id"]) for item in self.choice.items])
            self._fetch()
            maps = []
            for item in self.choice.items:
                maps.append(self.out / f"{fetching.folder_of(item, self.scenes).name}.tif")
                yield from self._map(item, maps[-1])
            product = maps[0]
            if len(maps) > 1:
                product = self.out / MOSAIC
                yield from self._mosaic(product, maps)
            yield from self._polygons(product)
            yield from self._areas(product)

    def _chosen(self) -> Iterator[str]:
        yield f"{self.choice.why}:"
        yield from (f"  {told(item)}" for item in self.choice.items)

    def _fetch(self) -> None:
        left = [dict(item) for item in self.choice.items if not fetching.is_fetched(item, self.scenes)]
        if left and len(fetching.fetch(left, self.scenes)) < len(left):
            raise SceneError(f"not every scene could be fetched into {self.scenes}; run the same command again.")

    @cached_property
    def _runner(self) -> Any:
        return verify(self.bundle, self.options.precision, threads=self.options.threads, runtime=self.options.runtime)

    def _map(self, item: Any, path: Path) -> Iterator[str]:
        scene = fetching.folder_of(item, self.scenes)
        yield from predict_missing(self.bundle, self._runner, str(scene), path, self.options)
        yield from self._page(path, [scene])

    def _page(self, path: Path, scenes: Sequence[Path]) -> Iterator[str]:
        page = path.with_suffix(".html")
        if self.page and self.begun.needs(page, [path]):
            _write_page(path, scenes, page)
            yield f"{page}: open it in a browser, or send it"

    def _mosaic(self, path: Path, maps: Sequence[Path]) -> Iterator[str]:
        if self.begun.needs(path, maps):
            layers = ("confidence",) if self.options.confidence else ()
            contract = self.bundle.contract
            parts = Parts(maps, contract.get_label_set(), contract.map_nodata, layers)
            yield from write_mosaic(path, parts).lines()
        yield from self._page(path, [fetching.folder_of(item, self.scenes) for item in self.choice.items])

    def _polygons(self, path: Path) -> Iterator[str]:
        polygons = path.with_suffix(".gpkg")
        if self.begun.needs(polygons, [path]):
            yield from write_polygons(path, polygons, PolygonOptions()).lines()

    @property
    def _days(self) -> str:
        """The day of the items, or their first and last one."""
        days = sorted({day_of(item) for item in self.choice.items})
        return days[0] if len(days) == 1 else f"{days[0]}/{days[-1]}"

    def _areas(self, path: Path) -> Iterator[str]:
        box = self.out / BOX
        if not box.exists():
            feature = {"type": "Feature", "properties": {}, "geometry": polygon_of(self.wanted.bbox)}
            with new_output(box) as temporary:
                temporary.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}) + "\n")
        (areas,) = areas_within(box, [(path, self._days)])
        if self.begun.needs(self.out / AREAS, [path]):
            write_areas(self.out / AREAS, [areas])
        yield _shown(areas)
        yield (
            f"{self.out / AREAS} holds the map's hectares, which have no errors yet: bandloom assess sample"
            f" {path} --out {self.out / 'points.gpkg'}"
        )


def _shown(areas: MapAreas) -> str:
    by_size = sorted(areas.rows, key=lambda row: -row[1])
    told = ", ".join(f"{name} {hectares:,.2f} ha" for name, hectares, _ in by_size)
    return f"{areas.name}, {areas.mapped_ha / float(areas.areas.zone_ha[0]):.1%} of the box mapped: {told}"


def _write_page(path: Path, scenes: Sequence[Path], page: Path) -> None:
    """Write the page as a user would: what looks at maps is no part of what makes them."""
    under = [word for scene in scenes for word in ("--scene", str(scene))]
    words = ["view", str(path), *under, "--export", str(page)]
    with subprocess.Popen(
        child_command(words), env=child_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        stderr = _heard_out(child)
    if child.returncode:
        said = " ".join(stderr.split()).removeprefix("error: ")[-400:]
        raise OutputError(f"the page {page} could not be written ({said}); mend it, or add --no-page.")


def _heard_out(child: "subprocess.Popen[str]") -> str:
    """Wait for a process, beating as long as it works, and return what it said on stderr; a stop ends it too."""
    try:
        while True:
            pulse("writing the page")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.communicate(timeout=EVERY_S)[1]
    except BaseException:
        child.terminate()
        raise
