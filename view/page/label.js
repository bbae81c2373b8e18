// The labelling page: one point after the other, chips of the scene around it, a key a class.
"use strict";

const AROUND_M = [300, 1500]; // metres across of the near and the wide chips

function post(path, told) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(told) });
}

function chip(session, number, composite, side, dark) {
  const figure = document.createElement("figure");
  const frame = Object.assign(document.createElement("div"), { className: "chip" });
  const picture = Object.assign(new Image(), {
    src: `chip/${number}/${encodeURIComponent(composite)}/${side}.png${dark ? "?dark" : ""}`, alt: `${composite}, ${side} m across`,
  });
  const half = Math.max((session.pixel_m / side) * 50, 1.2);
  frame.append(picture);
  frame.insertAdjacentHTML("beforeend", `<svg viewBox="0 0 100 100" aria-hidden="true">
    <rect x="${50 - half}" y="${50 - half}" width="${2 * half}" height="${2 * half}" fill="none" stroke="#000" stroke-width="1.1" stroke-opacity=".6"/>
    <rect x="${50 - half}" y="${50 - half}" width="${2 * half}" height="${2 * half}" fill="none" stroke="#fff" stroke-width=".5"/></svg>`);
  const caption = document.createElement("figcaption");
  caption.append(element("span", composite), element("span", side < 1000 ? `${side} m` : `${side / 1000} km`));
  figure.append(frame, caption);
  return figure;
}

function count(session) {
  return session.answers.filter((answer) => answer.name !== null).length;
}

// the next point without an answer, seen from a point on; the point itself where all have one
function nextOpen(session, from) {
  const total = session.answers.length;
  for (let step = 1; step <= total; step += 1) {
    const number = (from + step) % total;
    if (session.answers[number].name === null) return number;
  }
  return from;
}

function draw(session, number) {
  const dark = at("bright").checked;
  at("chips").style.setProperty("--columns", session.composites.length);
  at("chips").replaceChildren(...AROUND_M.flatMap((side) =>
    session.composites.map((name) => chip(session, number, name, side, dark))));
}

function show(session, state, number) {
  state.number = number;
  const answer = session.answers[number];
  const done = count(session);
  at("which").textContent = `Point ${number + 1} of ${session.answers.length}`;
  Object.assign(at("progress"), { max: session.answers.length, value: done });
  const [longitude, latitude] = session.places[number];
  at("where").textContent = `${done} labelled · ${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
  draw(session, number);
  at("unsure").checked = answer.unsure;
  at("comment").value = answer.comment;
  for (const button of document.querySelectorAll("#classes button"))
    button.setAttribute("aria-pressed", button.value === answer.name);
  at("finished").hidden = done < session.answers.length;
  at("finished").textContent = `All ${done} points are labelled. Now: bandloom assess score ${session.map} ${session.points}`;
  at("spectrum").replaceChildren();
  ask(`spectrum/${number}.json`).then((points) => {
    if (state.number === number) at("spectrum").innerHTML = spectrum(points, [], null);
  }).catch((error) => trouble(error.message));
  document.body.dataset.shown = number;
}

async function save(session, at_point, name) {
  const told = { number: at_point, name, unsure: at("unsure").checked, comment: at("comment").value };
  const saved = await post("answer", { ...told, before: session.answers[at_point] });
  session.answers[saved.number] = saved.answer;
  return saved;
}

// go to another point; a comment or a doubt that was noted about this one is kept without its class being given again
async function step(session, state, by) {
  if (state.busy) return;
  state.busy = true;
  try {
    const { name, unsure, comment } = session.answers[state.number];
    if (unsure !== at("unsure").checked || comment !== at("comment").value) {
      const { number } = await save(session, state.number, name);
      at("saved").textContent = `Point ${number + 1}: what was noted is saved in ${session.file}.`;
    }
    trouble("");
    show(session, state, (state.number + by + session.answers.length) % session.answers.length);
  } catch (error) {
    trouble(error.message);
  } finally {
    state.busy = false;
  }
}

async function give(session, state, name) {
  if (state.busy) return; // an answer is on its way: a second key would be about the next point
  state.busy = true;
  try {
    const { number, answer } = await save(session, state.number, name);
    trouble("");
    at("saved").textContent = `Point ${number + 1}: ${name}${answer.unsure ? ", unsure" : ""}. Saved in ${session.file}.`;
    document.activeElement?.blur();
    show(session, state, nextOpen(session, number));
  } catch (error) {
    trouble(error.message);
  } finally {
    state.busy = false;
  }
}

async function undo(session, state) {
  if (state.busy) return;
  state.busy = true;
  try {
    const { number, answer } = await post("undo", {});
    if (number === null) at("saved").textContent = "Nothing to take back in this session.";
    else {
      session.answers[number] = answer;
      at("saved").textContent = `The answer to point ${number + 1} was taken back.`;
      show(session, state, number);
    }
    trouble("");
  } catch (error) {
    trouble(error.message);
  } finally {
    state.busy = false;
  }
}

function choices(session, state) {
  for (const { key, name, colour } of session.classes) {
    const [item, button, swatch] = ["li", "button", "i"].map((tag) => document.createElement(tag));
    Object.assign(button, { type: "button", value: name });
    swatch.className = "swatch";
    swatch.style.background = colour;
    button.append(element("kbd", key), swatch, element("span", name));
    button.addEventListener("click", () => give(session, state, name));
    item.append(button);
    at("classes").append(item);
  }
}

function listen(session, state) {
  const move = (by) => step(session, state, by);
  const keys = new Map(session.classes.filter(({ key }) => key).map(({ key, name }) => [key, () => give(session, state, name)]));
  keys.set("u", () => { at("unsure").checked = !at("unsure").checked; });
  keys.set("b", () => at("bright").click());
  keys.set("c", () => at("comment").focus());
  keys.set("z", () => undo(session, state));
  keys.set("arrowleft", () => move(-1));
  keys.set("arrowright", () => move(1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === at("comment")) {
      if (event.key === "Escape" || event.key === "Enter") at("comment").blur();
      return;
    }
    const act = keys.get(event.key.toLowerCase());
    if (!act || event.repeat) return;
    event.preventDefault();
    act();
  });
  at("back").addEventListener("click", () => move(-1));
  at("on").addEventListener("click", () => move(1));
  at("bright").addEventListener("change", () => draw(session, state.number));
  at("undo").addEventListener("click", () => undo(session, state));
}

async function start() {
  const session = await ask("session.json");
  document.title = `${session.file} · bandloom`;
  const state = { number: 0, busy: false };
  choices(session, state);
  listen(session, state);
  show(session, state, session.answers[0].name === null ? 0 : nextOpen(session, 0));
}

start().catch((error) => trouble(error.message));
