"""The experiments: every group runs on a few renderings, and what is held out decides nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto, load_photos
from scarlens.datasets.rendering import write_photos
from scarlens.model.network import ScarNetwork
from scarlens.training import texture
from scarlens.training.config import TrainConfig
from scarlens.training.experiments import linear, stages
from scarlens.training.experiments.__main__ import experiment
from scarlens.training.experiments.linear import Scorer, held_out
from scarlens.training.experiments.stages import Recipe
from scarlens.training.experiments.study import Row, Study, StudyError, types_of


def random_weights(trunk: str, folder: Path) -> str:
    torch.manual_seed(0)
    file = folder / f"{trunk}.safetensors"
    save_file(ScarNetwork(trunk).trunk.state_dict(), file)
    return str(file)


@pytest.fixture(scope="module")
def study(rendered_photos: list[LabelledPhoto], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Six "photos" and six renderings a type, a random trunk, two views, one deal of three folds."""
    folder = tmp_path_factory.mktemp("experiments")
    manifest = write_photos(folder / "rendered", count=24, seed=2, size=64)
    weights = random_weights("mobilenet_v2", folder)
    config = TrainConfig(weights=weights, size=64, epochs=1, batch_size=16, workers=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texture, "VIEWS", 2)
        patch.setattr(linear, "PROBE_STRENGTHS", (1.0, 3.0))
        yield Study(rendered_photos, load_photos(manifest), config, folder, deals=1, folds=3)


def relabelled(photos: list[LabelledPhoto], chosen: np.ndarray) -> list[LabelledPhoto]:
    """Give the chosen photos of the three types another type."""
    changed = list(photos)
    for i in chosen:
        if photos[i].type_index >= 0:
            other = SCAR_TYPES[(photos[i].type_index + 1) % 3]
            changed[i] = replace(photos[i], label=other, kind=other)
    return changed


def test_every_group_makes_its_rows(study: Study) -> None:
    groups: list[Callable[[], list[Row]]] = [
        lambda: linear.probes(study, random_weights("squeezenet1_1", study.out)),
        lambda: linear.zero_shots(study),
        lambda: linear.priors(study),
        lambda: linear.curves(study),
        lambda: stages.fine_tuned(study, ["from ImageNet, renderings mixed in 1 : 2"]),
        lambda: stages.both_heads(study),
    ]
    for group in groups:
        rows = group()
        assert len({row.what for row in rows}) == len(rows)
        for row in rows:
            assert row.scores.shape[1:] == (18, 3)
            assert np.isfinite(row.scores).all()
            assert f"| {row.accuracies.mean():.3f} |" in str(row)


def test_rows_are_kept(study: Study) -> None:
    def never(deal: int) -> linear.Held:
        raise RuntimeError(f"deal {deal} was computed again")

    first = study.measure("kept", lambda deal: linear.Held(np.eye(3)[study.types], [(1.0, 2.0)]))
    again = study.measure("kept", never)
    assert first.accuracies.tolist() == again.accuracies.tolist() == [1.0]
    assert again.chosen == [(1.0, 2.0)]


def prior_scorer(study: Study, types: np.ndarray) -> Scorer:
    features = linear.photo_features(study)
    return linear.linear(features, types, texture.STRENGTHS, linear.fit_prior(study), texture.PRIOR_WEIGHTS)


def mixing_scorer(study: Study, types: np.ndarray) -> Scorer:
    rendered_types = types_of(linear.rendered_typed(study))
    return linear.mixing(linear.photo_features(study), types, linear.rendered_features(study), rendered_types, [0.5, 2])


@pytest.mark.parametrize("scorer_of", [prior_scorer, mixing_scorer])
def test_held_out_labels_decide_nothing(study: Study, scorer_of: Callable[[Study, np.ndarray], Scorer]) -> None:
    fold_of = study.fold_of(0)[study.shown]
    held = fold_of == 0
    honest = held_out(scorer_of(study, study.types), study.typed, fold_of)
    flipped = relabelled(study.typed, np.flatnonzero(held))
    other = held_out(scorer_of(study, types_of(flipped)), flipped, fold_of)
    assert len(honest.chosen) == study.folds
    assert other.chosen[0] == honest.chosen[0]
    assert np.array_equal(other.scores[held], honest.scores[held])
    assert not np.array_equal(other.scores[~held], honest.scores[~held])


def test_held_out_labels_do_not_reach_fine_tuning(study: Study) -> None:
    fold_of = study.fold_of(0)
    held = fold_of[study.shown] == 0
    recipe = Recipe(pretrained="aligned", ratio=0.5)
    honest = stages.held_out_by(study, recipe, 0, fold_of=fold_of).scores
    flipped = replace(study, photos=relabelled([*study.photos], np.flatnonzero(fold_of == 0)))
    other = stages.held_out_by(flipped, recipe, 0, fold_of=fold_of).scores
    assert np.array_equal(other[held], honest[held])
    assert not np.array_equal(other[~held], honest[~held])


def test_choice_is_that_of_the_texture_head(study: Study) -> None:
    features, training = linear.photo_features(study), np.arange(len(study.typed))
    mean, std = linear.moments(features)
    standardised = texture.Features((features - mean) / std, mean, std)
    expected = texture.chosen_setting(standardised, study.typed, study.types, linear.fit_prior(study).weight)
    assert linear.choose(prior_scorer(study, study.types), study.typed, training) == expected


def test_weights_of_a_soup_are_means(study: Study) -> None:
    networks = [ScarNetwork("mobilenet_v2") for _ in range(2)]
    wanted = (networks[0].trunk[0][0].weight + networks[1].trunk[0][0].weight) / 2  # pyright: ignore[reportIndexIssue]
    soup = stages.averaged(networks)
    assert torch.allclose(soup.trunk[0][0].weight, wanted)  # pyright: ignore[reportIndexIssue]


def test_command_writes_a_table_and_refuses_other_inputs(study: Study, rendered_folder: Path, tmp_path: Path) -> None:
    settings = tmp_path / "small.yaml"
    settings.write_text("size: 64\n")
    manifest, rendered = rendered_folder / "manifest.csv", study.out / "rendered" / "manifest.csv"
    weights, out = random_weights("mobilenet_v2", tmp_path), tmp_path / "run"
    experiment("zero-shot", data=[manifest], rendered=rendered, weights=weights, out=out, config=settings, deals=1)
    assert "| zero-shot, 300 renderings |" in (out / "zero-shot.md").read_text()
    with pytest.raises(StudyError, match="other inputs"):
        experiment("zero-shot", data=[manifest], rendered=rendered, weights="DEFAULT", out=out)
    with pytest.raises(StudyError, match="knows no"):
        stages.fine_tuned(study, ["from nowhere"])
