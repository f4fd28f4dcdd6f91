// Talking to the server on this computer.

export const GONE = "the server does not respond; check that scarlens serve is running, then try again";
const VANISHED = "this file can no longer be read: it was moved, changed or deleted; choose it again";

/** Ask for the answer to one photo; returns { answer } or { problem, row }. */
export async function predict(file, name) {
  const form = new FormData();
  form.append("photo", file, name);
  form.append("picture", "true");
  try {
    const reply = await fetch("predict", { method: "POST", body: form });
    const content = await reply.json();
    return reply.ok ? { answer: content } : { problem: content.error, row: content.row };
  } catch {
    const readable = await file.slice(0, 1).arrayBuffer().then(() => true, () => false);
    return { problem: readable ? GONE : VANISHED, row: null };
  }
}

/** Ask what changed between two photos of one place; returns { found } or { problem }. */
export async function compare(before, after) {
  const form = new FormData();
  form.append("before", before.file, before.name);
  form.append("after", after.file, after.name);
  try {
    const reply = await fetch("compare", { method: "POST", body: form });
    const content = await reply.json();
    return reply.ok ? { found: content } : { problem: content.error };
  } catch {
    return { problem: GONE };
  }
}

/** Ask what the documents say about the types of an answer, with the cautions for the person. */
export async function treatments(answer, person) {
  const body = JSON.stringify({ label: answer.label, plausible: answer.plausible, ...person });
  const reply = await fetch("treatments", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (!reply.ok) throw new Error((await reply.json()).error);
  return reply.json();
}

export async function about() {
  return (await fetch("about")).json();
}

/** Fetch a picture to try the page with. */
export async function example() {
  return new File([await (await fetch("example")).blob()], "example.jpg", { type: "image/jpeg" });
}
