"""Labelled photos: folders per class or a CSV manifest become one list with labels, kinds and subjects."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .audit import near_duplicate_groups, perceptual_hashes
from .errors import ScarlensError
from .labels import OUT_OF_SCOPE, SCAR_TYPES, known_spellings, normalise_label
from .reader import ImageReadError, read_image


class PhotoSetError(ScarlensError, ValueError):
    """The labelled data cannot be used as it is; the message says what to mend."""


@dataclass(frozen=True)
class LabelledPhoto:
    """One photo of a labelled set.

    Attributes:
        path: the file.
        label: a name of `SCAR_TYPES`, or `OUT_OF_SCOPE`.
        kind: the label as a user groups it: the scar type, or the name of the out-of-scope folder, such as "keloid".
        subject: whose skin it shows; photos of one subject never stand on both sides of a split. None when not known.
    """

    path: Path
    label: str
    kind: str
    subject: str | None = None

    @property
    def type_index(self) -> int:
        """Index into `SCAR_TYPES`, or -1 when the photo shows none of them."""
        return SCAR_TYPES.index(self.label) if self.label in SCAR_TYPES else -1


def load_photos(sources: Path | Sequence[Path], *, out_of_scope: Iterable[str] = ()) -> list[LabelledPhoto]:
    """List the labelled photos of folders and manifests, in sorted order.

    A folder holds one sub-folder per class, as torchvision's `ImageFolder` wants it; a CSV manifest has the columns
    `file,label[,subject]` with files relative to it. A subject is unique within its source.

    Args:
        sources: one or several folders or `.csv` manifests.
        out_of_scope: names of folders or manifest labels that show none of the three types, such as "keloid";
            "out_of_scope" itself need not be named.

    Raises:
        PhotoSetError: unknown class, missing column, missing file, or no photo at all.
    """
    sources = [sources] if isinstance(sources, Path) else list(sources)
    names = frozenset(name.casefold() for name in out_of_scope)
    if types := [name for name in names if normalise_label(name)]:
        raise PhotoSetError(f"--out-of-scope names {types}, which is a scar type")
    photos: list[LabelledPhoto] = []
    for number, source in enumerate(sources):
        found = _from_manifest(source, names) if source.is_file() else _from_folder(source, names)
        prefix = f"{number}:" if len(sources) > 1 else ""
        photos += [replace(p, subject=f"{prefix}{p.subject}") if p.subject else p for p in found]
    _check_not_empty(photos, sources)
    unused = names - {photo.kind.casefold() for photo in photos if photo.label == OUT_OF_SCOPE}
    if unused:
        raise PhotoSetError(f"--out-of-scope names {sorted(unused)}, but no photo has that folder or label")
    return photos


def _check_not_empty(photos: Sequence[LabelledPhoto], sources: Sequence[Path]) -> None:
    if all(photo.label == OUT_OF_SCOPE for photo in photos):
        places = ", ".join(str(source) for source in sources)
        raise PhotoSetError(
            f"{places}: expected photos of {known_spellings()}, a folder or manifest label each, found none"
        )


def _from_folder(folder: Path, out_of_scope: frozenset[str]) -> list[LabelledPhoto]:
    if not folder.is_dir():
        raise PhotoSetError(
            f"{folder}: expected a folder with one sub-folder per class or a .csv manifest, found neither"
        )
    photos: list[LabelledPhoto] = []
    for class_folder in sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    ):
        label = _label_of(class_folder.name, out_of_scope, where=str(class_folder))
        kind = label if label in SCAR_TYPES else class_folder.name
        # Every file counts: one that is no photo is listed as unreadable, where a list of suffixes would hide it.
        files = sorted(file for file in class_folder.rglob("*") if file.is_file())
        photos += [LabelledPhoto(f, label, kind) for f in files if not _is_hidden(f.relative_to(class_folder))]
    return photos


def _from_manifest(manifest: Path, out_of_scope: frozenset[str]) -> list[LabelledPhoto]:
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PhotoSetError(f"{manifest}: expected a CSV manifest in UTF-8, found: {error}") from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    missing = {"file", "label"} - set(rows.fieldnames or ())
    if missing:
        found = ",".join(rows.fieldnames or ())[:100]
        raise PhotoSetError(f"{manifest}: expected the columns file,label[,subject], found {found}")
    photos = [_from_row(row, manifest, rows.line_num, out_of_scope) for row in rows]
    absent = [str(photo.path) for photo in photos if not photo.path.is_file()]
    if absent:
        raise PhotoSetError(f"{manifest}: {len(absent)} listed files are not there, the first is {absent[0]}")
    return sorted(photos, key=lambda photo: photo.path)


def _from_row(row: dict[str, str], manifest: Path, line: int, out_of_scope: frozenset[str]) -> LabelledPhoto:
    if not row["file"] or row["label"] is None:
        raise PhotoSetError(
            f"{manifest}, line {line}: expected a file and a label, found {row['file']!r}, {row['label']!r}"
        )
    label = _label_of(row["label"], out_of_scope, where=f"{manifest}, line {line}")
    kind = label if label in SCAR_TYPES else row["label"]
    return LabelledPhoto(manifest.parent / row["file"], label, kind, row.get("subject") or None)


def _label_of(spelling: str, out_of_scope: frozenset[str], *, where: str) -> str:
    if spelling == OUT_OF_SCOPE or spelling.casefold() in out_of_scope:
        return OUT_OF_SCOPE
    label = normalise_label(spelling)
    if label is None:
        raise PhotoSetError(
            f'{where}: unknown class "{spelling}". Known are {known_spellings()}; '
            f'if its photos show none of the three types, name it: --out-of-scope "{spelling}"'
        )
    return label


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def readable_photos(
    photos: Sequence[LabelledPhoto], *, advance: Callable[[], None] = lambda: None
) -> tuple[list[LabelledPhoto], list[ImageReadError]]:
    """Read every photo once, so that a bad file is known before the first epoch and not in the middle of one.

    Photos without a subject get one, that of a near-duplicate or else the number of their near-duplicate group, so
    that no copy of a training photo is measured on.

    Args:
        photos: the photos to check.
        advance: called after each photo, for a progress bar.

    Returns:
        The photos that can be read, each with a subject, and the errors of the others.
    """
    good: list[LabelledPhoto] = []
    hashes: list[np.ndarray] = []
    errors: list[ImageReadError] = []
    for photo in photos:
        try:
            image = read_image(photo.path)
        except ImageReadError as error:
            errors.append(error)
        else:
            good.append(photo)
            hashes.append(perceptual_hashes(image))
        advance()
    groups = near_duplicate_groups(hashes)
    known = {group: photo.subject for photo, group in zip(good, groups, strict=True) if photo.subject}
    for number, (photo, group) in enumerate(zip(good, groups, strict=True)):
        if photo.subject is None:
            good[number] = replace(photo, subject=known.get(group, f"look-alikes {group}"))
    return good, errors
