"""Labelled folders and manifests: what is understood, what is refused, and whose skin a photo shows."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scarlens.datasets.labels import OUT_OF_SCOPE
from scarlens.datasets.photos import LabelledPhoto, PhotoSetError, load_photos, readable_photos
from scarlens.datasets.rendering import render_photo


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"listing does not read the photo")


def manifest(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def save(path: Path, image: np.ndarray, *, quality: int = 75) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=quality)
    return path


# Folders


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("Ice Pick", "ice_pick"),
        ("icepick", "ice_pick"),
        ("ice-pick", "ice_pick"),
        ("Boxcar", "boxcar"),
        ("rolling scars", "rolling"),
    ],
)
def test_spellings_of_class_folders(tmp_path: Path, folder: str, label: str) -> None:
    touch(tmp_path / folder / "a.jpg")
    assert load_photos(tmp_path) == [LabelledPhoto(tmp_path / folder / "a.jpg", label, label)]


def test_two_spellings_of_a_type_are_one_class(tmp_path: Path) -> None:
    touch(tmp_path / "Ice Pick" / "a.jpg", tmp_path / "icepick" / "b.jpg", tmp_path / "boxcar" / "c.jpg")
    photos = load_photos(tmp_path)
    assert [(photo.path.name, photo.class_name, photo.type_index) for photo in photos] == [
        ("a.jpg", "ice_pick", 0),
        ("c.jpg", "boxcar", 1),
        ("b.jpg", "ice_pick", 0),
    ]


def test_an_unknown_folder_lists_the_known_ones_and_says_how_to_name_it(tmp_path: Path) -> None:
    touch(tmp_path / "boxcar" / "a.jpg", tmp_path / "Keloid" / "b.jpg")
    with pytest.raises(PhotoSetError) as error:
        load_photos(tmp_path)
    message = str(error.value)
    assert str(tmp_path / "Keloid") in message
    for part in ('"ice pick"', '"boxcar"', '"rolling"', '--out-of-scope "Keloid"'):
        assert part in message


def test_out_of_scope_folders(tmp_path: Path) -> None:
    touch(tmp_path / "boxcar" / "a.jpg", tmp_path / "Keloid" / "b.jpg", tmp_path / "active acne" / "c.jpg")
    photos = load_photos(tmp_path, out_of_scope=["keloid", "Active Acne"])
    assert [(photo.label, photo.class_name, photo.type_index) for photo in photos] == [
        (OUT_OF_SCOPE, "Keloid", -1),
        (OUT_OF_SCOPE, "active acne", -1),
        ("boxcar", "boxcar", 1),
    ]


def test_an_out_of_scope_name_that_nothing_has_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "boxcar" / "a.jpg", tmp_path / "keloid" / "b.jpg")
    with pytest.raises(PhotoSetError, match=r"--out-of-scope.*kelloid"):
        load_photos(tmp_path, out_of_scope=["keloid", "kelloid"])


def test_nested_files_count_and_hidden_ones_do_not(tmp_path: Path) -> None:
    touch(
        tmp_path / "boxcar" / "z.jpg",
        tmp_path / "boxcar" / "person 1" / "left" / "a.JPG",
        tmp_path / "boxcar" / ".DS_Store",
        tmp_path / "boxcar" / "._z.jpg",
        tmp_path / ".thumbnails" / "a.jpg",
        tmp_path / "README.txt",
    )
    names = [str(photo.path.relative_to(tmp_path / "boxcar")) for photo in load_photos(tmp_path)]
    assert names == ["person 1/left/a.JPG", "z.jpg"]


def test_files_of_hidden_folders_do_not_count(tmp_path: Path) -> None:
    touch(tmp_path / "boxcar" / "a.jpg", tmp_path / "boxcar" / ".thumbnails" / "a.jpg")
    assert [photo.path for photo in load_photos(tmp_path)] == [tmp_path / "boxcar" / "a.jpg"]


@pytest.mark.parametrize("content", ["nothing", "empty class", "only out of scope"])
def test_no_photo_of_the_three_types_is_an_error(tmp_path: Path, content: str) -> None:
    if content == "empty class":
        (tmp_path / "boxcar").mkdir()
    if content == "only out of scope":
        touch(tmp_path / "keloid" / "a.jpg")
    with pytest.raises(PhotoSetError, match=r'"ice pick", "boxcar", "rolling"') as error:
        load_photos(tmp_path, out_of_scope=["keloid"] if content == "only out of scope" else [])
    assert str(tmp_path) in str(error.value)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhotoSetError, match=r"absent: expected a folder .* or a \.csv manifest"):
        load_photos(tmp_path / "absent")


# Manifests


def test_manifest_with_subjects(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "b.jpg", tmp_path / "a.jpg", tmp_path / "k.jpg")
    file = manifest(
        tmp_path / "m.csv", "file,label,subject", "in/b.jpg,Ice Pick,anna", "a.jpg,rolling,", "k.jpg,keloid,bert"
    )
    assert load_photos(file, out_of_scope=["keloid"]) == [
        LabelledPhoto(tmp_path / "a.jpg", "rolling", "rolling", None),
        LabelledPhoto(tmp_path / "in" / "b.jpg", "ice_pick", "ice_pick", "anna"),
        LabelledPhoto(tmp_path / "k.jpg", OUT_OF_SCOPE, "keloid", "bert"),
    ]


def test_manifest_without_subjects_and_with_other_columns(tmp_path: Path) -> None:
    touch(tmp_path / "a, b.jpg")
    file = manifest(tmp_path / "m.csv", "camera,label,file", 'phone,boxcar,"a, b.jpg"')
    assert load_photos(file) == [LabelledPhoto(tmp_path / "a, b.jpg", "boxcar", "boxcar", None)]


def test_manifest_with_a_byte_order_mark(tmp_path: Path) -> None:
    touch(tmp_path / "ä.jpg")
    file = manifest(tmp_path / "m.csv", "file,label", "ä.jpg,boxcar", encoding="utf-8-sig")
    assert load_photos(file) == [LabelledPhoto(tmp_path / "ä.jpg", "boxcar", "boxcar")]


def test_manifest_in_another_encoding_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "ä.jpg")
    file = manifest(tmp_path / "m.csv", "file,label", "ä.jpg,boxcar", encoding="latin-1")
    with pytest.raises(PhotoSetError, match=r"m\.csv"):
        load_photos(file)


@pytest.mark.parametrize("header", ["file,type", "path,label", "file;type", ""])
def test_manifest_without_a_column_says_which_are_expected(tmp_path: Path, header: str) -> None:
    file = manifest(tmp_path / "m.csv", header, "a.jpg,boxcar")
    with pytest.raises(PhotoSetError, match=r"m\.csv: expected the columns file,label\[,subject\]"):
        load_photos(file)


def test_manifest_with_missing_files_counts_them(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    file = manifest(tmp_path / "m.csv", "file,label", "a.jpg,boxcar", "b.jpg,boxcar", "c.jpg,rolling")
    with pytest.raises(PhotoSetError, match=r"m\.csv: 2 listed files are missing.*b\.jpg"):
        load_photos(file)


@pytest.mark.parametrize("row", [",boxcar", "a.jpg", "a.jpg,", "a.jpg,bxcar"])
def test_manifest_rows_that_say_nothing_are_named_by_line(tmp_path: Path, row: str) -> None:
    touch(tmp_path / "a.jpg")
    file = manifest(tmp_path / "m.csv", "file,label", "a.jpg,boxcar", row)
    with pytest.raises(PhotoSetError, match=r"m\.csv, line 3"):
        load_photos(file)


def test_manifest_names_that_are_out_of_scope(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    file = manifest(tmp_path / "m.csv", "file,label", "a.jpg,boxcar", "b.jpg,Keloid")
    with pytest.raises(PhotoSetError, match=r'line 3: unknown class "Keloid".*--out-of-scope "Keloid"'):
        load_photos(file)
    with pytest.raises(PhotoSetError, match="hypertrophic"):
        load_photos(file, out_of_scope=["keloid", "hypertrophic"])
    assert [photo.label for photo in load_photos(file, out_of_scope=["keloid"])] == ["boxcar", OUT_OF_SCOPE]


def test_an_empty_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PhotoSetError, match="found none"):
        load_photos(manifest(tmp_path / "m.csv", "file,label"))


def test_subjects_of_two_manifests_never_collide(tmp_path: Path) -> None:
    files = []
    for clinic in ("north", "south"):
        touch(tmp_path / clinic / "a.jpg", tmp_path / clinic / "b.jpg")
        lines = ("file,label,subject", "a.jpg,boxcar,1", "b.jpg,rolling,1")
        files.append(manifest(tmp_path / clinic / "m.csv", *lines))
    subjects = [photo.subject for photo in load_photos(files)]
    assert None not in subjects
    assert subjects[0] == subjects[1] != subjects[2] == subjects[3]


def test_folders_and_manifests_together(tmp_path: Path) -> None:
    touch(tmp_path / "folder" / "rolling" / "a.jpg", tmp_path / "b.jpg")
    file = manifest(tmp_path / "m.csv", "file,label", "b.jpg,boxcar")
    assert [photo.label for photo in load_photos([tmp_path / "folder", file])] == ["rolling", "boxcar"]


# Reading


def test_every_bad_file_is_listed_and_the_rest_is_kept(tmp_path: Path) -> None:
    image = render_photo("boxcar", seed=1, size=128).image
    save(tmp_path / "boxcar" / "good.png", image)
    touch(tmp_path / "boxcar" / "notes.txt")
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=90)
    (tmp_path / "boxcar" / "cut.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    save(tmp_path / "rolling" / "fine.jpg", render_photo("rolling", seed=2, size=128).image)
    (tmp_path / "rolling" / "empty.jpg").write_bytes(b"")
    steps: list[int] = []
    good, errors = readable_photos(load_photos(tmp_path), advance=lambda: steps.append(1))
    assert [photo.path.name for photo in good] == ["good.png", "fine.jpg"]
    assert len(errors) == 3
    for error, name in zip(errors, ("cut.jpg", "notes.txt", "empty.jpg"), strict=True):
        assert name in str(error)
    assert len(steps) == 2 * 5  # read, then compared


def test_no_photo_at_all_can_be_read(tmp_path: Path) -> None:
    touch(tmp_path / "boxcar" / "a.jpg")
    with pytest.raises(PhotoSetError, match=r"no photo of the three types can be read; 1 files cannot, .*a\.jpg"):
        readable_photos(load_photos(tmp_path))


def test_near_duplicates_are_one_subject_and_different_photos_are_not(tmp_path: Path) -> None:
    for number in range(12):
        label = ("ice_pick", "boxcar", "rolling")[number % 3]
        image = render_photo(label, seed=number, size=160).image
        save(tmp_path / label / f"{number}.png", image)
        if number < 6:
            save(tmp_path / label / f"{number} encoded.jpg", image, quality=40)
            small = np.asarray(Image.fromarray(image).resize((100, 100), Image.Resampling.LANCZOS))
            save(tmp_path / label / f"{number} small.png", small)
            save(tmp_path / label / f"{number} mirrored.png", np.ascontiguousarray(image[:, ::-1]))
    good, errors = readable_photos(load_photos(tmp_path))
    assert errors == []
    groups: dict[str, set[str]] = {}
    for photo in good:
        assert photo.subject is not None
        groups.setdefault(photo.path.stem.split()[0], set()).add(photo.subject)
    assert len(groups) == 12
    assert all(len(subjects) == 1 for subjects in groups.values())
    assert len(set.union(*groups.values())) == 12


def test_a_near_duplicate_with_another_label_is_the_same_subject(tmp_path: Path) -> None:
    image = render_photo("boxcar", seed=3, size=128).image
    save(tmp_path / "boxcar" / "a.png", image)
    save(tmp_path / "keloid" / "a.jpg", image, quality=60)
    good, _ = readable_photos(load_photos(tmp_path, out_of_scope=["keloid"]))
    assert good[0].subject == good[1].subject is not None


def test_named_subjects_are_kept(tmp_path: Path) -> None:
    # Two photos of one person need not look alike, and the manifest knows.
    for number in range(2):
        save(tmp_path / f"{number}.png", render_photo("boxcar", seed=number, size=128).image)
    file = manifest(tmp_path / "m.csv", "file,label,subject", "0.png,boxcar,anna", "1.png,boxcar,anna")
    good, _ = readable_photos(load_photos(file))
    assert [photo.subject for photo in good] == ["anna", "anna"]


def test_a_near_duplicate_without_a_subject_joins_that_of_its_original(tmp_path: Path) -> None:
    # Else a copy of a training photo would be measured on.
    image = render_photo("boxcar", seed=3, size=128).image
    save(tmp_path / "clinic" / "a.png", image)
    save(tmp_path / "folder" / "boxcar" / "a.jpg", image, quality=60)
    file = manifest(tmp_path / "clinic" / "m.csv", "file,label,subject", "a.png,boxcar,anna")
    good, _ = readable_photos(load_photos([file, tmp_path / "folder"]))
    assert good[0].subject == good[1].subject is not None


def test_subjects_that_share_a_photo_become_one(tmp_path: Path) -> None:
    image = render_photo("boxcar", seed=3, size=128).image
    for name in ("one", "two"):
        save(tmp_path / name / "a.png", image)
        save(tmp_path / name / "b.png", render_photo("rolling", seed=len(name) + ord(name[0]), size=128).image)
    rows = ("a.png,boxcar,anna", "b.png,rolling,anna")
    files = [manifest(tmp_path / name / "m.csv", "file,label,subject", *rows) for name in ("one", "two")]
    good, _ = readable_photos(load_photos(files), merge=True)
    assert {photo.subject for photo in good} == {"0:anna"}
    apart, _ = readable_photos(load_photos(files))
    assert {photo.subject for photo in apart} == {"0:anna", "1:anna"}
    assert [photo.duplicate_group for photo in apart] == [photo.duplicate_group for photo in good]
    assert len({photo.duplicate_group for photo in good}) == 3  # one picture twice, two others


def test_photos_with_subjects_need_not_be_compared(tmp_path: Path) -> None:
    image = render_photo("boxcar", seed=3, size=128).image
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", image)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = ("a.png,boxcar,Ann", "b.png,boxcar,Bob", "broken.png,boxcar,Bob")
    calls: list[int] = []
    photos = load_photos(manifest(tmp_path / "m.csv", "file,label,subject", *rows))
    good, errors = readable_photos(photos, compare=False, advance=lambda: calls.append(1))
    assert [(photo.subject, photo.duplicate_group) for photo in good] == [("Ann", None), ("Bob", None)]
    assert len(errors) == 1 and len(calls) == 2 * len(photos)
    unnamed = load_photos(manifest(tmp_path / "n.csv", "file,label,subject", "a.png,boxcar,Ann", "b.png,boxcar,"))
    assert {photo.subject for photo in readable_photos(unnamed, compare=False)[0]} == {"Ann"}


def test_a_near_duplicate_gets_the_subject_of_its_own_picture_only(tmp_path: Path) -> None:
    # Ann and Bob share one picture; the copy without a name is of another one, which is Bob's alone.
    shared, other = (render_photo("boxcar", seed=seed, size=128).image for seed in (3, 4))
    for name, image in (("a", shared), ("b1", other), ("b1copy", other), ("b2", shared)):
        save(tmp_path / f"{name}.png", image)
    rows = ("a.png,boxcar,Ann", "b1.png,boxcar,Bob", "b1copy.png,boxcar,", "b2.png,boxcar,Bob")
    good, _ = readable_photos(load_photos(manifest(tmp_path / "m.csv", "file,label,subject", *rows)))
    assert {photo.path.stem: photo.subject for photo in good} == {
        "a": "Ann",
        "b1": "Bob",
        "b1copy": "Bob",
        "b2": "Bob",
    }


def test_extra_photos_are_marked(tmp_path: Path) -> None:
    for number, name in enumerate(("measured", "learned")):
        save(tmp_path / name / "boxcar" / "a.png", render_photo("boxcar", seed=number, size=64).image)
    photos = load_photos(tmp_path / "measured", extra=[tmp_path / "learned"])
    assert [photo.extra for photo in photos] == [False, True]
    with pytest.raises(PhotoSetError, match="found none"):
        load_photos([], extra=[tmp_path / "learned"])


def test_manifest_headers_may_be_spelled_as_people_do(tmp_path: Path) -> None:
    save(tmp_path / "a.png", render_photo("boxcar", seed=3, size=64).image)
    file = manifest(tmp_path / "m.csv", "File, Label ,Subject", "a.png,boxcar, anna ")
    assert load_photos(file)[0].subject == "anna"
