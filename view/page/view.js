// The map page: the scene below, the classes above, and what lies under a click.
"use strict";

const inside = window.RECORD; // present in a page that was written to be sent

// pictures across the antimeridian are not drawn: a page without a server shows such ground half a turn further west
let turned = 0;
function turn({ maps, bounds }) {
  if (!inside || bounds[2] <= 180) return;
  turned = 180;
  for (const one of [bounds, ...maps.map((map) => map.bounds)]) [one[0], one[2]] = [one[0] - turned, one[2] - turned];
}

const corners = ([west, south, east, north]) => [[west, north], [east, north], [east, south], [west, south]];

const tileUrl = (path) => `${location.origin}/tiles/${path}`;

function classTiles(record, group, number) {
  const codes = record.maps[number].classes.filter((one) => isLit(group, one)).map((one) => one.value);
  return tileUrl(`map/${number}/{z}/{x}/{y}.png?show=${codes.join(",")}`);
}

// the sources and layers of one map widget: the scene's composite, the maps that are on, and what looks like the click
function addLayers(map, record, side, state) {
  const put = (id, source, paint) => {
    map.addSource(id, source);
    map.addLayer({ id, type: "raster", source: id, paint: { "raster-fade-duration": 0, ...paint } });
  };
  const tiles = (url, [west, south, east, north]) => ({
    type: "raster", tiles: [url], tileSize: 256, maxzoom: 17,
    bounds: east > 180 || west < -180 ? [-180, south, 180, north] : [west, south, east, north], // across the antimeridian on both of its sides
  });
  if (state.composite) {
    const source = inside
      ? { type: "image", url: inside.pictures[`scene/${state.composite}`], coordinates: corners(record.bounds) }
      : tiles(tileUrl(`scene/${encodeURIComponent(state.composite)}/{z}/{x}/{y}.png`), record.bounds);
    put("scene", source, {});
  }
  const paint = { "raster-opacity": state.opacity, "raster-resampling": "nearest" };
  for (const group of state.groups.filter((one) => one.on)) {
    const number = ofSide(group, side);
    const { bounds, classes } = record.maps[number];
    if (!inside) put(`class-${number}`, tiles(classTiles(record, group, number), bounds), paint);
    else for (const one of classes.filter((each) => group.shown.has(keyOf(each)))) {
      const url = inside.pictures[`map/${number}/${one.value}`];
      put(`class-${number}-${one.value}`, { type: "image", url, coordinates: corners(bounds) }, paint);
    }
  }
  if (state.near) {
    const url = tileUrl(`similar/${state.near.name}/{z}/{x}/{y}.png?show=${least(state)}`);
    put("class-similar", tiles(url, record.similar.bounds), paint);
  }
}

// the cosine from which on similar ground is shown: all of it where the slider stands at its lower end
function least({ near }) {
  const share = at("least").value / 100;
  return share ? (near.low + share * (near.high - near.low)).toFixed(4) : -1;
}

// what a pointed name lights up, without the scene being drawn anew
function relight(map, record, side, state) {
  for (const group of state.groups.filter((one) => one.on)) {
    const number = ofSide(group, side);
    if (!inside) map.getSource(`class-${number}`)?.setTiles([classTiles(record, group, number)]);
    else for (const one of record.maps[number].classes.filter((each) => group.shown.has(keyOf(each))))
      map.setPaintProperty(`class-${number}-${one.value}`, "raster-opacity", isLit(group, one) ? state.opacity : 0);
  }
}

function draw(map, record, side, state) {
  for (const layer of map.getStyle().layers) map.removeLayer(layer.id);
  for (const source of Object.keys(map.getStyle().sources)) map.removeSource(source);
  addLayers(map, record, side, state);
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

async function namesAt(record, place) {
  if (!inside) return ask(`names.json?lon=${place.lng}&lat=${place.lat}`);
  return Promise.all(record.maps.map((map, number) => classAt(number, map, place)));
}

async function found(record, place) {
  if (!inside) return ask(`at.json?lon=${place.lng}&lat=${place.lat}`);
  return { maps: await namesAt(record, place), spectrum: [], class_means: [] };
}

function nameLine(record, one, number) {
  const line = element("p", "");
  const swatch = Object.assign(document.createElement("i"), { className: "swatch" });
  if (one?.colour) swatch.style.background = one.colour;
  line.append(swatch, " ", element("strong", one ? one.name : "outside"));
  if (one?.confidence_percent !== undefined) line.append(` ${one.confidence_percent} %`);
  if (record.maps.length > 1) line.append(` (${record.maps[number].name})`);
  return line;
}

async function show(record, state, place) {
  const here = at("here");
  const turn = (state.turn = (state.turn ?? 0) + 1);
  state.mark(place);
  here.replaceChildren(element("p", degrees(place)));
  try {
    const { maps, spectrum: points, class_means } = await found(record, place);
    if (turn !== state.turn) return; // another place was asked for meanwhile
    here.append(...maps.map((one, number) => nameLine(record, one, number)));
    const known = new Map((record.maps[0]?.classes ?? []).map((one) => [one.value, one]));
    const means = class_means.filter((mean) => state.groups[0].shown.has(keyOf(known.get(mean.value)))).map((mean) =>
      ({ ...mean, name: escaped(known.get(mean.value).name), colour: escaped(known.get(mean.value).colour) }));
    here.insertAdjacentHTML("beforeend", spectrum(points, means, maps[0]?.value));
    if (points.length) here.append(element("p", maps.length
      ? "Digital numbers of the scene. Dots: this pixel; dashed: the mean of its class; thin: the other classes shown."
      : "Digital numbers of the scene at this pixel."));
    trouble("");
    if (record.similar && at("similar-on").checked) await mapSimilar(state, place, turn);
  } catch (error) {
    trouble(error.message);
  }
}

async function mapSimilar(state, place, turn) {
  at("similar-said").textContent = "Comparing every token with this one …";
  const near = await ask(`similar.json?lon=${place.lng}&lat=${place.lat}`);
  if (turn !== state.turn) return;
  state.near = near;
  at("similar-shown").hidden = !near;
  at("similar-said").textContent = near
    ? `${(100 * near.share).toFixed(1)} % of the measured tokens have a cosine of 0.9 or more.` : "The embeddings hold nothing there.";
  if (near) Object.entries({ low: near.low, high: near.high }).forEach(([end, value]) => { at(`similar-${end}`).textContent = value.toFixed(3); });
  state.redraw();
}

// names the class under the pointer once it rests: colours alone do not tell every reader which class it is
function pointing(record, state) {
  let waiting = null;
  return (place) => {
    const said = degrees(place);
    at("pointed").textContent = said;
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const names = await namesAt(record, place).catch(() => []);
      if (!at("pointed").textContent.startsWith(said)) return;
      const shown = state.groups.filter((group) => group.on).flatMap((group) => group.own.map((number) => names[number]?.name));
      at("pointed").textContent = [...new Set(shown.filter(Boolean)), said].join(" · ");
    }, 150);
  };
}

function headings(record) {
  const swiped = record.maps.slice(0, record.swiped ? 2 : 1);
  const titles = [...new Set(swiped.map((map) => map.title))];
  const title = titles.join(" beside ") || `What looks alike in ${record.similar.name}`;
  at("name").replaceChildren(...breakable(title));
  at("about").replaceChildren(...swiped.flatMap((map, number) => [...(number ? [element("br", "")] : []), map.about]));
  document.title = `${title} · bandloom`;
  at("note").textContent = record.note;
}

function controls(record, state, maps) {
  at("swipe").addEventListener("input", (event) =>
    at("other").style.setProperty("--at", `${event.target.value / 10}%`));
  at("opacity").addEventListener("input", (event) => {
    state.opacity = event.target.value / 100;
    for (const map of maps) for (const layer of map.getStyle().layers.filter((one) => one.id.startsWith("class")))
      map.setPaintProperty(layer.id, "raster-opacity", state.opacity);
  });
  at("pick-scene").hidden = !record.composites.length;
  for (const name of record.composites) at("composite").append(new Option(name, name));
  at("composite").addEventListener("change", (event) => {
    state.composite = event.target.value;
    state.redraw();
  });
  at("similar").hidden = !record.similar;
  at("similar").querySelector(".ramp").style.background = `linear-gradient(to right, ${(record.similar?.colours ?? []).join(", ")})`;
  at("least").addEventListener("change", () => state.redraw());
  at("similar-on").addEventListener("change", (event) => {
    if (event.target.checked) return;
    state.near = null;
    at("similar-shown").hidden = true;
    at("similar-said").textContent = "Click on the map.";
    state.redraw();
  });
}

async function start() {
  const record = inside ?? (await ask("record.json"));
  turn(record);
  headings(record);
  const state = { composite: record.composites[0] ?? null, opacity: 0.7, groups: groupsOf(record), near: null };
  const maps = [];
  const each = (act) => maps.forEach((map, side) => map.loaded_once && act(map, record, side, state));
  state.redraw = () => each(draw);
  at("layers").append(...state.groups.map((group) =>
    panel(group, record, state.groups.length === 1, state.redraw, () => each(relight))));
  maps.push(newMap("map", record.bounds));
  if (record.swiped) {
    at("other").hidden = at("swipe").hidden = false;
    maps.push(newMap("other", record.bounds));
    follow(...maps);
  }
  controls(record, state, maps);
  maps.forEach((map, side) => map.once("load", () => {
    map.loaded_once = true;
    draw(map, record, side, state);
    map.once("idle", () => { document.body.dataset.ready = side + 1; });
  }));
  maps[0].addControl(new maplibregl.NavigationControl({ showCompass: false }));
  maps[0].addControl(new maplibregl.ScaleControl({ maxWidth: 140 }));
  const marks = maps.map(() => new maplibregl.Marker({ color: "#0b6e99", scale: 0.7 }));
  state.mark = (place) => marks.forEach((mark, number) => mark.setLngLat(place).addTo(maps[number]));
  const point = pointing(record, state);
  at("pointed").textContent = degrees(maps[0].getCenter());
  maps[0].on("moveend", () => { at("pointed").textContent = degrees(maps[0].getCenter()); });
  for (const map of maps) {
    map.on("mousemove", (event) => point(event.lngLat));
    map.on("click", (event) => show(record, state, event.lngLat));
    map.getCanvas().addEventListener("keydown", (event) => event.key === "Enter" && show(record, state, map.getCenter()));
    map.getCanvas().setAttribute("aria-label", "Map; arrow keys move, plus and minus zoom, Enter asks for the centre");
  }
}

start().catch((error) => trouble(error.message));
