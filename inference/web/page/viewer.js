// A picture that can be zoomed and moved: by buttons, wheel, drag, two fingers and keys.

import { element } from "./dom.js";

const MOST = 8; // times the size that fits
const STEP = 1.4;
const MOVE = 60; // pixels for an arrow key

/** Return a viewer around the layers of a picture, an element that fits its parent. */
export function viewer(layers) {
  const view = { zoom: 1, x: 0, y: 0 };
  const fingers = new Map(); // pointer id -> [x, y]
  const frame = element("div", { class: "viewer", tabindex: "0", role: "group", "aria-label": "Photo. Plus and minus zoom, arrows move, 0 shows all." }, layers);

  function draw() {
    view.zoom = Math.min(Math.max(view.zoom, 1), MOST);
    const [width, height] = [layers.offsetWidth, layers.offsetHeight];
    view.x = Math.min(Math.max(view.x, width * (1 - view.zoom)), 0);
    view.y = Math.min(Math.max(view.y, height * (1 - view.zoom)), 0);
    layers.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
    frame.classList.toggle("zoomed", view.zoom > 1);
  }

  /** Zoom so that the point [x, y] of the frame stays where it is. */
  function zoom(factor, x = layers.offsetWidth / 2, y = layers.offsetHeight / 2) {
    const before = view.zoom;
    view.zoom = Math.min(Math.max(before * factor, 1), MOST);
    const real = view.zoom / before;
    move(x * (1 - real) + view.x * (real - 1), y * (1 - real) + view.y * (real - 1));
  }

  function move(x, y) {
    view.x += x;
    view.y += y;
    draw();
  }

  const keys = {
    "+": () => zoom(STEP), "=": () => zoom(STEP), "-": () => zoom(1 / STEP), 0: () => zoom(0),
    ArrowLeft: () => move(MOVE, 0), ArrowRight: () => move(-MOVE, 0), ArrowUp: () => move(0, MOVE), ArrowDown: () => move(0, -MOVE),
  };
  frame.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || (view.zoom === 1 && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    keys[event.key]();
  });
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && view.zoom === 1) return; // the page scrolls until somebody zooms
    event.preventDefault();
    zoom(event.deltaY < 0 ? STEP : 1 / STEP, ...placeIn(frame, event));
  }, { passive: false });
  frame.addEventListener("pointerdown", (event) => fingers.set(event.pointerId, placeIn(frame, event)));
  for (const type of ["pointerup", "pointercancel", "pointerleave"]) frame.addEventListener(type, (event) => fingers.delete(event.pointerId));
  frame.addEventListener("pointermove", (event) => {
    const from = fingers.get(event.pointerId);
    if (!from) return;
    const to = placeIn(frame, event);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) zoom(distance(to, other) / Math.max(distance(from, other), 1), ...other);
    else move(to[0] - from[0], to[1] - from[1]);
    fingers.set(event.pointerId, to);
  });
  frame.addEventListener("dblclick", (event) => (view.zoom > 1 ? zoom(0) : zoom(STEP * STEP, ...placeIn(frame, event))));

  const button = (text, name, click) => element("button", { type: "button", "aria-label": name, click }, text);
  const buttons = element("div", { class: "zoom controls" }, button("+", "Zoom in", () => zoom(STEP)), button("−", "Zoom out", () => zoom(1 / STEP)), button("⤢", "Show the whole photo", () => zoom(0)));
  return element("div", { class: "viewed" }, frame, buttons);
}

function placeIn(frame, event) {
  const { left, top } = frame.getBoundingClientRect();
  return [event.clientX - left, event.clientY - top];
}

function distance([x, y], [u, v]) {
  return Math.hypot(x - u, y - v);
}
