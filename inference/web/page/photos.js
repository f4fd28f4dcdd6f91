// The grid of all photos: thumbnails with their answers, sorted and filtered.

import { element, percent } from "./dom.js";
import { isRefused, titleOf } from "./answer.js";

/** Return the orders of the grid: name, words, and what to sort by, small first. */
export function orders(about) {
  const least = (photo, number) => (photo.answer ? -number(photo.answer) : 1);
  return [
    ["", "order added", null],
    ["name", "name", (photo) => photo.name.toLowerCase()],
    ["answer", "answer", (photo) => verdict(photo, about)],
    ...about.types.map(({ name, title }) => [name, `most ${title}`, (photo) => least(photo, (answer) => answer.probabilities[name])]),
    ["extent", "most skin with scars", (photo) => least(photo, (answer) => Object.values(answer.extent).reduce((a, b) => a + b))],
  ];
}

/** Return how many photos have each answer, in words. */
export function counts(photos, about) {
  const found = photos.map((photo) => verdict(photo, about));
  return [...new Set(found)].map((words) => `${found.filter((other) => other === words).length} ${words}`).join(", ");
}

function verdict(photo, about) {
  if (photo.status === "waiting") return "waiting";
  if (photo.status === "error") return "cannot be read";
  const { label, reason } = photo.answer;
  return label !== null ? titleOf(label, about) : { out_of_scope: "none of the three", ambiguous: "undecided", low_quality: "low quality" }[reason];
}

/** Return the photos that a choice of status and a piece of a name let through, in the order that was chosen. */
export function shownPhotos(photos, view, about) {
  const wanted = view.search.toLowerCase();
  const kept = photos.filter((photo) => (!view.filter || photo.status === view.filter) && photo.name.toLowerCase().includes(wanted));
  const by = orders(about).find(([name]) => name === view.sort)[2];
  return by ? kept.toSorted((a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0)) : kept;
}

const tiles = new WeakMap(); // photo -> its tile, which stays while others come and go: the focus may be in it

/** Fill the grid; `open(photo)` is called for a click on a photo. */
export function fillGrid(grid, photos, about, { chosen, open }) {
  const wanted = photos.map((photo) => tileOf(photo, about, photo === chosen, open));
  if (wanted.length === grid.children.length && wanted.every((tile, index) => tile === grid.children[index])) return;
  const focused = grid.contains(document.activeElement) ? document.activeElement : null;
  grid.replaceChildren(...wanted);
  focused?.focus({ preventScroll: true }); // moving a tile takes the focus from it
}

/** Return the tile of a photo; it is drawn anew only where the photo has changed. */
function tileOf(photo, about, isChosen, open) {
  if (!tiles.has(photo)) tiles.set(photo, { tile: element("li"), status: null });
  const known = tiles.get(photo);
  if (known.status !== photo.status) {
    known.status = photo.status;
    known.tile.className = photo.status;
    known.tile.replaceChildren(element("button", { type: "button", class: "photo", click: () => open(photo) },
      photo.answer ? element("img", { src: photo.answer.picture, alt: "", loading: "lazy" }) : element("span", { class: "no-picture", "aria-hidden": "true" }),
      element("span", { class: "verdict" }, verdict(photo, about), photo.answer && !isRefused(photo.answer) && sureness(photo.answer, about)),
      element("span", { class: "soft" }, photo.name)));
  }
  if (isChosen) known.tile.setAttribute("aria-current", "true");
  else known.tile.removeAttribute("aria-current");
  return known.tile;
}

/** Return how probable the most probable type is, and a bar of all three. */
function sureness(answer, about) {
  const parts = about.types.map((type) => {
    const part = element("span");
    part.style.width = `${100 * answer.probabilities[type.name]}%`;
    part.style.backgroundColor = type.colour;
    return part;
  });
  return [` ${percent(Math.max(...Object.values(answer.probabilities)))}`, element("span", { class: "bar stacked", "aria-hidden": "true" }, parts)];
}
