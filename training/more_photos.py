"""Convert the manifest of `../shared/more_photos` to one that `--data` accepts.

python training/more_photos.py ../shared/more_photos/manifest.csv runs/more.csv
"""

import csv
import io
import os
import sys
from pathlib import Path

from scarlens.datasets.writing.atomic import write_atomically


def main(manifest: Path, out: Path) -> None:
    """Write the columns file, label and subject. The groups of `skin_kinds` become labels."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "subject"])
    with manifest.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            file = Path(os.path.relpath(manifest.parent / row["file"], out.parent)).as_posix()
            grouped = row["kind"] != "skin_kinds"
            label = row["kind"] if grouped else f"skin_{row['group']}"
            writer.writerow([file, label, row["group"] if grouped else ""])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text.getvalue().encode())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
