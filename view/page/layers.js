// The layers of the map page: the legend of each map, and what of it is shown.
"use strict";

// two maps may give one code to different classes: a class is its code and its name
const keyOf = ({ value, name }) => `${value} ${name}`;

// maps on both sides of a swipe are one layer, every other map is one of its own
function groupsOf({ maps, swiped }) {
  const numbers = maps.map((_, number) => number);
  const groups = swiped ? [numbers.slice(0, 2), ...numbers.slice(2).map((number) => [number])] : numbers.map((number) => [number]);
  return groups.map((own, place) => ({ own, on: place === 0, shown: new Set(), alone: null }));
}

// the map that a group has on a side of the swipe: 0 left, 1 right
const ofSide = (group, side) => group.own[Math.min(side, group.own.length - 1)];

const isLit = (group, one) => (group.alone ? group.alone === keyOf(one) : group.shown.has(keyOf(one)));

function areasOf(group, record) {
  const areas = new Map();
  group.own.forEach((number, place) => record.maps[number].classes.forEach((one) => {
    if (!areas.has(keyOf(one))) areas.set(keyOf(one), { ...one, pixels: 0, hectares: [] });
    areas.get(keyOf(one)).hectares[place] = one.hectares;
    areas.get(keyOf(one)).pixels += one.pixels;
  }));
  return areas;
}

function rounded(hectares) {
  if (hectares === undefined) return "none";
  return hectares === null ? "" : `${hectares.toLocaleString("en", { maximumFractionDigits: hectares < 100 ? 1 : 0 })} ha`;
}

function entry(group, one, redraw, relight) {
  const [item, label, box, swatch] = ["li", "label", "input", "i"].map((tag) => document.createElement(tag));
  Object.assign(box, { type: "checkbox", checked: true, value: one.value });
  swatch.className = "swatch";
  swatch.style.background = one.colour;
  const area = element("span", group.own.map((_, place) => rounded(one.hectares[place])).join(" → "));
  area.className = "area";
  label.append(box, swatch, element("span", one.name), area);
  item.append(label);
  box.addEventListener("change", () => {
    group.shown[box.checked ? "add" : "delete"](keyOf(one));
    redraw();
  });
  let waiting = null; // a pointer on its way to another name lights none of those that it passes
  const light = (key, wait) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { group.alone = key; relight(); }, wait);
  };
  label.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && group.shown.has(keyOf(one)) && light(keyOf(one), 250));
  label.addEventListener("pointerleave", () => (group.alone ? light(null, 0) : clearTimeout(waiting)));
  return item;
}

// the part of the panel that stands for a group
function panel(group, record, only, redraw, relight) {
  const made = at("layer").content.firstElementChild.cloneNode(true);
  const pick = (name) => made.querySelector(name);
  const areas = areasOf(group, record);
  const titles = [...new Set(group.own.map((number) => record.maps[number].title))];
  made.open = group.on;
  if (only) pick("summary").textContent = "Classes";
  else {
    const [label, box] = ["label", "input"].map((tag) => document.createElement(tag));
    Object.assign(box, { type: "checkbox", checked: group.on });
    label.append(box, element("span", titles.join(" beside ")));
    pick("summary").append(label);
    if (!group.on) pick(".about").textContent = group.own.map((number) => record.maps[number].about).join("; ");
    box.addEventListener("change", () => {
      group.on = box.checked;
      made.open = box.checked || made.open;
      redraw();
    });
  }
  const empty = [...areas.values()].filter((one) => !one.pixels);
  pick(".empty").hidden = !empty.length;
  pick(".empty summary").textContent = `${empty.length} ${empty.length === 1 ? "class" : "classes"} with nothing here`;
  for (const one of areas.values()) pick(one.pixels ? ".legend" : ".empty ul").append(entry(group, one, redraw, relight));
  const alike = [...new Set(group.own.flatMap((number) => record.maps[number].alike))];
  pick(".alike").hidden = !alike.length;
  pick(".alike summary").textContent = `${alike.length} ${alike.length === 1 ? "pair of colours looks" : "pairs of colours look"} alike to some eyes`;
  pick(".alike ul").append(...alike.map((pair) => element("li", pair)));
  const all = (on) => {
    for (const box of made.querySelectorAll("li input")) box.checked = on;
    group.shown = new Set(on ? areas.keys() : []);
    redraw();
  };
  pick(".every").addEventListener("click", () => all(true));
  pick(".none").addEventListener("click", () => all(false));
  group.shown = new Set(areas.keys());
  return made;
}
