// One photo's answer: the picture with the regions, one sentence, the bars, and places for what the documents say.

import { element, percent } from "./dom.js";
import { paint } from "./regions.js";
import { viewer } from "./viewer.js";

const LEAST_TOLD = 0.005; // smallest extent at which a type is named beside the most extensive one
const ADVICE = [
  "Near: the cheek fills the picture, from a hand's breadth away.",
  "Sharp: hold still, tap on the skin to focus.",
  "Light from one side, such as a window: frontal flash hides the relief.",
];

/** Return the parts of the answer for a photo; `tools` is what can be done with it. Plans go into `.brief` and `.plan`. */
export function answerParts(photo, about, tools) {
  if (photo.status === "waiting") return [heading(photo, "Reading …")];
  if (photo.status === "error") {
    return [heading(photo, "No answer for this file"), element("p", { class: "banner" }, photo.problem), tools, notice(about)];
  }
  const { answer } = photo;
  return [
    heading(photo, answer.headline),
    element("div", { class: "halves" }, pictureOf(answer, about), findings(answer, about)),
    notice(about),
    element("div", { class: "plan" }),
    aboutAnswer(answer, tools),
  ];
}

function heading(photo, text) {
  return element("header", {}, element("h2", {}, text), element("p", { class: "soft name" }, photo.name));
}

function notice(about) {
  return element("p", { class: "notice" }, about.notice);
}

export function isRefused(answer) {
  return answer.label === null && answer.reason !== "ambiguous";
}

export function titleOf(name, about) {
  return about.types.find((type) => type.name === name).title;
}

/** Return the photo with a canvas over it on which the scars are outlined. */
export function layersOf(seen, about, alt) {
  const canvas = element("canvas", { "aria-hidden": "true" });
  paint(canvas, seen, about.types);
  const layers = element("div", { class: "layers" }, element("img", { src: seen.picture, alt, draggable: "false" }), canvas);
  layers.style.setProperty("--ratio", seen.width / seen.height);
  return layers;
}

function pictureOf(answer, about) {
  const layers = layersOf(answer, about, `The photo; seen: ${seenText(answer, about)}.`);
  const canvas = layers.querySelector("canvas");
  const show = (only) => {
    canvas.hidden = only === "off";
    if (only !== "off") paint(canvas, answer, about.types, only);
  };
  const types = about.types.map((type, index) => [type.title, index]);
  const choices = [["all types", null], ...types, ["off", "off"]].map(([title, only]) =>
    element("label", { class: "choice" },
      element("input", { type: "radio", name: "only", value: title, checked: only === null, change: () => show(only) }),
      about.types[only] && swatch(about.types[only]), title));
  return element("figure", { class: "picture" },
    viewer(layers),
    element("figcaption", {},
      !isRefused(answer) && element("fieldset", { class: "choices controls" }, element("legend", {}, "Outlines ", element("span", { class: "soft" }, "(rough and incomplete: a hint, not a count)")), choices),
      element("p", { class: "legend" }, about.types.map((type) => [swatch(type), `${type.title} `]))));
}

export function swatch(type) {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.backgroundColor = type.colour;
  return made;
}

/** Return what is seen on how much of the skin, in words. */
function seenText(answer, about) {
  const told = (type) => type.name === answer.most_seen || answer.extent[type.name] >= LEAST_TOLD;
  const seen = about.types.filter(told).toSorted((a, b) => answer.extent[b.name] - answer.extent[a.name]);
  if (answer.most_seen === null) return "no ice pick, boxcar or rolling scar";
  return `${seen.map((type) => `${type.title} on ${percent(answer.extent[type.name])}`).join(", ")} of the visible skin`;
}

function findings(answer, about) {
  const types = about.types.toSorted((a, b) => answer.probabilities[b.name] - answer.probabilities[a.name]);
  return element("div", { class: "findings" },
    isRefused(answer) ? advice() : element("ul", { class: "bars", "aria-label": "How probable each type is" }, types.map((type) => bar(type, answer))),
    answer.contradiction && element("p", { class: "banner" }, answer.contradiction),
    !isRefused(answer) && element("p", {}, element("strong", {}, "Seen: "), seenText(answer, about), "."),
    element("div", { class: "brief" }));
}

/** Return how to take a photo that can be judged. */
function advice() {
  return element("section", { class: "advice" },
    element("h3", {}, "A photo that can be judged"),
    element("img", { class: "controls", src: "page/better.svg", width: 320, height: 160, alt: "Drawing, seen from above: the phone faces the cheek, the light comes from the side." }),
    element("ul", {}, ADVICE.map((line) => element("li", {}, line))));
}

function bar(type, answer) {
  const share = answer.probabilities[type.name];
  const filled = element("span", { class: "filled" });
  filled.style.width = `${100 * share}%`;
  filled.style.backgroundColor = type.colour;
  return element("li", {},
    element("span", { class: "type-name" }, type.title),
    answer.plausible.length > 1 && answer.plausible.includes(type.name) && element("span", { class: "badge plausible" }, "plausible"),
    element("span", { class: "value" }, percent(share, 1)),
    element("span", { class: "bar", "aria-hidden": "true" }, filled));
}

/** Return what the answer means and where it comes from, and what can be done with it; shown as a tab beside the plan's. */
function aboutAnswer(answer, tools) {
  const lines = [
    `Probability that the photo shows one of the three types: ${percent(answer.in_scope)}.`,
    "Plausible types are designed to include the true type in 90 % of cases. Three expert raters found only about half of all scars in common (Kang et al. 2016, J Drugs Dermatol 15:693).",
    "Percentages are calibrated on photos that the network had not seen.",
    `Photo of ${answer.width} × ${answer.height} pixels; model ${answer.model_id}, scarlens ${answer.version}.`,
  ];
  if (isRefused(answer)) lines.unshift("No treatments are shown for a photo that was refused.");
  return element("section", { class: "about", "data-tab": "About this answer" }, element("h3", {}, "About this answer"), lines.map((line) => element("p", {}, line)), tools);
}
