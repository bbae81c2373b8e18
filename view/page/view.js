// The map page: the scene below, the classes above, and what lies under a click.
"use strict";

const inside = window.RECORD; // present in a page that was written to be sent

// pictures across the antimeridian are not drawn: a page without a server shows such ground half a turn further west
let turned = 0;
function turn({ maps }) {
  if (!inside || maps[0].bounds[2] <= 180) return;
  turned = 180;
  for (const { bounds } of maps) [bounds[0], bounds[2]] = [bounds[0] - turned, bounds[2] - turned];
}

const corners = ([west, south, east, north]) => [[west, north], [east, north], [east, south], [west, south]];

// two maps may give one code to different classes: a class is its code and its name
const keyOf = ({ value, name }) => `${value} ${name}`;

// the sources and layers of one map widget: the scene's composites, then one map of classes
function addLayers(map, record, number, composite, shown, opacity) {
  const { classes, bounds } = record.maps[number];
  const [, south, east, north] = bounds;
  const reach = east > 180 ? [-180, south, 180, north] : bounds; // across the antimeridian tiles lie on both of its sides
  const tiles = (path) => ({
    type: "raster", tiles: [`${location.origin}/tiles/${path}`], tileSize: 256, bounds: reach, maxzoom: 17,
  });
  const put = (id, source, paint) => {
    map.addSource(id, source);
    map.addLayer({ id, type: "raster", source: id, paint: { "raster-fade-duration": 0, ...paint } });
  };
  if (composite) {
    const source = inside
      ? { type: "image", url: inside.pictures[`scene/${composite}`], coordinates: corners(record.maps[0].bounds) }
      : tiles(`scene/${encodeURIComponent(composite)}/{z}/{x}/{y}.png`);
    put("scene", source, {});
  }
  const paint = { "raster-opacity": opacity, "raster-resampling": "nearest" };
  if (!inside) {
    const codes = classes.filter((one) => shown.has(keyOf(one))).map((one) => one.value);
    put("classes", tiles(`map/${number}/{z}/{x}/{y}.png?show=${codes.join(",")}`), paint);
    return;
  }
  for (const each of classes.filter((one) => shown.has(keyOf(one)))) {
    const url = inside.pictures[`map/${number}/${each.value}`];
    put(`class-${each.value}`, { type: "image", url, coordinates: corners(bounds) }, paint);
  }
}

function draw(map, record, number, state) {
  for (const layer of map.getStyle().layers) map.removeLayer(layer.id);
  for (const source of Object.keys(map.getStyle().sources)) map.removeSource(source);
  addLayers(map, record, number, state.composite, state.shown, state.opacity);
}

function newMap(container, bounds) {
  const drawable = document.createElement("canvas");
  if (!drawable.getContext("webgl2") && !drawable.getContext("webgl"))
    throw new Error("this browser draws no WebGL, which the map needs; turn on its hardware acceleration, or open the page in another");
  const map = new maplibregl.Map({
    container, bounds, fitBoundsOptions: { padding: 20 }, maxZoom: 19, attributionControl: false,
    dragRotate: false, pitchWithRotate: false, style: { version: 8, sources: {}, layers: [] },
  });
  map.on("error", async (event) => {
    const { url, message } = event.error ?? {};
    // what the program says about a tile is a sentence; what the browser says about it is not
    const said = url ? await fetch(url).then((answer) => answer.text()).catch(() => null) : message;
    trouble(said ?? "the program behind this page does not answer; start bandloom view again");
  });
  return map;
}

function follow(leader, follower) {
  let led = false;
  const copy = (from, to) => from.on("move", () => {
    if (led) return;
    led = true;
    to.jumpTo({ center: from.getCenter(), zoom: from.getZoom() });
    led = false;
  });
  copy(leader, follower);
  copy(follower, leader);
}

function degrees(place) {
  const { lng, lat } = new maplibregl.LngLat(place.lng + turned, place.lat).wrap(); // panned, it counts on beyond 180
  return `${lat.toFixed(5)}, ${lng.toFixed(5)}`;
}

// products' names have no spaces: a line may end behind an underscore
function breakable(text) {
  return text.split(/(?<=_)/).flatMap((part, number) => (number ? [document.createElement("wbr"), part] : [part]));
}

// the class under a place in a page that was sent: the one whose picture is not clear there
const opened = new Map();
async function classAt(number, { bounds, classes }, { lng, lat }) {
  const mercator = (degrees) => Math.log(Math.tan(Math.PI / 4 + (degrees * Math.PI) / 360));
  const [west, south, east, north] = bounds;
  const x = ((((lng - west) % 360) + 360) % 360) / (east - west); // the place may be on another copy of the world
  const y = (mercator(north) - mercator(lat)) / (mercator(north) - mercator(south));
  if (!(x >= 0 && x < 1 && y >= 0 && y < 1)) return null;
  for (const each of classes) {
    const url = inside.pictures[`map/${number}/${each.value}`];
    if (!opened.has(url)) {
      const picture = Object.assign(new Image(), { src: url });
      await picture.decode();
      const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
      opened.set(url, canvas.getContext("2d", { willReadFrequently: true }));
      opened.get(url).drawImage(picture, 0, 0);
    }
    const drawn = opened.get(url);
    const pixel = drawn.getImageData(Math.floor(x * drawn.canvas.width), Math.floor(y * drawn.canvas.height), 1, 1);
    if (pixel.data[3]) return each;
  }
  return { name: "no data" };
}

async function found(record, place) {
  if (!inside) return ask(`at.json?lon=${place.lng}&lat=${place.lat}`);
  const maps = await Promise.all(record.maps.map((map, number) => classAt(number, map, place)));
  return { maps, spectrum: [], class_means: [] };
}

async function show(record, state, place) {
  const here = at("here");
  const turn = (state.turn = (state.turn ?? 0) + 1);
  state.mark(place);
  here.replaceChildren(element("p", degrees(place)));
  try {
    const { maps, spectrum: points, class_means } = await found(record, place);
    if (turn !== state.turn) return; // another place was asked for meanwhile
    maps.forEach((each, number) => {
      const line = element("p", "");
      const swatch = document.createElement("i");
      if (each?.colour) swatch.style.background = each.colour;
      line.append(swatch, " ", element("strong", each ? each.name : "outside"));
      if (each?.confidence_percent !== undefined) line.append(` ${each.confidence_percent} %`);
      if (maps.length > 1) line.append(` (${record.maps[number].name})`);
      here.append(line);
    });
    const known = new Map(record.maps[0].classes.map((each) => [each.value, each]));
    const means = class_means.filter((mean) => state.shown.has(keyOf(known.get(mean.value)))).map((mean) =>
      ({ ...mean, name: escaped(known.get(mean.value).name), colour: escaped(known.get(mean.value).colour) }));
    here.insertAdjacentHTML("beforeend", spectrum(points, means, maps[0]?.value));
    if (points.length) here.append(element("p",
      "Digital numbers of the scene. Dots: this pixel; dashed: the mean of its class; thin: the other classes shown."));
    trouble("");
  } catch (error) {
    trouble(error.message);
  }
}

function legend(record, state, redraw) {
  const areas = new Map();
  record.maps.forEach((map, number) => map.classes.forEach((each) => {
    if (!areas.has(keyOf(each))) areas.set(keyOf(each), { ...each, pixels: 0, hectares: [] });
    areas.get(keyOf(each)).hectares[number] = each.hectares;
    areas.get(keyOf(each)).pixels += each.pixels;
  }));
  const empty = [...areas.values()].filter((each) => !each.pixels);
  at("empty").hidden = !empty.length;
  at("empty").querySelector("summary").textContent =
    `${empty.length} ${empty.length === 1 ? "class" : "classes"} with nothing here`;
  for (const each of areas.values()) {
    const list = each.pixels ? at("legend") : at("empty").querySelector("ul");
    const [item, label, box, swatch] = ["li", "label", "input", "i"].map((tag) => document.createElement(tag));
    Object.assign(box, { type: "checkbox", checked: true, value: each.value });
    box.addEventListener("change", () => {
      box.checked ? state.shown.add(keyOf(each)) : state.shown.delete(keyOf(each));
      redraw();
    });
    swatch.style.background = each.colour;
    const round = (hectares) => (hectares === undefined ? "none" : hectares === null ? "" :
      `${hectares.toLocaleString("en", { maximumFractionDigits: hectares < 100 ? 1 : 0 })} ha`);
    const area = element("span", record.maps.map((_, number) => round(each.hectares[number])).join(" → "));
    area.className = "area";
    label.append(box, swatch, element("span", each.name), area);
    item.append(label);
    list.append(item);
  }
  const all = (on) => {
    for (const box of document.querySelectorAll("#legend input, #empty input")) box.checked = on;
    state.shown = new Set(on ? areas.keys() : []);
    redraw();
  };
  at("all").addEventListener("click", () => all(true));
  at("none").addEventListener("click", () => all(false));
  state.shown = new Set(areas.keys());
}

async function start() {
  const record = inside ?? (await ask("record.json"));
  turn(record);
  const titles = [...new Set(record.maps.map((map) => map.title))];
  at("name").replaceChildren(...breakable(titles.join(" beside ")));
  at("about").replaceChildren(...record.maps.flatMap((map, number) => [...(number ? [element("br", "")] : []), map.about]));
  document.title = `${titles.join(" beside ")} · bandloom`;
  const state = { composite: record.composites[0] ?? null, opacity: 0.7, shown: new Set() };
  const maps = [];
  const redraw = () => maps.forEach((map, number) => map.loaded_once && draw(map, record, number, state));
  legend(record, state, redraw);
  maps.push(newMap("map", record.maps[0].bounds));
  if (record.maps.length > 1) {
    at("other").hidden = at("swipe").hidden = false;
    maps.push(newMap("other", record.maps[0].bounds));
    follow(...maps);
    at("swipe").addEventListener("input", (event) =>
      at("other").style.setProperty("--at", `${event.target.value / 10}%`));
  }
  maps.forEach((map, number) => map.once("load", () => {
    map.loaded_once = true;
    draw(map, record, number, state);
    map.once("idle", () => { document.body.dataset.ready = number + 1; });
  }));
  maps[0].addControl(new maplibregl.NavigationControl({ showCompass: false }));
  maps[0].addControl(new maplibregl.ScaleControl({ maxWidth: 140 }));
  const marks = maps.map(() => new maplibregl.Marker({ color: "#0b6e99", scale: 0.7 }));
  state.mark = (place) => marks.forEach((mark, number) => mark.setLngLat(place).addTo(maps[number]));
  const pointed = (place) => { at("pointed").textContent = degrees(place); };
  pointed(maps[0].getCenter());
  for (const map of maps) map.on("mousemove", (event) => pointed(event.lngLat));
  maps[0].on("moveend", () => pointed(maps[0].getCenter()));
  at("note").textContent = record.note;
  for (const map of maps) {
    map.on("click", (event) => show(record, state, event.lngLat));
    map.getCanvas().addEventListener("keydown", (event) => event.key === "Enter" && show(record, state, map.getCenter()));
    map.getCanvas().setAttribute("aria-label", "Map; arrow keys move, plus and minus zoom, Enter asks for the centre");
  }
  at("opacity").addEventListener("input", (event) => {
    state.opacity = event.target.value / 100;
    for (const map of maps) {
      for (const layer of map.getStyle().layers.filter((each) => each.id.startsWith("class"))) {
        map.setPaintProperty(layer.id, "raster-opacity", state.opacity);
      }
    }
  });
  at("pick-scene").hidden = !record.composites.length;
  for (const name of record.composites) at("composite").append(new Option(name, name));
  at("composite").addEventListener("change", (event) => {
    state.composite = event.target.value;
    redraw();
  });
}

start().catch((error) => trouble(error.message));
