// The table of all photos: thumbnails, sorting by a click on a heading, filtering.

import { capital, element, percent } from "./dom.js";
import { titleOf } from "./answer.js";

/** Return the columns: heading, what to sort by, whether large comes first, and the cell; the photo's own is `name`. */
function columns(about) {
  return [
    { head: "Photo", by: (photo) => photo.name.toLowerCase() },
    { head: "Answer", by: (photo) => verdict(photo, about), cell: (photo) => verdict(photo, about) },
    ...about.types.map((type) => ({
      head: capital(type.title), falling: true,
      by: (photo) => (photo.answer ? photo.answer.probabilities[type.name] : -1),
      cell: (photo) => photo.answer && share(photo.answer.probabilities[type.name], type.colour),
    })),
    { head: "In scope", falling: true, by: (photo) => (photo.answer ? photo.answer.in_scope : -1), cell: (photo) => photo.answer && percent(photo.answer.in_scope) },
  ];
}

function verdict(photo, about) {
  if (photo.status === "waiting") return "waiting";
  if (photo.status === "error") return "cannot be read";
  if (photo.answer.label !== null) return titleOf(photo.answer.label, about);
  return { out_of_scope: "none of the three", ambiguous: "undecided", low_quality: "low quality" }[photo.answer.reason];
}

/** Return the photos that a choice of status and a piece of a name let through, in the order that was chosen. */
export function shownPhotos(photos, view, about) {
  const wanted = view.search.toLowerCase();
  const kept = photos.filter((photo) => (!view.filter || photo.status === view.filter) && photo.name.toLowerCase().includes(wanted));
  if (view.column === null) return kept;
  const { by } = columns(about)[view.column];
  const order = view.falling ? -1 : 1;
  return kept.toSorted((a, b) => (by(a) < by(b) ? -order : by(a) > by(b) ? order : 0));
}

const rows = new WeakMap(); // photo -> its row, which stays while others come and go: the focus may be in it

/**
 * Fill the table.
 *
 * `sort(column, falling)` is called for a click on a heading, `open(photo)` for one on a photo's name.
 */
export function fillTable(table, photos, view, about, { chosen, sort, open }) {
  const heads = columns(about);
  const head = table.tHead.rows[0];
  if (head.cells.length === 0) {
    head.append(...heads.map((column, index) => element("th", { scope: "col" },
      element("button", { type: "button", class: "sort", click: () => sort(index, view.column === index ? !view.falling : Boolean(column.falling)) },
        column.head, element("span", { "aria-hidden": "true" })))));
  }
  [...head.cells].forEach((cell, index) => {
    const order = view.column !== index ? null : view.falling ? "descending" : "ascending";
    if (order) cell.setAttribute("aria-sort", order);
    else cell.removeAttribute("aria-sort");
    cell.querySelector("span").textContent = { descending: " ▼", ascending: " ▲" }[order] ?? "";
  });
  const wanted = photos.map((photo) => rowOf(photo, heads, photo === chosen, open));
  const body = table.tBodies[0];
  if (wanted.length === body.rows.length && wanted.every((row, index) => row === body.rows[index])) return;
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  body.replaceChildren(...wanted);
  focused?.focus({ preventScroll: true }); // moving a row takes the focus from it
}

/** Return the row of a photo; it is drawn anew only where the photo has changed. */
function rowOf(photo, heads, isChosen, open) {
  if (!rows.has(photo)) rows.set(photo, { row: element("tr"), status: null, answer: null });
  const known = rows.get(photo);
  if (known.status !== photo.status || known.answer !== photo.answer) {
    Object.assign(known, { status: photo.status, answer: photo.answer });
    known.row.className = photo.status;
    known.row.replaceChildren(...heads.map((column, index) =>
      index === 0 ? element("th", { scope: "row" }, name(photo, open)) : element("td", {}, column.cell(photo))));
  }
  if (isChosen) known.row.setAttribute("aria-current", "true");
  else known.row.removeAttribute("aria-current");
  return known.row;
}

function name(photo, open) {
  return element("button", { type: "button", class: "photo", click: () => open(photo) },
    photo.answer ? element("img", { src: photo.answer.picture, alt: "", loading: "lazy" }) : element("span", { class: "no-picture", "aria-hidden": "true" }),
    element("span", {}, photo.name));
}

function share(value, colour) {
  const filled = element("span", { class: "filled" });
  filled.style.width = `${100 * value}%`;
  filled.style.backgroundColor = colour;
  return [percent(value), element("span", { class: "bar", "aria-hidden": "true" }, filled)];
}
