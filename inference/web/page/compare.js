// Two photos of one place: one over the other with a slider, and what changed.

import { layersOf, swatch } from "./answer.js";
import { element, percent } from "./dom.js";

/** Return the parts of a comparison: `found` is the server's reply, `names` are those of the two photos. */
export function comparisonParts(found, about, names) {
  const [before, after] = ["before", "after"].map((which, index) => layersOf(found[which], about, `${names[index]}, ${which}`));
  return [
    element("header", {}, element("h2", { id: "comparison-title" }, found.headline), element("p", { class: "soft name" }, `${names[0]} → ${names[1]}`)),
    element("div", { class: "halves" },
      found.obstacle === "other_place" ? element("div", { class: "pair" }, before, after) : overlaid(before, after),
      element("div", { class: "findings" }, extents(found, about), element("p", {}, found.limits))),
    element("p", { class: "notice" }, about.notice),
  ];
}

/** Return one picture over the other, and a slider that decides how much of each is seen. */
function overlaid(before, after) {
  const slider = element("input", { type: "range", min: 0, max: 100, value: 50, class: "slider", "aria-label": "Left: earlier, right: later", input: draw });
  function draw() {
    after.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    line.style.left = `${slider.value}%`;
  }
  const line = element("span", { class: "line", "aria-hidden": "true" });
  after.classList.add("over");
  draw();
  return element("figure", { class: "picture" },
    element("div", { class: "overlaid" }, before, after, line),
    element("figcaption", {}, element("label", { class: "ends" }, "earlier", slider, "later")));
}

function extents(found, about) {
  const rows = about.types.map((type) => [[swatch(type), type.title], found.before.extent[type.name], found.after.extent[type.name], found.changes[type.name]]);
  const told = { any_light: "changed", same_light: "changed, or lit from another side", nothing: "none beyond chance" };
  return element("table", {},
    element("caption", {}, "Share of the visible skin"),
    element("thead", {}, element("tr", {}, ["Type", "earlier", "later", "Change"].map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, rows.map(([name, one, other, change]) => element("tr", {},
      element("th", { scope: "row" }, name), element("td", {}, percent(one)), element("td", {}, percent(other)), element("td", {}, told[change?.more_than] ?? "")))));
}
