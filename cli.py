"""The command `scarlens`: a thin skin over the public functions, which are imported when a command needs them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich.console import Console

from scarlens.datasets.errors import ScarlensError, printable
from scarlens.inference.prediction import NOTICE
from scarlens.inference.terminal import LEADS, bar, counter, messages, output, say

if TYPE_CHECKING:
    from scarlens.datasets.photos import LabelledPhoto
    from scarlens.inference.batch import BatchSummary
    from scarlens.inference.classifier import Classifier
    from scarlens.inference.prediction import Prediction
    from scarlens.training.config import TrainConfig

SOME_ERRORS: Final = 3
"""Exit status when the work is done but some files could not be read."""

INTERRUPTED: Final = 130
"""Exit status when somebody stopped the work."""

SHOULD_NOT_TRAIN: Final = 3
"""Exit status of an audit that found what should be mended before training."""

app = typer.Typer(
    help=f"Tell ice pick, boxcar and rolling acne scars apart, and know when not to. {NOTICE}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Checkpoint = Annotated[
    Path | None, typer.Option(help="A .safetensors or .onnx checkpoint; by default the bundled one.")
]
Data = Annotated[
    list[Path],
    typer.Option(help="Folder with one sub-folder per class, or a CSV manifest file,label[,subject]. May be repeated."),
]
OutOfScope = Annotated[
    list[str], typer.Option(help="Name of a folder or label that shows none of the three types. May be repeated.")
]
Extra = Annotated[
    list[Path], typer.Option(help="As --data, but only trained on and never measured with, such as rendered photos.")
]

Copies = Annotated[
    Literal["refuse", "merge", "allow"],
    typer.Option(
        help="Photos of different subjects that show one picture: refuse a split that parts them, merge the subjects, "
        "or allow figures that are too good.",
    ),
]
Out = Annotated[Path, typer.Option(help="The run's folder, which is made.")]
Config = Annotated[Path | None, typer.Option(help="YAML file with settings; every run folder holds one.")]
Setting = Annotated[
    list[str],
    typer.Option("--set", metavar="NAME=VALUE", help="Change one setting, such as epochs=10. May be repeated."),
]
Device = Annotated[str, typer.Option(help='"cpu", "cuda" or another torch device.')]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
_PERSON: Final = "The person, for cautions beside the treatments"
SkinType = Annotated[
    str | None, typer.Option(metavar="1..6|I..VI", help="Fitzpatrick skin type.", rich_help_panel=_PERSON)
]
Pregnant = Annotated[bool | None, typer.Option("--pregnant/--not-pregnant", rich_help_panel=_PERSON)]
IsotretinoinMonths = Annotated[
    float | None, typer.Option(help="Months since the last dose of isotretinoin; 0: now.", rich_help_panel=_PERSON)
]
ActiveAcne = Annotated[bool | None, typer.Option("--active-acne/--no-active-acne", rich_help_panel=_PERSON)]
KeloidHistory = Annotated[bool | None, typer.Option("--keloid-history/--no-keloid-history", rich_help_panel=_PERSON)]


def main(command: str | None = None) -> None:
    """Run the command line; `command` is put before its arguments, for scripts that are one command."""
    arguments = [command, *sys.argv[1:]] if command else sys.argv[1:]
    try:
        app(arguments, prog_name="scarlens")
    except (ScarlensError, OSError) as error:  # OSError: a full disk, a folder that may not be written
        say(f"scarlens: {error}")
        sys.exit(2)


@app.command()
def predict(
    photos: Annotated[list[Path], typer.Argument(help="Image files.")],
    as_json: AsJson = False,
    overlay: Annotated[Path | None, typer.Option(help="Folder for pictures of where each type is seen.")] = None,
    checkpoint: Checkpoint = None,
    mm_per_pixel: Annotated[
        float | None, typer.Option(min=1e-9, help="Millimetres of skin to a pixel of the photos; tells widths.")
    ] = None,
    skin_type: SkinType = None,
    pregnant: Pregnant = None,
    isotretinoin_months: IsotretinoinMonths = None,
    active_acne: ActiveAcne = None,
    keloid_history: KeloidHistory = None,
) -> None:
    """Classify photos: the plausible types, where they are seen, and what the documents say about treating them."""
    from scarlens.inference.regions import overlay_files
    from scarlens.inference.safety import told

    context = told(skin_type, pregnant, isotretinoin_months, active_acne, keloid_history)

    answer = partial(_classifier(checkpoint).predict, context=context, mm_per_pixel=mm_per_pixel)
    failed = False
    pictures = overlay_files(overlay, photos) if overlay else [None] * len(photos)
    for photo, picture in zip(photos, pictures, strict=True):
        try:
            _predict_one(answer, photo, as_json=as_json, picture=picture)
        except (ScarlensError, OSError) as error:
            failed = True
            say(f"scarlens: {error}")
            if as_json:
                print(json.dumps({"path": str(photo), "error": str(error)}))
    if failed:
        raise typer.Exit(SOME_ERRORS)


def _predict_one(answer: Callable[[Path], Prediction], photo: Path, *, as_json: bool, picture: Path | None) -> None:
    from scarlens.datasets.reader import read_image
    from scarlens.inference.regions import write_overlay

    prediction = answer(photo)
    if as_json:
        print(json.dumps({"path": str(photo), **prediction.to_dict()}))
    else:
        output.print(f"{printable(str(photo))}\n{prediction.to_text()}\n", markup=False)
    if picture is not None:
        write_overlay(picture, read_image(photo), prediction.regions)
        say(f"overlay: {picture}")


@app.command()
def batch(
    folder: Annotated[str, typer.Argument(help="Folder of photos, at any depth; with --engine ray also a URL.")],
    out: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="The table: .csv, .jsonl or .parquet; with --engine ray a new folder, or a URL."
        ),
    ],
    checkpoint: Checkpoint = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run of this table.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read photos; by default one for each core.")
    ] = None,
    engine: Annotated[
        Literal["plain", "ray"],
        typer.Option(help="plain: this machine. ray: a cluster, from and to folders or URLs; needs the extra 'ray'."),
    ] = "plain",
) -> None:
    """Classify every file of a folder into a table with one row per file."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to be told to stop is to be interrupted
    try:
        if engine == "ray":
            summary = _batch_on_cluster(folder, out, checkpoint, resume=resume, workers=workers)
        else:
            summary = _batch_here(folder, out, checkpoint, resume=resume, workers=workers)
    except (ValueError, NotADirectoryError, IsADirectoryError) as error:
        raise ScarlensError(str(error)) from error
    except KeyboardInterrupt:
        how = "begin anew in another folder" if engine == "ray" else "the same command with --resume goes on"
        say(f"scarlens: interrupted; {how}")
        raise typer.Exit(INTERRUPTED) from None
    counts = f"{summary.ok} answered, {summary.abstained} abstained, {summary.errors} errors"
    say(f"{summary.total} files: {counts}. {summary.output}")
    say(NOTICE)
    if summary.errors:
        raise typer.Exit(SOME_ERRORS)


def _batch_here(folder: str, out: str, checkpoint: Path | None, *, resume: bool, workers: int | None) -> BatchSummary:
    from scarlens.inference.batch import predict_folder

    if "://" in f"{folder} {out}":
        raise ScarlensError("expected folders of this machine, found a URL; give --engine ray")
    classifier = _classifier(checkpoint)
    with bar("photos") as move:
        progress = move if messages.is_terminal else None  # to count the files takes long in an archive
        return predict_folder(folder, out, classifier=classifier, workers=workers, resume=resume, progress=progress)


def _batch_on_cluster(
    folder: str, out: str, checkpoint: Path | None, *, resume: bool, workers: int | None
) -> BatchSummary:
    from scarlens.inference.cluster import predict_archive

    if resume:
        raise ScarlensError("--resume goes on with runs of one machine; with --engine ray begin anew in another folder")
    return predict_archive(folder, out, checkpoint=checkpoint, workers=workers)


@app.command()
def train(
    out: Out,
    data: Data = [],  # noqa: B006 - typer reads the default, nobody changes it
    out_of_scope: OutOfScope = [],  # noqa: B006
    extra: Extra = [],  # noqa: B006
    config: Config = None,
    settings: Setting = [],  # noqa: B006
    calibrate_on: Annotated[
        Path | None, typer.Option(help="predictions.csv of a cross-validation with the same settings.")
    ] = None,
    copies: Copies = "refuse",
    device: Device = "cpu",
    resume: Resume = False,
) -> None:
    """Train a checkpoint on labelled photos; without --data on photos of scars that are rendered first."""
    resolved = _config(config, settings, out if resume else None, embedded=not data)
    if not data:
        copies = "allow"  # rendered one by one, no two are alike
        from scarlens.training.embedded import COUNT, embedded_photos

        with counter("rendered", COUNT) as advance:
            data = [embedded_photos(out / f"rendered_{resolved.seed}", seed=resolved.seed, advance=advance)]
    photos = _labelled_photos(data, out_of_scope, extra, copies)

    # Here, not above: torch takes seconds to load, and a mistake in the data should show at once.
    from scarlens.training.calibrate import read_held_out
    from scarlens.training.train import train as train_checkpoint

    held_out = read_held_out(calibrate_on, resolved) if calibrate_on else None
    checkpoint = train_checkpoint(
        photos, resolved, out, device=device, resume=resume, held_out=held_out, allow_parted=copies == "allow"
    )
    say(f"checkpoint: {checkpoint}")


@app.command()
def crossvalidate(
    data: Data,
    out: Out,
    out_of_scope: OutOfScope = [],  # noqa: B006
    extra: Extra = [],  # noqa: B006
    config: Config = None,
    settings: Setting = [],  # noqa: B006
    folds: Annotated[int, typer.Option(min=2, help="Folds that never part a subject.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="How often to deal the photos anew.")] = 1,
    copies: Copies = "refuse",
    device: Device = "cpu",
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Measure honestly: train and test on folds that never part a subject."""
    resolved = _config(config, settings, out if resume else None)
    photos = _labelled_photos(data, out_of_scope, extra, copies)

    from scarlens.training.crossvalidate import crossvalidate as cross_validate

    figures = cross_validate(
        photos,
        resolved,
        out,
        folds=folds,
        repeats=repeats,
        device=device,
        resume=resume,
        allow_parted=copies == "allow",
        report=say,
    )
    _print_figures(figures, as_json=as_json)


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors or .onnx checkpoint.")],
    data: Data,
    out: Out,
    out_of_scope: OutOfScope = [],  # noqa: B006
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure a checkpoint on labelled photos of people it was not trained on."""
    from scarlens.training.evaluate import evaluate as evaluate_checkpoint

    photos = _labelled_photos(data, out_of_scope, [], copies="allow")
    with counter("scored", len(photos)) as advance:
        figures = evaluate_checkpoint(checkpoint, photos, out, device=device, advance=advance)
    say(f"report: {out / 'report.html'}")
    _print_figures(figures, as_json=as_json)


@app.command()
def audit(
    data: Annotated[list[Path], typer.Argument(help="Folders with one sub-folder per class, or CSV manifests.")],
    out: Annotated[Path, typer.Option(help="Folder for audit.html, with thumbnails, and audit.json; it is made.")],
    out_of_scope: OutOfScope = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Find what would spoil a training: copies, contradictory labels, shortcuts. Status 3 where it should not start."""
    from scarlens.datasets.audit import audit as audit_photos
    from scarlens.datasets.audit_page import write_audit
    from scarlens.datasets.photos import load_photos

    photos = load_photos(data, out_of_scope=out_of_scope)
    with counter("read and compared", 2 * len(photos)) as advance:
        found = audit_photos(photos, advance=advance)
    page = write_audit(out, found, notice=NOTICE)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        output.print("\n".join(found.summary_lines()), markup=False)
    say(f"report: {page}")
    if found.verdict:
        raise typer.Exit(SHOULD_NOT_TRAIN)


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="Folder for the photos, one sub-folder per class, and manifest.csv.")],
    count: Annotated[int, typer.Option(min=1, help="Number of photos.")] = 90,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything about them.")] = 0,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Side in pixels.")] = 256,
) -> None:
    """Render photos of scars from relief and light, with exact labels."""
    from scarlens.datasets.rendering import write_photos

    with counter("rendered", count) as advance:
        say(f"manifest: {write_photos(out, count=count, seed=seed, size=size, advance=advance)}")


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors checkpoint.")],
    onnx: Annotated[Path, typer.Option(help="The ONNX file to write.")],
) -> None:
    """Write the ONNX form of a checkpoint, card included."""
    from scarlens.model.export import export_onnx

    card = export_onnx(checkpoint, onnx)
    say(f"model {card.model_id}: {onnx}")


@app.command()
def treatments(
    scar_type: Annotated[str | None, typer.Argument(metavar="[TYPE]", help="ice pick, boxcar or rolling.")] = None,
    as_json: AsJson = False,
    skin_type: SkinType = None,
    pregnant: Pregnant = None,
    isotretinoin_months: IsotretinoinMonths = None,
    active_acne: ActiveAcne = None,
    keloid_history: KeloidHistory = None,
) -> None:
    """Print what the five documents say about treating each type, every claim with its document."""
    from scarlens.inference.safety import told
    from scarlens.inference.treatment_tables import print_tables
    from scarlens.inference.treatments import everything, plan

    context = told(skin_type, pregnant, isotretinoin_months, active_acne, keloid_history)
    if as_json:
        content = plan(scar_type, (), context).to_dict() if scar_type else everything(context)
        print(json.dumps(content, indent=2))
    else:
        print_tables(Console(highlight=False), scar_type, context)


def _classifier(checkpoint: Path | None) -> Classifier:
    from scarlens.inference.classifier import load

    return load(checkpoint) if checkpoint else load()


def _config(file: Path | None, settings: list[str], resumed: Path | None, *, embedded: bool = False) -> TrainConfig:
    from scarlens.training.config import TrainConfig
    from scarlens.training.embedded import embedded_config

    if file is None and resumed is not None and (resumed / "config.yaml").is_file():
        file = resumed / "config.yaml"
    config = TrainConfig.from_yaml(file) if file else embedded_config() if embedded else TrainConfig()
    return config.with_texts(settings)


def _labelled_photos(data: list[Path], out_of_scope: list[str], extra: list[Path], copies: str) -> list[LabelledPhoto]:
    """Load and check photos; name each bad file now, before any work is done with the others."""
    from scarlens.datasets.photos import load_photos, readable_photos

    photos = load_photos(data, out_of_scope=out_of_scope, extra=extra)
    with counter("read and compared", 2 * len(photos)) as advance:
        good, errors = readable_photos(photos, merge=copies == "merge", compare=copies != "allow", advance=advance)
    for error in errors:
        say(f"left out: {error}")
    unnamed = sum(photo.subject is None for photo in photos)
    stand_in = f"; {unnamed} came without a subject, copies of a picture stand in for it" if unnamed else ""
    say(f"{len(good)} photos of {len({photo.subject for photo in good})} subjects{stand_in}")
    return good


def _print_figures(figures: dict[str, Any], *, as_json: bool) -> None:
    from scarlens.training.evaluate import summary_lines

    if as_json and LEADS:
        print(json.dumps(figures))
    elif not as_json:
        output.print("\n".join(summary_lines(figures)), markup=False)
