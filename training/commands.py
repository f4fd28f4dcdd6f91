"""The commands that prepare data, train and measure. Heavy imports happen inside the commands.

Imports are absolute, as in the scripts that the commands call.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from scarlens.inference.commands import AsJson
from scarlens.inference.reasons import NOTICE
from scarlens.inference.terminal import GO_ON, LEADS, counter, examples, output, report, say, when_interrupted

if TYPE_CHECKING:
    from scarlens.datasets.photos import LabelledPhoto
    from scarlens.training.config import TrainConfig

SHOULD_NOT_TRAIN: Final = 3
"""Exit status of an audit that found problems to fix before training."""

_PANEL: Final = "Train and measure"

Data = Annotated[
    list[Path],
    typer.Option(help="Folder with one sub-folder per class, or a CSV manifest file,label[,subject]. May be repeated."),
]
OutOfScope = Annotated[
    list[str], typer.Option(help="Name of a folder or label that shows none of the three types. May be repeated.")
]
SubjectColumn = Annotated[
    str, typer.Option(metavar="NAME", help="Column of the manifests that names the person in the photo.")
]
Extra = Annotated[
    list[Path], typer.Option(help="Like --data, but for training only, never for evaluation; such as rendered photos.")
]

Copies = Annotated[
    Literal["refuse", "merge", "allow"],
    typer.Option(
        help="Near-duplicates under different subjects: refuse a split that separates them, merge their subjects, "
        "or allow it, which inflates the figures.",
    ),
]
Out = Annotated[Path, typer.Option(help="Run folder; created if missing.")]
Readings = Annotated[
    Path | None, typer.Option(help="CSV file of blind readers' opinions; training/README.md says how.")
]
Config = Annotated[Path | None, typer.Option(help="YAML file with settings, such as the config.yaml of a run folder.")]
Setting = Annotated[
    list[str],
    typer.Option("--set", metavar="NAME=VALUE", help="Change one setting, such as epochs=10. May be repeated."),
]
Device = Annotated[str, typer.Option(help='"cpu", "cuda" or another torch device.')]
Resume = Annotated[bool, typer.Option("--resume", help="Resume the interrupted run in --out.")]

commands = typer.Typer()


@commands.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "scarlens audit photos --out audit", "scarlens audit photos.csv --out audit --out-of-scope keloid --json"
    ),
)
def audit(
    data: Annotated[list[Path], typer.Argument(help="Folders with one sub-folder per class, or CSV manifests.")],
    out: Annotated[Path, typer.Option(help="Folder for audit.html and audit.json; created if missing.")],
    out_of_scope: OutOfScope = [],  # noqa: B006 - typer only reads the default
    subject_column: SubjectColumn = "subject",
    as_json: AsJson = False,
) -> None:
    """Find near-duplicates, contradictory labels and shortcuts. Exits with 3 if any should stop training."""
    from scarlens.datasets.audit.audit import audit as audit_photos
    from scarlens.datasets.audit.page import write_audit
    from scarlens.datasets.photos import load_photos

    photos = load_photos(data, out_of_scope=out_of_scope, subject_column=subject_column)
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


@commands.command(rich_help_panel=_PANEL, epilog=examples("scarlens render rendered --count 300 --seed 7"))
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


@commands.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "scarlens train --out runs/first",
        "scarlens train --data photos --out runs/mine --set epochs=10",
        "scarlens train --data photos --out runs/mine --device cuda --resume",
    ),
)
def train(
    out: Out,
    data: Data = [],  # noqa: B006
    out_of_scope: OutOfScope = [],  # noqa: B006
    extra: Extra = [],  # noqa: B006
    subject_column: SubjectColumn = "subject",
    config: Config = None,
    settings: Setting = [],  # noqa: B006
    calibrate_on: Annotated[
        Path | None, typer.Option(help="predictions.csv of a cross-validation with the same settings.")
    ] = None,
    copies: Copies = "refuse",
    device: Device = "cpu",
    resume: Resume = False,
) -> None:
    """Train a checkpoint on labelled photos. Without --data, train on rendered photos."""
    resolved = _config(config, settings, out if resume else None, embedded=not data)
    if not data:
        copies = "allow"  # rendered one by one, no two are alike
        from scarlens.training.embedded import COUNT, embedded_photos

        with when_interrupted(GO_ON), counter("rendered", COUNT) as advance:
            data = [embedded_photos(out / f"rendered_{resolved.seed}", seed=resolved.seed, advance=advance)]
    photos = _labelled_photos(data, out_of_scope, extra, copies, subject_column)

    # Here, not above: torch takes seconds to load, and a mistake in the data should show at once.
    from scarlens.training.measure.calibrate import read_held_out
    from scarlens.training.train import train as train_checkpoint

    held_out = read_held_out(calibrate_on, resolved) if calibrate_on else None
    with when_interrupted(GO_ON):
        checkpoint = train_checkpoint(
            photos, resolved, out, device=device, resume=resume, held_out=held_out, allow_parted=copies == "allow"
        )
    report(f"checkpoint: {checkpoint}")


@commands.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "scarlens crossvalidate --data photos --out runs/cv",
        "scarlens crossvalidate --data photos --out runs/cv --repeats 3 --json",
    ),
)
def crossvalidate(
    data: Data,
    out: Out,
    out_of_scope: OutOfScope = [],  # noqa: B006
    extra: Extra = [],  # noqa: B006
    subject_column: SubjectColumn = "subject",
    config: Config = None,
    settings: Setting = [],  # noqa: B006
    folds: Annotated[int, typer.Option(min=2, help="Number of folds. A fold never splits a subject.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Repeat with the photos reshuffled.")] = 1,
    copies: Copies = "refuse",
    readings: Readings = None,
    device: Device = "cpu",
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate on folds that never split a subject."""
    resolved = _config(config, settings, out if resume else None)
    photos = _labelled_photos(data, out_of_scope, extra, copies, subject_column)

    from scarlens.training.crossvalidate import crossvalidate as cross_validate

    with when_interrupted(GO_ON):
        figures = cross_validate(
            photos,
            resolved,
            out,
            folds=folds,
            repeats=repeats,
            device=device,
            resume=resume,
            allow_parted=copies == "allow",
            readings=readings,
            report=report,
        )
    _print_figures(figures, as_json=as_json)


@commands.command(
    rich_help_panel=_PANEL, epilog=examples("scarlens evaluate runs/mine/model.onnx --data new_photos --out report")
)
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors or .onnx checkpoint.")],
    data: Data,
    out: Out,
    out_of_scope: OutOfScope = [],  # noqa: B006
    subject_column: SubjectColumn = "subject",
    readings: Readings = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Evaluate a checkpoint on labelled photos of people it was not trained on."""
    from scarlens.training.evaluate import evaluate as evaluate_checkpoint

    photos = _labelled_photos(data, out_of_scope, [], "allow", subject_column)
    with counter("scored", len(photos)) as advance:
        figures = evaluate_checkpoint(checkpoint, photos, out, device=device, readings=readings, advance=advance)
    report(f"report: {out / 'report.html'}")
    _print_figures(figures, as_json=as_json)


@commands.command(
    rich_help_panel=_PANEL, epilog=examples("scarlens export runs/mine/model.safetensors --onnx model.onnx")
)
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors checkpoint.")],
    onnx: Annotated[Path, typer.Option(help="The ONNX file to write.")],
) -> None:
    """Write the ONNX form of a checkpoint, card included."""
    from scarlens.model.export import export_onnx

    card = export_onnx(checkpoint, onnx)
    say(f"model {card.model_id}: {onnx}")


def _config(file: Path | None, settings: list[str], resumed: Path | None, *, embedded: bool = False) -> TrainConfig:
    from scarlens.training.config import TrainConfig
    from scarlens.training.embedded import embedded_config

    if file is None and resumed is not None and (resumed / "config.yaml").is_file():
        file = resumed / "config.yaml"
    config = TrainConfig.from_yaml(file) if file else embedded_config() if embedded else TrainConfig()
    return config.with_texts(settings)


def _labelled_photos(
    data: list[Path], out_of_scope: list[str], extra: list[Path], copies: str, subject_column: str
) -> list[LabelledPhoto]:
    """Load and check photos, and report every bad file before training starts."""
    from scarlens.datasets.photos import load_photos, readable_photos

    photos = load_photos(data, out_of_scope=out_of_scope, extra=extra, subject_column=subject_column)
    with counter("read and compared", 2 * len(photos)) as advance:
        good, errors = readable_photos(photos, merge=copies == "merge", compare=copies != "allow", advance=advance)
    for error in errors:
        report(f"left out: {error}")
    unnamed = sum(photo.subject is None for photo in photos)
    stand_in = f"; {unnamed} have no subject and are grouped with their near-duplicates" if unnamed else ""
    report(f"{len(good)} photos of {len({photo.subject for photo in good})} subjects{stand_in}")
    return good


def _print_figures(figures: dict[str, Any], *, as_json: bool) -> None:
    from scarlens.training.evaluate import summary_lines

    if not LEADS:
        return
    if as_json:
        print(json.dumps(figures))
    else:
        output.print("\n".join(summary_lines(figures)), markup=False)
