// The page: photos come in, are sent to the server on this computer one after the other, and their answers are shown.

import { answerParts, isRefused } from "./answer.js";
import { comparisonParts } from "./compare.js";
import { element, focusOn } from "./dom.js";
import { CLAIMS, saveAnswers, savePage, saveTable } from "./downloads.js";
import { droppedFiles } from "./files.js";
import { incomplete, summary, told } from "./person.js";
import { counts, fillGrid, orders, shownPhotos } from "./photos.js";
import { briefTable, planSections } from "./plan.js";
import * as server from "./server.js";
import { reveal, tabs } from "./tabs.js";

const AT_ONCE = 2; // photos that are sent at a time: the server reads one on each core

const by = (id) => document.getElementById(id);
const state = {
  about: null,
  photos: [], // { file, name, status: waiting | ok | abstained | error, asked, answer, problem, row }
  chosen: null,
  drawn: null, // the answer that stands in the article
  view: { sort: "", filter: "", search: "" },
  plans: new Map(), // what the documents say, by types and person
  turn: 0, // of showing a plan: what an earlier turn waited for is not shown any more
  running: 0,
};

async function start() {
  try {
    state.about = await server.about();
  } catch {
    by("status").textContent = server.GONE;
    return;
  }
  by("about").textContent = `scarlens ${state.about.version}, model ${state.about.model_id}.`;
  by("sort").append(...orders(state.about).map(([name, words]) => element("option", { value: name }, words)));
  showTold();
  listen();
  document.body.dataset.ready = "";
}

function listen() {
  for (const id of ["choose", "camera"]) {
    by(id).addEventListener("change", (event) => {
      add([...event.target.files].map((file) => [file, file.name]));
      event.target.value = "";
    });
  }
  const move = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("dragging", event.type === "dragover");
  };
  document.addEventListener("dragover", move);
  document.addEventListener("dragleave", move);
  document.addEventListener("drop", async (event) => {
    move(event);
    add(await droppedFiles(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => add([...event.clipboardData.files].map((file) => [file, file.name])));
  by("context").addEventListener("submit", (event) => event.preventDefault());
  for (const type of ["input", "change"]) by("context").addEventListener(type, changedContext); // a list may tell only one
  by("filter").addEventListener("change", (event) => look({ filter: event.target.value }));
  by("sort").addEventListener("change", (event) => look({ sort: event.target.value }));
  by("search").addEventListener("input", (event) => look({ search: event.target.value }));
  by("csv").addEventListener("click", () => saveTable(shown(), state.about));
  by("json").addEventListener("click", () => saveJson(shown()));
  by("clear").addEventListener("click", clear);
  by("pair").addEventListener("submit", comparePair);
  by("pair").addEventListener("change", (event) => { event.target.dataset.chosen = event.target.value; });
  by("example").addEventListener("click", async () => add([[await server.example(), "rendered example.jpg"]]));
  by("answer").addEventListener("click", (event) => reveal(document.getElementById(event.target.closest("a[href^='#']")?.hash.slice(1))));
  window.addEventListener("beforeprint", () => openClaims(true));
  window.addEventListener("afterprint", () => openClaims(false));
}

// --- photos in, answers out ---

/** Take in [file, name, problem]; the problem is of what could not even be opened. */
function add(files) {
  if (files.length === 0) return;
  const added = files.map(([file, name, problem = null]) => ({ file, name, asked: false, answer: null, row: null, problem, status: problem ? "error" : "waiting" }));
  state.photos.push(...added);
  state.chosen ??= added[0];
  by("status").textContent = `Analysing ${counted(state.photos)}`;
  show();
  work();
}

function work() {
  while (state.running < AT_ONCE) {
    const photo = state.photos.find((candidate) => candidate.status === "waiting" && !candidate.asked);
    if (!photo) break;
    state.running += 1;
    ask(photo).finally(() => {
      state.running -= 1;
      show();
      work();
    });
  }
}

/** Ask for a photo's answer. */
async function ask(photo) {
  photo.asked = true;
  const { max_bytes: most } = state.about;
  const reply = photo.file.size > most
    ? { problem: `expected at most ${most.toLocaleString("en")} bytes, found ${photo.file.size.toLocaleString("en")}`, row: null }
    : await server.predict(photo.file, photo.name);
  photo.problem = reply.problem ?? null;
  photo.row = reply.row ?? reply.answer?.row ?? null;
  photo.answer = reply.answer ?? null;
  if (photo.answer) delete photo.answer.treatment; // of many photos too much to keep; `planOf` has it
  photo.status = photo.answer ? (photo.answer.reason === null ? "ok" : "abstained") : "error";
}

/** Return what the documents say about a photo's types to a person, or null for a rejected photo. */
async function planOf(photo, person) {
  const { answer } = photo;
  if (!answer || isRefused(answer)) return null;
  const key = JSON.stringify([answer.label, answer.plausible, person]);
  const plan = state.plans.get(key) ?? (await server.treatments(answer, person));
  state.plans.set(key, plan);
  return plan;
}

/** Compare the two photos chosen in the form. */
async function comparePair(event) {
  event.preventDefault();
  const [before, after] = ["before", "after"].map((id) => state.photos[by(id).value]);
  if (before === after) {
    by("shown").textContent = "Choose two different photos to compare.";
    return;
  }
  const article = by("comparison");
  article.hidden = false;
  article.setAttribute("aria-busy", "true");
  const { found, problem } = await server.compare(before, after);
  article.replaceChildren(...(found
    ? comparisonParts(found, state.about, [before.name, after.name])
    : [element("h2", { id: "comparison-title" }, "Not compared"), element("p", { class: "banner" }, problem)]));
  article.setAttribute("aria-busy", "false");
  focusOn(article);
}

function changedContext() {
  const form = by("context");
  by("months").hidden = form.elements.isotretinoin.value !== "stopped";
  by("missing").textContent = incomplete(form);
  showTold();
  showPlan();
}

/** Forget all photos, and the person: the next one is another. */
function clear() {
  state.photos = [];
  state.chosen = null;
  state.plans.clear();
  by("status").textContent = "";
  by("context").reset();
  for (const id of ["before", "after"]) delete by(id).dataset.chosen;
  by("comparison").hidden = true;
  by("comparison").replaceChildren();
  changedContext();
  show();
  by("choose").focus();
}

async function saveJson(photos) {
  const person = told(by("context"));
  try {
    await saveAnswers(photos, person, state.about, planOf);
  } catch {
    by("status").textContent = server.GONE;
  }
}

// --- what is seen ---

function shown() {
  return shownPhotos(state.photos, state.view, state.about);
}

function look(change) {
  Object.assign(state.view, change);
  showGrid();
}

function show() {
  const done = state.photos.filter((candidate) => candidate.status !== "waiting").length;
  const total = state.photos.length;
  document.body.toggleAttribute("data-photos", total > 0);
  by("progress").hidden = done === total;
  by("clear").hidden = total === 0;
  by("progress").max = total;
  by("progress").value = done;
  if (total > 0 && done === total) by("status").textContent = total === 1 ? "1 photo answered" : `All ${total} photos answered: ${counts(state.photos, state.about)}`;
  showGrid();
  showAnswer();
}

function counted(photos) {
  return photos.length === 1 ? "1 photo" : `${photos.length} photos`;
}

function showTold() {
  by("told").textContent = summary(told(by("context")));
}

function showGrid() {
  by("all").hidden = state.photos.length < 2;
  const photos = shown();
  fillGrid(by("grid"), photos, state.about, {
    chosen: state.chosen,
    open: (photo) => {
      state.chosen = photo;
      showGrid();
      showAnswer();
      focusOn(by("answer"));
    },
  });
  by("shown").textContent = photos.length < state.photos.length ? `${photos.length} of ${state.photos.length} photos shown` : "";
  showPair();
}

/** Offer the photos that have an answer for comparison, the first two of them at first. */
function showPair() {
  const answered = [...state.photos.entries()].filter(([, photo]) => photo.answer);
  by("pair").hidden = answered.length < 2;
  if (by("before").options.length === answered.length) return;
  ["before", "after"].forEach((id, first) => {
    const chosen = by(id).dataset.chosen ?? answered[first]?.[0];
    by(id).replaceChildren(...answered.map(([index, photo]) => element("option", { value: index }, photo.name)));
    by(id).value = chosen;
  });
}

/** Show the chosen photo's answer; what stands there already stays, with what is open and chosen in it. */
function showAnswer() {
  const photo = state.chosen;
  const article = by("answer");
  article.hidden = photo === null;
  const drawn = photo && (photo.answer ?? `${photo.status} ${photo.name} ${photo.problem}`);
  if (drawn === state.drawn) return;
  state.drawn = drawn;
  article.replaceChildren(...(photo ? answerParts(photo, state.about, toolbar(photo)) : []));
  showPlan();
}

/** Show what the documents say about the chosen photo's types, for the person entered now. */
async function showPlan() {
  const turn = (state.turn += 1);
  const article = by("answer");
  const [place, brief, about] = [".plan", ".brief", ".about"].map((part) => article.querySelector(part));
  if (!place || isRefused(state.chosen.answer)) return;
  const person = told(by("context"));
  const parts = [...place.querySelectorAll("details")];
  const open = new Map(parts.map((part) => [part.dataset.name, part.open]));
  const tab = place.querySelector("[aria-selected=true]")?.textContent;
  place.setAttribute("aria-busy", "true"); // greyed: it may be of another person
  let plan;
  try {
    plan = await planOf(state.chosen, person);
  } catch {
    plan = null;
  }
  if (turn !== state.turn) return;
  place.setAttribute("aria-busy", "false");
  if (!plan) {
    brief.replaceChildren();
    place.replaceChildren(element("p", { class: "banner" }, `The documents' tables cannot be shown: ${server.GONE}.`), about);
    return;
  }
  const [cautions, ...sections] = planSections(plan, state.about, summary(person));
  brief.replaceChildren(...briefTable(plan, state.about));
  place.replaceChildren(cautions, tabs([...sections, about], tab), ...sections, about);
  for (const part of place.querySelectorAll("details")) part.open = open.get(part.dataset.name) ?? part.open;
}

function toolbar(photo) {
  const button = (text, click) => element("button", { type: "button", click }, text);
  return element("div", { class: "toolbar buttons" },
    photo.answer && [
      button("Print or save as PDF", () => window.print()),
      button("Page (HTML)", () => savePage(by("answer"), photo.name)),
      button("Answer (JSON)", () => saveJson([photo])),
    ],
    button("Row (CSV)", () => saveTable([photo], state.about)));
}

/** Open, for paper, every claim about the treatments of the types that are open; then close it again. */
function openClaims(open) {
  for (const part of document.querySelectorAll(CLAIMS)) {
    if (open && !part.open) part.dataset.closed = "";
    if (open || "closed" in part.dataset) part.open = open;
    if (!open) delete part.dataset.closed;
  }
}

for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault()); // else the photo replaces the page
start();
