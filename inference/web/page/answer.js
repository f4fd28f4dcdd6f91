// One photo's answer: the picture with the regions, the bars, the reason for silence, and a place for the plan.

import { element, percent } from "./dom.js";
import { paint } from "./regions.js";

const ALL_THREE = "At each place the type that the network would choose there: a hint, not an outline.";

/** Return the parts of the answer for a photo; `tools` is what can be done with it. The plan goes into `.plan`. */
export function answerParts(photo, about, tools) {
  if (photo.status === "waiting") return [heading(photo, "Being looked at …")];
  if (photo.status === "error") {
    return [heading(photo, "This file has no answer"), element("p", { class: "banner" }, photo.problem), tools, notice(about)];
  }
  return [
    heading(photo, headline(photo.answer, about)),
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

function headline(answer, about) {
  if (answer.label === null) return `Can't tell: ${about.reasons[answer.reason]}`;
  return `Most probable: ${titleOf(answer.label, about)} scars`;
}

export function titleOf(name, about) {
  return about.types.find((type) => type.name === name).title;
}

function pictureOf(photo, about) {
  const { answer } = photo;
  const canvas = element("canvas", { "aria-hidden": "true" });
  paint(canvas, answer, about.types);
  const strength = element("input", {
    type: "range", min: 0, max: 100, value: 60, class: "strength",
    input: () => { canvas.style.opacity = strength.value / 100; },
  });
  canvas.style.opacity = strength.value / 100;
  const caption = element("p", { class: "soft" }, ALL_THREE);
  const show = (title, only) => {
    paint(canvas, answer, about.types, only);
    caption.textContent = only === null ? ALL_THREE : `How strongly ${title} is seen at each place: a hint, not an outline.`;
  };
  const choices = [["all three", null], ...about.types.map((type, index) => [type.title, index])].map(([title, only]) =>
    element("label", { class: "choice" },
      element("input", { type: "radio", name: "only", value: title, checked: only === null, change: () => show(title, only) }),
      only !== null && swatch(about.types[only]), title));
  const described = about.types.map((type) => `${type.title} stands out in ${percent(shareOf(answer.regions, type, about))} of it`).join(", ");
  return element("figure", { class: "picture" },
    element("div", { class: "layers" }, element("img", { src: answer.picture, alt: `The photo; ${described}.` }), canvas),
    element("figcaption", {},
      element("fieldset", { class: "choices controls" }, element("legend", {}, "Where each type is seen"), choices),
      element("p", { class: "legend" }, about.types.map((type) => [swatch(type), `${type.title} `])),
      element("label", { class: "controls" }, "Strength of the colours ", strength),
      caption));
}

function swatch(type) {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.backgroundColor = type.colour;
  return made;
}

/** Return the share of places where the type is the strongest. */
function shareOf(regions, type, about) {
  const index = about.types.indexOf(type);
  const places = regions[index].flatMap((row, y) => row.map((value, x) => regions.every((plane, other) => other === index || plane[y][x] < value)));
  return places.filter(Boolean).length / places.length;
}

function findings(answer, about, tools) {
  const types = about.types.toSorted((a, b) => answer.probabilities[b.name] - answer.probabilities[a.name]);
  return element("div", { class: "findings" },
    element("h3", { id: "bars-title" }, "How probable is each type?"),
    element("ul", { class: "bars", "aria-labelledby": "bars-title" }, types.map((type) => bar(type, answer))),
    element("p", {}, element("strong", {}, "Plausible: "), answer.plausible.map((name) => titleOf(name, about)).join(", "), ". ",
      element("span", { class: "soft" }, "Such a set is meant to hold the true type in 90 % of cases. Three expert raters found only about half of all scars in common (Kang et al. 2016, J Drugs Dermatol 15:693).")),
    element("p", {}, element("strong", {}, "Shows one of the three types: "), percent(answer.in_scope), "."),
    answer.measurement && measurement(answer.measurement, about),
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

function measurement(found, about) {
  const lines = [
    found.width_mm !== null && `width: about ${found.width_mm.toFixed(1)} mm`,
    found.depth !== null && `depth: rather ${found.depth}; deep, 0.5 mm and more, with ${percent(found.depth_probability)}`,
    ...found.withheld.map((reason) => about.withheld[reason]),
  ].filter(Boolean);
  return element("section", {},
    element("h3", {}, `Size of the ${titleOf(found.scar_type, about)} scars`),
    element("p", { class: "soft" }, `${found.caveat}.`),
    element("ul", {}, lines.map((line) => element("li", {}, line))));
}
