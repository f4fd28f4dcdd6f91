// What can be taken along: a table, the answers, and a page of one answer. Nothing is sent anywhere.

import { element } from "./dom.js";

// As in inference/table.py: what a spreadsheet would run gets an apostrophe before it.
const FORMULA = /^(?:[\t\r\n]|\s*[-=+@'\uff1d\uff0b\uff0d\uff20])/;

/** Save the rows of photos as CSV, as `scarlens batch` writes it. */
export function saveTable(photos) {
  const rows = photos.map((photo) => photo.row).filter(Boolean);
  const lines = [Object.keys(rows[0] ?? {}), ...rows.map(Object.values)].map((cells) => cells.map(quoted).join(","));
  save("scarlens.csv", "text/csv", `${lines.join("\n")}\n`);
}

function quoted(value) {
  const text = value === null ? "" : Array.isArray(value) ? value.join("|") : String(value);
  const safe = typeof value !== "number" && FORMULA.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

/** Save the answers of photos as JSON, each with what the documents say and without the picture. */
export async function saveAnswers(photos, planOf) {
  const answers = [];
  for (const photo of photos) {
    answers.push(photo.answer ? { path: photo.row.path, ...photo.answer, picture: undefined, treatment: await planOf(photo) } : { path: photo.name, error: photo.problem });
  }
  save("scarlens.json", "application/json", JSON.stringify(answers, null, 2));
}

/** Save one answer as a page that needs nothing else and prints well. */
export async function savePage(article, name) {
  const style = await (await fetch("page/page.css")).text();
  const copy = article.cloneNode(true);
  copy.removeAttribute("tabindex");
  copy.querySelectorAll(".controls, .toolbar").forEach((part) => part.remove());
  copy.querySelectorAll("details").forEach((part) => part.setAttribute("open", ""));
  const layers = copy.querySelector(".layers");
  if (layers) layers.replaceChildren(element("img", { src: together(article.querySelector(".layers")), alt: layers.querySelector("img").alt }));
  const page = document.implementation.createHTMLDocument(`scarlens: ${name}`);
  page.documentElement.lang = "en";
  page.head.append(
    element("meta", { charset: "utf-8" }), element("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    element("meta", { "http-equiv": "Content-Security-Policy", content: "default-src 'none'; img-src data:; style-src 'unsafe-inline'" }),
    element("style", {}, style));
  page.body.append(copy);
  save(`${name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "_") || "photo"}.html`, "text/html", `<!doctype html>\n${page.documentElement.outerHTML}`);
}

/** Return the photo and the colours over it as one picture, as strong as they are shown. */
function together(layers) {
  const photo = layers.querySelector("img");
  const colours = layers.querySelector("canvas");
  const canvas = element("canvas", { width: photo.naturalWidth, height: photo.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(photo, 0, 0);
  context.globalAlpha = Number(colours.style.opacity);
  context.drawImage(colours, 0, 0, canvas.width, canvas.height);
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
