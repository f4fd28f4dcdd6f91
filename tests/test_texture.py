"""The texture head: fitted before training to frozen features, silent without pretraining, carried by a checkpoint."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto
from scarlens.inference.engine import TorchEngine
from scarlens.model.export import network_of
from scarlens.model.network import ScarNetwork, load_trunk_weights
from scarlens.training import train as training
from scarlens.training.config import TrainConfig
from scarlens.training.scores import score_photos
from scarlens.training.train import fit

TRUNK = "mobilenet_v3_small"
GRAIN = {"ice_pick": 1.0, "boxcar": 3.0, "rolling": 9.0}
"""Width in pixels of the blobs that stand for each type."""


def textured(folder: Path, count: int, *, seed: int, tint: float = 1.0) -> list[LabelledPhoto]:
    """Write pictures that differ by type in nothing but the grain of their noise; return them as labelled photos."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    photos = []
    for number in range(count):
        for label, grain in GRAIN.items():
            noise = cv2.GaussianBlur(random.standard_normal((96, 96)), (0, 0), grain)
            picture = np.clip(128 + 40 * noise / noise.std(), 0, 255)[..., None] * (1.0, 0.85, 0.7 * tint)
            path = folder / f"{label}_{number}.png"
            cv2.imwrite(str(path), picture.astype(np.uint8)[..., ::-1])
            photos.append(LabelledPhoto(path=path, label=label, kind=label, subject=f"{label}_{number}"))
    return photos


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a random trunk: random features tell grain apart well enough."""
    torch.manual_seed(4)
    network = ScarNetwork(TRUNK)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        network.train().trunk(torch.randn(8, 3, 96, 96))
    file = tmp_path_factory.mktemp("weights") / "trunk.safetensors"
    save_file(network.trunk.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def config(weights: Path, tiny_config: TrainConfig) -> TrainConfig:
    """Return settings whose training proper does next to nothing, so that what is learned is the texture head's."""
    still = {"learning_rate": 1e-9, "head_learning_rate": 1e-9, "epochs": 1, "size": 96, "validation_fraction": 0.0}
    return replace(tiny_config, trunk=TRUNK, weights=str(weights), **still)


@pytest.fixture(scope="module")
def run(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texture")
    return fit(textured(folder / "photos", 12, seed=0), [], config, folder / "run")


def accuracy(checkpoint: Path, photos: list[LabelledPhoto]) -> float:
    scored = score_photos(TorchEngine(*network_of(checkpoint)), photos)
    return float((scored.type_logits.argmax(axis=1) == [photo.type_index for photo in photos]).mean())


def test_it_tells_textures_apart_that_it_never_saw(run: Path, tmp_path: Path) -> None:
    assert accuracy(run, textured(tmp_path / "others", 10, seed=1)) > 0.8


def test_the_score_is_the_mean_of_both_heads_and_of_the_map(run: Path) -> None:
    network = network_of(run)[0]
    photos = torch.randn(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.head.weight)
    with torch.inference_mode():
        both = network(photos)
        network.texture.share.fill_(0.0)
        first = network(photos)
        network.texture.share.fill_(1.0)
        texture = network(photos)
    assert both.class_map.shape == (3, 3, 8, 8)
    assert torch.allclose(both.type_logits, (first.type_logits + texture.type_logits) / 2, atol=1e-4)
    assert torch.allclose(both.type_logits, both.class_map.mean(dim=(2, 3)), atol=1e-4)
    assert torch.equal(both.scope_logit, texture.scope_logit)
    assert not torch.allclose(first.type_logits, texture.type_logits, atol=0.1)


def test_the_trunk_below_stays_as_pretrained_and_the_rest_learns(
    weights: Path, config: TrainConfig, tmp_path: Path
) -> None:
    learning = replace(config, learning_rate=1e-3, head_learning_rate=1e-3)
    checkpoint = fit(textured(tmp_path / "photos", 4, seed=2), [], learning, tmp_path / "run")
    before, network = load_file(weights), network_of(checkpoint)[0]
    after = network.trunk.state_dict()
    frozen = {name for name in before if int(name.split(".")[0]) < network.mid_level}
    assert frozen and len(frozen) < len(before)
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    assert any(not torch.equal(after[name], before[name]) for name in set(before) - frozen)


@pytest.mark.parametrize("setting", [{"weights": None}, {"texture_head": False}])
def test_without_pretraining_or_without_wanting_one_there_is_none(
    setting: dict[str, None], config: TrainConfig, tmp_path: Path
) -> None:
    checkpoint = fit(textured(tmp_path / "photos", 3, seed=3), [], replace(config, **setting), tmp_path / "run")
    texture = network_of(checkpoint)[0].texture
    assert float(texture.share) == 0.0
    assert not texture.scores.weight.any()


def test_what_a_checkpoint_knows_of_texture_helps_with_few_photos_of_another_kind(
    run: Path, config: TrainConfig, tmp_path: Path
) -> None:
    # Another tint, and one photo a type: its own statistics, but the checkpoint's knowledge.
    few = textured(tmp_path / "few", 1, seed=5, tint=0.6)
    others = textured(tmp_path / "others", 10, seed=6, tint=0.6)
    alone = fit(few, [], config, tmp_path / "alone")
    helped = fit(few, [], replace(config, weights=str(run)), tmp_path / "helped")
    assert accuracy(helped, others) > accuracy(alone, others)


def test_a_checkpoint_is_weights_for_the_next_training(run: Path) -> None:
    network, source = ScarNetwork(TRUNK), network_of(run)[0]
    load_trunk_weights(network, TRUNK, str(run))
    assert all(torch.equal(t, source.trunk.state_dict()[name]) for name, t in network.trunk.state_dict().items())
    assert torch.equal(network.texture.scores.weight, source.texture.scores.weight)
    assert float(network.texture.share) == 0.5
    assert not network.head.weight.any()


def test_a_head_that_is_not_wanted_is_silent_even_when_the_weights_bring_one(
    run: Path, config: TrainConfig, tmp_path: Path
) -> None:
    unwanted = replace(config, weights=str(run), texture_head=False)
    network = network_of(fit(textured(tmp_path / "photos", 3, seed=9), [], unwanted, tmp_path / "run"))[0]
    assert float(network.texture.share) == 0.0


def test_frozen_stages_keep_their_statistics_where_others_learn_new_ones(
    weights: Path, config: TrainConfig, tmp_path: Path
) -> None:
    moving = replace(config, freeze_batchnorm=False)
    network = network_of(fit(textured(tmp_path / "photos", 3, seed=10), [], moving, tmp_path / "run"))[0]
    before, after = load_file(weights), network.trunk.state_dict()
    means = [name for name in before if name.endswith("running_mean")]
    frozen = [name for name in means if int(name.split(".")[0]) < network.mid_level]
    assert frozen and all(torch.equal(after[name], before[name]) for name in frozen)
    assert all(not torch.equal(after[name], before[name]) for name in set(means) - {*frozen})


def test_an_interrupted_run_resumes_to_the_same_weights(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = textured(tmp_path / "photos", 3, seed=7)
    longer = replace(config, epochs=2, learning_rate=1e-3, head_learning_rate=1e-3)
    whole = fit(photos, [], longer, tmp_path / "whole")
    one_epoch, calls = training.train_one_epoch, iter(range(9))

    def interrupted(*parts: object) -> float:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return one_epoch(*parts)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(training, "train_one_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(photos, [], longer, tmp_path / "parted")
    parted = fit(photos, [], longer, tmp_path / "parted", resume=True)
    one, other = (network_of(file)[0].state_dict() for file in (whole, parted))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_types_keep_their_order(run: Path, tmp_path: Path) -> None:
    photos = textured(tmp_path / "ordered", 6, seed=8)
    scored = score_photos(TorchEngine(*network_of(run)), photos)
    for index, label in enumerate(SCAR_TYPES):
        of_label = [photo.label == label for photo in photos]
        assert scored.type_logits[of_label].mean(axis=0).argmax() == index
