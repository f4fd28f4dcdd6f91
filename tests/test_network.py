"""The network: every trunk fits, the heads read what they say they read, and weights either fit or are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models

from scarlens.datasets.labels import MAP_CLASSES, SCAR_TYPES
from scarlens.model.network import TRUNKS, ScarNetwork, TrunkError, load_trunk_weights


def randomised(network: ScarNetwork) -> ScarNetwork:
    """Give a network with random weights batch statistics and a head, so that its scores say something."""
    torch.manual_seed(1)
    for head in (network.where, network.what):
        torch.nn.init.normal_(head.weight, std=0.3)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the plain average over the one batch that follows
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def pretrained() -> dict[str, Tensor]:
    """Return a whole classification model's state, random, classifier included."""
    torch.manual_seed(2)
    return models.squeezenet1_1(weights=None).state_dict()


@pytest.mark.parametrize("trunk", TRUNKS)
def test_every_trunk_builds_and_says_where_what_and_whether(trunk: str, photos: Tensor) -> None:
    with torch.inference_mode():
        class_map, type_logits, scope_logit = randomised(ScarNetwork(trunk))(photos)
    assert class_map.shape[:2] == (2, len(MAP_CLASSES))
    assert class_map.shape[2:] in {(3, 3), (4, 4)}  # a 16th of the photo's side, as far as a trunk pads
    assert type_logits.shape == (2, 3)
    assert scope_logit.shape == (2,)
    assert class_map.std(dim=(2, 3)).min() > 1e-3
    assert not torch.allclose(type_logits[0], type_logits[1])


@pytest.mark.parametrize("trunk", ["mobilenet_v2", "resnet18", "squeezenet1_1"])
def test_going_on_from_any_frozen_stage_gives_the_same_scores(trunk: str, photos: Tensor) -> None:
    network = randomised(ScarNetwork(trunk))
    with torch.inference_mode():
        whole = network(photos)
        for done in range(network.most_frozen + 1):
            rest = network.finish(network.trunk[:done](photos), done)
            assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(whole, rest, strict=True))


@pytest.mark.parametrize("shown", range(len(MAP_CLASSES)))
def test_the_scope_follows_from_how_much_scar_the_map_shows(shown: int, photos: Tensor) -> None:
    network = ScarNetwork("squeezenet1_1").eval()
    torch.nn.init.zeros_(network.where.weight)
    with torch.inference_mode():
        nothing_said = network(photos).scope_logit
        network.where.bias[shown] = 3.0  # pyright: ignore[reportOptionalSubscript]
        scope = network(photos).scope_logit
    assert (scope > nothing_said).all() if shown < len(SCAR_TYPES) else (scope < nothing_said).all()


def test_the_last_widening_layer_is_left_out() -> None:
    assert len(ScarNetwork("mobilenet_v2").trunk) == len(models.mobilenet_v2(weights=None).features) - 1
    assert len(ScarNetwork("squeezenet1_1").trunk) == len(models.squeezenet1_1(weights=None).features)


def test_the_heads_start_from_zero_and_say_nothing(photos: Tensor) -> None:
    with torch.inference_mode():
        class_map, type_logits, _ = ScarNetwork("squeezenet1_1").eval()(photos)
    assert not class_map.any() and not type_logits.any()


def test_scores_of_a_photo_do_not_depend_on_its_batch(photos: Tensor) -> None:
    network = randomised(ScarNetwork("mobilenet_v3_small", dropout=0.5))
    with torch.inference_mode():
        whole, alone = network(photos), network(photos[1:])
    assert all(torch.allclose(a[1:], b, rtol=1e-3, atol=1e-3) for a, b in zip(whole, alone, strict=True))


def test_building_leaves_batch_statistics_and_training_mode_alone() -> None:
    network = ScarNetwork("mobilenet_v3_small")
    assert network.training
    assert network.trunk.training
    assert all(int(value) == 0 for name, value in network.state_dict().items() if name.endswith("num_batches_tracked"))


@pytest.mark.parametrize("name", ["squeezenet", "vit_b_16", "raft_large", "fcn_resnet50", ""])
def test_what_cannot_be_a_trunk_is_refused_with_the_names_that_can(name: str) -> None:
    with pytest.raises(TrunkError) as error:
        ScarNetwork(name)
    assert f'"{name}"' in str(error.value)
    assert all(known in str(error.value) for known in TRUNKS)


def _whole(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state


def _features(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith("features.")}


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("features."): tensor for name, tensor in _features(state).items()}


@pytest.mark.parametrize("form", [_whole, _features, _bare])
def test_pretrained_weights_in_each_form(
    tmp_path: Path, pretrained: dict[str, Tensor], form: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(form(pretrained), file)
    network = ScarNetwork("squeezenet1_1")
    load_trunk_weights(network, "squeezenet1_1", str(file))
    state = network.trunk.state_dict()
    assert state
    assert all(torch.equal(tensor, pretrained[f"features.{name}"]) for name, tensor in state.items())


def test_pretrained_weights_of_a_trunk_without_features(tmp_path: Path) -> None:
    torch.manual_seed(3)
    state = models.resnet18(weights=None).state_dict()
    state["bn1.running_mean"] += 1.0
    save_file(state, tmp_path / "weights.safetensors")
    network = ScarNetwork("resnet18")
    load_trunk_weights(network, "resnet18", str(tmp_path / "weights.safetensors"))
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.trunk.state_dict().items())


def test_weights_with_a_missing_tensor_change_nothing(tmp_path: Path, pretrained: dict[str, Tensor]) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({name: tensor for name, tensor in pretrained.items() if name != "features.0.weight"}, file)
    network = ScarNetwork("squeezenet1_1")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(TrunkError, match=r"does not fit squeezenet1_1: 1 tensors are missing, such as 0\.weight"):
        load_trunk_weights(network, "squeezenet1_1", str(file))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_weights_of_a_wrong_shape_name_both_shapes(tmp_path: Path, pretrained: dict[str, Tensor]) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({**pretrained, "features.0.weight": torch.zeros(64, 3, 5, 5)}, file)
    with pytest.raises(TrunkError, match=r"0\.weight has shape \(64, 3, 5, 5\), expected \(64, 3, 3, 3\)"):
        load_trunk_weights(ScarNetwork("squeezenet1_1"), "squeezenet1_1", str(file))


def test_weights_of_another_model_do_not_fit(tmp_path: Path, pretrained: dict[str, Tensor]) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(pretrained, file)
    with pytest.raises(TrunkError, match="does not fit mobilenet_v3_small"):
        load_trunk_weights(ScarNetwork("mobilenet_v3_small"), "mobilenet_v3_small", str(file))


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file", b"\xff" * 64])
def test_a_file_that_is_no_safetensors_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "weights.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TrunkError, match=r"weights\.safetensors: expected a readable safetensors file"):
        load_trunk_weights(ScarNetwork("squeezenet1_1"), "squeezenet1_1", str(file))


@pytest.mark.parametrize("name", ["IMAGENET1K_V9", "weights.pth"])
def test_unknown_weights_list_the_known_ones(name: str) -> None:
    with pytest.raises(TrunkError, match=f'"{name}" is neither.*IMAGENET1K_V1'):
        load_trunk_weights(ScarNetwork("squeezenet1_1"), "squeezenet1_1", name)
