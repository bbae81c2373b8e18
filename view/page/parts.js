// What the map page and the labelling page share: requests, sentences about trouble, spectra.
"use strict";

const at = (id) => document.getElementById(id);
function trouble(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

async function ask(path, how = {}) {
  const answer = await fetch(path, how).catch(() => null);
  if (!answer) throw new Error("the program behind this page does not answer; start bandloom view again");
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// dots: the pixel; dashed: the mean of its class; thin, in their colours: the means of the other classes shown
function spectrum(points, means, own) {
  if (!points.length) return "";
  const [w, h, left, bottom] = [280, 150, 36, 18];
  const most = Math.max(...points.concat(...means.map((mean) => mean.curve)).map((point) => point.dn)) * 1.05;
  const x = (nm) => left + ((nm - 400) / 1900) * (w - left - 8);
  const y = (dn) => h - bottom - (dn / most) * (h - bottom - 8);
  const polyline = (curve, style, title) => `<polyline points="${curve.map((point) => `${x(point.nm)},${y(point.dn)}`).join(" ")}"
    fill="none" ${style}><title>${title}</title></polyline>`;
  const others = means.filter((mean) => mean.value !== own).map((mean) =>
    polyline(mean.curve, `stroke="${mean.colour}" stroke-width="1.5"`, `mean of ${mean.name}`));
  const same = means.filter((mean) => mean.value === own).map((mean) =>
    polyline(mean.curve, `stroke="${mean.colour}" stroke-width="2.5" stroke-dasharray="5 3"`, `mean of ${mean.name}`));
  const dots = points.map((point) =>
    `<circle cx="${x(point.nm)}" cy="${y(point.dn)}" r="3" fill="currentColor"><title>${escaped(point.band)}, ${point.nm} nm: ${point.dn}</title></circle>`);
  const ticks = [500, 1000, 1500, 2000].map((nm) => `<text x="${x(nm)}" y="${h - 4}" text-anchor="middle">${nm} nm</text>`);
  return `<svg viewBox="0 0 ${w} ${h}" role="img" aria-label="Spectrum of ${points.length} bands">
    <text x="2" y="${y(most) + 9}">${Math.round(most)}</text><text x="2" y="${y(0)}">0</text>
    ${others.join("")}${same.join("")}${polyline(points, 'stroke="currentColor" stroke-width="1.5"', "this pixel")}${dots.join("")}${ticks.join("")}</svg>`;
}

function escaped(text) {
  return text.replace(/[&<>"]/g, (each) => `&#${each.charCodeAt(0)};`);
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
