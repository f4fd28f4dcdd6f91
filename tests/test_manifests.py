"""Data folders and manifests as people have them: from Excel, from Windows, with what systems leave behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scarlens.datasets.photos import PhotoSetError, load_photos
from scarlens.inference.batch.folder import find_files

LEFTOVERS = ("__MACOSX/._a.jpg", "ice pick/._a.jpg", "ice pick/.DS_Store", "Thumbs.db", "ice pick/Thumbs.db",
             "desktop.ini", "ice pick/desktop.ini", "@eaDir/a.jpg", "ice pick/@eaDir/a.jpg")  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ice pick/a.jpg", "boxcar/b.jpg", "rolling/c.jpg", *LEFTOVERS):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_leftovers_of_systems_are_no_photos(folder: Path):
    assert [photo.path.name for photo in load_photos(folder)] == ["b.jpg", "a.jpg", "c.jpg"]
    assert [path for path, _ in find_files(folder)] == [b"boxcar/b.jpg", b"ice pick/a.jpg", b"rolling/c.jpg"]


@pytest.mark.parametrize(
    "text",
    [
        "file,label,subject\nice pick/a.jpg,ice pick,p1\nboxcar/b.jpg,boxcar,p2\n",
        "\ufefffile;label;subject\r\nice pick/a.jpg;ice pick;p1\r\nboxcar/b.jpg;boxcar;p2\r\n",
        "file\tlabel\tsubject\nice pick/a.jpg\tice pick\tp1\nboxcar/b.jpg\tboxcar\tp2\n",
        "subject, Label , FILE \n p1 , ice pick , ice pick/a.jpg \np2,boxcar ,boxcar/b.jpg\n",
        '"file","label","subject"\n"ice pick/a.jpg","ice pick","p1"\n"boxcar/b.jpg","boxcar","p2"\n',
        "file,label,subject\nice pick\\a.jpg,ice pick,p1\n.\\boxcar\\b.jpg,boxcar,p2\n",
        "file,label,subject\n{folder}/ice pick/a.jpg,ice pick,p1\n{folder}/boxcar/b.jpg,boxcar,p2\n",
    ],
    ids=["plain", "excel", "tabs", "order and spaces", "quotes", "windows", "absolute"],
)
def test_manifests_of_many_hands_say_the_same(folder: Path, text: str):
    manifest = folder / "photos.csv"
    manifest.write_text(text.format(folder=folder), encoding="utf-8", newline="")
    found = [(photo.path.resolve().name, photo.label, photo.subject) for photo in load_photos(manifest)]
    assert sorted(found) == [("a.jpg", "ice_pick", "p1"), ("b.jpg", "boxcar", "p2")]


def test_the_subject_may_have_another_column(folder: Path):
    manifest = folder / "photos.csv"
    manifest.write_text("file,label,Patient ID\nice pick/a.jpg,ice pick,7\nboxcar/b.jpg,boxcar,\n")
    assert [photo.subject for photo in load_photos(manifest, subject_column="patient id")] == [None, "7"]
    with pytest.raises(PhotoSetError, match=r"expected the columns file,label\[,person\], found file,label,patient id"):
        load_photos(manifest, subject_column="person")


def test_the_command_line_takes_the_subject_column(folder: Path):
    (folder / "photos.csv").write_text("file,label,patient\nice pick/a.jpg,ice pick,7\n")
    command = [sys.executable, "-m", "scarlens", "audit", str(folder / "photos.csv"), "--out", str(folder / "audit")]
    run = subprocess.run([*command, "--subject-column", "person"], capture_output=True, text=True)
    assert run.returncode == 2 and "expected the columns file,label[,person]" in run.stderr
    run = subprocess.run([*command, "--subject-column", "patient"], capture_output=True, text=True)
    assert run.returncode == 3 and "report:" in run.stderr
