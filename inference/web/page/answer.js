// One photo's answer: the picture with the regions, the bars, the reason for abstaining, and a place for the plan.

import { element, percent } from "./dom.js";
import { paint } from "./regions.js";

const OUTLINED = "Outlines show where scars are seen, by type: a hint, not a measurement.";
const LEAST_TOLD = 0.005; // smallest extent at which a type is named beside the most extensive one
const NOTHING = "No ice pick, boxcar or rolling scar is seen.";

/** Return the parts of the answer for a photo; `tools` is what can be done with it. The plan goes into `.plan`. */
export function answerParts(photo, about, tools) {
  if (photo.status === "waiting") return [heading(photo, "Reading …")];
  if (photo.status === "error") {
    return [heading(photo, "No answer for this file"), element("p", { class: "banner" }, photo.problem), tools, notice(about)];
  }
  return [
    heading(photo, photo.answer.headline),
    element("div", { class: "halves" }, pictureOf(photo, about), findings(photo.answer, about, tools)),
    notice(about),
    element("div", { class: "plan" }),
  ];
}

function heading(photo, text) {
  return element("header", {}, element("h2", {}, text), element("p", { class: "soft name" }, photo.name));
}

function notice(about) {
  return element("p", { class: "notice" }, about.notice);
}

export function titleOf(name, about) {
  return about.types.find((type) => type.name === name).title;
}

function pictureOf(photo, about) {
  const { answer } = photo;
  const canvas = element("canvas", { "aria-hidden": "true" });
  paint(canvas, answer, about.types);
  const strength = element("input", {
    type: "range", min: 0, max: 100, value: 100, class: "strength",
    input: () => { canvas.style.opacity = strength.value / 100; },
  });
  canvas.style.opacity = strength.value / 100;
  const caption = element("p", { class: "soft" }, answer.most_seen ? OUTLINED : NOTHING);
  const show = (only) => paint(canvas, answer, about.types, only);
  const choices = [["all types", null], ...about.types.map((type, index) => [type.title, index])].map(([title, only]) =>
    element("label", { class: "choice" },
      element("input", { type: "radio", name: "only", value: title, checked: only === null, change: () => show(only) }),
      only !== null && swatch(about.types[only]), title));
  return element("figure", { class: "picture" },
    element("div", { class: "layers" }, element("img", { src: answer.picture, alt: `The photo; seen: ${seenText(answer, about)}.` }), canvas),
    element("figcaption", {},
      element("fieldset", { class: "choices controls" }, element("legend", {}, "Where scars are seen"), choices),
      element("p", { class: "legend" }, about.types.map((type) => [swatch(type), `${type.title} `])),
      element("label", { class: "controls" }, "Strength of the outlines ", strength),
      caption));
}

function swatch(type) {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.backgroundColor = type.colour;
  return made;
}

/** Return what is seen on how much of the skin, in words. */
function seenText(answer, about) {
  const told = (type) => type.name === answer.most_seen || answer.extent[type.name] >= LEAST_TOLD;
  const seen = about.types.filter(told).toSorted((a, b) => answer.extent[b.name] - answer.extent[a.name]);
  if (answer.most_seen === null) return "no scar";
  return `${seen.map((type) => `${type.title} on ${percent(answer.extent[type.name])}`).join(", ")} of the skin`;
}

function findings(answer, about, tools) {
  const types = about.types.toSorted((a, b) => answer.probabilities[b.name] - answer.probabilities[a.name]);
  return element("div", { class: "findings" },
    element("h3", { id: "bars-title" }, "How probable is each type?"),
    element("ul", { class: "bars", "aria-labelledby": "bars-title" }, types.map((type) => bar(type, answer))),
    element("p", {}, element("strong", {}, "Plausible: "), answer.plausible.map((name) => titleOf(name, about)).join(", "), ". ",
      element("span", { class: "soft" }, "Plausible types are designed to include the true type in 90 % of cases. Three expert raters found only about half of all scars in common (Kang et al. 2016, J Drugs Dermatol 15:693).")),
    element("p", {}, element("strong", {}, "Seen: "), seenText(answer, about), "."),
    answer.contradiction && element("p", { class: "banner" }, answer.contradiction),
    element("p", {}, element("strong", {}, "Shows one of the three types: "), percent(answer.in_scope), "."),
    element("p", { class: "soft" }, `Photo of ${answer.width} × ${answer.height} pixels; model ${answer.model_id}.`),
    tools);
}

function bar(type, answer) {
  const share = answer.probabilities[type.name];
  const filled = element("span", { class: "filled" });
  filled.style.width = `${100 * share}%`;
  filled.style.backgroundColor = type.colour;
  return element("li", {},
    element("span", { class: "type-name" }, type.title),
    answer.plausible.includes(type.name) && element("span", { class: "badge plausible" }, "plausible"),
    element("span", { class: "value" }, percent(share, 1)),
    element("span", { class: "bar", "aria-hidden": "true" }, filled));
}
