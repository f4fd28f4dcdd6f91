"""Labelled photos: class folders or a CSV manifest become one list with labels, classes and subjects."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from .audit.near_duplicates import Fingerprint, find_look_alikes, fingerprint, linked_groups
from .errors import ScarlensError
from .labels import OUT_OF_SCOPE, SCAR_TYPES, known_spellings, normalise_label
from .reading.reader import ImageReadError, read_bytes, read_image
from .reading.sources import is_leftover

_SEPARATORS: Final = (",", ";", "\t")


class PhotoSetError(ScarlensError, ValueError):
    """The labelled data cannot be used as it is; the message says what to fix."""


@dataclass(frozen=True)
class LabelledPhoto:
    """One photo of a labelled set.

    Attributes:
        path: the file.
        label: a name of `SCAR_TYPES`, `UNTYPED` or `OUT_OF_SCOPE`.
        class_name: the class as the user named it: the scar type, or the out-of-scope folder, such as "keloid".
        subject: the person; a split never separates photos of one subject. None if unknown.
        extra: whether it is for training only, never for evaluation, like a rendered photo.
        duplicate_group: number of its group of near-duplicates; None if photos were not compared.
    """

    path: Path
    label: str
    class_name: str
    subject: str | None = None
    extra: bool = False
    duplicate_group: int | None = None

    @property
    def type_index(self) -> int:
        """Index into `SCAR_TYPES`; -1 if the photo shows none of them or the type is unknown."""
        return SCAR_TYPES.index(self.label) if self.label in SCAR_TYPES else -1

    @property
    def in_scope(self) -> bool:
        """Whether the photo shows a scar of the three types."""
        return self.label != OUT_OF_SCOPE


def load_photos(
    sources: Path | Sequence[Path],
    *,
    out_of_scope: Iterable[str] = (),
    extra: Sequence[Path] = (),
    subject_column: str = "subject",
) -> list[LabelledPhoto]:
    """List the labelled photos of folders and manifests, in sorted order.

    A folder holds one sub-folder per class, as torchvision's `ImageFolder` wants it. A CSV manifest has the columns
    `file,label[,subject]` in any order, separated by commas, semicolons or tabs, with files relative to it or absolute;
    backslashes are separators too. A subject is unique within its source.

    Args:
        sources: one or several folders or `.csv` manifests.
        out_of_scope: names of folders or manifest labels that show none of the three types, such as "keloid";
            "out_of_scope" itself need not be named.
        extra: folders or manifests of photos for training only, such as rendered ones.
        subject_column: name of the manifests' column that identifies the person in the photo.

    Raises:
        PhotoSetError: unknown class, missing column, missing file, or no photo at all.
    """
    sources = [sources] if isinstance(sources, Path) else list(sources)
    names = frozenset(name.casefold() for name in out_of_scope)
    if types := [name for name in names if normalise_label(name)]:
        raise PhotoSetError(f"--out-of-scope names {types}, which is a scar type")
    photos: list[LabelledPhoto] = []
    for number, source in enumerate([*sources, *extra]):
        is_manifest = source.is_file()
        found = _from_manifest(source, names, subject_column) if is_manifest else _from_folder(source, names)
        prefix = f"{number}:" if len(sources) + len(extra) > 1 else ""
        subjects = [f"{prefix}{photo.subject}" if photo.subject else None for photo in found]
        more = number >= len(sources)
        photos += [replace(photo, subject=name, extra=more) for photo, name in zip(found, subjects, strict=True)]
    _check_not_empty([photo for photo in photos if not photo.extra], sources)
    unused = names - {photo.class_name.casefold() for photo in photos if photo.label == OUT_OF_SCOPE}
    if unused:
        raise PhotoSetError(f"--out-of-scope names {sorted(unused)}, but no photo has that folder or label")
    return photos


def _check_not_empty(photos: Sequence[LabelledPhoto], sources: Sequence[Path]) -> None:
    if all(photo.label == OUT_OF_SCOPE for photo in photos):
        places = ", ".join(str(source) for source in sources)
        raise PhotoSetError(
            f"{places}: expected photos in folders or with manifest labels named {known_spellings()}, found none"
        )


def _from_folder(folder: Path, out_of_scope: frozenset[str]) -> list[LabelledPhoto]:
    if not folder.is_dir():
        raise PhotoSetError(
            f"{folder}: expected a folder with one sub-folder per class or a .csv manifest, found neither"
        )
    photos: list[LabelledPhoto] = []
    for class_folder in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_leftover(entry.name)):
        label = _label_of(class_folder.name, out_of_scope, where=str(class_folder))
        class_name = class_folder.name if label == OUT_OF_SCOPE else label
        # Keep every file: one that is not a photo is then listed as unreadable; filtering by suffix would hide it.
        files = sorted(file for file in class_folder.rglob("*") if file.is_file())
        files = [file for file in files if not any(map(is_leftover, file.relative_to(class_folder).parts))]
        photos += [LabelledPhoto(file, label, class_name) for file in files]
    return photos


def _from_manifest(manifest: Path, out_of_scope: frozenset[str], subject_column: str) -> list[LabelledPhoto]:
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PhotoSetError(f"{manifest}: expected a CSV manifest in UTF-8, found: {error}") from error
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(_SEPARATORS, key=head.count))
    rows.fieldnames = [name.strip().casefold() for name in rows.fieldnames or ()]
    subject_column = subject_column.strip().casefold()
    needed = {"file", "label"} if subject_column == "subject" else {"file", "label", subject_column}
    if not needed <= set(rows.fieldnames):
        found = ",".join(rows.fieldnames)[:100]
        raise PhotoSetError(f"{manifest}: expected the columns file,label[,{subject_column}], found {found}")
    photos = []
    for row in rows:
        cells = {name: (value or "").strip() for name, value in row.items() if name and not isinstance(value, list)}
        cells["subject"] = cells.get(subject_column, "")
        photos.append(_from_row(cells, manifest, rows.line_num, out_of_scope))
    absent = [str(photo.path) for photo in photos if not photo.path.is_file()]
    if absent:
        raise PhotoSetError(f"{manifest}: {len(absent)} listed files are missing, the first is {absent[0]}")
    return sorted(photos, key=lambda photo: photo.path)


def _from_row(row: dict[str, str], manifest: Path, line: int, out_of_scope: frozenset[str]) -> LabelledPhoto:
    if not row["file"] or not row["label"]:
        raise PhotoSetError(
            f"{manifest}, line {line}: expected a file and a label, found {row['file']!r}, {row['label']!r}"
        )
    label = _label_of(row["label"], out_of_scope, where=f"{manifest}, line {line}")
    class_name = row["label"] if label == OUT_OF_SCOPE else label
    file = manifest.parent / row["file"]
    if not file.is_file():  # a manifest from Windows; elsewhere a backslash is part of a name
        file = manifest.parent / row["file"].replace("\\", "/")
    return LabelledPhoto(file, label, class_name, row["subject"] or None)


def _label_of(spelling: str, out_of_scope: frozenset[str], *, where: str) -> str:
    if spelling == OUT_OF_SCOPE or spelling.casefold() in out_of_scope:
        return OUT_OF_SCOPE
    label = normalise_label(spelling)
    if label is None:
        raise PhotoSetError(
            f'{where}: unknown class "{spelling}". Known classes: {known_spellings()}; '
            f'if its photos show none of the three types, add --out-of-scope "{spelling}"'
        )
    return label


def readable_photos(
    photos: Sequence[LabelledPhoto],
    *,
    merge: bool = False,
    compare: bool = True,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[LabelledPhoto], list[ImageReadError]]:
    """Read every photo once, so that bad files are known before training starts.

    Near-duplicates share a group number. A photo without a subject gets the subject of its group, or a new
    one. If a group has several subjects, the user fixes it, `splits.refuse_parted` refuses the split, or `merge`
    makes them one.

    Args:
        photos: the photos to check.
        merge: whether to merge subjects that share a photo.
        compare: whether to look for near-duplicates, which takes most of the time. Photos without a subject are always
            compared.
        advance: called twice per photo, for a progress bar: when it is read and when it is compared.

    Returns:
        The readable photos, each with a subject and its group, and the errors of the others.

    Raises:
        PhotoSetError: no photo of the three types is left.
    """
    good: list[LabelledPhoto] = []
    prints: list[Fingerprint] = []
    errors: list[ImageReadError] = []
    compare = compare or merge or any(photo.subject is None for photo in photos)
    for photo, data, image in each_readable(photos, errors, advance=advance):
        good.append(photo)
        if compare:
            prints.append(fingerprint(data, image))
        else:
            advance()
    if not any(photo.label != OUT_OF_SCOPE for photo in good):
        first = f", the first: {errors[0]}" if errors else ""
        raise PhotoSetError(f"no photo of the three types can be read; {len(errors)} files cannot{first}")
    if not compare:
        return good, errors
    pairs = [(pair.first, pair.second) for pair in find_look_alikes(prints, advance=advance) if pair.copy]
    groups = linked_groups(len(good), pairs)
    known = [replace(photo, duplicate_group=int(group)) for photo, group in zip(good, groups, strict=True)]
    return (with_subjects(known, groups) if merge else _with_own_subjects(known)), errors


def each_readable(
    photos: Iterable[LabelledPhoto], errors: list[ImageReadError], *, advance: Callable[[], None]
) -> Iterator[tuple[LabelledPhoto, bytes, np.ndarray]]:
    """Yield the readable photos, each with its file's content and its picture, RGB uint8 [H, W, 3].

    Args:
        photos: the photos.
        errors: list to which the errors of the others are appended.
        advance: called after each photo, and twice for an unreadable one, since it will not be compared.
    """
    for photo in photos:
        try:
            data = read_bytes(photo.path)
            image = read_image(data, name=str(photo.path))
        except ImageReadError as error:
            errors.append(error)
            advance()
        else:
            yield photo, data, image
        advance()


def _with_own_subjects(photos: Sequence[LabelledPhoto]) -> list[LabelledPhoto]:
    """Give photos without a subject the first one in their group of near-duplicates, or a new one."""
    named = sorted((photo.subject, photo.duplicate_group) for photo in photos if photo.subject)
    name_of = {group: name for name, group in reversed(named)}
    return [
        replace(
            photo, subject=photo.subject or name_of.get(photo.duplicate_group, f"look-alikes {photo.duplicate_group}")
        )
        for photo in photos
    ]


def with_subjects(photos: Sequence[LabelledPhoto], groups: np.ndarray) -> list[LabelledPhoto]:
    """Give photos without a subject one, and merge subjects that share a photo.

    Args:
        photos: the photos.
        groups: int [N], the group of near-duplicates of each photo, numbered from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names = sorted({photo.subject for photo in photos if photo.subject})
    first = int(groups.max(initial=-1)) + 1  # subjects are numbered after the groups
    number = {name: first + i for i, name in enumerate(names)}
    links = [(group, number[photo.subject]) for photo, group in zip(photos, groups, strict=True) if photo.subject]
    ends = np.array(links, dtype=np.int64).reshape(-1, 2).T
    size = first + len(names)
    _, person = connected_components(
        coo_array((np.ones(len(links)), (ends[0], ends[1])), shape=(size, size)), directed=False
    )
    name_of: dict[int, str] = {}
    for name in names:
        name_of.setdefault(int(person[number[name]]), name)
    return [
        replace(photo, subject=name_of.get(int(person[group]), f"look-alikes {group}"))
        for photo, group in zip(photos, groups, strict=True)
    ]


def measured_and_extra(photos: Sequence[LabelledPhoto]) -> tuple[list[LabelledPhoto], list[LabelledPhoto]]:
    """Separate the photos for evaluation from those for training only.

    Raises:
        PhotoSetError: a subject is in both, so it would be both trained on and evaluated.
    """
    measured = [photo for photo in photos if not photo.extra]
    extra = [photo for photo in photos if photo.extra]
    subjects = {photo.subject for photo in measured}
    if shared := [photo for photo in extra if photo.subject in subjects]:
        raise PhotoSetError(
            f"{len(shared)} of the --extra photos show a subject of --data, or are near-duplicates of its photos, "
            f"the first is {shared[0].path}: remove them"
        )
    return measured, extra
