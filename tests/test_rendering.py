"""The renderer: the same seed gives the same photo, and the geometry is what the morphology table says."""

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from scarlens.datasets.labels import OUT_OF_SCOPE, SCAR_TYPES
from scarlens.datasets.rendering import RenderedPhoto, render_photo, write_photos
from scarlens.datasets.rendering.photo import EXAMPLE_SEEDS, EXAMPLE_SIZE, LABELS, PATCH_MM, write_examples
from scarlens.datasets.rendering.relief import Scar, draw_scars, scar_relief
from scarlens.datasets.rendering.shading import SCATTERING_PROFILE, draw_light, scatter, shade
from scarlens.datasets.rendering.skin import Tone, reflectance

EXAMPLES = Path(__file__).parent.parent / "datasets" / "rendering" / "examples"

# The morphology table of Jacob, Dover & Kaminer (2001): width in mm, depth in mm.
TABLE = {"ice_pick": ((0.0, 2.0), (0.5, 2.5)), "boxcar": ((1.5, 4.0), (0.1, 1.0)), "rolling": ((4.0, 12.0), (0.1, 1.0))}


def dig(scar_type: str, *, width_mm: float, depth_mm: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the relief and map of one scar in the middle of a patch three times as wide, and mm per pixel."""
    patch_mm, size = 3.0 * width_mm, 480
    scar = Scar(type=scar_type, x_mm=patch_mm / 2, y_mm=patch_mm / 2, width_mm=width_mm, depth_mm=depth_mm)
    height, type_map = scar_relief((scar,), rng=np.random.default_rng(seed), patch_mm=patch_mm, size=size)
    return height, type_map, patch_mm / size


def global_state() -> bytes:
    """Return NumPy's global random state, which rendering must leave alone."""
    return np.random.get_state(legacy=False)["state"]["key"].tobytes()  # noqa: NPY002 - it is what is tested


def deeper_than(share: float, height: np.ndarray, type_map: np.ndarray) -> float:
    """Return how much of a scar's area lies deeper than `share` of its greatest depth."""
    return float((height[type_map > 0] < share * height.min()).mean())


@pytest.mark.parametrize("label", LABELS)
def test_shapes_and_types(label: str) -> None:
    photo = render_photo(label, seed=5, size=128)
    assert isinstance(photo, RenderedPhoto)
    assert photo.image.shape == (128, 128, 3)
    assert photo.image.dtype == np.uint8
    assert photo.type_map.shape == (128, 128)
    assert photo.type_map.dtype == np.uint8
    assert PATCH_MM[0] <= photo.mm_per_pixel * 128 <= PATCH_MM[1]
    assert (photo.label, photo.seed) == (label, 5)
    assert {scar.type for scar in photo.scars} == ({label} if label in SCAR_TYPES else set())


@pytest.mark.parametrize("label", LABELS)
def test_same_seed_same_photo_and_other_seed_other_photo(label: str) -> None:
    state = global_state()
    first, again, other = (render_photo(label, seed=seed, size=96) for seed in (8, 8, 9))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.type_map, again.type_map)
    assert first.scars == again.scars
    assert np.abs(first.image.astype(int) - other.image).mean() > 3
    assert global_state() == state


def test_another_size_shows_the_same_patch() -> None:
    small, large = render_photo("boxcar", seed=4, size=128), render_photo("boxcar", seed=4, size=384)
    assert small.scars == large.scars
    reduced = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small.image.ravel(), reduced.ravel())[0, 1] > 0.9
    assert (cv2.resize(large.type_map, (128, 128), interpolation=cv2.INTER_NEAREST) == small.type_map).mean() > 0.97


@pytest.mark.parametrize(("label", "size"), [("keloid", 256), ("Boxcar", 256), ("boxcar", 16)])
def test_mistakes_are_named(label: str, size: int) -> None:
    with pytest.raises(ValueError, match=r"'ice_pick', 'boxcar', 'rolling', 'out_of_scope'|at least 32"):
        render_photo(label, seed=0, size=size)


@pytest.mark.parametrize("label", SCAR_TYPES)
def test_drawn_scars_keep_to_the_table(label: str) -> None:
    (width_low, width_high), (depth_low, depth_high) = TABLE[label]
    for seed in range(40):
        patch_mm = 15.0 + 25.0 * seed / 39
        scars = draw_scars(label, rng=np.random.default_rng(seed), patch_mm=patch_mm)
        assert scars
        assert all(width_low < scar.width_mm <= width_high for scar in scars)
        assert all(depth_low <= scar.depth_mm <= depth_high for scar in scars)
        assert all(0 < scar.x_mm < patch_mm and 0 < scar.y_mm < patch_mm for scar in scars)
        assert all(1 <= scar.elongation <= 2 for scar in scars)


def test_ice_picks_are_deeper_than_wide_and_the_others_are_not() -> None:
    ratio = {
        label: [s.depth_mm / s.width_mm for seed in range(20) for s in render_photo(label, seed=seed, size=32).scars]
        for label in SCAR_TYPES
    }
    assert min(ratio["ice_pick"]) >= 1.0
    assert max(ratio["boxcar"]) < 0.5
    assert max(ratio["rolling"]) < 0.2


@pytest.mark.parametrize(
    ("scar_type", "width_mm", "depth_mm"), [("ice_pick", 1.4, 1.8), ("boxcar", 3.0, 0.5), ("rolling", 7.0, 0.6)]
)
@pytest.mark.parametrize("seed", range(5))
def test_relief_has_the_width_and_depth_asked_for(scar_type: str, width_mm: float, depth_mm: float, seed: int) -> None:
    height, type_map, mm_per_pixel = dig(scar_type, width_mm=width_mm, depth_mm=depth_mm, seed=seed)
    measured = 2.0 * math.sqrt((type_map > 0).sum() / math.pi) * mm_per_pixel
    assert measured == pytest.approx(width_mm, rel=0.15)
    assert -height.min() == pytest.approx(depth_mm, rel=0.12)
    assert height.max() <= 0.0
    assert abs(height[0]).max() == 0.0


def test_profiles_are_a_v_a_u_and_a_soft_hollow() -> None:
    pick, box, roll = (
        dig(name, width_mm=width, depth_mm=depth)
        for name, width, depth in (("ice_pick", 1.5, 1.8), ("boxcar", 3.0, 0.5), ("rolling", 7.0, 0.6))
    )
    # Area below 90 % of the depth: 1 % of a cone, most of a box, 4 % of a raised cosine.
    assert deeper_than(0.9, pick[0], pick[1]) < 0.05
    assert deeper_than(0.9, box[0], box[1]) > 0.5
    assert deeper_than(0.9, roll[0], roll[1]) < 0.15
    # The base of a boxcar is flat: two fifths of the area differ by less than a fiftieth of the depth.
    assert deeper_than(0.98, box[0], box[1]) > 0.4
    # Steepest slopes in mm per mm: steep walls for ice pick and boxcar, a gentle slope for rolling.
    slope = [float(np.hypot(*np.gradient(height, scale)).max()) for height, _, scale in (pick, box, roll)]
    assert slope[0] > 1.5
    assert slope[1] > 1.0
    assert slope[2] < 0.5
    # At the margin a cone starts at once; a raised cosine starts without a slope.
    at_margin = [
        float(np.median(np.hypot(*np.gradient(height, scale))[margin_of(type_map)]))
        for height, type_map, scale in (pick, roll)
    ]
    assert at_margin[0] > 10 * at_margin[1]


def margin_of(type_map: np.ndarray) -> np.ndarray:
    """Return where a scar's outermost two pixels are."""
    inside = (type_map > 0).astype(np.uint8)
    return (inside > 0) & (cv2.erode(inside, np.ones((5, 5), np.uint8)) == 0)


@pytest.mark.parametrize("label", SCAR_TYPES)
def test_type_map_matches_the_scars(label: str) -> None:
    for seed in range(6):
        photo = render_photo(label, seed=seed, size=256)
        assert set(np.unique(photo.type_map)) == {0, 1 + SCAR_TYPES.index(label)}
        centres = [
            photo.type_map[int(scar.y_mm / photo.mm_per_pixel), int(scar.x_mm / photo.mm_per_pixel)]
            for scar in photo.scars
        ]
        assert np.mean(np.array(centres) > 0) > 0.9  # the bent outline may slide off the centre of a tiny scar
        area = sum(math.pi / 4 * scar.width_mm**2 for scar in photo.scars) / photo.mm_per_pixel**2
        assert 0.5 * area < (photo.type_map > 0).sum() < 1.3 * area  # some reach over the edge, some touch


def test_clear_skin_has_no_scars() -> None:
    photo = render_photo(OUT_OF_SCOPE, seed=3)
    assert photo.scars == ()
    assert not photo.type_map.any()


@pytest.mark.parametrize("label", SCAR_TYPES)
def test_a_photo_holds_several_scars(label: str) -> None:
    counts = [len(render_photo(label, seed=seed, size=32).scars) for seed in range(40)]
    assert min(counts) >= 2
    assert len(set(counts)) > 8


def test_skin_tones_range_from_very_light_to_dark() -> None:
    photos = [render_photo(LABELS[seed % 4], seed=seed, size=32) for seed in range(120)]
    angles = np.array([photo.ita_degrees for photo in photos])
    assert angles.min() < -30 < 55 < angles.max()
    edges = np.array([-90, -30, 10, 28, 41, 55, 90])  # dark, brown, tan, intermediate, light, very light
    assert (np.histogram(angles, edges)[0] >= 3).all()
    # The pictures follow the skin: the camera evens out some of the difference, but not all.
    brightness = np.array([photo.image.mean() for photo in photos])
    assert np.corrcoef(angles, brightness)[0, 1] > 0.5


def test_melanin_darkens_and_blood_reddens() -> None:
    pale = reflectance(Tone(melanosomes=0.03, blood=0.004, oxygenation=0.75))
    dark = reflectance(Tone(melanosomes=0.30, blood=0.004, oxygenation=0.75))
    flushed = reflectance(Tone(melanosomes=0.03, blood=0.012, oxygenation=0.75))
    assert (dark > 0).all() and (dark < pale).all() and (pale < 1).all()
    assert flushed[0] / flushed[1] > 1.1 * pale[0] / pale[1]


def test_flat_skin_is_lit_evenly_and_a_pit_is_darker() -> None:
    light = draw_light(rng=np.random.default_rng(0))
    albedo = np.full((128, 128, 3), 0.3, np.float32)
    flat = shade(np.zeros((128, 128), np.float32), albedo, light, mm_per_pixel=0.1)
    assert np.ptp(flat, axis=(0, 1)).max() < 1e-4
    pit, type_map, scale = dig("ice_pick", width_mm=1.5, depth_mm=1.8)
    shaded = shade(pit, np.full((480, 480, 3), 0.3, np.float32), light, mm_per_pixel=scale)
    assert shaded[type_map > 0].mean() < 0.7 * shaded[0].mean()


def test_scattering_keeps_the_light_and_carries_red_furthest() -> None:
    assert np.allclose(np.sum([weights for _, weights in SCATTERING_PROFILE], axis=0), 1.0, atol=1e-3)
    edge = np.zeros((160, 160, 3), np.float32)
    edge[:, 80:] = 1.0
    spread = scatter(edge, translucency=1.0, mm_per_pixel=0.1)
    assert spread.mean(axis=(0, 1)) == pytest.approx([0.5, 0.5, 0.5], abs=0.02)
    red, green, blue = spread[80, 74]  # 0.6 mm into the shade
    assert red > green > blue


def test_write_photos_lays_out_folders_and_a_manifest(tmp_path: Path) -> None:
    manifest = write_photos(tmp_path / "first", count=9, seed=11, size=64)
    assert manifest == tmp_path / "first" / "manifest.csv"
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == [LABELS[number % 4] for number in range(9)]
    assert list(rows[0])[:5] == ["file", "label", "subject", "seed", "mm_per_pixel"]
    assert len({row["subject"] for row in rows}) == 9
    found = sorted(path.relative_to(manifest.parent).as_posix() for path in manifest.parent.glob("*/*.jpg"))
    assert found == sorted(row["file"] for row in rows)
    for row in rows:
        assert row["file"].startswith(f"{row['label']}/")
        with Image.open(manifest.parent / row["file"]) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (64, 64)
            assert len(picture.getexif()) == 0
            assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            rendered = render_photo(row["label"], seed=int(row["seed"]), size=64)
            assert np.abs(np.asarray(picture, dtype=float) - rendered.image).mean() < 4
            assert float(row["mm_per_pixel"]) == pytest.approx(rendered.mm_per_pixel, abs=1e-6)
            assert int(row["scars"]) == len(rendered.scars)

    again = write_photos(tmp_path / "second", count=9, seed=11, size=64)
    assert again.read_bytes() == manifest.read_bytes()
    for row in rows:
        assert (again.parent / row["file"]).read_bytes() == (manifest.parent / row["file"]).read_bytes()


def test_write_photos_refuses_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        write_photos(tmp_path, count=0, seed=0)


def test_the_examples_that_ship_can_be_made_again(tmp_path: Path) -> None:
    write_examples(tmp_path)
    assert sorted(EXAMPLE_SEEDS) == sorted(SCAR_TYPES)
    for label in SCAR_TYPES:
        shipped = EXAMPLES / f"{label}.jpg"
        assert shipped.stat().st_size < 60_000
        with Image.open(shipped) as old, Image.open(tmp_path / f"{label}.jpg") as new:
            assert old.size == (EXAMPLE_SIZE, EXAMPLE_SIZE)
            assert len(old.getexif()) == 0
            difference = np.abs(np.asarray(old, dtype=float) - np.asarray(new, dtype=float))
        assert difference.mean() < 2.0
