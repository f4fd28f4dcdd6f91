"""Make one experiment: `python -m scarlens.training.experiments NAME`; EXPERIMENTS.md has the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from scarlens.datasets.atomic import write_atomically
from scarlens.datasets.errors import ScarlensError
from scarlens.training.config import TrainConfig
from scarlens.training.experiments import bags, ensembles, implants, probes, raised, stages, trunks
from scarlens.training.experiments.study import HEADER, Row, Study, errors_of, open_study

Name = Literal[
    "probes",
    "zero-shot",
    "prior",
    "raised",
    "implants",
    "bags",
    "stages",
    "heads",
    "seeds",
    "trunks",
    "curves",
]


def experiment(
    name: Annotated[Name, typer.Argument(help="A group of rows of EXPERIMENTS.md.")],
    data: Annotated[list[Path], typer.Option(help="Folder or manifest of real photos. May be repeated.")],
    rendered: Annotated[Path, typer.Option(help="Manifest of `scarlens render`.")],
    weights: Annotated[str, typer.Option(help="Pretrained weights of MobileNetV2, as for `scarlens train`.")],
    out: Annotated[Path, typer.Option(help="Folder for features, scores and tables; it is made.")],
    out_of_scope: Annotated[list[str], typer.Option(help="As for `scarlens train`. May be repeated.")] = [],  # noqa: B006
    config: Annotated[Path | None, typer.Option(help="YAML file with settings, such as mean and std.")] = None,
    squeezenet: Annotated[str | None, typer.Option(help="Weights of squeezenet1_1, for rows about it.")] = None,
    deals: Annotated[int, typer.Option(min=1, help="How often the photos are dealt; more can be added later.")] = 3,
    only: Annotated[list[str], typer.Option(help="Rows of `stages` to make; by default all.")] = [],  # noqa: B006
) -> None:
    """Make an experiment: print its rows, and write them to OUT/NAME.md."""
    settings = (TrainConfig.from_yaml(config) if config else TrainConfig()).with_settings(weights=weights)
    study = open_study(data, out_of_scope, rendered, settings, out, deals=deals)
    groups: dict[str, Callable[[Study], list[Row]]] = {
        "probes": lambda study: probes.probes(study, squeezenet),
        "zero-shot": probes.zero_shots,
        "prior": probes.priors,
        "stages": lambda study: stages.fine_tuned(study, only),
        "heads": stages.both_heads,
        "curves": probes.curves,
        "trunks": lambda study: trunks.second_trunk(study, squeezenet),
        "raised": raised.raised_scars,
        "bags": bags.bags,
        "implants": implants.with_implants,
        "seeds": ensembles.ensembles,
    }
    print(HEADER)
    rows = groups[name](study)
    print(f"\n{errors_of(rows)}")
    write_atomically(out / f"{name}.md", "\n".join([HEADER, *map(str, rows), "", errors_of(rows), ""]).encode())


if __name__ == "__main__":
    torch.set_num_threads(1)  # the seconds in the table are those of one core
    try:
        typer.run(experiment)
    except ScarlensError as error:
        sys.exit(f"scarlens: {error}")
