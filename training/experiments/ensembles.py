"""Three seeds of the stages pretrained on renderings: their mean scores, their mean weights, and what they teach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
import torch

from scarlens.model.network import ScarNetwork
from scarlens.training import texture

from .linear import measured, with_prior
from .maps import fit, photo_maps, scores_of, scores_of_views
from .pretraining import pretrained
from .probes import averaged
from .study import Held, Row, Study, remembered

SEEDS: Final = 3

NAMES: Final = {
    **{f"seed_{seed}": f"seed {seed} of {SEEDS}" for seed in range(SEEDS)},
    "scores": f"scores of {SEEDS} seeds averaged",
    "weights": f"weights of {SEEDS} seeds averaged",
    "student": f"{SEEDS} seeds distilled into one",
}
"""What becomes of the trainings, as arrays are called and as rows are."""


def ensembles(study: Study) -> list[Row]:
    """Measure what becomes of the trainings, and its mean with the texture head; the first row's seconds hold all."""
    photo_maps(study)
    pretrained(study, "as they are")
    prefix = "stages pretrained on renderings"
    rows = [study.measure(f"{prefix}, {what}", _part(study, name)) for name, what in NAMES.items()]
    head = measured(study, "texture head, prior chosen", with_prior(study, texture.PRIOR_WEIGHTS))
    return rows + [averaged(study, f"mean of {head.what} and {row.what}", head, row) for row in rows]


def _part(study: Study, name: str) -> Callable[[int], Held]:
    return lambda deal: Held(held_out_by_seeds(study, deal)[name])


def held_out_by_seeds(study: Study, deal: int) -> dict[str, np.ndarray]:
    """Score the N photos of the three types by models of the other folds: float [N, 3] for each of `NAMES`.

    What a fold says is kept: the next call reads it.
    """
    fold_of, found = study.fold_of(deal), {name: np.zeros((len(study.photos), 3)) for name in NAMES}
    for fold in range(study.folds):
        file = study.out / "ensembles" / f"deal_{deal}_fold_{fold}.safetensors"
        for name, scores in remembered(file, partial(scores_of_fold, study, deal, fold_of == fold)).items():
            found[name][fold_of == fold] = scores
    return {name: scores[study.shown] for name, scores in found.items()}


def scores_of_fold(study: Study, deal: int, held: np.ndarray) -> dict[str, np.ndarray]:
    """Score the n held-out photos among all, bool [P], by models of the others: float [n, 3] for each of `NAMES`."""
    maps, config = photo_maps(study), study.config.with_settings(weights=str(pretrained(study, "as they are")))
    own, unseen = ([maps[i] for i in np.flatnonzero(part).tolist()] for part in (~held, held))
    photos = [study.photos[i] for i in np.flatnonzero(~held).tolist()]
    networks = [fit(study, config.with_settings(seed=seed + SEEDS * deal), own, photos) for seed in range(SEEDS)]
    each = [scores_of(network, unseen) for network in networks]
    taught = lessons(networks, own, [photo.type_index >= 0 for photo in photos])
    of_student = config.with_settings(seed=SEEDS * deal, label_smoothing=0.0)  # the teachers are smooth already
    return {
        **{f"seed_{seed}": scores for seed, scores in enumerate(each)},
        "scores": np.mean(each, axis=0),
        "weights": scores_of(soup_of(networks), unseen),
        "student": scores_of(fit(study, of_student, own, photos, taught=taught), unseen),
    }


def lessons(teachers: Sequence[ScarNetwork], maps: Sequence[np.ndarray], in_scope: Sequence[bool]) -> list[np.ndarray]:
    """Return the teachers' mean probabilities of each view, float32 [V, 3] of each photo; 0 for out of scope.

    Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", NIPS Deep Learning Workshop 2014, at a
    temperature of 1.
    """
    shown = [views for views, known in zip(maps, in_scope, strict=True) if known]
    opinions = zip(*(scores_of_views(teacher, shown) for teacher in teachers), strict=True)
    means = iter([torch.from_numpy(np.stack(part)).softmax(dim=2).mean(dim=0).numpy() for part in opinions])
    nothing = [np.zeros((len(views), 3), np.float32) for views in maps]
    return [next(means) if known else none for none, known in zip(nothing, in_scope, strict=True)]


def soup_of(networks: Sequence[ScarNetwork]) -> ScarNetwork:
    """Average the weights of networks into the first one (Wortsman et al., "Model soups", ICML 2022)."""
    states = [network.state_dict() for network in networks]
    soup = {name: torch.stack([state[name].float() for state in states]).mean(dim=0) for name in states[0]}
    networks[0].load_state_dict(soup)
    return networks[0]
