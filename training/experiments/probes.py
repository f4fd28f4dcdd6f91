"""Rows about linear models: what each layer knows, what renderings add to it, and what more photos would."""

from __future__ import annotations

from typing import Final

import numpy as np

from scarlens.datasets.preprocess import IMAGENET_MEAN, IMAGENET_STD
from scarlens.training import texture

from .linear import (
    TEXTURE_LAYERS,
    Prior,
    draw_renderings,
    fit_prior,
    linear,
    measured,
    mixing,
    photo_features,
    rendered_features,
    rendered_typed,
    with_prior,
    zero_shot,
)
from .study import LAYERS, Held, Row, Study, types_of

PROBE_STRENGTHS: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
"""More than `texture.STRENGTHS`: the last layer has 1280 channels and wants a stronger penalty than the others."""

SQUEEZENET_LAYERS: Final = (8, 10, 12)
RATIOS: Final = (0.5, 2.0)
"""Weight of all renderings together, for a weight of 1 of all photos."""

MIXED: Final = 600
"""Renderings to mix in: a choice among ratios fits hundreds of models."""

COUNTS: Final = (300, 1200, 2400, 3600)
"""Of renderings; the last are all that `scarlens render --count 4800` makes of the three types."""


def probes(study: Study, squeezenet: str | None = None) -> list[Row]:
    """Measure linear probes: which layer, statistic, size and trunk."""

    def row(what: str, features: np.ndarray) -> Row:
        return measured(study, what, linear(features, study.types, PROBE_STRENGTHS))

    size = study.config.size
    rows = []
    for layer in LAYERS:
        rows.append(row(f"layer {layer}, mean", photo_features(study, [layer], ["mean"])))
        rows.append(row(f"layer {layer}, mean + MAD", photo_features(study, [layer])))
    rows.append(row("layer 13, mean + standard deviation", photo_features(study, [13], ["mean", "std"])))
    rows.append(row("layer 13, mean + MAD + maximum", photo_features(study, [13], ["mean", "mad", "max"])))
    rows.append(row(f"layers 10 + 13, mean + MAD, {size} px", photo_features(study)))
    for times in (10 / 7, 2):
        larger = study.config.with_settings(size=round(times * size))
        rows.append(row(f"layers 10 + 13, mean + MAD, {larger.size} px", photo_features(study, config=larger)))
    rows.append(averaged(study, f"scores of {size} px and {2 * size} px averaged", rows[-1], rows[-3]))
    if squeezenet:
        rows.append(of_squeezenet(study, squeezenet))
        rows.append(averaged(study, "scores of both trunks averaged", rows[-1], rows[-5]))
    return rows


def of_squeezenet(study: Study, weights: str) -> Row:
    """Measure the linear model of another trunk's texture, at its own input."""
    other = study.config.with_settings(trunk="squeezenet1_1", weights=weights, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    seen = photo_features(study, SQUEEZENET_LAYERS, config=other, all_layers=SQUEEZENET_LAYERS)
    scorer = linear(seen, study.types, PROBE_STRENGTHS)
    return measured(study, "squeezenet1_1, layers 8 + 10 + 12, mean + MAD", scorer)


def averaged(study: Study, what: str, *rows: Row) -> Row:
    """Measure the mean of the raw scores of rows, each with the same weight."""
    scores = np.mean([row.scores for row in rows], axis=0)
    return study.measure(what, lambda deal: Held(scores[deal]))


def zero_shots(study: Study) -> list[Row]:
    """Measure models of renderings on photos, of which they know at most the moments of the training part."""

    def row(what: str, features: np.ndarray, prior: Prior, *, own_moments: bool = True) -> Row:
        return measured(study, what, zero_shot(features, prior, own_moments=own_moments))

    rows = []
    for layers in ([6], [10], [13], TEXTURE_LAYERS):
        features, prior = photo_features(study, layers), fit_prior(study, layers)
        name = f"zero-shot, layers {' + '.join(map(str, layers))}"
        rows.append(row(f"{name}, each domain standardised by itself", features, prior))
        rows.append(row(f"{name}, photos standardised as renderings", features, prior, own_moments=False))
    features = photo_features(study)
    for count in COUNTS:
        rows.append(row(f"zero-shot, {count} renderings", features, fit_prior(study, count=count)))
    for strength in texture.STRENGTHS:
        prior = fit_prior(study, strength=strength)
        rows.append(row(f"zero-shot, strength {strength:g}, not chosen", features, prior))
    return rows


def priors(study: Study) -> list[Row]:
    """Measure what renderings add to the texture head: as a prior, and mixed into its training."""

    features, drawn = photo_features(study), draw_renderings(study, MIXED)
    of_renderings, types = rendered_features(study)[drawn], types_of(rendered_typed(study))[drawn]
    weights = texture.PRIOR_WEIGHTS
    rows = [measured(study, f"texture head, prior {weight:g}", with_prior(study, [weight])) for weight in weights]
    for ratio in RATIOS:
        scorer = mixing(features, study.types, of_renderings, types, [ratio])
        rows.append(measured(study, f"texture head, renderings mixed in {ratio:g} : 1", scorer))
    scorer = mixing(features, study.types, of_renderings, types, [0.0, *RATIOS])
    rows.append(measured(study, "texture head, ratio of renderings chosen", scorer))
    rows.append(measured(study, "texture head, prior of strength 1 chosen", with_prior(study, weights, strength=1.0)))
    return [*rows, measured(study, "texture head, prior chosen", with_prior(study, weights))]


def curves(study: Study) -> list[Row]:
    """Measure the texture head with fewer photos, each deal drawing other subjects, and with fewer renderings."""
    rows = []
    for weights, name in (([0.0], "0"), (texture.PRIOR_WEIGHTS, "chosen")):
        what, scorer = f"texture head, prior {name}", with_prior(study, weights)
        for share in (0.25, 0.5, 0.75):
            rows.append(measured(study, f"{what}, {share:.0%} of the subjects", scorer, share=share))
        rows.append(measured(study, what, scorer))
    for count in COUNTS[:-1]:
        scorer = with_prior(study, texture.PRIOR_WEIGHTS, count=count)
        rows.append(measured(study, f"texture head, prior chosen, {count} renderings", scorer))
    return rows
