// Files that were dropped or chosen, with their names; folders are gone through.

/** Return [file, name] for everything that was dropped; the name holds the folders above it. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) found.push(...(await filesOf(entry)));
  return found;
}

async function filesOf(entry) {
  if (entry === null) return [];
  if (entry instanceof File) return [[entry, entry.name]];
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
