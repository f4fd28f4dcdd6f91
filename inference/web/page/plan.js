// What the documents say: tables of a treatment plan, each claim with its document, disagreements marked.

import { capital, element } from "./dom.js";

const OUTCOMES = ["improvement_percent", "sessions", "downtime_days", "recovery_days", "lasts_months"];
const HABITS = ["prevention", "after_care"];
const CLAIM_ORDER = ["effect", "ideal_for", "caution", "named", "method"];
const LEADS = { ideal_for: "for: ", caution: "caution: ", method: "method: " };

const BRIEF = 6; // rows of the table beside an answer
const UNNAMED = "unspecified"; // a treatment that a document does not name is of no use at first sight

/** Return the table beside an answer: the treatments that documents name for its type, those with figures first. */
export function briefTable(plan, about) {
  const place = { about, marked: marker(plan.avoid, about.mentions), numbers: numbersOf(plan) };
  const parts = plan.undecided ? plan.types : plan.types.slice(0, 1);
  return [
    ...parts.map((part) => briefOf(part, place, Math.floor(BRIEF / parts.length))),
    element("p", { class: "soft" }, "Claims of five documents, which cite no study for them. A number opens source and wording."),
  ];
}

function briefOf(part, plan, most) {
  const place = placeOf(part, plan);
  const hasFigures = (treatment) => treatment.claims.some(isMeasured);
  const treatments = part.treatments.filter((treatment) => !HABITS.includes(treatment.kind) && treatment.id !== UNNAMED);
  const sorted = [...treatments.filter(hasFigures), ...treatments.filter((treatment) => !hasFigures(treatment))];
  const columns = [
    ["Improvement", (claims) => values(claims, "improvement_percent")],
    ["Sessions", (claims) => values(claims, "sessions")],
    ["Recovery", (claims) => [values(claims, "downtime_days"), values(claims, "recovery_days")].filter(Boolean).join(" / ")],
  ].filter(([, cell]) => sorted.slice(0, most).some(({ claims }) => cell(claims)));
  const rest = sorted.length - most;
  // Named roles: on a phone each row is a block, which would else no longer be read as a table.
  const cell = (label, content) => element("td", { role: "cell", "data-label": label }, content);
  return element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `${part.title}: treatments` },
    element("table", { class: "brief-table", role: "table" },
      element("caption", {}, `${part.title}: what the documents name`, rest > 0 && element("span", { class: "soft" }, ` and ${rest} more below`)),
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ["Treatment", ...columns.map(([head]) => head), "Caution", "Source"]
        .map((head) => element("th", { scope: "col", role: "columnheader" }, head)))),
      element("tbody", { role: "rowgroup" }, sorted.slice(0, most).map((treatment) => element("tr", { role: "row" },
        element("th", { scope: "row", role: "rowheader" }, treatment.name, badges(treatment), treatment.claims.map((claim) => disputed(claim, place, "disputed")).find(Boolean)),
        columns.map(([head, value]) => cell(head, value(treatment.claims))),
        cell("Caution", cautionOf(part, treatment, place)),
        cell("Source", sourcesOf(part, treatment, place)))))));
}

function isMeasured(claim) {
  return OUTCOMES.some((name) => name in claim.figures);
}

/** Return a mark that opens the cautions the documents give for a treatment, or a dash. */
function cautionOf(part, treatment, place) {
  const claims = treatment.claims.filter((claim) => claim.topic === "caution");
  if (claims.length === 0) return "–";
  const lines = claims.map((claim) => claimLine(claim, place));
  return note(`caution-${part.scar_type}-${treatment.id}`, "read", `Read the cautions for ${treatment.name}`, [`Cautions for ${treatment.name}, from the documents`], lines);
}

/** Return a button that opens a note over the page. */
function note(id, text, name, head, lines) {
  return [
    element("button", { type: "button", class: "cite", popovertarget: id, "aria-label": name }, text), " ",
    element("div", { id, popover: "auto", class: "source" }, element("p", {}, head), element("ul", {}, lines)),
  ];
}

/** Return a mark for each document with figures of a treatment, or that names it; a click shows its file and what it says. */
function sourcesOf(part, treatment, place) {
  const measured = treatment.claims.filter(isMeasured);
  const named = measured.length > 0 ? measured : treatment.claims;
  return [...new Set(named.map((claim) => claim.document))].sort().map((document) => {
    const number = place.numbers[document];
    const claims = treatment.claims.filter((claim) => claim.document === document);
    const lines = claims.map((claim) => claimLine(claim, place));
    const head = [element("strong", {}, treatment.name), ", ", document];
    return note(`source-${part.scar_type}-${treatment.id}-${number}`, `[${number}]`, `Source ${number} of ${treatment.name}`, head, lines);
  });
}

/** Return the cautions of a plan and its sections, each to stand behind a tab; `told` describes the person. */
export function planSections(plan, about, told) {
  const place = { about, marked: marker(plan.avoid, about.mentions), numbers: numbersOf(plan) };
  const parts = plan.types.map((part) => {
    const also = plan.label !== null && part.scar_type !== plan.label;
    return typeSection(part, also ? `Also plausible: ${part.title.toLowerCase()}` : part.title, place, !also);
  });
  const all = [...plan.types, plan.general];
  const number = new Set(all.flatMap((part) => part.disagreements.map((found) => found.id))).size;
  return [
    cautions(plan, told),
    element("section", { "data-tab": "All claims" },
      plan.undecided && element("p", { class: "banner" }, "Undecided: all plausible types are shown."),
      parts,
      typeSection(plan.general, plan.general.title, place, false),
      documents(plan.documents, place)),
    element("section", { "data-tab": `Disagreements (${number})` },
      element("h3", {}, "Where the documents disagree"),
      all.map((part) => disagreements(part, placeOf(part, place)))),
  ];
}

/** Return what the lines of a part need to know: its name, its disagreements, and what holds for the whole plan. */
function placeOf(part, plan) {
  return { ...plan, name: part.scar_type ?? "general", shown: new Set(part.disagreements.map((found) => found.id)) };
}

function numbersOf(plan) {
  return Object.fromEntries(plan.documents.map((document) => [document.file, document.number]));
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

function typeSection(part, title, plan, open) {
  const place = placeOf(part, plan);
  return element("details", { class: "type", "data-name": place.name, open },
    element("summary", {}, element("h3", {}, title)),
    ...Object.entries(place.about.kinds).map(([kind, heading]) => claimsOf(part, kind, heading, place)),
    facts(part, place));
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
  return folded(`${place.name} ${kind}`, heading, names, rows);
}

function facts(part, place) {
  const topics = Object.entries(place.about.topics)
    .map(([topic, heading]) => [heading, part.facts.filter((fact) => fact.topic === topic)])
    .filter(([, claims]) => claims.length > 0);
  if (topics.length === 0) return null;
  const rows = topics.map(([heading, claims]) => [[heading], claims.map((claim) => claimLine(claim, place))]);
  return folded(`${place.name} facts`, "Facts", topics.map(([heading], index) => [index > 0 && "; ", heading]), rows);
}

/** Return a table of names with the lines that belong to each, folded behind a heading and what it holds. */
function folded(name, heading, names, rows) {
  return element("details", { class: name.endsWith(" facts") ? "kind facts" : "kind", "data-name": name },
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
    cite(claim.document, place),
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
    element("h4", {}, part.title),
    element("ul", {}, part.disagreements.map((found) => element("li", { id: `${place.name}-${found.id}`, tabindex: "-1" },
      element("strong", {}, place.marked(found.subject)), " ",
      element("span", { class: "soft" }, `(${place.about.natures[found.nature]}${found.within_document ? ", within one document" : ""})`),
      element("ul", {}, found.sides.map((side) => element("li", {}, place.marked(side.says), " ", side.documents.map((file) => [cite(file, place), " "]))))))));
}

function badges(treatment) {
  return ["avoid", "caution"].map((level) => {
    const reasons = treatment.cautions.filter((caution) => caution.level === level);
    if (reasons.length === 0) return null;
    const text = `${level.toUpperCase()}: ${reasons.map((caution) => `${caution.reason} (${caution.number})`).join(", ")}`;
    return [" ", element("span", { class: `badge ${level}` }, text)];
  });
}

function documents(list, { marked }) {
  return element("section", {},
    element("h3", {}, "The documents"),
    element("ul", { class: "documents" }, list.map((document) =>
      element("li", { id: `document-${document.number}`, tabindex: "-1" }, `[${document.number}] `, element("cite", { class: "cite" }, document.file), " ", marked(document.title), " ", element("span", { class: "soft" }, "(", marked(document.kind), ")")))));
}

/** Return the short mark of a document, which leads to its entry in the list. */
function cite(file, { numbers }) {
  return element("a", { class: "cite", href: `#document-${numbers[file]}` }, `[${numbers[file]}]`);
}
