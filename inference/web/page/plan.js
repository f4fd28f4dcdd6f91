// What the documents say: tables of a treatment plan, each claim with its document, disagreements marked.

import { capital, element } from "./dom.js";

const OUTCOMES = ["improvement_percent", "sessions", "downtime_days", "recovery_days", "lasts_months"];
const HABITS = ["prevention", "after_care"];
const CLAIM_ORDER = ["effect", "ideal_for", "caution", "named", "method"];
const LEADS = { ideal_for: "for: ", caution: "caution: ", method: "method: " };

/** Return the sections of a plan; `about` describes the server, `told` the person. */
export function planSections(plan, about, told) {
  const marked = marker(plan.avoid, about.mentions);
  const parts = plan.types.map((part) => {
    const also = plan.label !== null && part.scar_type !== plan.label;
    return typeSection(part, also ? `Also plausible: ${part.title.toLowerCase()}` : part.title, { about, marked }, !also);
  });
  return [
    plan.undecided && element("p", { class: "banner" }, "Undecided: all plausible types are shown side by side."),
    cautions(plan, told),
    ...parts,
    typeSection(plan.general, plan.general.title, { about, marked }, false),
    documents(plan.documents, marked),
  ].filter(Boolean);
}

/** Return a function that adds "AVOID" after each mention in a text of a treatment to avoid. */
function marker(avoid, mentions) {
  const words = Object.keys(mentions).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(`\\b(${words.join("|")})s?\\b`, "gi");
  return (text) => {
    const parts = [];
    let end = 0;
    for (const found of text.matchAll(pattern)) {
      if (!avoid.includes(mentions[found[1].toLowerCase()])) continue;
      const next = found.index + found[0].length;
      parts.push(text.slice(end, next), element("span", { class: "badge avoid" }, "AVOID"));
      end = next;
    }
    return [...parts, text.slice(end)];
  };
}

function cautions(plan, told) {
  if (plan.context === null) {
    return element("p", { class: "banner soft" }, "You entered nothing about the person, so no cautions are shown. That does not make a treatment safe.");
  }
  const lines = plan.cautions.map((caution) =>
    element("li", { class: caution.level, value: caution.number },
      element("strong", {}, `${caution.level === "note" ? "" : `${caution.level.toUpperCase()}: `}${caution.reason}. `),
      caution.says,
      element("span", { class: "cite" }, ` ${caution.sources.map((source) => source.citation).join("; ")}`)));
  return element("section", { class: "cautions", "aria-label": "Cautions" },
    element("h3", {}, "Cautions for this person"),
    element("p", {}, `${capital(told)}.`),
    element("p", { class: "soft" }, "From the literature, not from the documents."),
    lines.length ? element("ol", {}, lines) : element("p", {}, "None of our rules applies. That does not make a treatment safe."),
    plan.not_told.length > 0 && element("p", {}, `Not given, so no cautions for: ${plan.not_told.join(", ")}.`));
}

function typeSection(part, title, { about, marked }, open) {
  const name = part.scar_type ?? "general";
  const shown = new Set(part.disagreements.map((found) => found.id));
  const place = { name, shown, about, marked };
  return element("details", { class: "type", "data-name": name, open },
    element("summary", {}, element("h3", {}, title)),
    outcomes(part, place),
    element("p", { class: "soft" }, "All claims with their documents, by kind of treatment:"),
    ...Object.entries(about.kinds).map(([kind, heading]) => claimsOf(part, kind, heading, place)),
    facts(part, place),
    disagreements(part, place));
}

/** Return the table of the figures that documents give, one row for each treatment and document. */
function outcomes(part, place) {
  const rows = part.treatments.flatMap((treatment) =>
    [...new Set(treatment.claims.filter((claim) => OUTCOMES.some((name) => name in claim.figures)).map((claim) => claim.document))]
      .map((document) => [treatment, document, treatment.claims.filter((claim) => claim.document === document)]));
  if (rows.length === 0) {
    return part.scar_type && element("p", {}, "No document gives a figure for their treatment.");
  }
  const columns = OUTCOMES.filter((name) => rows.some(([, , claims]) => values(claims, name)));
  const ideal = (claims) => claims.filter((claim) => claim.topic === "ideal_for").map((claim) => claim.says).join("; ");
  const title = "The documents' figures; they cite no study for them";
  const table = element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `${part.title}: figures` },
    element("table", { class: "outcomes" },
      element("caption", { class: "hidden" }, title),
      element("thead", {}, element("tr", {}, ["Treatment", ...columns.map((name) => capital(place.about.quantities[name])), "Ideal for", "Document"]
        .map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, rows.map(([treatment, document, claims]) => element("tr", {},
        element("th", { scope: "row" }, treatment.name, badges(treatment), claims.map((claim) => disputed(claim, place, "disputed")).find(Boolean)),
        columns.map((name) => element("td", {}, values(claims, name))),
        element("td", { class: "wide" }, place.marked(ideal(claims))),
        element("td", {}, cite(document)))))));
  return [element("h4", {}, title), table];
}

function values(claims, quantity) {
  return claims.filter((claim) => quantity in claim.figures).map((claim) => claim.figures[quantity].text).join(" / ");
}

/** Return every claim about the treatments of one kind, behind their names, or null where there is none. */
function claimsOf(part, kind, heading, place) {
  const treatments = part.treatments.filter((treatment) => treatment.kind === kind);
  if (treatments.length === 0) return null;
  const sorted = (treatment) => treatment.claims.toSorted((a, b) => CLAIM_ORDER.indexOf(a.topic) - CLAIM_ORDER.indexOf(b.topic));
  const names = treatments.map((treatment, index) => [index > 0 && "; ", treatment.name, badges(treatment)]);
  const rows = treatments.map((treatment) => [[treatment.name, badges(treatment)], sorted(treatment).map((claim) => claimLine(claim, place))]);
  const hasFigures = treatments.some((treatment) => treatment.claims.some((claim) => OUTCOMES.some((name) => name in claim.figures)));
  return folded(`${place.name} ${kind}`, heading, names, rows, part.scar_type !== null && !hasFigures && !HABITS.includes(kind));
}

function facts(part, place) {
  const topics = Object.entries(place.about.topics)
    .map(([topic, heading]) => [heading, part.facts.filter((fact) => fact.topic === topic)])
    .filter(([, claims]) => claims.length > 0);
  if (topics.length === 0) return null;
  const rows = topics.map(([heading, claims]) => [[heading], claims.map((claim) => claimLine(claim, place))]);
  return folded(`${place.name} facts`, "Facts", topics.map(([heading], index) => [index > 0 && "; ", heading]), rows, false);
}

/** Return a table of names with the lines that belong to each, folded behind a heading and what it holds. */
function folded(name, heading, names, rows, open) {
  return element("details", { class: name.endsWith(" facts") ? "kind facts" : "kind", "data-name": name, open },
    element("summary", {}, element("h4", {}, heading), " ", element("span", { class: "names" }, names)),
    groups(heading, rows));
}

function groups(caption, rows) {
  return element("table", { class: "claims", role: "table" },
    element("caption", { class: "hidden" }, caption),
    element("tbody", { role: "rowgroup" }, rows.map(([name, lines]) => element("tr", { role: "row" },
      element("th", { scope: "row", role: "rowheader" }, name),
      element("td", { role: "cell" }, element("ul", {}, lines))))));
}

function claimLine(claim, place) {
  const figures = Object.entries(claim.figures).map(([name, figure]) => `${place.about.quantities[name]} ${figure.text}`.trim());
  const about = claim.about.includes(place.name) || claim.about.includes("procedure") || (place.name === "general" && claim.about.includes("acne_scars"))
    ? "" : `${claim.about.map((subject) => place.about.subjects[subject]).join(", ")}: `;
  return element("li", {},
    about && element("em", {}, about),
    LEADS[claim.topic] && element("em", {}, LEADS[claim.topic]),
    figures.length > 0 && element("strong", {}, `${figures.join(", ")}; `),
    place.marked(claim.says), " ",
    cite(claim.document),
    disputed(claim, place));
}

/** Return a mark that leads to the disagreement a claim takes part in, if it does. */
function disputed(claim, place, text = "documents disagree") {
  const found = claim.disputed.find((id) => place.shown.has(id));
  return found && [" ", element("a", { class: "badge disputed", href: `#${place.name}-${found}` }, text)];
}

function disagreements(part, place) {
  if (part.disagreements.length === 0) return null;
  return element("section", { class: "disagreements" },
    element("h4", {}, "Where the documents disagree"),
    element("ul", {}, part.disagreements.map((found) => element("li", { id: `${place.name}-${found.id}`, tabindex: "-1" },
      element("strong", {}, place.marked(found.subject)), " ",
      element("span", { class: "soft" }, `(${place.about.natures[found.nature]}${found.within_document ? ", within one document" : ""})`),
      element("ul", {}, found.sides.map((side) => element("li", {}, place.marked(side.says), " ", side.documents.map((file) => [cite(file), " "]))))))));
}

function badges(treatment) {
  return ["avoid", "caution"].map((level) => {
    const reasons = treatment.cautions.filter((caution) => caution.level === level);
    if (reasons.length === 0) return null;
    const text = `${level.toUpperCase()}: ${reasons.map((caution) => `${caution.reason} (${caution.number})`).join(", ")}`;
    return [" ", element("span", { class: `badge ${level}` }, text)];
  });
}

function documents(list, marked) {
  return element("section", {},
    element("h3", {}, "The documents"),
    element("ul", { class: "documents" }, list.map((document) =>
      element("li", {}, cite(document.file), " ", marked(document.title), " ", element("span", { class: "soft" }, "(", marked(document.kind), ")")))));
}

function cite(file) {
  return element("cite", { class: "cite" }, file);
}
