// Downloads: a table, the answers, and a page of one answer. Nothing is sent anywhere.

import { element } from "./dom.js";

// As in inference/batch/table.py: a text that a spreadsheet would run gets an apostrophe in front.
const FORMULA = /^(?:[\t\r\n]|\s*[-=+@'\uff1d\uff0b\uff0d\uff20])/;

/** Sections to open when printing and in a saved page, where nobody can unfold them. */
export const CLAIMS = ".type[open] .kind:not(.facts)";

/** Save the rows of photos as CSV with the columns of `scarlens batch`; waiting photos have no row. */
export function saveTable(photos, about) {
  const rows = photos.filter(isDone).map((photo) => photo.row ?? rowWithout(photo, about));
  const lines = [about.columns, ...rows.map((row) => about.columns.map((column) => row[column]))];
  save("scarlens.csv", "text/csv", lines.map((cells) => `${cells.map(quoted).join(",")}\n`).join(""));
}

function isDone(photo) {
  return photo.status !== "waiting";
}

/** Return the row of a file that never reached the server. */
function rowWithout(photo, about) {
  const empty = Object.fromEntries(about.columns.map((column) => [column, null]));
  return { ...empty, path: photo.name, status: "error", reason: photo.problem, model_id: about.model_id, version: about.version };
}

function quoted(value) {
  const text = value === null ? "" : Array.isArray(value) ? value.join("|") : String(value);
  const safe = typeof value !== "number" && FORMULA.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

/** Save the answers of photos as JSON, each with what the documents say to this person and without the picture. */
export async function saveAnswers(photos, person, about, planOf) {
  const done = photos.filter(isDone);
  const answers = await Promise.all(done.map(async (photo) => photo.answer
    ? { path: photo.row.path, ...photo.answer, picture: undefined, treatment: await planOf(photo, person) }
    : { path: photo.name, error: photo.problem }));
  save("scarlens.json", "application/json", JSON.stringify({ notice: about.notice, told: person, answers }, null, 2));
}

/** Save one answer as a page that needs nothing else and prints well. */
export function savePage(article, name) {
  const copy = article.cloneNode(true);
  copy.removeAttribute("tabindex");
  copy.querySelectorAll(".controls, .toolbar, .source").forEach((part) => part.remove());
  copy.querySelectorAll("button.cite").forEach((mark) => mark.replaceWith(mark.textContent));
  copy.querySelectorAll(CLAIMS).forEach((part) => part.setAttribute("open", ""));
  const layers = copy.querySelector(".layers");
  layers.removeAttribute("style");
  layers.replaceChildren(element("img", { src: together(article.querySelector(".layers")), alt: layers.querySelector("img").alt }));
  // As text: in this page a <style> that is made by a script would be refused.
  const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
${element("title", {}, `scarlens: ${name}`).outerHTML}<style>${ownStyle()}</style></head>
<body class="saved"><header class="top"><h1>scarlens</h1></header><main>${copy.outerHTML}</main></body></html>
`;
  save(`${name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "_") || "photo"}.html`, "text/html", page);
}

function ownStyle() {
  return [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]).map((rule) => rule.cssText).join("\n");
}

/** Return the photo and the outlines over it as one picture. */
function together(layers) {
  const photo = layers.querySelector("img");
  const colours = layers.querySelector("canvas");
  const canvas = element("canvas", { width: photo.naturalWidth, height: photo.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(photo, 0, 0);
  if (!colours.hidden) context.drawImage(colours, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.9);
}

function save(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
