"""The whole path of a photo through scarlens in one picture, `notebooks/images/way_of_a_photo.png`.

    python notebooks/way_of_a_photo.py

regenerates it from a rendered photo and the bundled checkpoint, so it always shows what the code really answers.
"""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

import scarlens
from scarlens.datasets.labels import DISPLAY_NAMES, SCAR_TYPES
from scarlens.datasets.rendering import RenderedPhoto, render_photo
from scarlens.datasets.transform import Placement, read_framed
from scarlens.datasets.writing.atomic import write_atomically
from scarlens.inference.regions import COLOURS, overlay
from scarlens.inference.treatments.catalogue import KINDS, Claim, Disagreement, Treatment, catalogue
from scarlens.inference.treatments.plan import TypePlan
from scarlens.model.calibration import Calibration

OUT = Path(__file__).parent / "images" / "way_of_a_photo.png"

LABEL, SEED = "ice_pick", 2459  # by eye: padding, light from the side, and two types that stay plausible
WIDTH, HEIGHT = 1800, 930  # pixels; the README shows half of that
SIDE = 290  # of the pictures
TOP = 158  # of the first row
TABLE = 596  # top of the second row

INK, GREY, PALE, WARNING = "#1f2937", "#5b6472", "#d1d5db", "#b45309"
COLUMNS = (0, 378, 586, 700, 840)  # of the table: pixels from its left side
TITLE, BODY, CODE = 18.5, 15.0, 13.5  # points; at half the width 15 are 10 pixels


@dataclass(frozen=True)
class Way:
    """A photo and what each step made of it."""

    photo: RenderedPhoto
    square: np.ndarray
    placement: Placement
    answer: scarlens.Prediction
    calibration: Calibration


def walk() -> Way:
    photo = render_photo(LABEL, seed=SEED, size=384)
    classifier = scarlens.load()
    framed = read_framed(photo.image, classifier.card.size).framed
    answer = classifier.predict(photo.image)
    return Way(photo, framed.square, framed.placement, answer, classifier.card.calibration)


# --- a page whose unit is the pixel, from its upper left corner ------------------------------------------------------


def at(x: float, y: float) -> tuple[float, float]:
    return x / WIDTH, 1.0 - y / HEIGHT


def write(page: Figure, x: float, y: float, text: str, size: float = BODY, color: str = INK, **style: object) -> None:
    """Write lines below y; each stands on its base line, so that neighbours stand on the same."""
    height = size * page.dpi / 72
    for number, line in enumerate(text.split("\n")):
        page.text(*at(x, y + (0.9 + 1.3 * number) * height), line, fontsize=size, color=color, **style)


def panel(page: Figure, x: float, y: float, width: float, height: float) -> Axes:
    return page.add_axes((*at(x, y + height), width / WIDTH, height / HEIGHT))


def frame(page: Figure, x: float, y: float, width: float, height: float, edge: str, face: str) -> None:
    box = FancyBboxPatch(
        at(x, y + height), width / WIDTH, height / HEIGHT, boxstyle="round,pad=0,rounding_size=0.008", ec=edge, fc=face
    )
    page.add_artist(box)


def arrow(page: Figure, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = "simple,head_length=14,head_width=20,tail_width=7"
    page.add_artist(FancyArrowPatch(at(*start), at(*end), arrowstyle=style, color=GREY, lw=0, shrinkA=0, shrinkB=0))


def heading(page: Figure, x: float, number: int, title: str, y: float = TOP - 40) -> None:
    write(page, x, y, f"{number}  {title}", TITLE, weight="bold")


def module(page: Figure, x: float, y: float, path: str) -> None:
    write(page, x, y, path, CODE, family="monospace", color=GREY)


def picture(page: Figure, x: float, image: np.ndarray) -> None:
    axes = panel(page, x, TOP, SIDE, SIDE)
    axes.imshow(image, interpolation="lanczos")
    axes.axis("off")


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def hexadecimal(name: str) -> str:
    return "#{:02x}{:02x}{:02x}".format(*COLOURS[name])


# --- the steps -------------------------------------------------------------------------------------------------------


def draw_photo(page: Figure, x: float, photo: RenderedPhoto) -> None:
    heading(page, x, 1, "A photo")
    picture(page, x, photo.image)
    write(
        page, x, TOP + SIDE + 12, f"rendered, no person:\n{len(photo.scars)} scars, mostly {DISPLAY_NAMES[photo.label]}"
    )
    module(page, x, TOP + SIDE + 66, "datasets/reading/reader.py")


def draw_square(page: Figure, x: float, way: Way) -> None:
    heading(page, x, 2, "The network's view")
    picture(page, x, way.square)
    steps = ["border trimmed"] if way.placement.trimmed else []
    steps += ["rotated"] if way.placement.first or way.placement.second else []
    write(page, x, TOP + SIDE + 12, f"{', '.join(steps)},\nlight normalised")
    module(page, x, TOP + SIDE + 66, "datasets/transform.py")


def draw_regions(page: Figure, x: float, way: Way) -> None:
    heading(page, x, 3, "Where scars are")
    picture(page, x, overlay(way.photo.image, way.answer.regions, way.answer.scar_threshold)[: len(way.photo.image)])
    left = x
    for name in SCAR_TYPES:
        write(page, left, TOP + SIDE + 12, "■", 14, color=hexadecimal(name))
        write(page, left + 19, TOP + SIDE + 12, DISPLAY_NAMES[name], 14)
        left += 30 + 9.6 * len(DISPLAY_NAMES[name])
    write(page, x, TOP + SIDE + 39, "a hint, not a measurement")
    module(page, x, TOP + SIDE + 66, "inference/regions.py")


def draw_bars(page: Figure, x: float, width: float, way: Way) -> None:
    heading(page, x, 4, "How probable")
    axes = panel(page, x, TOP, width, SIDE)
    for row, name in enumerate(SCAR_TYPES):
        draw_bar(axes, row, name, way)
    axes.set(xlim=(0, 1.0), ylim=(2.5, -0.75))
    axes.axis("off")
    write(
        page, x, TOP + SIDE + 12, f"┃ plausible from here\n┆ answered from {percent(way.calibration.answer_threshold)}"
    )
    module(page, x, TOP + SIDE + 66, "model/calibration.py")


def draw_bar(axes: Axes, row: int, name: str, way: Way) -> None:
    probability, plausible = way.answer.probabilities[name], name in way.answer.plausible
    axes.barh(row + 0.12, 1.0, 0.36, color="#f3f4f6")
    axes.barh(row + 0.12, probability, 0.36, color=hexadecimal(name))
    threshold = way.calibration.plausible_thresholds[SCAR_TYPES.index(name)]
    for limit, style in ((threshold, "-"), (way.calibration.answer_threshold, (0, (2, 1)))):
        axes.plot([limit, limit], [row - 0.12, row + 0.36], color=INK, lw=3.5 if style == "-" else 2, ls=style)
    verdict = "plausible" if plausible else "not plausible"
    axes.text(0, row - 0.16, DISPLAY_NAMES[name], fontsize=BODY, color=INK, weight="bold", va="bottom")
    axes.text(1.0, row - 0.16, f"{percent(probability)}  {verdict}", fontsize=BODY, color=INK, ha="right", va="bottom")


def draw_answer(page: Figure, x: float, width: float, way: Way) -> None:
    heading(page, x, 5, "Answer or abstain")
    frame(page, x, TOP, width, SIDE, PALE, "#f9fafb")
    colour = GREY if way.answer.label is None else hexadecimal(way.answer.label)
    lines = textwrap.wrap(way.answer.headline, 16)
    write(page, x + 16, TOP + 14, "\n".join(lines), 19, weight="bold", color=colour)
    others = [DISPLAY_NAMES[name] for name in way.answer.plausible if name != way.answer.label]
    y = TOP + 24 + 35 * len(lines)
    write(page, x + 16, y, f"also plausible: {', '.join(others)}" if others else "nothing else is plausible")
    write(page, x + 16, y + 58, "It abstains if:", weight="bold")
    limits = way.calibration
    reasons = {
        "ambiguous": f"none has {percent(limits.answer_threshold)}",
        "out of scope": f"below {percent(limits.scope_threshold)}",
        "low quality": "dark or blurred",
    }
    text = "\n".join(f"{reason}: {condition}" for reason, condition in reasons.items())
    write(page, x + 16, y + 88, text)
    write(page, x, TOP + SIDE + 12, f"shows one of the three types\nat all: {percent(way.answer.in_scope)}")
    module(page, x, TOP + SIDE + 66, "inference/classifier.py")


# --- what the documents say ------------------------------------------------------------------------------------------


def rows_of(plan: TypePlan) -> list[tuple[Treatment, Claim]]:
    """Return the treatments for which a document gives an improvement in percent, with that claim."""
    return [
        (treatment, claim)
        for treatment in sorted(plan.treatments, key=lambda treatment: list(KINDS).index(treatment.kind))
        for claim in treatment.claims
        if any(figure.quantity == "improvement_percent" and figure.words is None for figure in claim.figures)
    ]


def said(treatment: Treatment, document: str, *quantities: str) -> str:
    """Return what a document says of a quantity: its numbers, or its words where it gives no number."""
    claims = [claim for claim in treatment.claims if claim.document == document]
    figures = [figure for claim in claims for figure in claim.figures if figure.quantity in quantities]
    numbers = [figure for figure in figures if figure.words is None]
    return " / ".join(figure.value for figure in numbers or figures) or "-"


def disagreement_of(plan: TypePlan) -> Disagreement:
    """Return the first disagreement about figures that the rows of the table take part in."""
    disputed = {name for _, claim in rows_of(plan) for name in claim.disputed}
    return next(found for found in plan.disagreements if found.nature == "figures" and found.id in disputed)


def draw_table(page: Figure, x: float, plan: TypePlan) -> None:
    for offset, head in zip(COLUMNS, ("Treatment", "Improvement", "Sessions", "Time off", "Document"), strict=True):
        write(page, x + offset, TABLE + 50, head, weight="bold", color=GREY)
    for number, (treatment, claim) in enumerate(rows_of(plan)):
        draw_row(page, x, TABLE + 82 + 31 * number, treatment, claim, disagreement_of(plan).id in claim.disputed)


def draw_row(page: Figure, x: float, y: float, treatment: Treatment, claim: Claim, disputed: bool) -> None:
    if disputed:
        frame(page, x - 8, y - 3, 1114, 30, "none", "#fde68a")
    improvement = said(treatment, claim.document, "improvement_percent") + (" *" if disputed else "")
    off = said(treatment, claim.document, "downtime_days", "recovery_days")
    cells = (treatment.name.split(" (")[0], improvement, said(treatment, claim.document, "sessions"), off)
    for offset, cell in zip(COLUMNS, cells, strict=False):
        write(page, x + offset, y, cell)
    write(page, x + COLUMNS[-1], y + 2, claim.document, CODE, family="monospace", color=GREY)


def draw_disagreement(page: Figure, x: float, width: float, plan: TypePlan) -> None:
    found = disagreement_of(plan)
    sides = [f"{side.says} [{', '.join(name[:3] for name in side.documents)}]" for side in found.sides]
    lines = [line for side in sides for line in textwrap.wrap(side, 50, initial_indent="- ", subsequent_indent="   ")]
    frame(page, x, TABLE + 56, width, 80 + 27 * len(lines), WARNING, "#fffbeb")
    title = f"* The documents disagree\n   on {found.subject.lower()}"
    write(page, x + 16, TABLE + 66, title, weight="bold", color=WARNING)
    write(page, x + 16, TABLE + 124, "\n".join(lines))


def draw_also(page: Figure, x: float, y: float, plan: TypePlan) -> None:
    named = ", ".join(treatment.name for treatment in plan.treatments)
    write(page, x, y, f"Also plausible: {plan.title.lower()}", weight="bold")
    write(page, x, y + 28, textwrap.shorten(named, 52, placeholder=" ..."))


def draw_documents(page: Figure, x: float, way: Way) -> None:
    if way.answer.treatment is None:
        raise SystemExit(f"seed {SEED} has no treatment to show ({way.answer.reason}): choose another")
    first, *others = way.answer.treatment.types
    frame(page, x, TABLE, WIDTH - 80, HEIGHT - TABLE - 12, PALE, "white")
    title = f"What {len(catalogue().documents)} documents say about treating {first.title.lower()}"
    heading(page, x + 18, 6, title, TABLE + 12)
    module(page, x + 1152, TABLE + 18, "inference/treatments/documents.toml")
    draw_table(page, x + 18, first)
    draw_disagreement(page, x + 1152, 550, first)
    for other in others[:1]:
        draw_also(page, x + 1152, TABLE + 228, other)
    write(page, x + 1152, TABLE + 287, "The documents' own figures; they cite no study.", color=GREY)


def draw(way: Way) -> Figure:
    page = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100, facecolor="white")
    write(page, 40, 18, "From photo to answer", 25, weight="bold")
    write(
        page,
        40,
        64,
        "Which of three acne scar types a photo may show, how sure that is, and what documents say about treating them",
        16,
    )
    write(page, WIDTH - 40, 22, "Information, not a diagnosis", 20, weight="bold", color=WARNING, ha="right")
    draw_photo(page, 40, way.photo)
    draw_square(page, 386, way)
    draw_regions(page, 732, way)
    draw_bars(page, 1078, 300, way)
    draw_answer(page, 1436, 324, way)
    for left in (332, 678, 1024, 1382):
        arrow(page, (left, TOP + SIDE / 2), (left + 48, TOP + SIDE / 2))
    arrow(page, (1690, TOP + SIDE + 96), (1690, TABLE - 2))
    draw_documents(page, 40, way)
    return page


def png(page: Figure) -> bytes:
    """Return the page as a PNG of few colours, less than half as large as one of all, the types' own among them."""
    drawn, small = io.BytesIO(), io.BytesIO()
    page.savefig(drawn, format="png")
    picture = Image.open(drawn).convert("RGB")
    palette = picture.quantize(240, kmeans=3)
    found = np.reshape(palette.getpalette() or (), (-1, 3))[:240]
    found[(found > 248).all(axis=1)] = 255  # averaging takes the paper's white away
    palette.putpalette([*found.ravel().tolist(), *(value for name in SCAR_TYPES for value in COLOURS[name])])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    write_atomically(OUT, png(draw(walk())))
