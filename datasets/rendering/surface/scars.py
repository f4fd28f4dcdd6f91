"""Draw scars (type, position, width and depth) and carve them into the skin.

The geometry follows Jacob, Dover & Kaminer, "Acne scarring: a classification system and review of treatment options",
J Am Acad Dermatol 45:109 (2001), as tabulated by Fabbrocini et al., "Acne scars: pathogenesis, classification and
treatment", Dermatol Res Pract 2010:893080.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from ...labels import SCAR_TYPES
from ..cheek import Cheek
from ..fields import blur, smoothstep


@dataclass(frozen=True, kw_only=True)
class Scar:
    """One scar.

    Attributes:
        type: a name of `SCAR_TYPES`.
        x_mm: centre, from the left side of the picture.
        y_mm: centre, from the top of the picture.
        width_mm: diameter of the circle with the scar's surface area, on the skin.
        depth_mm: depth of the deepest point below the surrounding skin, before edges are rounded.
        elongation: ratio of length to breadth, 1 or more.
        angle: direction of the long axis on the skin in radians, from x towards y.
    """

    type: str
    x_mm: float
    y_mm: float
    width_mm: float
    depth_mm: float
    elongation: float = 1.0
    angle: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Morphology:
    """Parameters of the appearance of one scar type.

    Attributes:
        width_mm: minimum and maximum width. The ambiguous margins of the table (1.5-2 mm, 4-5 mm) are used sparingly.
        depth_mm: minimum and maximum depth.
        per_cm2: minimum and maximum number of scars per square centimetre at the densest point.
        size_bias: parameters of the beta distribution of the width within its range.
        spread: factor on the radius of the clusters of scars.
        spacing: minimum distance of two centres, in units of the mean of their widths.
        elongation: maximum ratio of length to breadth.
        lobes: deviation of the outline from an ellipse, as a share of the radius.
    """

    width_mm: tuple[float, float]
    depth_mm: tuple[float, float]
    per_cm2: tuple[float, float]
    size_bias: tuple[float, float]
    spread: float
    spacing: float
    elongation: float
    lobes: float


MORPHOLOGY: Final = {
    # Widths are from the table. Depths: ice pick "to deep dermis or subcutis", with cheek dermis 1-2 mm thick; boxcar
    # shallow 0.1-0.5 mm, deep from 0.5 mm; rolling "shallow". Densities, spacing and outlines are our own choice, by
    # eye: from a few scars to fields of scars that touch.
    "ice_pick": Morphology(
        width_mm=(0.5, 1.8),
        depth_mm=(0.6, 2.4),
        per_cm2=(2.0, 10.0),
        size_bias=(1.8, 1.8),
        spread=1.0,
        spacing=1.15,
        elongation=1.7,
        lobes=0.10,
    ),
    "boxcar": Morphology(
        width_mm=(1.6, 4.0),
        depth_mm=(0.1, 1.2),
        per_cm2=(1.4, 6.0),
        size_bias=(1.6, 2.0),
        spread=1.1,
        spacing=0.85,
        elongation=1.9,
        lobes=0.16,
    ),
    "rolling": Morphology(
        width_mm=(4.6, 11.0),
        depth_mm=(0.35, 1.5),
        per_cm2=(1.4, 3.4),
        size_bias=(2.2, 1.7),
        spread=1.6,
        spacing=0.55,
        elongation=2.4,
        lobes=0.18,
    ),
}

DEEP_BOXCAR_MM: Final = 0.5
"""Depth from which a boxcar scar counts as deep (Jacob et al. 2001)."""

DOMINANT_SHARE: Final = 0.75
"""Minimum share of the labelled type, both of the number of scars and by `type_shares`."""

ROUNDING_MM: Final = {"ice_pick": (0.04, 0.04), "boxcar": (0.04, 0.17), "rolling": (0.6, 0.6)}
"""Minimum and maximum standard deviation in mm of the blur that rounds edges: our own choice, by eye. The margin of a
mature boxcar scar is softer; a rolling scar is covered by skin of full thickness."""

SHOWS_LOBES_PX: Final = 50
"""Area in pixels below which a scar's outline is drawn as a plain ellipse."""

MOST_SCARS: Final = 260
"""Maximum number of scars of one type; more cannot be told apart in a picture."""

FEWEST: Final = 3
"""Minimum number of candidates per type, even at low density; overlapping ones are then dropped."""

SPARES: Final = 16
"""Extra candidate places, used only to reach `FEWEST`."""

LEAST_FACING: Final = 0.35
"""Cosine of the angle beyond which skin is turned away too far to show a scar."""

Covered = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Function that maps x and y of points in mm, arrays of one shape, to a bool mask of the hidden points."""


def _nowhere(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros(np.broadcast(x, y).shape, bool)


def type_shares(scars: tuple[Scar, ...]) -> dict[str, float]:
    """Return each type's share of the scars crossed by a random straight line over the skin.

    A line crosses a scar with a probability proportional to its width, so this is the share of the sum of widths. It is
    a compromise between number, where tiny ice picks dominate, and area, where wide rolling scars do. All shares are 0
    without scars.
    """
    widths = {name: sum(scar.width_mm for scar in scars if scar.type == name) for name in SCAR_TYPES}
    total = sum(widths.values())
    return {name: width / total if total else 0.0 for name, width in widths.items()}


def draw_scars(label: str, *, rng: np.random.Generator, cheek: Cheek, hidden: Covered = _nowhere) -> tuple[Scar, ...]:
    """Draw scars on a patch, mostly of the type `label`; return them widest first.

    On most faces one type dominates, with some scars of the other types. Those are added in random order, up to a
    random share of at most 1 - `DOMINANT_SHARE`, limited both by number and by width: many holes would dominate a few
    soft hollows, and some wide hollows would swallow many holes.

    Args:
        label: dominant scar type.
        rng: random generator.
        cheek: patch of skin.
        hidden: mask function of covered points of the picture, in mm; no scar is centred there.
    """
    field = _ScarField(rng, cheek, hidden)
    scars = field.strew(label)
    wanted = rng.uniform(0.0, 1.0 - DOMINANT_SHARE) if rng.random() < 0.7 else 0.0
    room_mm = sum(scar.width_mm for scar in scars) * wanted / (1.0 - wanted)
    places = math.floor(len(scars) * wanted / (1.0 - wanted))
    others = [scar for name in SCAR_TYPES if name != label for scar in field.strew(name)]
    favoured = rng.dirichlet((1.0, 1.0))  # of the two other types
    names = [name for name in SCAR_TYPES if name != label]
    chance = {name: float(share) for name, share in zip(names, favoured, strict=True)}
    for number in rng.permutation(len(others)):
        scar = others[number]
        if places and scar.width_mm <= room_mm and rng.random() < chance[scar.type]:
            scars.append(scar)
            room_mm -= scar.width_mm
            places -= 1
    return tuple(sorted(scars, key=lambda scar: -scar.width_mm))


class _ScarField:
    """Density of scars on a patch: one to three Gaussian clusters over a low, even background."""

    def __init__(self, rng: np.random.Generator, cheek: Cheek, hidden: Covered) -> None:
        self.rng, self.cheek, self.hidden = rng, cheek, hidden
        self.centres = rng.uniform(0.2, 0.8, size=(rng.integers(1, 4), 2)) * cheek.patch_mm
        self.radii = rng.uniform(0.13, 0.45, size=len(self.centres)) * cheek.patch_mm
        self.floor = rng.uniform(0.0, 0.25)
        self.crowding = rng.random()  # 0 for few scars, 1 for fields of them
        self.deep = rng.random()  # share of deep boxcar scars; differs between people
        self.tension = rng.uniform(0.0, math.pi)  # scars lengthen along the lines of tension

    def density(self, x: np.ndarray, y: np.ndarray, *, spread: float) -> np.ndarray:
        """Return the density of scars at points in mm, 0 to 1. `spread` widens the clusters."""
        squares = [
            ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * (spread * radius) ** 2)
            for centre, radius in zip(self.centres, self.radii, strict=True)
        ]
        return np.maximum(self.floor, np.exp(-np.min(squares, axis=0)))

    def strew(self, name: str) -> list[Scar]:
        """Draw scars of one type: at least one, mostly several.

        This is an inhomogeneous Poisson process, by thinning (Lewis & Shedler, Nav Res Logist Q 26:403, 1979). Of scars
        that would overlap, the narrower is dropped.
        """
        rng, kind, patch_mm = self.rng, MORPHOLOGY[name], self.cheek.patch_mm
        low, high = math.log(kind.per_cm2[0]), math.log(kind.per_cm2[1])
        peak = math.exp(low + (high - low) * self.crowding)
        count = rng.poisson(peak * (patch_mm / 10.0) ** 2) + SPARES
        narrowest, widest = kind.width_mm[0], min(kind.width_mm[1], 0.45 * patch_mm)  # several must fit
        widths = np.sort(narrowest + (widest - narrowest) * rng.beta(*kind.size_bias, size=count))[::-1]
        x, y = rng.uniform(0.03, 0.97, size=(2, count)) * patch_mm
        luck = self.density(x, y, spread=kind.spread) - rng.random(count)
        luck[rng.permutation(count) < SPARES] -= 1.0
        luck[self.hidden(x, y) | (self.cheek.facing(x, y) < LEAST_FACING)] -= 4.0
        luck[np.argsort(-luck)[:FEWEST]] = 1.0
        chosen = np.flatnonzero(luck > 0)
        if chosen.size > MOST_SCARS:
            chosen = np.sort(rng.choice(chosen, size=MOST_SCARS, replace=False))
        kept: list[int] = []
        for i in chosen.tolist():
            reach = kind.spacing * (widths[kept] + widths[i]) / 2
            if ((x[kept] - x[i]) ** 2 + (y[kept] - y[i]) ** 2 > reach**2).all():
                kept.append(i)
        return [self._scar(name, float(x[i]), float(y[i]), float(widths[i])) for i in kept]

    def _scar(self, name: str, x: float, y: float, width: float) -> Scar:
        kind, rng = MORPHOLOGY[name], self.rng
        return Scar(
            type=name,
            x_mm=x,
            y_mm=y,
            width_mm=width,
            depth_mm=self._depth(name, width),
            elongation=float(1.0 + (kind.elongation - 1.0) * rng.beta(1.3, 2.0)),
            angle=float(self.tension + rng.normal(0.0, 0.5)),
        )

    def _depth(self, name: str, width: float) -> float:
        """Draw a depth in mm. Boxcar depth is independent of width; ice pick and rolling depths scale with width."""
        low, high = MORPHOLOGY[name].depth_mm
        if name == "boxcar":
            deep = self.rng.random() < self.deep
            return float(self.rng.uniform(DEEP_BOXCAR_MM, high) if deep else self.rng.uniform(low, DEEP_BOXCAR_MM))
        ratio = self.rng.uniform(1.0, 1.7) if name == "ice_pick" else self.rng.uniform(0.08, 0.17)
        return float(np.clip(width * ratio, low, high))


@dataclass(frozen=True, kw_only=True, eq=False)
class Hollows:
    """Effect of scars on a flat patch; arrays [S, S].

    Attributes:
        height: float32, mm, 0 outside scars and negative inside.
        type_map: uint8, 0 outside scars and 1 + i inside a scar of `SCAR_TYPES[i]`; where scars overlap, the last one.
        tissue: float32, 0 on sound skin to 1 on the scar tissue of holes and punched-out bases, which lacks pores.
        redness: float32, change of the logarithm of blood, about -1 to 1.
        browning: float32, change of the logarithm of melanin, about -1 to 1.
    """

    height: np.ndarray
    type_map: np.ndarray
    tissue: np.ndarray
    redness: np.ndarray
    browning: np.ndarray


def profile(scar_type: str, rho: np.ndarray, *, wall: float, taper: float) -> np.ndarray:
    """Return the height of a scar of depth 1 at distance `rho` from its centre, -1 to 0; the margin is at rho = 1.

    Ice pick: a V, which is a cone for `taper` 1 and a funnel above. Boxcar: a U, with a flat base and a steep wall of
    breadth `wall` radii. Rolling: a raised cosine, with zero slope at the margin, so that neighbours join into an M.
    """
    if scar_type == "ice_pick":
        return -np.power(1.0 - np.minimum(rho, 1.0), taper)
    if scar_type == "boxcar":
        return smoothstep(1.0 - wall, 1.0, rho) - 1.0
    return -0.5 * (1.0 + np.cos(math.pi * np.minimum(rho, 1.0)))


def dig(scars: tuple[Scar, ...], *, rng: np.random.Generator, cheek: Cheek) -> Hollows:
    """Carve scars into flat skin."""
    shape = (cheek.size, cheek.size)
    depth_4 = {name: np.zeros(shape, np.float32) for name in SCAR_TYPES}
    type_map = np.zeros(shape, np.uint8)
    tissue, redness, browning = np.zeros((3, *shape), np.float32)
    mean_redness, mean_browning = rng.normal(0.2, 0.35), rng.normal(0.05, 0.2)
    rounding_mm = {name: rng.uniform(*ROUNDING_MM[name]) for name in SCAR_TYPES}
    for scar in scars:
        window = _window(scar, cheek)
        rho = _distance(scar, cheek, window, waves=rng.uniform((-1, -1, -1, 0, 0, 0), (1, 1, 1, 1, 1, 1)))
        wall_mm = rng.uniform(0.3, 0.8)  # almost vertical
        taper = rng.uniform(0.9, 1.6)
        hollow = -profile(scar.type, rho, wall=min(2.0 * wall_mm / scar.width_mm, 0.5), taper=taper)
        depth_4[scar.type][window] += (scar.depth_mm * hollow) ** 4
        type_map[window][rho < 1.0] = 1 + SCAR_TYPES.index(scar.type)
        # Ice pick holes and boxcar bases are scar tissue; the skin of a rolling scar is sound, only tethered.
        scarred = 0.15 if scar.type == "rolling" else 1.0
        redder, browner = mean_redness + rng.normal(0.0, 0.2), mean_browning + rng.normal(0.0, 0.1)
        for plane, value in ((tissue, 1.0), (redness, redder), (browning, browner)):
            plane[window] += (scarred * value - plane[window]) * hollow
    # The fourth root of the sum of fourth powers is a smooth maximum: no crease where scars meet.
    height = sum(
        -blur(np.sqrt(np.sqrt(fourth)), rounding_mm[name] / cheek.mm_per_pixel) for name, fourth in depth_4.items()
    )
    type_map[cheek.face < 0.5] = 0
    return Hollows(
        height=np.asarray(height, np.float32),
        type_map=type_map,
        tissue=tissue,
        redness=redness,
        browning=browning,
    )


def _window(scar: Scar, cheek: Cheek) -> tuple[slice, slice]:
    """Return the rows and columns of the picture that a scar can cover."""
    reach = 0.5 * scar.width_mm * math.sqrt(scar.elongation) * 1.5
    slices = []
    for centre in (scar.y_mm, scar.x_mm):
        first, last = ((centre + side * reach) / cheek.mm_per_pixel for side in (-1, 1))
        slices.append(slice(max(math.floor(first), 0), max(math.ceil(last), 0) + 1))
    return slices[0], slices[1]


def _distance(scar: Scar, cheek: Cheek, window: tuple[slice, slice], *, waves: np.ndarray) -> np.ndarray:
    """Return the distance from a scar's centre over a window, in units of the radius in each direction, float32.

    The outline is an ellipse modulated by waves of 2, 3 and 4 lobes: round, oval or roughly polygonal. `waves` [6]
    contains their strengths, -1 to 1, and then their phases, 0 to 1.
    """
    u, v = cheek.on_skin(scar.x_mm, scar.y_mm)
    du, dv = cv2.split(cheek.uv[window] - np.array([u, v], np.float32))
    root = math.sqrt(scar.elongation)
    cosine, sine = 2 * math.cos(scar.angle) / scar.width_mm, 2 * math.sin(scar.angle) / scar.width_mm
    along = (cosine * du + sine * dv) / root
    across = (cosine * dv - sine * du) * root
    rho = cv2.magnitude(along, across)
    if rho.size < SHOWS_LOBES_PX:
        return rho
    around = cv2.phase(along, across)
    ripple = np.ones_like(rho)
    for lobes, share, strength, phase in zip((2, 3, 4), (1.0, 0.7, 0.45), waves[:3], waves[3:], strict=True):
        amplitude = MORPHOLOGY[scar.type].lobes * share * strength
        ripple += np.float32(amplitude) * np.cos(np.float32(lobes) * around + np.float32(2 * math.pi * phase))
    return rho * ripple
