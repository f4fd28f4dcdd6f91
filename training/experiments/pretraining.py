"""Weights for the stages to start from, other than ImageNet's: what they learn before they see a labelled photo."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scarlens.datasets.photos import LabelledPhoto
from scarlens.model.network import ScarNetwork
from scarlens.training.loader import BalancedBatches, Batch, collate
from scarlens.training.run import Run
from scarlens.training.train import loss_of, mixed, set_learning_rates, set_training_mode

from .implants import implant_maps, implants
from .maps import CachedMaps, UpperStages, fit, photo_maps, rendered_maps
from .study import Study

PRETRAINING_EPOCHS: Final = 2

MEASURES_WEIGHT: Final = 1.0
"""Of the squared error of standardised measures, beside a type loss that starts at 1.1: neither drowns the other."""

TWIN_EPOCHS: Final = 20
TWIN_BATCH: Final = 128
TWIN_SIZE: Final = 512
"""Of what the projector returns. Both are small beside the article's 2048 and 8192: there are 726 photos."""


def pretrained(study: Study, how: str) -> Path:
    """Train the stages in one of the ways of `WAYS`, once, and return the weights."""
    file = weights_file(study, how)
    if not file.exists():
        photo_maps(study)
        started = time.process_time()
        network = WAYS[how](study)
        print(f"pretraining, {how}: {time.process_time() - started:.0f} s", flush=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    return file


def weights_file(study: Study, how: str) -> Path:
    """Return where the weights are kept."""
    return study.out / "pretrained" / f"{how.replace(' ', '_')}.safetensors"


def _on_renderings(study: Study) -> ScarNetwork:
    return fit(study, study.config.with_settings(epochs=PRETRAINING_EPOCHS), rendered_maps(study), study.rendered)


def _on_aligned_renderings(study: Study) -> ScarNetwork:
    """Align channels to those of the photos of the three types: to their pictures, never to their labels."""
    maps = photo_maps(study)
    aligned = rendered_maps(study, aligned_to=[maps[i] for i in study.shown.tolist()])
    return fit(study, study.config.with_settings(epochs=PRETRAINING_EPOCHS), aligned, study.rendered)


def _on_implants(study: Study) -> ScarNetwork:
    photos = [implant.photo for implant in implants(study)]
    return fit(study, study.config.with_settings(epochs=PRETRAINING_EPOCHS), implant_maps(study), photos)


def fit_measuring(study: Study) -> ScarNetwork:
    """Train on all renderings, with the width and the depth of the scars to tell beside their type.

    A helper task shares what it needs with the main one (Caruana, "Multitask learning", Machine Learning 28:41, 1997).
    """
    config = study.config.with_settings(epochs=PRETRAINING_EPOCHS)
    run, batches = Run(config, "", torch.device("cpu")), BalancedBatches(study.rendered, config)
    photos, wanted = CachedMaps(rendered_maps(study), study.rendered), torch.from_numpy(measures(study.rendered))
    upper, telling = UpperStages(run.network), nn.Linear(run.network.head.in_channels, wanted.shape[1])
    run.optimizer.add_param_group({"params": list(telling.parameters()), "peak": config.head_learning_rate})
    while run.epoch < config.epochs:
        batches.epoch = run.epoch
        set_training_mode(run.network, config)
        losses = []
        for step, views in enumerate(batches):
            set_learning_rates(run.optimizer, (run.epoch + (step + 0.5) / len(batches)) / config.epochs)
            batch, truth = collate([photos[view] for view in views]), wanted[[view.photo for view in views]]
            seed = [config.seed, run.epoch, step]  # twice: photos and measures are mixed alike
            truth = mixed(Batch(truth, batch.types, batch.in_scope), config.mixup, np.random.default_rng(seed)).photos
            batch = mixed(batch, config.mixup, np.random.default_rng(seed))
            features = upper.features(batch.photos.contiguous(memory_format=torch.channels_last))
            errors = batch.in_scope[:, None] * (telling(features.mean(dim=(2, 3))) - truth) ** 2
            loss = loss_of(upper.output_of(features), batch, label_smoothing=config.label_smoothing)
            losses.append(_step(run, loss + MEASURES_WEIGHT * errors.mean()))
        run.history.append({"loss": float(np.mean(losses))})
    return run.average


def measures(rendered: Sequence[LabelledPhoto]) -> np.ndarray:
    """Return mean logarithms of the scars' width and depth in pixels, by area, standardised: float32 [R, 2].

    In pixels and not in millimetres, since a picture does not show its scale. 0 for clear skin.
    """
    folder = rendered[0].path.parent.parent
    scale = {row["file"]: float(row["mm_per_pixel"]) for row in _table(folder / "manifest.csv")}
    scars: dict[str, list[tuple[float, float]]] = {}
    for row in _table(folder / "scars.csv"):
        scars.setdefault(row["file"], []).append((float(row["width_mm"]), float(row["depth_mm"])))
    files = [f"{photo.path.parent.name}/{photo.path.name}" for photo in rendered]
    found = np.array([_mean_logarithms(scars[file], scale[file]) if file in scars else [np.nan] * 2 for file in files])
    standardised = (found - np.nanmean(found, axis=0)) / np.nanstd(found, axis=0)
    return np.nan_to_num(standardised).astype(np.float32)


def _mean_logarithms(scars: list[tuple[float, float]], mm_per_pixel: float) -> np.ndarray:
    sizes = np.array(scars)
    return np.average(np.log(sizes / mm_per_pixel), axis=0, weights=sizes[:, 0] ** 2)


def _table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def fit_twins(study: Study) -> ScarNetwork:
    """Train without labels on two views of each of all photos, held-out ones among them.

    Barlow twins (Zbontar et al., ICML 2021): see `redundancy`.
    """
    config = study.config.with_settings(epochs=TWIN_EPOCHS, dropout=0.0)
    run, maps, random = Run(config, "", torch.device("cpu")), photo_maps(study), np.random.default_rng(config.seed)
    upper, features = UpperStages(run.network), run.network.head.in_channels
    hidden = [nn.Linear(features, TWIN_SIZE), nn.BatchNorm1d(TWIN_SIZE), nn.ReLU()]
    project = nn.Sequential(*hidden, nn.Linear(TWIN_SIZE, TWIN_SIZE))
    run.optimizer.add_param_group({"params": list(project.parameters()), "peak": config.head_learning_rate})
    while run.epoch < config.epochs:
        set_training_mode(run.network, config)
        batches = np.array_split(random.permutation(len(maps)), max(1, len(maps) // TWIN_BATCH))
        losses = []
        for step, batch in enumerate(batches):
            set_learning_rates(run.optimizer, (run.epoch + (step + 0.5) / len(batches)) / config.epochs)
            pairs = np.stack([maps[i][random.permutation(len(maps[i]))[:2]] for i in batch])  # [B, 2, C, h, w]
            seen = torch.from_numpy(pairs.astype(np.float32).swapaxes(0, 1).reshape(-1, *pairs.shape[2:]))
            seen = seen.contiguous(memory_format=torch.channels_last)
            first, second = project(upper.features(seen).mean(dim=(2, 3))).chunk(2)
            losses.append(_step(run, redundancy(first, second)))
        run.history.append({"loss": float(np.mean(losses))})
    print(f"twins: loss {run.history[0]['loss']:.2f} at first, {run.history[-1]['loss']:.2f} at last", flush=True)
    return run.average


def redundancy(first: Tensor, second: Tensor) -> Tensor:
    """Return how far the cross-correlation of two views' embeddings, [B, D] each, is from the identity.

    Zbontar et al., ICML 2021; off the diagonal squares weigh 1 / D (Tsai et al., "A note on connecting Barlow twins
    with negative-sample-free contrastive learning", 2021).
    """
    first, second = ((part - part.mean(dim=0)) / (part.std(dim=0) + 1e-6) for part in (first, second))
    correlation = first.T @ second / len(first)
    diagonal = correlation.diagonal()
    outside = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + outside / len(correlation)


def _step(run: Run, loss: Tensor) -> float:
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.optimizer.step()
    run.averaged.update_parameters(run.network)
    return loss.item()


WAYS: Final[Mapping[str, Callable[[Study], ScarNetwork]]] = {
    "as they are": _on_renderings,
    "aligned": _on_aligned_renderings,
    "width and depth": fit_measuring,
    "implants": _on_implants,
    "twins": fit_twins,
}
"""How stages can be pretrained: on renderings whose maps are left "as they are" or "aligned" to those of photos channel
by channel, with "width and depth" as helper tasks, on "implants", or as "twins" without any label."""
