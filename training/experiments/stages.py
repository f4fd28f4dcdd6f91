"""Fine-tuning of the stages above the mid-level maps, and its mean with the texture head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from safetensors.torch import load_file

from scarlens.training import texture

from .linear import measured, with_prior
from .maps import fit, photo_maps, rendered_maps, scores_of
from .pretraining import pretrained, weights_file
from .study import Held, Row, Study, StudyError, frozen_network


@dataclass(frozen=True)
class Recipe:
    """How the stages are fine-tuned.

    Attributes:
        pretrained: a way of `pretraining.WAYS`; None starts from the weights the study was given.
        ratio: renderings for each photo in a batch.
        label_smoothing: as for `scarlens train`.
    """

    pretrained: str | None = None
    ratio: float = 0.0
    label_smoothing: float = 0.1


RECIPES: Final = {
    "from ImageNet": Recipe(),
    "pretrained on renderings": Recipe(pretrained="as they are"),
    "pretrained on aligned renderings": Recipe(pretrained="aligned"),
    "from ImageNet, renderings mixed in 1 : 2": Recipe(ratio=0.5),
    "from ImageNet, renderings mixed in 1 : 1": Recipe(ratio=1.0),
    "from ImageNet, no label smoothing": Recipe(label_smoothing=0.0),
    "pretrained on renderings, with width and depth": Recipe(pretrained="width and depth"),
    "pretrained on implants": Recipe(pretrained="implants"),
    "from self-supervision": Recipe(pretrained="twins"),
}

TOLD_TYPES: Final = {
    "as they are": "renderings as they are",
    "aligned": "renderings aligned",
    "width and depth": "renderings with width and depth",
    "implants": "implants",
}
"""Ways of pretraining that tell types apart by themselves, and how their rows call them."""


def held_out_by(study: Study, recipe: Recipe, deal: int, *, fold_of: np.ndarray | None = None) -> Held:
    """Score the photos of each fold of a deal by stages that were fine-tuned on the others."""
    maps = photo_maps(study)
    rendered = rendered_maps(study) if recipe.ratio else ()
    fold_of = study.fold_of(deal) if fold_of is None else fold_of
    weights = str(pretrained(study, recipe.pretrained)) if recipe.pretrained else study.config.weights
    scores = np.zeros((len(maps), 3))
    for fold in range(study.folds):
        training, held = np.flatnonzero(fold_of != fold).tolist(), np.flatnonzero(fold_of == fold).tolist()
        own, photos = [maps[i] for i in training], [study.photos[i] for i in training]
        config = study.config.with_settings(weights=weights, label_smoothing=recipe.label_smoothing, seed=deal)
        network = fit(study, config, own, photos, rendered=rendered, ratio=recipe.ratio)
        scores[held] = scores_of(network, [maps[i] for i in held])
    return Held(scores[study.shown])


def fine_tuned(study: Study, only: Sequence[str] = ()) -> list[Row]:
    """Measure the recipes, by default all, and the stages as pretraining left them.

    Raises:
        StudyError: when a name in `only` is no recipe.
    """
    if unknown := set(only) - set(RECIPES):
        raise StudyError(f"--only knows no {sorted(unknown)}; there are {[*RECIPES]}")
    rows = [measured_recipe(study, name) for name in only or RECIPES]
    for how, name in TOLD_TYPES.items():
        if weights_file(study, how).exists():
            rows.append(study.measure(f"stages trained on {name}, no photo", _without_photos(study, how)))
    return rows


def measured_recipe(study: Study, name: str) -> Row:
    """Measure a recipe of `RECIPES`."""
    recipe = RECIPES[name]
    photo_maps(study)  # here and not in the first row that reads them, whose seconds they are not
    if recipe.pretrained:
        pretrained(study, recipe.pretrained)
    return study.measure(f"stages {name}", lambda deal: held_out_by(study, recipe, deal))


def _without_photos(study: Study, how: str) -> Callable[[int], Held]:
    network = frozen_network(study.config)
    network.load_state_dict(load_file(pretrained(study, how)))
    maps = photo_maps(study)
    scores = scores_of(network, [maps[i] for i in study.shown.tolist()])
    return lambda deal: Held(scores)


def both_heads(study: Study) -> list[Row]:
    """Measure the texture head, the fine-tuned stages, and the mean of both, each with and without renderings."""
    heads = {
        "texture head, prior 0": with_prior(study, [0.0]),
        "texture head, prior chosen": with_prior(study, texture.PRIOR_WEIGHTS),
    }
    rows = [measured(study, name, scorer) for name, scorer in heads.items()]
    for recipe in ("from ImageNet", "pretrained on renderings", "pretrained on aligned renderings"):
        stages = measured_recipe(study, recipe)
        means = [study.measure(f"mean of {head.what} and {stages.what}", _mean(head, stages)) for head in rows[:2]]
        rows += [stages, *means]
    return rows


def _mean(head: Row, stages: Row) -> Callable[[int], Held]:
    mean = texture.SHARE * head.scores + (1 - texture.SHARE) * stages.scores
    return lambda deal: Held(mean[deal])
