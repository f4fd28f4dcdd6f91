"""The experiments: every group runs on a few renderings, and what is held out decides nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto, load_photos
from scarlens.datasets.rendering import write_photos
from scarlens.model.network import ScarNetwork
from scarlens.training import texture
from scarlens.training.config import TrainConfig
from scarlens.training.experiments import (
    bags,
    ensembles,
    implants,
    linear,
    maps,
    pretraining,
    probes,
    raised,
    stages,
    trunks,
)
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
        patch.setattr(probes, "PROBE_STRENGTHS", (1.0, 3.0))
        patch.setattr(implants, "COUNT", 24)
        patch.setattr(pretraining, "TWIN_EPOCHS", 1)
        yield Study(rendered_photos, load_photos(manifest), config, folder, deals=1, folds=3)


def relabelled(photos: list[LabelledPhoto], chosen: np.ndarray) -> list[LabelledPhoto]:
    """Give the chosen photos of the three types another type."""
    changed = list(photos)
    for i in chosen:
        if photos[i].type_index >= 0:
            other = SCAR_TYPES[(photos[i].type_index + 1) % 3]
            changed[i] = replace(photos[i], label=other, kind=other)
    return changed


def with_kinds(study: Study, *kinds: str) -> Study:
    """Let the out-of-scope photos show these in turn."""
    photos = list(study.photos)
    for number, i in enumerate(np.flatnonzero(types_of(photos) < 0)):
        photos[i] = replace(photos[i], kind=kinds[number % len(kinds)])
    return replace(study, photos=photos)


def test_every_group_makes_its_rows(study: Study) -> None:
    squeezenet, skin = random_weights("squeezenet1_1", study.out), with_kinds(study, "skin")
    groups: list[Callable[[], list[Row]]] = [
        lambda: probes.probes(study, squeezenet),
        lambda: probes.zero_shots(study),
        lambda: probes.priors(study),
        lambda: probes.curves(study),
        lambda: trunks.second_trunk(study, squeezenet),
        lambda: raised.raised_scars(with_kinds(study, *raised.RAISED)),
        lambda: bags.bags(study),
        lambda: implants.with_implants(skin),
        lambda: stages.fine_tuned(study, ["from ImageNet, renderings mixed in 1 : 2"]),
        lambda: stages.fine_tuned(skin, ["pretrained on renderings, with width and depth", "pretrained on implants"]),
        lambda: stages.fine_tuned(study, ["from self-supervision"]),
        lambda: stages.both_heads(study),
        lambda: ensembles.ensembles(study),
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


def raised_scorer(study: Study, types: np.ndarray) -> Scorer:
    return raised.with_raised(with_kinds(study, *raised.RAISED), types, texture.PRIOR_WEIGHTS)


def bag_scorer(study: Study, types: np.ndarray) -> Scorer:
    return bags.bag_scorer(study, types, start=bags.rendered_bag(study))


@pytest.mark.parametrize("scorer_of", [prior_scorer, mixing_scorer, raised_scorer, bag_scorer])
def test_held_out_labels_decide_nothing(study: Study, scorer_of: Callable[[Study, np.ndarray], Scorer]) -> None:
    fold_of = study.fold_of(0)[study.shown]
    held = fold_of == 0
    honest = held_out(scorer_of(study, study.types), study.typed, fold_of)
    flipped = relabelled(study.typed, np.flatnonzero(held))
    other = held_out(scorer_of(study, types_of(flipped)), flipped, fold_of)
    assert len(honest.chosen) == (0 if scorer_of is bag_scorer else study.folds)
    assert other.chosen[:1] == honest.chosen[:1]
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


def test_held_out_labels_do_not_reach_the_seeds(study: Study) -> None:
    fold_of = study.fold_of(0)
    honest = ensembles.scores_of_fold(study, 0, fold_of == 0)
    flipped = replace(study, photos=relabelled([*study.photos], np.flatnonzero(fold_of == 0)))
    turned = ensembles.scores_of_fold(flipped, 0, fold_of == 0)
    others = [ensembles.scores_of_fold(either, 0, fold_of == 1) for either in (study, flipped)]
    for name in ensembles.NAMES:
        assert np.array_equal(turned[name], honest[name])
        assert not np.array_equal(others[0][name], others[1][name])
    assert not np.array_equal(honest["seed_0"], honest["seed_1"])


def test_lessons_are_the_mean_of_the_teachers(study: Study) -> None:
    teachers = [ScarNetwork("mobilenet_v2").eval() for _ in range(2)]
    for teacher, bias in zip(teachers, ([9.0, 0.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]), strict=True):
        teacher.head.load_state_dict({"weight": torch.zeros_like(teacher.head.weight), "bias": torch.tensor(bias)})
    views = [np.zeros((2, 96, 4, 4), np.float16), np.zeros((1, 96, 4, 4), np.float16)]
    taught = ensembles.lessons(teachers, views, [False, True])
    assert taught[0].tolist() == [[0.0] * 3] * 2
    assert np.allclose(taught[1], [[0.5, 0.5, 0.0]], atol=1e-3)
    batch = maps.collate_taught([(views[0][0], taught[0][0]), (views[1][0], taught[1][0])])
    assert torch.allclose(batch.in_scope, torch.tensor([0.0, 1.0]))


def test_choice_is_that_of_the_texture_head(study: Study) -> None:
    features, training = linear.photo_features(study), np.arange(len(study.typed))
    mean, std = linear.moments(features)
    standardised = texture.Features((features - mean) / std, mean, std)
    expected = texture.chosen_setting(standardised, study.typed, study.types, linear.fit_prior(study).weight)
    assert linear.choose(prior_scorer(study, study.types), study.typed, training) == expected


def test_weights_of_a_soup_are_means(study: Study) -> None:
    networks = [ScarNetwork("mobilenet_v2") for _ in range(2)]
    wanted = (networks[0].trunk[0][0].weight + networks[1].trunk[0][0].weight) / 2  # pyright: ignore[reportIndexIssue]
    soup = ensembles.soup_of(networks)
    assert torch.allclose(soup.trunk[0][0].weight, wanted)  # pyright: ignore[reportIndexIssue]


def test_raised_scars_of_a_held_out_subject_are_not_learned_from(study: Study) -> None:
    shown = with_kinds(study, *raised.RAISED)
    training, held = np.arange(3, 18), np.arange(3)
    apart = raised.with_raised(shown, study.types, [0.0])(training, held)
    same = replace(shown, photos=[replace(p, subject="one") if p.kind in raised.RAISED else p for p in shown.photos])
    typed = [i for i in range(len(same.photos)) if same.photos[i].type_index >= 0]
    same.photos[typed[0]] = replace(same.photos[typed[0]], subject="one")  # pyright: ignore[reportIndexIssue]
    without = raised.with_raised(same, study.types, [0.0])(training, held)
    three_classes = linear.with_prior(study, [0.0])(training, held)
    assert not np.allclose(apart[3.0, 0.0], three_classes[3.0, 0.0], atol=1e-3)
    assert np.allclose(without[3.0, 0.0], three_classes[3.0, 0.0], atol=1e-3)


def test_multiply_adds_count_every_position() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, stride=2, groups=4))
    assert trunks.multiply_adds(network, 9) == 9 * 9 * 4 * 27 + 4 * 4 * 4 * 9


def test_attention_weighs_patches() -> None:
    torch.manual_seed(0)
    patches = torch.randn(2, 5, 8)
    bag, plain = (bags.Bag(8, bags.SETTINGS, attention=attention).eval() for attention in (True, False))
    weights = bag.weights_of(bag.embed(patches))
    assert torch.allclose(weights.sum(dim=1), torch.ones(2, 1))
    assert weights.std() > 1e-3
    assert torch.allclose(bag(patches.flip(1)), bag(patches), atol=1e-6)  # a bag has no order
    assert torch.allclose(plain(patches), plain.scores(plain.embed(patches).mean(dim=1)), atol=1e-6)


def test_a_bag_finds_the_patch_that_counts() -> None:
    random = np.random.default_rng(0)
    views, types = torch.from_numpy(random.normal(size=(60, 2, 12, 6)).astype(np.float32)), np.arange(60) % 3
    for photo in range(60):
        views[photo, :, photo % 12, types[photo]] += 6.0
    bag = bags.fit_bag([*views[:45]], types[:45]).eval()
    assert (bag(views[45:, 0]).argmax(dim=1).numpy() == types[45:]).mean() > 0.8


def test_redundancy_is_least_for_views_that_agree_in_parts_of_their_own() -> None:
    torch.manual_seed(0)
    parts = torch.linalg.qr(torch.randn(64, 4)).Q
    parts = torch.linalg.qr(parts - parts.mean(dim=0)).Q
    agreeing = pretraining.redundancy(parts, parts).item()
    assert agreeing < 0.01
    assert pretraining.redundancy(parts, parts.roll(1, dims=0)).item() > 1.0
    assert pretraining.redundancy(parts[:, :1].repeat(1, 4), parts[:, :1].repeat(1, 4)).item() > 1.0


def test_measures_are_those_of_the_wide_scars(study: Study) -> None:
    found = pretraining.measures(study.rendered)
    types = types_of(study.rendered)
    assert np.allclose(found[types < 0], 0.0)
    assert np.allclose(found[types >= 0].std(axis=0), 1.0, atol=1e-3)
    assert found[types == 2, 0].mean() > found[types == 1, 0].mean() > found[types == 0, 0].mean()


def test_implants_keep_what_is_no_skin(study: Study) -> None:
    orders = implants.implants(with_kinds(study, "skin"))
    assert {(order.photo.path, order.photo.label) for order in orders[:4]} == {
        (orders[0].photo.path, label) for label in (*SCAR_TYPES, "out_of_scope")
    }
    grey = np.full((64, 64, 3), 128, np.uint8)
    assert np.array_equal(implants.relit(grey, np.ones((64, 64, 3))), grey)
    assert implants.relit(grey, np.full((64, 64, 3), 0.5)).mean() < 100
    assert implants.skin_mask(np.full((64, 64, 3), (200, 150, 125), np.uint8)).min() > 0.99
    assert implants.skin_mask(np.full((64, 64, 3), (30, 90, 200), np.uint8)).max() < 0.01
    with pytest.raises(StudyError, match="clear skin"):
        implants.implants(study)


def test_scars_are_implanted_into_skin_only(tmp_path: Path) -> None:
    half = np.full((300, 300, 3), (200, 150, 125), np.uint8)
    half[:, 150:] = (30, 90, 200)
    file = tmp_path / "half.png"
    Image.fromarray(half).save(file)
    photo = LabelledPhoto(file, "boxcar", "boxcar")
    crops = {label: implants.picture_of(implants.Implant(replace(photo, label=label), 3)) for label in SCAR_TYPES}
    clear = implants.picture_of(implants.Implant(replace(photo, label="out_of_scope"), 3))
    skin = implants.skin_mask(clear)
    for picture in crops.values():
        assert np.array_equal(picture[skin == 0.0], clear[skin == 0.0])
        assert np.abs(picture[skin > 0.99].astype(int) - clear[skin > 0.99]).max() > 10


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
