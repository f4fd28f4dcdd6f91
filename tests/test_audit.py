"""The audit: its verdict, its exit status, its two files, and that nothing in the data can stop or fool it."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import scarlens
from scarlens.cli import app, main
from scarlens.datasets.audit.audit import Audit, audit, is_shortcut
from scarlens.datasets.audit.page import audit_page
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.photos import load_photos


def scene(seed: int) -> np.ndarray:
    """A textured picture of a size that has nothing to do with its class."""
    random = np.random.default_rng(seed)
    side = int(random.integers(90, 140))
    picture = np.zeros((side, side, 3), np.float32)
    for scale in (4, 8, 16, 32):
        noise = Image.fromarray(random.integers(0, 256, (scale, scale, 3), dtype=np.uint8))
        picture += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC))
    return (picture / 4).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image)).save(path)
    return path


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Six photos of each type, all of different people."""
    for number in range(18):
        save(tmp_path / "data" / SCAR_TYPES[number % 3] / f"{number:02}.png", scene(number))
    return tmp_path / "data"


def manifest(folder: Path, subject_of: dict[str, str]) -> Path:
    files = sorted(file.relative_to(folder) for file in folder.rglob("*.png"))
    rows = [f"{file},{file.parts[0]},{subject_of.get(file.name, file.stem)}" for file in files]
    path = folder / "manifest.csv"
    path.write_text("file,label,subject\n" + "\n".join(rows) + "\n")
    return path


def names(found: Audit, number: int) -> str:
    return found.photos[number].path.name


def test_clean_photos_may_be_trained_on(clean: Path) -> None:
    steps: list[int] = []
    found = audit(load_photos(clean), advance=lambda: steps.append(1))
    assert found.verdict == [] and found.warnings == []
    assert found.look_alikes == ()
    assert len(steps) == 2 * 18
    assert set(found.shortcuts) == {"types", "framed types"}


def test_one_photo_under_two_labels_stops_a_training(clean: Path) -> None:
    save(clean / "rolling" / "copy.png", scene(0)[:80, :80])
    found = audit(load_photos(clean))
    (pair,) = found.contradictions
    assert {names(found, pair.first), names(found, pair.second)} == {"00.png", "copy.png"}
    assert any("different labels" in reason for reason in found.verdict)


def test_near_duplicates_in_two_out_of_scope_folders_are_only_reported(clean: Path) -> None:
    for number, kind in enumerate(("keloid", "hypertrophic") * 5):
        save(clean / kind / f"{number}.png", scene(100 + number // 2) if number < 2 else scene(100 + number))
    found = audit(load_photos(clean, out_of_scope=["keloid", "hypertrophic"]))
    assert len(found.contradictions) == 1
    assert not any("labels" in reason for reason in found.verdict)
    assert any("out-of-scope" in warning for warning in found.warnings)
    assert set(found.shortcuts) == {"types", "classes", "framed types", "framed classes"}


def test_near_duplicates_leak_across_subjects_but_not_within_one(clean: Path) -> None:
    save(clean / "ice_pick" / "copy.png", scene(0)[:70, 20:90, ::-1])
    across = audit(load_photos(manifest(clean, {})))
    assert len(across.leaks) == len(across.copies) == 1
    assert any("may be trained on and evaluated" in reason for reason in across.verdict)
    within = audit(load_photos(manifest(clean, {"copy.png": "00"})))
    assert len(within.copies) == 1
    assert within.leaks == [] and within.verdict == []


def test_near_duplicates_without_subjects_leak_only_if_they_link_two_subjects(clean: Path) -> None:
    save(clean / "ice_pick" / "cut.png", scene(0)[:80, :80])
    found = audit(load_photos(clean))  # a training gives them one subject
    assert len(found.copies) == 1 and found.leaks == [] and found.verdict == []
    save(clean / "ice_pick" / "mirrored.png", scene(0)[:, ::-1])
    file = manifest(clean, {})
    file.write_text(file.read_text().replace(",cut\n", ",\n"))
    assert len(audit(load_photos(file)).leaks) >= 2


def test_too_few_subjects_of_a_type_are_named(clean: Path) -> None:
    for file in sorted((clean / "boxcar").iterdir())[3:]:
        file.unlink()
    (reason,) = audit(load_photos(clean)).verdict
    assert "3 subjects of boxcar" in reason


def test_a_shortcut_stops_a_training_and_is_named(clean: Path) -> None:
    for number in range(18, 60):
        save(clean / SCAR_TYPES[number % 3] / f"{number:02}.png", scene(number))
    for file in (clean / "boxcar").iterdir():
        image = np.asarray(Image.open(file))
        save(file, np.pad(image, ((15, 15), (0, 0), (0, 0)), constant_values=255))
    found = audit(load_photos(clean))
    (reason,) = found.verdict
    assert "without seeing skin" in reason and "padding" in reason
    assert is_shortcut(found.shortcuts["types"]) and not is_shortcut(found.shortcuts["framed types"])


def test_unreadable_files_are_listed_and_stop_nothing(clean: Path) -> None:
    (clean / "boxcar" / "notes.txt").write_text("not a photo")
    (clean / "rolling" / "empty.jpg").write_bytes(b"")
    found = audit(load_photos(clean))
    assert len(found.photos) == 18 and len(found.unreadable) == 2
    assert found.verdict == [] and "2 files cannot be read" in found.warnings[0]
    assert "notes.txt" in audit_page(found, notice="")


def test_a_folder_name_that_is_not_utf8_is_written_out(clean: Path) -> None:
    name = os.fsdecode(b"k\xff")
    for number in range(6):
        save(clean / name / f"{number}.png", scene(200 + number))
    found = audit(load_photos(clean, out_of_scope=[name]))
    assert json.dumps(found.to_dict()).encode()
    assert "k\\udcff" in audit_page(found, notice="").encode().decode()


def test_nothing_readable_is_a_verdict_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "boxcar").mkdir()
    (tmp_path / "boxcar" / "a.jpg").write_bytes(b"")
    found = audit(load_photos(tmp_path))
    assert len(found.verdict) == 3
    assert "Do not train yet" in audit_page(found, notice="")
    json.dumps(found.to_dict())


def test_page_needs_nothing_else_and_escapes_names(clean: Path) -> None:
    save(clean / "rolling" / "<script>alert(1)<" / "\n&.png", scene(0)[:80, :80])
    page = audit_page(audit(load_photos(clean)), notice="A <notice>.")
    assert "<script" not in page
    assert "&lt;script&gt;" in page and "A &lt;notice&gt;." in page
    assert "http" not in page.replace("http-equiv", "")
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 2 and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "handle it as you handle the photos" in page


def test_command_writes_both_files_and_says_whether_to_go_ahead(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "audit"
    result = CliRunner().invoke(app, ["audit", str(clean), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "Nothing found" in result.stdout
    save(clean / "rolling" / "copy.png", scene(0)[:80, :80])
    result = CliRunner().invoke(app, ["audit", str(clean), "--out", str(out), "--json"])  # safe to run again
    assert result.exit_code == 3
    content = json.loads(result.stdout)
    assert content == json.loads((out / "audit.json").read_text())
    assert content["version"] == scarlens.__version__
    assert content["look_alikes"][0]["contradiction"] and content["verdict"]
    assert {file.name for file in out.iterdir()} == {"audit.json", "audit.html"}


def test_command_names_a_mistake_in_the_data(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["scarlens", "audit", str(clean), "--out", str(out), "--out-of-scope", "keloid"])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    assert "keloid" in capsys.readouterr().err
    assert not out.exists()
