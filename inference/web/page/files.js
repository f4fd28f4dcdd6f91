// Files that were dropped or chosen, with their names; folders are gone through.

/** Return [file, name], or [null, name, problem], for everything that was dropped; the name holds the folders above. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) found.push(...(await filesOf(entry)));
  return found;
}

async function filesOf(entry) {
  if (entry === null) return [];
  if (entry instanceof File) return [[entry, entry.name]];
  try {
    return await filesBelow(entry);
  } catch (error) {
    return [[null, entry.fullPath.replace(/^\//, ""), `cannot be opened: ${error.message}`]];
  }
}

async function filesBelow(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    return [[file, entry.fullPath.replace(/^\//, "")]];
  }
  const found = [];
  for (const inside of await entriesOf(entry.createReader())) {
    if (!inside.name.startsWith(".")) found.push(...(await filesOf(inside)));
  }
  return found;
}

/** Return all entries of a folder, which come a hundred at a time. */
async function entriesOf(reader) {
  const all = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (some.length === 0) return all.sort((a, b) => (a.name < b.name ? -1 : 1));
    all.push(...some);
  }
}
