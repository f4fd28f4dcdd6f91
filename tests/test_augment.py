"""Augmented views and balanced batches: decided by the seed alone, whatever loads them."""

import collections
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scarlens.datasets.augment import Augmentation, with_marks
from scarlens.datasets.labels import OUT_OF_SCOPE, SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto, PhotoSetError
from scarlens.datasets.rendering import render_photo
from scarlens.training.config import ConfigError, TrainConfig
from scarlens.training.loader import BalancedBatches, Batch, View, training_batches

# A program with threads that forks is told off from Python 3.12 on; DataLoader forks on Linux all the same.
may_fork = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


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
    return TrainConfig(**{"workers": 0, "size": 64, "batch_size": 4, **settings})  # type: ignore[arg-type]


def plan(batches: BalancedBatches, *, epoch: int = 0) -> list[list[View]]:
    batches.epoch = epoch
    return list(batches)


def load(photos: Sequence[LabelledPhoto], settings: TrainConfig, *, epochs: int = 1) -> list[list[Batch]]:
    batches = BalancedBatches(photos, settings)
    loader = training_batches(photos, settings, batches)
    found = []
    for batches.epoch in range(epochs):
        found.append(list(loader))
    return found


# Views


def test_a_view_is_a_picture_of_the_size_asked_for(augment: Augmentation, image: np.ndarray) -> None:
    for picture in (image, image[:40], image[:, :30], image[:1]):
        view = augment(picture, seed=1)
        assert view.shape == (64, 64, 3)
        assert view.dtype == np.uint8


def test_the_seed_decides_the_view(augment: Augmentation, image: np.ndarray) -> None:
    before = image.copy()
    views = [augment(image, seed=seed) for seed in range(20)]
    again = [Augmentation(64)(image, seed=seed) for seed in reversed(range(20))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(views, again, strict=True))
    assert len({view.tobytes() for view in views}) == 20
    assert np.array_equal(image, before)


def test_large_seeds_are_fine(augment: Augmentation, image: np.ndarray) -> None:
    assert not np.array_equal(augment(image, seed=2**32 - 1), augment(image, seed=0))


def test_views_leave_the_global_random_state_alone(augment: Augmentation, image: np.ndarray) -> None:
    state = np.random.get_state(legacy=False)["state"]["key"].tobytes()  # noqa: NPY002 - it is what is tested
    torch_state = torch.get_rng_state()
    augment(image, seed=5)
    assert np.random.get_state(legacy=False)["state"]["key"].tobytes() == state  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_a_view_still_shows_the_photo(augment: Augmentation) -> None:
    # Bright above, dark below: some orientation of that must be left in every view.
    grain = np.random.default_rng(0).integers(-15, 16, (128, 128, 1))  # what is flat counts as padding
    image = np.repeat(grain + np.where(np.arange(128) < 64, 190, 70)[:, None, None], 3, axis=2).astype(np.uint8)
    for seed in range(20):
        grey = augment(image, seed=seed).mean(axis=2)
        assert np.percentile(grey, 90) - np.percentile(grey, 10) > 50


def test_marks_are_pasted_on_some_views_of_every_photo(image: np.ndarray) -> None:
    views = [with_marks(image, np.random.default_rng(seed)) for seed in range(60)]
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
        views = [view for batch in plan(batches, epoch=epoch) for view in batch]
        assert len(views) == batches.photos_per_epoch == 24
        assert collections.Counter(photos[view.photo].kind for view in views) == dict.fromkeys(SCAR_TYPES, 8)
        uses = collections.Counter(view.photo for view in views)
        assert all(uses[i] == 1 for i in range(8))
        assert {uses[i] for i in range(8, 11)} == {2, 3}
        assert {uses[i] for i in range(11, 16)} == {1, 2}


def test_as_many_photos_out_of_scope_as_in_it_spread_over_their_kinds() -> None:
    photos = listed(ice_pick=6, boxcar=4, rolling=2, keloid=1, acne=40)
    batches = BalancedBatches(photos, config())
    views = [view for batch in plan(batches) for view in batch]
    counts = collections.Counter(photos[view.photo].kind for view in views)
    assert counts == {"ice_pick": 6, "boxcar": 6, "rolling": 6, "keloid": 9, "acne": 9}
    assert len(views) == batches.photos_per_epoch == 36


def test_a_type_without_photos_is_refused() -> None:
    with pytest.raises(PhotoSetError, match="no photos of rolling"):
        BalancedBatches(listed(ice_pick=4, boxcar=2), config())


def test_the_last_batch_is_filled_up() -> None:
    batches = BalancedBatches(listed(ice_pick=3, boxcar=3, rolling=3), config(batch_size=4))
    found = plan(batches)
    assert [len(batch) for batch in found] == [4, 4, 4]
    assert len(batches) == 3
    views = [view for batch in found for view in batch]
    assert views[9:] == views[:3]


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


def test_a_batch_holds_photos_types_and_scope(rendered: list[LabelledPhoto]) -> None:
    settings = config()
    expected = plan(BalancedBatches(rendered, settings))
    (found,) = load(rendered, settings)
    assert len(found) == len(expected) == 3
    for batch, views in zip(found, expected, strict=True):
        assert batch.photos.shape == (4, 3, 64, 64)
        assert batch.photos.dtype == batch.types.dtype == batch.in_scope.dtype == torch.float32
        for row, view in enumerate(views):
            index = rendered[view.photo].type_index
            assert batch.types[row].tolist() == [float(i == index) for i in range(3)]
            assert batch.in_scope[row] == float(index >= 0)


@may_fork
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker:UserWarning")  # on one core
def test_workers_show_the_same_views_as_none_and_never_one_twice(rendered: list[LabelledPhoto]) -> None:
    alone = load(rendered, config(workers=0), epochs=2)
    together = load(rendered, config(workers=2), epochs=2)
    for epoch, other in zip(alone, together, strict=True):
        for batch, same in zip(epoch, other, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch, same, strict=True))
    views = [view.numpy().tobytes() for epoch in together for batch in epoch for view in batch.photos]
    assert len(views) == 24
    # 5 photos in 24 views: every one is shown several times, by both workers and in both epochs.
    assert len(set(views)) == 24
