// The page: photos come in, are sent to the server on this computer one after the other, and their answers are shown.

import { answerParts } from "./answer.js";
import { element, focusOn } from "./dom.js";
import { saveAnswers, savePage, saveTable } from "./downloads.js";
import { droppedFiles } from "./files.js";
import { summary, told } from "./person.js";
import { fillTable, shownPhotos } from "./photos.js";
import * as server from "./server.js";

const AT_ONCE = 2; // photos that are sent at a time: the server reads one on each core

const by = (id) => document.getElementById(id);
const state = {
  about: null,
  photos: [], // { file, name, status: waiting | ok | abstained | error, answer, problem, row }
  chosen: null,
  view: { column: null, falling: false, filter: "", search: "" },
  plans: new Map(), // what the documents say, by types and person
  running: 0,
};

async function start() {
  state.about = await server.about();
  by("notice").textContent = state.about.notice;
  by("about").textContent = `scarlens ${state.about.version}, model ${state.about.model_id}. ${state.about.notice}`;
  showTold();
  listen();
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
  by("context").addEventListener("change", changedContext);
  by("filter").addEventListener("change", (event) => look({ filter: event.target.value }));
  by("search").addEventListener("input", (event) => look({ search: event.target.value }));
  by("csv").addEventListener("click", () => saveTable(shown()));
  by("json").addEventListener("click", () => saveAnswers(shown(), planOf));
  by("clear").addEventListener("click", clear);
  window.addEventListener("beforeprint", () => openAll(true));
  window.addEventListener("afterprint", () => openAll(false));
}

// --- photos in, answers out ---

function add(files) {
  const added = files.map(([file, name]) => ({ file, name, status: "waiting", answer: null, problem: null, row: null }));
  state.photos.push(...added);
  state.chosen ??= added[0] ?? null;
  show();
  work();
}

function work() {
  while (state.running < AT_ONCE) {
    const photo = state.photos.find((candidate) => candidate.status === "waiting" && !candidate.sent);
    if (!photo) break;
    photo.sent = true;
    state.running += 1;
    ask(photo).finally(() => {
      state.running -= 1;
      show(photo);
      work();
    });
  }
}

async function ask(photo) {
  const { max_bytes: most } = state.about;
  const reply = photo.file.size > most
    ? { problem: `expected at most ${most.toLocaleString("en")} bytes, found ${photo.file.size.toLocaleString("en")}`, row: null }
    : await server.predict(photo.file, photo.name, { mm_per_pixel: scale() });
  photo.problem = reply.problem ?? null;
  photo.row = reply.row ?? reply.answer?.row ?? null;
  photo.answer = reply.answer ?? null;
  if (photo.answer) delete photo.answer.treatment; // of many photos too much to keep; `planOf` has it
  photo.status = photo.answer ? (photo.answer.reason === null ? "ok" : "abstained") : "error";
}

function scale() {
  const field = by("context").elements.mm_per_pixel;
  return field.value !== "" && field.validity.valid ? Number(field.value) : null;
}

/** Return what the documents say about a photo's types, or null for one that is refused. */
async function planOf(photo) {
  const { answer } = photo;
  if (!answer || (answer.label === null && answer.reason !== "ambiguous")) return null;
  const person = told(by("context"));
  const key = JSON.stringify([answer.label, answer.plausible, person]);
  if (!state.plans.has(key)) state.plans.set(key, await server.treatments(answer, person));
  return state.plans.get(key);
}

function changedContext(event) {
  by("months").hidden = by("context").elements.isotretinoin.value !== "stopped";
  if (event.target.name === "mm_per_pixel") {
    for (const photo of state.photos) Object.assign(photo, { status: "waiting", sent: false });
    work();
  }
  showTold();
  showAnswer();
}

function clear() {
  Object.assign(state, { photos: [], chosen: null, plans: new Map() });
  show();
  by("choose").focus();
}

// --- what is seen ---

function shown() {
  return shownPhotos(state.photos, state.view, state.about);
}

function look(change) {
  Object.assign(state.view, change);
  showTable();
}

/** Show everything anew; `photo` is the one that changed, if only one did. */
function show(photo = null) {
  const done = state.photos.filter((candidate) => candidate.status !== "waiting").length;
  const total = state.photos.length;
  by("progress").hidden = done === total;
  by("progress").max = total;
  by("progress").value = done;
  by("status").textContent = total === 0 ? "" : done < total ? `${done} of ${total} photos answered` : total === 1 ? "1 photo answered" : `All ${total} photos answered`;
  showTable();
  if (photo === null || photo === state.chosen) showAnswer();
}

function showTold() {
  by("told").textContent = summary(told(by("context")));
}

function showTable() {
  by("all").hidden = state.photos.length < 2;
  const photos = shown();
  fillTable(by("table"), photos, state.view, state.about, {
    chosen: state.chosen,
    sort: (column, falling) => {
      look({ column, falling });
      by("table").querySelector(`[data-column="${column}"]`).focus();
    },
    open: (photo) => {
      state.chosen = photo;
      showTable();
      showAnswer().then(() => focusOn(by("answer")));
    },
  });
  by("shown").textContent = photos.length < state.photos.length ? `${photos.length} of ${state.photos.length} photos shown` : "";
}

async function showAnswer() {
  const photo = state.chosen;
  const article = by("answer");
  article.hidden = photo === null;
  if (photo === null) return article.replaceChildren();
  article.setAttribute("aria-busy", "true");
  let plan = null;
  let problem = null;
  try {
    plan = await planOf(photo);
  } catch (error) {
    problem = element("p", { class: "banner" }, `What the documents say could not be fetched: ${error.message}`);
  }
  if (photo !== state.chosen) return undefined; // another was opened meanwhile
  article.setAttribute("aria-busy", String(photo.status === "waiting"));
  return article.replaceChildren(...[problem].filter(Boolean), ...answerParts(photo, plan, state.about, toolbar(photo)));
}

function toolbar(photo) {
  const button = (text, click) => element("button", { type: "button", click }, text);
  return element("div", { class: "toolbar buttons" },
    button("Print or save as PDF", () => window.print()),
    button("Page (HTML)", () => savePage(by("answer"), photo.name)),
    button("Answer (JSON)", () => saveAnswers([photo], planOf)),
    button("Row (CSV)", () => saveTable([photo])),
    state.photos.length === 1 && button("Remove the photo", clear));
}

/** Open what is closed, for paper shows only what is open; then close it again. */
function openAll(open) {
  for (const part of document.querySelectorAll("#answer details")) {
    if (open && !part.open) part.dataset.closed = "";
    if (open || "closed" in part.dataset) part.open = open;
    if (!open) delete part.dataset.closed;
  }
}

start();
