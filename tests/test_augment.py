"""Augmented views and balanced batches: decided by the seed alone, whatever loads them."""

import collections
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scarlens.datasets.annotations.scar_map import NOT_SKIN, TRUTHS, ScarMap, map_without_scars
from scarlens.datasets.augment import Augmentation, with_marks
from scarlens.datasets.labels import OUT_OF_SCOPE, SCAR_TYPES, UNTYPED
from scarlens.datasets.photos import LabelledPhoto, PhotoSetError
from scarlens.datasets.rendering import render_photo
from scarlens.training.batches.lessons import lessons_of
from scarlens.training.batches.loader import BalancedBatches, Batch, Draw, training_batches
from scarlens.training.batches.views import FrozenViews
from scarlens.training.config import ConfigError, TrainConfig
from scarlens.training.run import Run

# A program with threads that forks is told off from Python 3.12 on; DataLoader forks on Linux all the same.
may_fork = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


NOTHING = map_without_scars()


@pytest.fixture(scope="module")
def augment() -> Augmentation:
    return Augmentation(64)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return render_photo("boxcar", seed=3, size=128).image


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledPhoto]:
    """Return two ice pick photos, one boxcar, one rolling, one of clear skin."""
    folder = tmp_path_factory.mktemp("rendered")
    photos = []
    for seed, label in enumerate(("ice_pick", "ice_pick", "boxcar", "rolling", OUT_OF_SCOPE)):
        path = folder / f"{seed}.png"
        Image.fromarray(render_photo(label, seed=seed, size=96).image).save(path)
        photos.append(LabelledPhoto(path, label, "clear skin" if label == OUT_OF_SCOPE else label, str(seed)))
    return photos


def listed(**counts: int) -> list[LabelledPhoto]:
    """Return photos that are only listed, so many of each kind."""
    return [
        LabelledPhoto(Path(f"{kind}{i}"), kind if kind in SCAR_TYPES else OUT_OF_SCOPE, kind, f"{kind}{i}")
        for kind, count in counts.items()
        for i in range(count)
    ]


def config(**settings: int) -> TrainConfig:
    small = {"trunk": "squeezenet1_1", "weights": None, "workers": 0, "size": 64, "batch_size": 4}
    return TrainConfig(**{**small, "per_type": 8, "views": 3, **settings})  # type: ignore[arg-type]


def plan(batches: BalancedBatches, *, epoch: int = 0) -> list[list[Draw]]:
    batches.epoch = epoch
    return list(batches)


def load(photos: Sequence[LabelledPhoto], settings: TrainConfig, folder: Path, *, epochs: int = 1) -> list[list[Batch]]:
    batches, lessons = BalancedBatches(photos, settings), lessons_of(photos, {})
    views = views_of(photos, settings, folder)
    views.prepare(range(len(photos)))
    loader = training_batches(views, lessons, batches)
    found = []
    for batches.epoch in range(epochs):
        found.append(list(loader))
    return found


def views_of(photos: Sequence[LabelledPhoto], settings: TrainConfig, folder: Path, *, frozen: int = 0) -> FrozenViews:
    network = Run(settings, "", torch.device("cpu")).network
    return FrozenViews(photos, lessons_of(photos, {}), network, settings, folder, frozen=frozen)


# Views


def test_a_view_is_a_picture_of_the_size_asked_for(augment: Augmentation, image: np.ndarray) -> None:
    for picture in (image, image[:40], image[:, :30], image[:1]):
        view = augment(picture, NOTHING, seed=1)
        assert view.square.shape == (64, 64, 3)
        assert view.places.shape == (64, 64)
        assert view.square.dtype == view.places.dtype == np.uint8


def test_the_seed_decides_the_view(augment: Augmentation, image: np.ndarray) -> None:
    before = image.copy()
    views = [augment(image, NOTHING, seed=seed).square for seed in range(20)]
    again = [Augmentation(64)(image, NOTHING, seed=seed).square for seed in reversed(range(20))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(views, again, strict=True))
    assert len({view.tobytes() for view in views}) == 20
    assert np.array_equal(image, before)


def test_large_seeds_are_fine(augment: Augmentation, image: np.ndarray) -> None:
    assert not np.array_equal(augment(image, NOTHING, seed=2**32 - 1).square, augment(image, NOTHING, seed=0).square)


def test_views_leave_the_global_random_state_alone(augment: Augmentation, image: np.ndarray) -> None:
    state = np.random.get_state(legacy=False)["state"]["key"].tobytes()  # noqa: NPY002 - it is what is tested
    torch_state = torch.get_rng_state()
    augment(image, NOTHING, seed=5)
    assert np.random.get_state(legacy=False)["state"]["key"].tobytes() == state  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_a_view_still_shows_the_photo(augment: Augmentation) -> None:
    # Bright above, dark below: some orientation of that must be left in every view.
    grain = np.random.default_rng(0).integers(-15, 16, (128, 128, 1))  # what is flat counts as padding
    image = np.repeat(grain + np.where(np.arange(128) < 64, 190, 70)[:, None, None], 3, axis=2).astype(np.uint8)
    for seed in range(20):
        grey = augment(image, NOTHING, seed=seed).square.mean(axis=2)
        assert np.percentile(grey, 90) - np.percentile(grey, 10) > 50


def test_what_is_known_of_places_moves_with_the_picture(augment: Augmentation) -> None:
    # Each quarter has its own grey level and its own place: in every view the two must still go together.
    grain = np.random.default_rng(0).integers(-15, 16, (128, 128, 1))  # what is flat counts as a pasted box
    quarters = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((64, 64), np.uint8))
    image = np.repeat(grain + 40 + 55 * quarters[..., None], 3, axis=2).astype(np.uint8)
    for seed in range(20):
        square, places = augment(image, ScarMap(quarters, np.eye(6, dtype=np.float32)), seed=seed)
        found = [place for place in range(4) if (places == place).mean() > 0.05]
        levels = [np.median(square[places == place]) for place in found]
        assert len(found) >= 2 and levels == sorted(levels) and np.diff(levels).min() > 8


def test_what_is_pasted_shows_no_skin(image: np.ndarray) -> None:
    shown = [with_marks(image, np.zeros(image.shape[:2], np.uint8), np.random.default_rng(seed)) for seed in range(60)]
    assert any((places == NOT_SKIN).any() for _, places in shown)
    for marked, places in shown:
        assert marked.shape[:2] == places.shape
        if marked.shape == image.shape:
            assert np.array_equal(marked[places == 0], image[places == 0]) or (marked != image).any(axis=2).mean() < 0.5


def test_marks_are_pasted_on_some_views_of_every_photo(image: np.ndarray) -> None:
    plain = np.zeros(image.shape[:2], np.uint8)
    views = [with_marks(image, plain, np.random.default_rng(seed))[0] for seed in range(60)]
    bordered = sum(view.shape != image.shape for view in views)
    untouched = sum(np.array_equal(view, image) for view in views)
    assert 3 < bordered < 25
    assert 10 < untouched < 40
    white = sum(view.shape == image.shape and (view == 255).all(axis=2).mean() > 0.01 for view in views)
    black = sum(view.shape == image.shape and (view == 0).all(axis=2).mean() > 0.01 for view in views)
    assert white > 2 and black > 2


# Plans


def test_each_type_is_shown_equally_often() -> None:
    photos = listed(ice_pick=8, boxcar=3, rolling=5)
    batches = BalancedBatches(photos, config())
    for epoch in range(3):
        draws = [draw for batch in plan(batches, epoch=epoch) for draw in batch]
        assert len(draws) == batches.photos_per_epoch == 24
        assert collections.Counter(photos[draw.photo].class_name for draw in draws) == dict.fromkeys(SCAR_TYPES, 8)
        uses = collections.Counter(draw.photo for draw in draws)
        assert all(uses[i] == 1 for i in range(8))
        assert {uses[i] for i in range(8, 11)} == {2, 3}
        assert {uses[i] for i in range(11, 16)} == {1, 2}


def test_others_are_shown_by_the_square_root_of_their_number() -> None:
    photos = [*listed(ice_pick=6, boxcar=4, rolling=2, keloid=4, acne=64), LabelledPhoto(Path("p"), UNTYPED, UNTYPED)]
    photos += [replace(photo, extra=True) for photo in listed(ice_pick=9, boxcar=9)]
    batches = BalancedBatches(photos, config())
    draws = [draw for batch in plan(batches) for draw in batch][: batches.photos_per_epoch]
    counts = collections.Counter((photos[draw.photo].class_name, photos[draw.photo].extra) for draw in draws)
    rendered = [counts.pop((name, True)) for name in ("ice_pick", "boxcar")]
    assert sum(rendered) == 8
    kinds = {**dict.fromkeys(SCAR_TYPES, 8), "keloid": 8, "acne": 32, UNTYPED: 8}
    assert counts == {(kind, False): count for kind, count in kinds.items()}


def test_a_type_without_photos_is_refused() -> None:
    with pytest.raises(PhotoSetError, match="no photos of rolling"):
        BalancedBatches(listed(ice_pick=4, boxcar=2), config())


def test_the_last_batch_is_filled_up() -> None:
    batches = BalancedBatches(listed(ice_pick=3, boxcar=3, rolling=3), config(batch_size=4, per_type=3))
    found = plan(batches)
    assert [len(batch) for batch in found] == [4, 4, 4]
    assert len(batches) == 3
    draws = [draw for batch in found for draw in batch]
    assert draws[9:] == draws[:3]


def test_plans_differ_between_epochs_and_seeds_and_repeat() -> None:
    photos = listed(ice_pick=5, boxcar=5, rolling=5)
    first = plan(BalancedBatches(photos, config()))
    assert plan(BalancedBatches(photos, config())) == first
    assert plan(BalancedBatches(photos, config()), epoch=1) != first
    assert plan(BalancedBatches(photos, config(seed=1))) != first
    assert plan(BalancedBatches(photos, config(workers=3))) == first


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_see_exactly_the_batches_of_one(processes: int) -> None:
    photos = listed(ice_pick=5, boxcar=3, rolling=5, keloid=2)
    settings = config(batch_size=8)
    whole = plan(BalancedBatches(photos, settings), epoch=2)
    shares = [
        plan(BalancedBatches(photos, settings, rank=rank, processes=processes), epoch=2) for rank in range(processes)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert {len(part) for part in parts} == {8 // processes}
        assert sorted(view for part in parts for view in part) == sorted(batch)


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size 4 must be a multiple of the 3 processes"):
        BalancedBatches(listed(ice_pick=5, boxcar=3, rolling=5), config(), processes=3)


# Batches


def test_a_batch_holds_what_each_photo_teaches(rendered: list[LabelledPhoto], tmp_path: Path) -> None:
    settings = config(per_type=2)
    expected = plan(BalancedBatches(rendered, settings))
    (found,) = load(rendered, settings, tmp_path)
    assert len(found) == len(expected) == 4
    for batch, draws in zip(found, expected, strict=True):
        assert batch.maps.shape == (4, 3, 64, 64)
        assert batch.truth.shape == (4, len(TRUTHS), 3, 3)
        assert {part.dtype for part in batch} == {torch.float32}
        for row, draw in enumerate(draws):
            index = rendered[draw.photo].type_index
            assert batch.types[row].tolist() == [float(i == index) for i in range(3)]
            assert batch.in_scope[row] == batch.weight[row] == float(index >= 0)
            no_scar = batch.truth[row, TRUTHS.index("no_scar")] + batch.truth[row, TRUTHS.index("no_skin")]
            assert not (index < 0 and (no_scar < 1.0).any())


@pytest.mark.parametrize("frozen", [0, 3])
def test_views_are_made_once_and_are_the_same_however_they_are_made(
    rendered: list[LabelledPhoto], tmp_path: Path, frozen: int
) -> None:
    one = views_of(rendered, config(), tmp_path / "one", frozen=frozen)
    one.prepare(range(len(rendered)))
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "one").iterdir()}
    assert len(files) == len(rendered)
    one.prepare(range(len(rendered)))
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "one").iterdir()} == files
    other = views_of(rendered[::-1], config(), tmp_path / "other", frozen=frozen)
    other.prepare([2, 4])
    for view in range(3):
        assert np.array_equal(one(0, view).maps, other(4, view).maps)
    assert one.count(0) == 3 and one.count(4) == 1
    assert len({one(0, view).maps.tobytes() for view in range(3)}) == 3


@may_fork
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker:UserWarning")  # on one core
def test_workers_make_the_same_views_as_none(rendered: list[LabelledPhoto], tmp_path: Path) -> None:
    alone = load(rendered, config(workers=0), tmp_path / "alone")
    together = load(rendered, config(workers=2), tmp_path / "together")
    for batch, same in zip(alone[0], together[0], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, same, strict=True))
