"""Reports: figures as JSON, one page that needs nothing else, and photos of a stranger's name and contents."""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
from PIL import Image

from scarlens.datasets.annotations.readings import Reading, digest_of
from scarlens.datasets.labels import OUT_OF_SCOPE, SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto
from scarlens.datasets.rendering import render_photo
from scarlens.inference.prediction import Prediction
from scarlens.inference.reasons import NOTICE
from scarlens.model.calibration import Calibration
from scarlens.training.evaluate import evaluate, measure, summary_lines, write_report
from scarlens.training.measure.scores import RAW_COLUMNS, Decisions, ScoredPhotos, decide

HOSTILE = '<img src=x onerror="alert(1)">.jpg'
NOT_UTF8 = "boxcar_\udcff.jpg"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects elements and attributes, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def pictures(self) -> list[bytes]:
        addresses = [attributes["src"] or "" for tag, attributes in self.tags if tag == "img"]
        assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
        return [base64.b64decode(address.partition(",")[2]) for address in addresses]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> ScoredPhotos:
    """Three photos a type, the first one of each wrong, and two of another kind, one of which is taken for a scar."""
    folder = tmp_path_factory.mktemp("photos")
    photos, numbers = [], []
    for index, name in enumerate(SCAR_TYPES):
        for number in range(3):
            path = folder / {(0, 0): HOSTILE, (1, 0): NOT_UTF8}.get((index, number), f"{name}_{number}.jpg")
            photos.append(LabelledPhoto(path, name, name, f"{name} {number}"))
            shown = (index + 1) % 3 if number == 0 else index
            scope = -3.0 if (index, number) == (1, 1) else 2.0
            numbers.append([*(3.0 * np.eye(3)[shown]), scope, 0.9, 120.0, 1.0])
    for number, scope in enumerate((-2.0, 1.5)):
        photos.append(LabelledPhoto(folder / f"other_{number}.jpg", OUT_OF_SCOPE, "<b>&kind</b>", f"other {number}"))
        numbers.append([2.0, 0.0, 0.0, scope, 0.9, 120.0, 1.0])
    exif = Image.Exif()
    exif[0x010E] = "a name"
    for photo in photos:
        picture = Image.fromarray(render_photo(photo.label, seed=len(photo.class_name), size=96).image)
        picture.save(photo.path, format="JPEG", exif=exif)
    return ScoredPhotos.of_numbers(photos, np.array(numbers))


@pytest.fixture(scope="module")
def decisions(scored: ScoredPhotos) -> Decisions:
    return decide(scored, Calibration(min_brightness=20.0))


@pytest.fixture(scope="module")
def figures(scored: ScoredPhotos, decisions: Decisions) -> dict:
    shown = [photo for photo in scored.photos if photo.type_index >= 0]
    agreed = {"one": np.array([0.8, 0.1, 0.1]), "two": np.array([0.7, 0.2, 0.1])}
    return measure(scored.photos, decisions, {digest_of(photo.path): Reading({}, agreed) for photo in shown})


@pytest.fixture(scope="module")
def written(
    scored: ScoredPhotos, decisions: Decisions, figures: dict, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    regions = np.stack([np.full((4, 4), share, dtype=np.float32) for share in (0.8, 0.1, 0.1)])
    seen = cast(Prediction, SimpleNamespace(regions=regions, scar_threshold=0.5))  # all that a report looks at
    write_report(out, figures, scored, decisions, seen_in=lambda row: seen)
    return out


def test_figures_are_right(figures: dict) -> None:
    assert figures["types"]["accuracy"]["value"] == pytest.approx(6 / 9)
    assert figures["types"]["share_refused"]["value"] == pytest.approx(1 / 9)
    assert figures["types"]["share_answered"]["value"] == pytest.approx(8 / 9)
    assert figures["types"]["accuracy_answered"]["value"] == pytest.approx(5 / 8)
    assert figures["confusion"] == [[2, 1, 0], [0, 2, 1], [1, 0, 2]]
    assert figures["out_of_scope_refused"]["<b>&kind</b>"]["value"] == 0.5
    assert figures["risk_coverage"][-1] == {"coverage": 1.0, "accuracy": pytest.approx(6 / 9)}
    assert sum(row["scores"] for row in figures["reliability"]["bins"]) == 9


def test_mistakes_are_listed_by_file_name_alone(figures: dict, scored: ScoredPhotos) -> None:
    assert {entry["file"] for entry in figures["worst"]} == {HOSTILE, NOT_UTF8, "rolling_0.jpg"}
    assert [entry["file"] for entry in figures["missed"]] == ["other_1.jpg"]
    assert [entry["file"] for entry in figures["falsely_refused"]] == ["boxcar_1.jpg"]
    for entry in (*figures["worst"], *figures["missed"]):
        assert scored.photos[entry["row"]].path.name == entry["file"]
    assert str(scored.photos[0].path.parent) not in json.dumps(figures)


def test_a_photo_that_was_scored_twice_is_listed_once(scored: ScoredPhotos, decisions: Decisions) -> None:
    figures = measure([*scored.photos, *scored.photos], Decisions.joined([decisions, decisions]), {})
    assert len(figures["worst"]) == 3
    assert figures["photos"] == len(scored.photos)


def test_too_dark_hides_every_other_reason(scored: ScoredPhotos) -> None:
    dark = ScoredPhotos.of_numbers(scored.photos, scored.numbers * [1, 1, 1, 1, 1, 0.1, 1])
    decided = decide(dark, Calibration(min_brightness=20.0))
    assert decided.low_quality.all() and not decided.refused.any() and not decided.answered.any()
    assert (decided.answers == -1).all()


def test_folder_holds_figures_scores_and_pictures(written: Path, figures: dict, scored: ScoredPhotos) -> None:
    assert {path.name for path in written.iterdir()} == {
        "report.html",
        "metrics.json",
        "predictions.csv",
        "confusion.png",
    }
    assert json.loads((written / "metrics.json").read_text()) == json.loads(json.dumps(figures))
    again = ScoredPhotos.read(written / "predictions.csv")
    assert [photo.path for photo in again.photos] == [photo.path for photo in scored.photos]
    np.testing.assert_allclose(again.numbers, scored.numbers)
    header = (written / "predictions.csv").read_text(errors="surrogateescape").splitlines()[0]
    assert header.startswith(f"file,class,subject,{','.join(RAW_COLUMNS)}") and "low_quality,refused" in header


def test_page_needs_nothing_else_and_runs_nothing(written: Path) -> None:
    text = (written / "report.html").read_text()
    page = Page(text)
    assert not page.open
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,")), (tag, attributes)
    assert "@import" not in text and "url(http" not in text
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))


def test_page_escapes_names_and_shows_them(written: Path) -> None:
    page = Page((written / "report.html").read_text())
    assert HOSTILE in page.text and "<b>&kind</b>" in page.text
    assert "b" not in {tag for tag, _ in page.tags}
    assert str(written.parent) not in page.text


def test_page_shows_clear_photos_and_readers(written: Path) -> None:
    text = " ".join(Page((written / "report.html").read_text()).text.split())
    assert "A photo is clear if its label and all its readers agree: 3 of 9 photos." in text
    assert "agrees with the label" in text and text.count("33.3 %") >= 2


def test_page_says_what_it_is(written: Path, figures: dict) -> None:
    text = " ".join(Page((written / "report.html").read_text()).text.split())
    assert NOTICE in text and "handle it with the same care" in text
    accuracy = figures["types"]["accuracy"]
    assert f"66.7 % ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}" in text.replace(".0", "")


def test_thumbnails_are_small_carry_no_metadata_and_mistakes_an_overlay(written: Path) -> None:
    pictures = Page((written / "report.html").read_text()).pictures
    assert len(pictures) == 2 * (3 + 1 + 1)
    for data in pictures:
        with Image.open(io.BytesIO(data)) as picture:
            assert max(picture.size) <= 240 and not picture.getexif()
    plain, painted = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in pictures[:2])
    assert plain is not None and painted is not None and plain.shape == painted.shape
    assert np.abs(painted.astype(int) - plain).max() > 50  # an outline


def test_page_is_the_same_each_time(
    written: Path, scored: ScoredPhotos, decisions: Decisions, figures: dict, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        write_report(tmp_path / name, figures, scored, decisions)
    assert (tmp_path / "one" / "report.html").read_bytes() == (tmp_path / "two" / "report.html").read_bytes()


def test_evaluation_measures_everything(tiny_run: Path, rendered_photos: list[LabelledPhoto], tmp_path: Path) -> None:
    photos = [photo for name in (*SCAR_TYPES, OUT_OF_SCOPE) for photo in rendered_photos if photo.label == name]
    seen: list[None] = []
    figures = evaluate(tiny_run / "model.onnx", photos, tmp_path, advance=lambda: seen.append(None))
    assert len(seen) == len(photos)
    assert figures == json.loads((tmp_path / "metrics.json").read_text())
    assert {"invariance", "corruptions", "scope_equalised", "skin_tone"} <= set(figures)
    turned = figures["invariance"]["orientations"]
    assert [turned[name]["value"] for name in ("type", "answer", "changed")] == [0.0, 0.0, 0.0]
    assert figures["scope_equalised"].keys() == figures["scope_auroc"].keys() == {OUT_OF_SCOPE}
    assert sum(group["photos"] for group in figures["skin_tone"].values()) == 18
    page = Page((tmp_path / "report.html").read_text())
    assert not page.open
    for heading in ("Invariance", "Skin tone", "files equalised"):
        assert heading in page.text
    lines = "\n".join(summary_lines(figures))
    assert "answer changed, orientations" in lines and "accuracy at coverage 80" in lines
    assert str(tmp_path) not in (tmp_path / "metrics.json").read_text()
