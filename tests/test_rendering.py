"""The renderer: the same seed gives the same photo, its label is true, and its geometry is the morphology table's."""

import math
from functools import cache

import cv2
import numpy as np
import pytest

from scarlens.datasets.labels import OUT_OF_SCOPE, SCAR_TYPES
from scarlens.datasets.rendering import RenderedPhoto, render_photo
from scarlens.datasets.rendering.cheek import Cheek, draw_cheek
from scarlens.datasets.rendering.fields import log_uniform
from scarlens.datasets.rendering.photo import LABELS, PATCH_MM
from scarlens.datasets.rendering.shading import SCATTERING_PROFILE, Lamp, Light, Sheen, scatter, shade
from scarlens.datasets.rendering.surface.distractors import draw_comedones
from scarlens.datasets.rendering.surface.features import draw_features
from scarlens.datasets.rendering.surface.scars import DEEP_BOXCAR_MM, DOMINANT_SHARE, Scar, dig, draw_scars, type_shares
from scarlens.datasets.rendering.surface.skin import Tone, reflectance

# The morphology table of Jacob, Dover & Kaminer (2001): width in mm, depth in mm.
TABLE = {"ice_pick": ((0.0, 2.0), (0.5, 2.5)), "boxcar": ((1.5, 4.0), (0.1, 1.2)), "rolling": ((4.0, 12.0), (0.1, 1.5))}

SHEEN = Sheen(roughness=0.5, gloss=1.0, translucency=0.4)
MATT = Sheen(roughness=0.5, gloss=0.0, translucency=0.4)


def flat_skin(patch_mm: float, size: int) -> Cheek:
    """Return a patch that is as good as flat."""
    middle = (patch_mm / 2, patch_mm / 2)
    return Cheek(patch_mm=patch_mm, size=size, apex_mm=middle, turn=0.0, radii_mm=(1e5, 1e5), sweep_mm=1e6)


def one_scar(
    scar_type: str, *, width_mm: float, depth_mm: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the relief and map of one scar in the middle of flat skin three times as wide, and mm per pixel."""
    cheek = flat_skin(3.0 * width_mm, 480)
    middle = cheek.patch_mm / 2
    scar = Scar(type=scar_type, x_mm=middle, y_mm=middle, width_mm=width_mm, depth_mm=depth_mm)
    hollows = dig((scar,), rng=np.random.default_rng(seed), cheek=cheek)
    return hollows.height, hollows.type_map, cheek.mm_per_pixel


def light_from(elevation_degrees: float) -> Light:
    """Return one hard lamp in a dim room."""
    lamp = Lamp(
        azimuth_degrees=60.0,
        elevation_degrees=elevation_degrees,
        strength=1.0,
        colour=(1.0, 1.0, 1.0),
        breadth_degrees=5.0,
    )
    return Light(lamps=(lamp,), ambient=0.15, ambient_from_degrees=90.0)


@cache
def many_scars() -> tuple[tuple[str, float, tuple[Scar, ...]], ...]:
    """Return label, side in mm and scars of 120 patches, 40 of each type."""
    found = []
    for seed in range(120):
        label, rng = SCAR_TYPES[seed % 3], np.random.default_rng(seed)
        cheek = draw_cheek(rng=rng, patch_mm=log_uniform(rng, *PATCH_MM), size=64)
        found.append((label, cheek.patch_mm, draw_scars(label, rng=rng, cheek=cheek)))
    return tuple(found)


@cache
def small_photos() -> tuple[RenderedPhoto, ...]:
    """Return 160 small photos, 40 of each label."""
    return tuple(render_photo(LABELS[seed % 4], seed=seed, size=32) for seed in range(160))


def global_state() -> bytes:
    """Return NumPy's global random state, which rendering must leave alone."""
    return np.random.get_state(legacy=False)["state"]["key"].tobytes()  # noqa: NPY002 - it is what is tested


def deeper_than(share: float, height: np.ndarray, type_map: np.ndarray) -> float:
    """Return how much of a scar's area lies deeper than `share` of its greatest depth."""
    return float((height[type_map > 0] < share * height.min()).mean())


@pytest.mark.parametrize("label", LABELS)
def test_shapes_and_types(label: str) -> None:
    photo = render_photo(label, seed=5, size=128)
    assert photo.image.shape == (128, 128, 3)
    assert photo.image.dtype == np.uint8
    assert photo.type_map.shape == (128, 128)
    assert photo.type_map.dtype == np.uint8
    assert (photo.label, photo.seed) == (label, 5)
    assert tuple(photo.shares) == SCAR_TYPES
    assert 1 <= len(photo.light.lamps) <= 3
    assert photo.light.key_elevation_degrees == photo.light.lamps[0].elevation_degrees


@pytest.mark.parametrize("label", LABELS)
def test_same_seed_same_photo_and_other_seed_other_photo(label: str) -> None:
    state = global_state()
    first, again, other = (render_photo(label, seed=seed, size=96) for seed in (8, 8, 9))
    assert first.jpeg == again.jpeg
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.type_map, again.type_map)
    assert first.scars == again.scars
    assert np.abs(first.image.astype(int) - other.image).mean() > 3
    assert global_state() == state


@pytest.mark.parametrize("label", LABELS)
def test_another_size_shows_the_same_patch(label: str) -> None:
    for seed in range(4):
        small, large = render_photo(label, seed=seed, size=128), render_photo(label, seed=seed, size=384)
        assert small.scars == large.scars
        assert small.light == large.light
        reduced = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA)
        assert np.corrcoef(small.image.ravel(), reduced.ravel())[0, 1] > 0.9
        assert (cv2.resize(large.type_map, (128, 128), interpolation=cv2.INTER_NEAREST) == small.type_map).mean() > 0.93


@pytest.mark.parametrize(("label", "size"), [("keloid", 256), ("Boxcar", 256), ("boxcar", 16)])
def test_mistakes_are_named(label: str, size: int) -> None:
    with pytest.raises(ValueError, match=r"'ice_pick', 'boxcar', 'rolling', 'out_of_scope'|at least 32"):
        render_photo(label, seed=0, size=size)


def test_scars_keep_to_the_table() -> None:
    for _, patch_mm, scars in many_scars():
        for scar in scars:
            (width_low, width_high), (depth_low, depth_high) = TABLE[scar.type]
            assert width_low < scar.width_mm <= width_high
            assert depth_low <= scar.depth_mm <= depth_high
            assert 0 < scar.x_mm < patch_mm and 0 < scar.y_mm < patch_mm
            assert 1 <= scar.elongation <= 2.5


def test_the_label_is_the_dominant_type() -> None:
    shares = [type_shares(scars)[label] for label, _, scars in many_scars()]
    assert min(shares) >= DOMINANT_SHARE
    assert 0.4 < np.mean(np.array(shares) < 1.0) < 0.9  # most faces have more than one type
    for photo in small_photos():
        assert photo.shares == type_shares(photo.scars)
        if photo.label == OUT_OF_SCOPE:
            assert not photo.scars and not photo.type_map.any()
        else:
            assert len(photo.scars) >= 2
            assert photo.shares[photo.label] >= DOMINANT_SHARE


def test_shares_are_those_of_the_widths() -> None:
    scars = [Scar(type=name, x_mm=0, y_mm=0, width_mm=w, depth_mm=0.5) for name, w in (("ice_pick", 1), ("rolling", 3))]
    assert type_shares(tuple(scars)) == {"ice_pick": 0.25, "boxcar": 0.0, "rolling": 0.75}
    assert set(type_shares(()).values()) == {0.0}


def test_ice_picks_are_deeper_than_wide_and_the_others_are_not() -> None:
    ratios: dict[str, list[float]] = {name: [] for name in SCAR_TYPES}
    for _, _, scars in many_scars():
        for scar in scars:
            ratios[scar.type].append(scar.depth_mm / scar.width_mm)
    assert min(ratios["ice_pick"]) >= 1.0
    assert max(ratios["boxcar"]) < 1.0
    assert max(ratios["rolling"]) < 0.2


def test_boxcar_depth_covers_shallow_and_deep_and_tells_nothing_of_the_width() -> None:
    boxcars = [scar for _, _, scars in many_scars() for scar in scars if scar.type == "boxcar"]
    depth, width = (np.array([getattr(scar, name) for scar in boxcars]) for name in ("depth_mm", "width_mm"))
    assert abs(np.corrcoef(depth, width)[0, 1]) < 0.15
    assert 0.3 < (depth >= DEEP_BOXCAR_MM).mean() < 0.7
    assert depth.min() < 0.15 and depth.max() > 1.1


@pytest.mark.parametrize(
    ("scar_type", "width_mm", "depth_mm"), [("ice_pick", 1.6, 1.8), ("boxcar", 3.0, 0.5), ("rolling", 7.0, 0.6)]
)
@pytest.mark.parametrize("seed", range(5))
def test_relief_has_the_width_and_depth_asked_for(scar_type: str, width_mm: float, depth_mm: float, seed: int) -> None:
    height, type_map, mm_per_pixel = one_scar(scar_type, width_mm=width_mm, depth_mm=depth_mm, seed=seed)
    measured = 2.0 * math.sqrt((type_map > 0).sum() / math.pi) * mm_per_pixel
    assert measured == pytest.approx(width_mm, rel=0.15)
    assert -height.min() == pytest.approx(depth_mm, rel=0.15)  # rounding off takes some from a cone's tip
    assert height.max() <= 0.0
    assert abs(height[0]).max() < 1e-3


def test_profiles_are_a_v_a_u_and_a_soft_hollow() -> None:
    pick, box, roll = (
        one_scar(name, width_mm=width, depth_mm=depth)
        for name, width, depth in (("ice_pick", 1.5, 1.8), ("boxcar", 3.5, 0.5), ("rolling", 7.0, 0.6))
    )
    # Area below 90 % of the depth: 1 % of a cone, most of a box, 4 % of a raised cosine.
    assert deeper_than(0.9, pick[0], pick[1]) < 0.08
    assert deeper_than(0.9, box[0], box[1]) > 0.35
    assert deeper_than(0.9, roll[0], roll[1]) < 0.15
    # The base of a boxcar is flat: a quarter of the area differs by less than a fiftieth of the depth.
    assert deeper_than(0.98, box[0], box[1]) > 0.25
    # Steepest slopes in mm per mm: steep walls for ice pick and boxcar, a gentle slope for rolling.
    slope = [float(np.hypot(*np.gradient(height, scale)).max()) for height, _, scale in (pick, box, roll)]
    assert slope[0] > 1.5
    assert slope[1] > 0.8
    assert slope[2] < 0.5


@pytest.mark.parametrize("label", SCAR_TYPES)
def test_type_map_shows_each_scar_at_its_listed_place(label: str) -> None:
    for seed in range(6):
        photo = render_photo(label, seed=seed, size=256)
        px = 1.0 / photo.mm_per_pixel
        found = [int(photo.type_map[int(scar.y_mm * px), int(scar.x_mm * px)]) for scar in photo.scars]
        told = [1 + SCAR_TYPES.index(scar.type) for scar in photo.scars]
        assert np.mean(np.array(found) == told) > 0.85  # on some wide scars lies a narrow one
        assert set(np.unique(photo.type_map)) <= {0, *told}
        area = sum(math.pi / 4 * (scar.width_mm * px) ** 2 for scar in photo.scars)
        assert 0.35 * area < (photo.type_map > 0).sum() < 1.3 * area  # some reach over the edge, overlap or turn away


def test_a_photo_holds_several_scars() -> None:
    for label in SCAR_TYPES:
        counts = [len(scars) for name, _, scars in many_scars() if name == label]
        assert min(counts) >= 2
        assert max(counts) > 60


def test_scale_light_overlays_and_tone_tell_nothing_of_the_label() -> None:
    for seed in range(12):
        photos = [render_photo(label, seed=seed, size=32) for label in LABELS]
        assert len({(photo.mm_per_pixel, photo.light, photo.overlays, photo.ita_degrees) for photo in photos}) == 1


def test_only_the_scars_differ_between_labels() -> None:
    clear, scarred = (
        [render_photo(label, seed=seed, size=128) for seed in range(12)] for label in (OUT_OF_SCOPE, "ice_pick")
    )
    for first, second in zip(clear, scarred, strict=True):
        near = cv2.dilate((second.type_map > 0).astype(np.uint8), np.ones((15, 15), np.uint8))
        away = near == 0
        assert away.sum() > 500
        # Hair, pimples, captions, boxes, noise: all as before. The meter sees the scars, and JPEG is coarse.
        assert np.corrcoef(first.image[away].ravel(), second.image[away].ravel())[0, 1] > 0.9
        assert np.abs(first.image[away].astype(int) - second.image[away]).mean() < 6


def test_photos_range_from_close_ups_to_half_faces() -> None:
    patch_mm = np.array([photo.mm_per_pixel * 32 for photo in small_photos()])
    assert PATCH_MM[0] <= patch_mm.min() < 1.1 * PATCH_MM[0]
    assert 0.9 * PATCH_MM[1] < patch_mm.max() <= PATCH_MM[1]
    assert 0.35 < (patch_mm < math.sqrt(PATCH_MM[0] * PATCH_MM[1])).mean() < 0.65


def test_light_ranges_from_raking_to_frontal() -> None:
    elevation = np.array([photo.light.key_elevation_degrees for photo in small_photos()])
    assert elevation.min() < 20 and elevation.max() > 85
    assert {len(photo.light.lamps) for photo in small_photos()} == {1, 2, 3}


def test_skin_tones_range_from_very_light_to_dark() -> None:
    angles = np.array([photo.ita_degrees for photo in small_photos()])
    edges = np.array([-90, -30, 10, 28, 41, 55, 90])  # dark, brown, tan, intermediate, light, very light
    assert (np.histogram(angles, edges)[0] >= 5).all()
    # The pictures follow the skin: light and camera even out much of the difference, but not all.
    brightness = np.array([photo.image.mean() for photo in small_photos()])
    assert np.corrcoef(angles, brightness)[0, 1] > 0.3


def test_skin_has_the_hues_of_skin() -> None:
    for melanosomes in (0.013, 0.05, 0.15, 0.43):
        for blood in (0.003, 0.015):
            red, green, blue = reflectance(Tone(melanosomes=melanosomes, blood=blood, oxygenation=0.75))
            assert 1 > red > green > blue > 0


def test_melanin_darkens_and_blood_reddens() -> None:
    pale = reflectance(Tone(melanosomes=0.03, blood=0.004, oxygenation=0.75))
    dark = reflectance(Tone(melanosomes=0.30, blood=0.004, oxygenation=0.75))
    flushed = reflectance(Tone(melanosomes=0.03, blood=0.012, oxygenation=0.75))
    assert (dark > 0).all() and (dark < pale).all() and (pale < 1).all()
    assert flushed[0] / flushed[1] > 1.1 * pale[0] / pale[1]


def test_flat_skin_is_lit_evenly_and_a_pit_is_darker() -> None:
    flat = shade(
        np.zeros((128, 128), np.float32),
        np.full((128, 128, 3), 0.3, np.float32),
        light_from(50),
        SHEEN,
        mm_per_pixel=0.1,
    )
    assert np.ptp(flat, axis=(0, 1)).max() < 1e-4
    pit, type_map, scale = one_scar("ice_pick", width_mm=1.5, depth_mm=1.8)
    shaded = shade(pit, np.full((480, 480, 3), 0.3, np.float32), light_from(50), SHEEN, mm_per_pixel=scale)
    assert shaded[type_map > 0].mean() < 0.7 * shaded[0].mean()


@pytest.mark.parametrize(("scar_type", "width_mm", "depth_mm"), [("boxcar", 3.0, 0.3), ("rolling", 7.0, 0.6)])
def test_raking_light_shows_relief_that_a_frontal_flash_hides(scar_type: str, width_mm: float, depth_mm: float) -> None:
    height, _, scale = one_scar(scar_type, width_mm=width_mm, depth_mm=depth_mm)
    albedo = np.full((480, 480, 3), 0.3, np.float32)
    raking, frontal = (shade(height, albedo, light_from(degrees), MATT, mm_per_pixel=scale) for degrees in (20, 88))
    assert raking.std() / raking.mean() > 3 * frontal.std() / frontal.mean()


def test_a_scar_is_lit_on_the_side_away_from_the_lamp() -> None:
    height, type_map, scale = one_scar("rolling", width_mm=7.0, depth_mm=0.7)
    shaded = shade(height, np.full((480, 480, 3), 0.3, np.float32), light_from(25), SHEEN, mm_per_pixel=scale)
    rows, columns = np.nonzero(type_map)
    towards_lamp = (columns - 240) * math.cos(math.radians(60)) - (rows - 240) * math.sin(math.radians(60)) > 0
    brightness = shaded.mean(axis=2)[type_map > 0]
    assert brightness[~towards_lamp].mean() > 1.3 * brightness[towards_lamp].mean()


def test_scattering_keeps_the_light_and_carries_red_furthest() -> None:
    assert np.allclose(np.sum([weights for _, weights in SCATTERING_PROFILE], axis=0), 1.0, atol=1e-3)
    edge = np.zeros((160, 160, 3), np.float32)
    edge[:, 80:] = 1.0
    spread = scatter(edge, translucency=1.0, mm_per_pixel=0.1)
    assert spread.mean(axis=(0, 1)) == pytest.approx([0.5, 0.5, 0.5], abs=0.02)
    red, green, blue = spread[80, 74]  # 0.6 mm into the shade
    assert red > green > blue


@pytest.mark.parametrize("seed", range(8))
def test_skin_and_picture_coordinates_are_inverse(seed: int) -> None:
    cheek = draw_cheek(rng=np.random.default_rng(seed), patch_mm=70.0, size=64)
    x, y = (axis[cheek.face == 1.0] for axis in cheek.grid)
    again = cheek.in_picture(*cheek.on_skin(x, y))
    assert np.allclose(again, (x, y), atol=0.02)


def test_a_wide_picture_may_end_beside_the_face_and_has_no_scars_there() -> None:
    ends = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        cheek = draw_cheek(rng=rng, patch_mm=100.0, size=64)
        ends += bool((cheek.face == 0.0).any())
        scars = draw_scars("boxcar", rng=rng, cheek=cheek)
        assert not dig(scars, rng=rng, cheek=cheek).type_map[cheek.face == 0.0].any()
        seen = [cheek.face[int(scar.y_mm * 0.64), int(scar.x_mm * 0.64)] for scar in scars]
        assert np.mean(np.array(seen) > 0.0) > 0.9
    assert 3 < ends < 57


def test_nothing_is_labelled_under_a_box() -> None:
    checked = 0
    for photo in small_photos():
        side = photo.mm_per_pixel * 32
        x, y = (np.array([getattr(scar, name) / side for scar in photo.scars]) for name in ("x_mm", "y_mm"))
        assert not photo.overlays.covers(x, y).any()
        for box in photo.overlays.boxes:
            checked += 1
            assert not photo.type_map[box.window(32)].any()
    assert checked > 10


def test_boxes_are_drawn_where_requested() -> None:
    boxed = [photo.seed for photo in small_photos() if photo.overlays.boxes][:6]
    for seed in boxed:
        photo = render_photo("rolling", seed=seed, size=128)
        box = photo.overlays.boxes[-1]
        if not photo.overlays.captions:
            assert np.abs(photo.image[box.window(128)].mean() - 255 * box.grey) < 30


def test_only_wide_pictures_show_features_of_a_face() -> None:
    streams = [np.random.default_rng(seed) for seed in range(40)]
    assert not any(draw_features(rng=rng, patch_mm=30.0).lips for rng in streams)
    assert any(draw_features(rng=rng, patch_mm=90.0).lips for rng in streams)


def test_comedones_are_dark_or_raised_but_never_deep() -> None:
    drawn = [draw_comedones(flat_skin(30.0, 128), rng=np.random.default_rng(seed)) for seed in range(20)]
    with_some = [planes for planes in drawn if planes.height.any()]
    assert 4 < len(with_some) < 16
    for planes in drawn:
        assert planes.height.min() >= 0.0 and planes.melanin.min() >= 0.0  # an ice pick scar would be a hollow
    assert max(planes.melanin.max() for planes in with_some) > 1.0  # a plug takes most of the light
    assert max(planes.pus.max() for planes in with_some) > 0.2  # a whitehead is pale
