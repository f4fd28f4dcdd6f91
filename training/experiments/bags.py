"""Photos as bags of patches: attention decides which positions of the mid-level map count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scarlens.training import texture
from scarlens.training.train import set_learning_rates

from .linear import Scorer, measured, with_prior
from .maps import Maps, photo_maps, rendered_maps
from .probes import averaged
from .stages import measured_recipe
from .study import Row, Setting, Study, types_of


@dataclass(frozen=True, kw_only=True)
class BagSettings:
    """How a bag is read and learned from; set once, before the first figure was seen.

    Attributes:
        hidden: size of an embedded patch and of the attention's layer.
        dropout: of embedded patches.
        epochs: passes over the photos, one cached view of each.
        batch_size: photos a step.
        learning_rate: peak, as `set_learning_rates` has it.
        weight_decay: AdamW's.
        label_smoothing: as for `scarlens train`.
    """

    hidden: int = 64
    dropout: float = 0.25
    epochs: int = 60
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1


SETTINGS: Final = BagSettings()

RENDERED_EPOCHS: Final = 4
"""Passes over 3600 renderings: 900 steps, where the photos of four folds get 360."""


class Bag(nn.Module):
    """Scores of a weighted mean of embedded patches.

    Gated attention (Ilse, Tomczak & Welling, "Attention-based deep multiple instance learning", ICML 2018): patch k
    weighs exp(w . (tanh(V h_k) * sigmoid(U h_k))) against the others. Without attention all weigh the same.
    """

    def __init__(self, channels: int, settings: BagSettings, *, attention: bool) -> None:
        """Build the head for patches of `channels` numbers."""
        super().__init__()
        hidden = settings.hidden
        self.embed = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(settings.dropout))
        self.content, self.gate = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.weigh = nn.Linear(hidden, 1, bias=False)
        self.scores = nn.Linear(hidden, 3)
        self.attention = attention

    def forward(self, patches: Tensor) -> Tensor:
        """Score bags of patches [B, P, C] as [B, 3]."""
        embedded = self.embed(patches)
        return self.scores((self.weights_of(embedded) * embedded).sum(dim=1))

    def weights_of(self, embedded: Tensor) -> Tensor:
        """Return what each embedded patch [B, P, H] weighs, [B, P, 1]; those of a bag sum to 1."""
        if not self.attention:
            return torch.full_like(embedded[..., :1], 1 / embedded.shape[1])
        gated = torch.tanh(self.content(embedded)) * torch.sigmoid(self.gate(embedded))
        return self.weigh(gated).softmax(dim=1)


def bags(study: Study) -> list[Row]:
    """Measure the attention, the plain mean of patches, a start from renderings, and means with the heads that ship."""
    name = "bag of patches, gated attention"
    plain = measured(study, "bag of patches, plain mean", bag_scorer(study, study.types, attention=False))
    bag = measured(study, name, bag_scorer(study, study.types))
    start = rendered_bag(study)
    begun = measured(study, f"{name}, pretrained on renderings", bag_scorer(study, study.types, start=start))
    head = measured(study, "texture head, prior chosen", with_prior(study, texture.PRIOR_WEIGHTS))
    stages = measured_recipe(study, "pretrained on renderings")
    rows = [plain, bag, begun]
    for one in (bag, begun):
        rows.append(averaged(study, f"mean of {one.what} and {stages.what}", one, stages))
        rows.append(averaged(study, f"mean of {one.what}, {head.what} and {stages.what}", one, head, stages))
    return rows


def bag_scorer(study: Study, types: np.ndarray, *, attention: bool = True, start: Bag | None = None) -> Scorer:
    """Return the head with `SETTINGS`, on the cached maps of the photos of the three types, int [N].

    The photos are standardised by the moments of those it learns from, also when it starts from renderings, which
    were standardised by their own.
    """
    maps = photo_maps(study)
    own = [maps[i] for i in study.shown.tolist()]

    def score(training: np.ndarray, held: np.ndarray) -> dict[Setting, np.ndarray]:
        shown = [own[i] for i in training.tolist()]
        mean, std = _moments(shown)
        views = [(_patches(photo) - mean) / std for photo in shown]
        bag = fit_bag(views, types[training], attention=attention, start=start)
        seen = torch.stack([(_patches(own[i][:1])[0] - mean) / std for i in held.tolist()])
        with torch.inference_mode():
            return {(): bag.eval()(seen).numpy()}

    return score


def rendered_bag(study: Study) -> Bag:
    """Train the head on all renderings of the three types."""
    types = types_of(study.rendered)
    shown = [maps for maps, known in zip(rendered_maps(study), types >= 0, strict=True) if known]
    mean, std = _moments(shown)
    views, settings = [(_patches(maps) - mean) / std for maps in shown], replace(SETTINGS, epochs=RENDERED_EPOCHS)
    return fit_bag(views, types[types >= 0], settings=settings)


def fit_bag(
    views: Sequence[Tensor],
    types: np.ndarray,
    *,
    attention: bool = True,
    start: Bag | None = None,
    settings: BagSettings = SETTINGS,
) -> Bag:
    """Train a head; the seed of weights, order, views and dropout is 0.

    Args:
        views: of each photo its standardised patches in each view, float32 [V, P, C].
        types: int [N].
        attention: as for `Bag`.
        start: a head to start from; by default one with random weights.
        settings: how.
    """
    torch.manual_seed(0)
    random, wanted = np.random.default_rng(0), torch.from_numpy(types)
    bag = Bag(views[0].shape[2], settings, attention=attention)
    if start:
        bag.load_state_dict(start.state_dict())
    groups = [{"params": list(bag.parameters()), "peak": settings.learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=settings.weight_decay)
    for epoch in range(settings.epochs):
        batches = np.array_split(random.permutation(len(views)), -(-len(views) // settings.batch_size))
        for step, batch in enumerate(batches):
            set_learning_rates(optimizer, (epoch + (step + 0.5) / len(batches)) / settings.epochs)
            shown = torch.stack([views[i][random.integers(len(views[i]))] for i in batch])
            loss = functional.cross_entropy(bag(shown), wanted[batch], label_smoothing=settings.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return bag


def _patches(views: np.ndarray) -> Tensor:
    """Return maps [V, C, h, w] as patches, float32 [V, h w, C]."""
    return torch.from_numpy(views.astype(np.float32)).flatten(2).transpose(1, 2)


def _moments(maps: Maps) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel over photos, views and positions, float32 [C] each."""
    patches = torch.cat([_patches(views).flatten(0, 1) for views in maps])
    return patches.mean(dim=0), patches.std(dim=0) + 1e-6
