"""The commands that answer questions about photos. Heavy imports happen inside the commands."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from ..datasets.errors import ScarlensError, printable
from ..datasets.labels import SCAR_TYPES
from .reasons import NOTICE
from .terminal import GO_ON, ON_TERMINAL, bar, examples, output, say, when_interrupted
from .treatments.cautions import SKIN_TYPES, context_of

if TYPE_CHECKING:
    from .batch.folder import BatchSummary
    from .classifier import Classifier
    from .prediction import Prediction

SOME_ERRORS: Final = 3
"""Exit status when some files could not be read. The others were processed."""

NEEDS_FIXING: Final = 1
"""Exit status of `doctor` when something needs fixing."""

_STDIN: Final = Path("-")
"""Means standard input. For a file called "-", write "./-"."""
_STDIN_NAME: Final = "standard input"

_PANEL: Final = "Photos in, answers out"
_PERSON: Final = "The person in the photo, for cautions"


def _skin_types() -> list[str]:
    return [*map(str, range(1, len(SKIN_TYPES) + 1)), *SKIN_TYPES]


def _scar_types() -> list[str]:
    return list(SCAR_TYPES)


Checkpoint = Annotated[
    Path | None, typer.Option(help="A .safetensors or .onnx checkpoint; by default the bundled one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
SkinType = Annotated[
    str | None,
    typer.Option(
        metavar="I..VI",
        help="Fitzpatrick skin type, also 1 to 6.",
        rich_help_panel=_PERSON,
        autocompletion=_skin_types,
    ),
]
Pregnant = Annotated[bool | None, typer.Option("--pregnant/--not-pregnant", rich_help_panel=_PERSON)]
IsotretinoinMonths = Annotated[
    float | None,
    typer.Option(metavar="N", help="Months since the last dose of isotretinoin; 0: now.", rich_help_panel=_PERSON),
]
ActiveAcne = Annotated[bool | None, typer.Option("--active-acne/--no-active-acne", rich_help_panel=_PERSON)]
KeloidHistory = Annotated[bool | None, typer.Option("--keloid-history/--no-keloid-history", rich_help_panel=_PERSON)]

commands = typer.Typer()


@commands.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "scarlens predict cheek.jpg --skin-type IV --not-pregnant",
        "scarlens predict left.jpg right.jpg --overlay overlays --json",
        "scarlens predict - --json < cheek.jpg",
    ),
)
def predict(
    photos: Annotated[list[Path], typer.Argument(help="Image files; - reads one from standard input.")],
    as_json: AsJson = False,
    overlay: Annotated[Path | None, typer.Option(help="Folder for overlay pictures that outline each type.")] = None,
    checkpoint: Checkpoint = None,
    skin_type: SkinType = None,
    pregnant: Pregnant = None,
    isotretinoin_months: IsotretinoinMonths = None,
    active_acne: ActiveAcne = None,
    keloid_history: KeloidHistory = None,
) -> None:
    """Classify photos. Prints the plausible types, where they are seen, and what the documents say about treatment."""
    from .regions import overlay_files

    context = context_of(skin_type, pregnant, isotretinoin_months, active_acne, keloid_history)
    answer = partial(_classifier(checkpoint).predict, context=context)
    failed = False
    named = [Path("stdin") if photo == _STDIN else photo for photo in photos]
    pictures = overlay_files(overlay, named) if overlay else [None] * len(photos)
    for photo, picture in zip(photos, pictures, strict=True):
        try:
            prediction = _predict_one(answer, photo, picture)
        except (ScarlensError, OSError) as error:
            failed = True
            say(f"scarlens: {error}")
            if as_json:
                print(json.dumps({"path": str(photo), "error": str(error)}))
            continue
        # Outside the try block: a closed standard output is no error of the photo.
        if as_json:
            print(json.dumps({"path": str(photo), **prediction.to_dict()}))
        else:
            between = "\n" if photo is not photos[0] else ""
            output.print(f"{between}{printable(_name(photo))}\n{prediction.to_text(_width())}", markup=False)
        if picture is not None:
            say(f"overlay: {picture}")
    if failed:
        raise typer.Exit(SOME_ERRORS)


def _predict_one(answer: Callable[[Path | bytes], Prediction], photo: Path, picture: Path | None) -> Prediction:
    """Classify a photo and write its overlay. If the overlay cannot be written, that is the photo's error."""
    from ..datasets.reading.reader import MAX_PIXELS, ImageReadError, read_image, read_reduced
    from .regions import overlay, write_picture

    source = _standard_input() if photo == _STDIN else photo
    try:
        prediction = answer(source)
    except ImageReadError as error:
        raise ImageReadError(_name(photo), error.expected, error.found) from error
    if picture is not None:
        large = prediction.width * prediction.height > MAX_PIXELS
        pixels = read_reduced(source).pixels if large else read_image(source)
        write_picture(picture, overlay(pixels, prediction.regions, prediction.scar_threshold))
    return prediction


def _name(photo: Path) -> str:
    return _STDIN_NAME if photo == _STDIN else str(photo)


def _standard_input() -> bytes:
    """Return the bytes on standard input; if there are too many, just enough for the reader to refuse them."""
    from ..datasets.reading.reader import MAX_BYTES, ImageReadError

    expected = "the bytes of one photo, as in: scarlens predict - < cheek.jpg"
    if sys.stdin is None or sys.stdin.isatty():
        raise ImageReadError(_STDIN_NAME, expected, "a terminal" if sys.stdin else "it closed")
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if not data:
        raise ImageReadError(_STDIN_NAME, expected, "nothing")
    return data


@commands.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "scarlens compare before.jpg after.jpg --picture both.png",
        "scarlens compare before.jpg after.jpg --json",
    ),
)
def compare(
    before: Annotated[Path, typer.Argument(help="The earlier photo.")],
    after: Annotated[Path, typer.Argument(help="The later photo, of the same place.")],
    as_json: AsJson = False,
    picture: Annotated[
        Path | None, typer.Option(help="Write both photos side by side, with the scars outlined, to this PNG file.")
    ] = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Compare two photos of one place. Says if scars changed by more than brightness, zoom and compression explain."""
    from .compare.comparison import compare as compare_photos
    from .regions import write_picture

    result = compare_photos(before, after, classifier=_classifier(checkpoint))
    if picture is not None:
        write_picture(picture, result.picture())
        say(f"picture: {picture}")
    if as_json:
        print(json.dumps(result.to_dict()))
    else:
        output.print(result.to_text(), markup=False)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "scarlens batch photos -o answers.csv",
        "scarlens batch photos -o answers.parquet --resume",
        "scarlens batch s3://bucket/photos -o s3://bucket/answers --engine ray",
    ),
)
def batch(
    folder: Annotated[str, typer.Argument(help="Folder of photos, at any depth; with --engine ray also a URL.")],
    out: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="The table: .csv, .jsonl or .parquet; with --engine ray a new folder, or a URL."
        ),
    ],
    checkpoint: Checkpoint = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the interrupted run that wrote this table.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read photos; by default one for each core.")
    ] = None,
    engine: Annotated[
        Literal["plain", "ray"],
        typer.Option(
            help="plain: this machine. ray: a Ray cluster, which also reads and writes URLs; needs the extra 'ray'."
        ),
    ] = "plain",
) -> None:
    """Classify every file in a folder. Writes a table with one row per file."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM ends a batch like Ctrl-C
    try:
        if engine == "ray":
            summary = _batch_on_cluster(folder, out, checkpoint, resume=resume, workers=workers)
        else:
            summary = _batch_here(folder, out, checkpoint, resume=resume, workers=workers)
    except (ValueError, NotADirectoryError, IsADirectoryError) as error:
        raise ScarlensError(str(error)) from error
    counts = f"{summary.ok} answered, {summary.abstained} abstained, {summary.errors} errors"
    say(f"{summary.total} files: {counts}. {summary.output}")
    say(NOTICE)
    if summary.errors:
        raise typer.Exit(SOME_ERRORS)


def _batch_here(folder: str, out: str, checkpoint: Path | None, *, resume: bool, workers: int | None) -> BatchSummary:
    from .batch.folder import predict_folder

    if "://" in f"{folder} {out}":
        raise ScarlensError(
            "expected folders of this machine, found an address; download it, or give --engine ray for a bucket"
        )
    classifier = _classifier(checkpoint)
    with when_interrupted(GO_ON), bar("photos") as move:
        progress = move if ON_TERMINAL else None  # counting files takes long in a large archive
        return predict_folder(folder, out, classifier=classifier, workers=workers, resume=resume, progress=progress)


def _batch_on_cluster(
    folder: str, out: str, checkpoint: Path | None, *, resume: bool, workers: int | None
) -> BatchSummary:
    from .batch.cluster import predict_archive

    if not folder:  # which would be the current one
        raise ScarlensError("expected a folder of photos, found an empty name")
    if resume:
        raise ScarlensError("--resume works with --engine plain only; with --engine ray, start again in another folder")
    with when_interrupted("start again in another folder"):
        return predict_archive(folder, out, checkpoint=checkpoint, workers=workers)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "scarlens serve",
        "scarlens serve --port 8400 --checkpoint runs/mine/model.onnx",
    ),
)
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8321,
    host: Annotated[
        str, typer.Option(help="Address to listen on. With another one than the default, other machines can use it.")
    ] = "127.0.0.1",
    checkpoint: Checkpoint = None,
) -> None:
    """Serve a page for dropping photos, and an HTTP API, on this machine. Needs the extra 'serve'."""
    from .doctor import lacking

    if missing := lacking("serve"):
        raise ScarlensError(f'serve: {", ".join(missing)}; pip install ".[serve]" in the checkout\'s folder')
    from .web.server import serve as serve_page

    serve_page(
        _classifier(checkpoint),
        port=port,
        host=host,
        started=lambda address: say(f"page: {address} until Ctrl-C{_open_to_others(host)}. {NOTICE}"),
    )


def _open_to_others(host: str) -> str:
    only_here = host == "localhost" or host.startswith("127.")
    return "" if only_here else "; whoever reaches this address can use it, there is no password"


@commands.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "scarlens treatments",
        "scarlens treatments boxcar --skin-type V --keloid-history",
        "scarlens treatments rolling --all",
        "scarlens treatments ice_pick --json",
    ),
)
def treatments(
    scar_type: Annotated[
        str | None,
        typer.Argument(metavar="[TYPE]", help="ice pick, boxcar or rolling.", autocompletion=_scar_types),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Print every claim.")] = False,
    as_json: AsJson = False,
    skin_type: SkinType = None,
    pregnant: Pregnant = None,
    isotretinoin_months: IsotretinoinMonths = None,
    active_acne: ActiveAcne = None,
    keloid_history: KeloidHistory = None,
) -> None:
    """Print what the five documents say about treating each type, naming the document for every claim."""
    from .treatments.plan import everything, plan
    from .treatments.text import every_claim, overview

    context = context_of(skin_type, pregnant, isotretinoin_months, active_acne, keloid_history)
    if as_json:
        content = plan(scar_type, (), context).to_dict() if scar_type else everything(context)
        print(json.dumps(content, indent=2))
    else:
        chosen = plan(scar_type, () if scar_type else SCAR_TYPES, context)
        output.print((every_claim if every else overview)(chosen, _width()), markup=False)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "scarlens doctor",
        "scarlens doctor --checkpoint runs/mine/model.onnx",
        "scarlens doctor --json",
    ),
)
def doctor(checkpoint: Checkpoint = None, as_json: AsJson = False) -> None:
    """Check packages, devices, the checkpoint and its speed. Exits with 1 if something needs fixing."""
    from .doctor import examine

    diagnosis = examine(checkpoint)
    if as_json:
        print(json.dumps(diagnosis.to_dict(), indent=2))
    else:
        output.print("\n".join(diagnosis.lines()), markup=False)
    if not diagnosis.ok:
        raise typer.Exit(NEEDS_FIXING)


def _width() -> int:
    """Return the width of text in columns: that of the terminal, within what reads well."""
    return min(max(output.width, 80), 100)


def _classifier(checkpoint: Path | None) -> Classifier:
    from .classifier import load

    return load(checkpoint) if checkpoint else load()
