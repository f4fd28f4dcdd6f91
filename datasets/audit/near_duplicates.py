"""Near-duplicates: exact copies, similar pictures by perceptual hash, and crops by keypoints.

A perceptual hash finds re-encoded, resized and brightened photos. Cropped, mirrored or rotated photos, and those with a
box over the eyes, share keypoints with the original (SIFT: Lowe, IJCV 60:91, 2004), all moved by one affine transform
(affine, because photos are often stretched to a square). Two photos with the same logo share keypoints too; but then
the rest of the two pictures does not match when one is laid over the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import imagehash
import numpy as np
from PIL import Image

HASH_DISTANCE: Final = 10
"""Photos whose 64-bit hashes differ in at most this many bits count as near-duplicates.

Of ten copies each it found all re-encoded, resized and brightened ones and nine of those cropped by 8 %.
"""

COPY_AGREEMENT: Final = 0.5
"""Two photos are copies when the median of their local correlations, one laid over the other, is at least this.

Of the pairs with shared keypoints among 726 photos, all from here on show one scene by eye, most of them cuts of one
photo; of those between 0.3 and here seven in ten; below are logos, captions and clothes on the same hanger.
"""

_AGAIN_AGREEMENT: Final = 0.3
_POINTS: Final = 8  # with fewer, plain backgrounds laid over one another agree by chance
_FEW_POINTS: Final = 5  # enough where the pictures agree as no plain backgrounds do
_CLEAR_AGREEMENT: Final = 0.75

_SIDE: Final = 400  # of the picture that keypoints are found in: more costs time and finds the same pairs
_KEYPOINTS: Final = 300
_CONTRAST: Final = 0.01  # of a keypoint; a quarter of OpenCV's default, for skin has little
_NEIGHBOURS: Final = 10  # of each keypoint that are looked up, itself among them
_DISTINCT: Final = 0.8  # Lowe's limit on the distance of a match, as a share of that of the last neighbour
_CLOSE: Final = 0.25  # a match this near counts though many photos have it: there may be many copies
_INDEXED: Final = 3000  # photos whose keypoints are indexed at a time, in half a gigabyte
_KD_TREES: Final[dict[str, bool | int | float | str]] = {"algorithm": 1, "trees": 2}
_SEARCH: Final[dict[str, bool | int | float | str]] = {"checks": 48}
_VOTES: Final = 5
_SPREAD: Final = 3  # pixels between points that count as two
_TOLERANCE: Final = 4  # pixels that a moved point may miss its match by
_SCALES: Final = (0.2, 5.0)
_STRETCH: Final = 2.5  # of one side against the other

_OVERLAY: Final = 128  # side of the picture that is laid over another
_BLOCK: Final = 8
_BLOCKS: Final = 16  # with fewer in common, agreement says nothing
_FLAT: Final = 2.0  # grey levels of deviation below which a block has nothing to correlate


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What the search keeps of a photo: about 60 kB.

    Attributes:
        file: sha256 of the file's content.
        pixels: sha256 of the upright RGB picture.
        hashes: `perceptual_hashes`, bool [2, 64].
        shape: height and width of the luminance picture in which the keypoints were found.
        points: float32 [K, 2], x and y of the keypoints in pixels of that picture.
        descriptors: uint8 [K, 128], SIFT.
        overlay: uint8, the luminance picture at a long side of 128.
    """

    file: str
    pixels: str
    hashes: np.ndarray
    shape: tuple[int, int]
    points: np.ndarray
    descriptors: np.ndarray
    overlay: np.ndarray


@dataclass(frozen=True)
class LookAlike:
    """Two photos that look alike.

    Attributes:
        first: index of one photo.
        second: index of the other, which comes later.
        how: the method that found it. "same file" and "same pixels" are exact.
        copy: whether they show the same picture; if not, they deserve a look, and may show one person twice.
        mirrored: whether one is the other's mirror image.
        agreement: median local correlation of the aligned pictures, -1 to 1.
        points: number of matching keypoints; 0 if none were needed.
    """

    first: int
    second: int
    how: Literal["same file", "same pixels", "hash", "keypoints"]
    copy: bool
    mirrored: bool
    agreement: float
    points: int


def perceptual_hashes(image: np.ndarray) -> np.ndarray:
    """Return the DCT hash of an RGB uint8 [H, W, 3] photo and of its mirror image, bool [2, 64].

    The hash of a mirrored copy is different, so the mirror image is hashed as well.
    """
    picture = Image.fromarray(image)
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.stack([imagehash.phash(view).hash.ravel() for view in (picture, mirrored)])


def linked_groups(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the group of each of `count` photos, int [N]. Photos linked by a chain of pairs share a group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not count:
        return np.zeros(0, dtype=np.int64)
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _hash_pairs(hashes: Sequence[np.ndarray]) -> Iterator[tuple[int, int, bool]]:
    """Yield pairs with similar hashes, and whether the second is mirrored."""
    if not hashes:
        return
    packed = np.packbits(np.stack(hashes), axis=2).view(np.uint64)[..., 0]  # [N, 2]
    for first, plain in enumerate(packed[:, 0]):
        distances = np.bitwise_count(packed[first + 1 :] ^ plain)
        for offset in np.flatnonzero(distances.min(axis=1) <= HASH_DISTANCE):
            yield first, first + 1 + int(offset), bool(distances[offset, 1] < distances[offset, 0])


def fingerprint(data: bytes, image: np.ndarray) -> Fingerprint:
    """Compute the fingerprint of a photo.

    Args:
        data: the file's content.
        image: the upright photo, RGB uint8 [H, W, 3].
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    picture = _with_long_side(grey, _SIDE)
    found, descriptors = cv2.SIFT.create(nfeatures=_KEYPOINTS, contrastThreshold=_CONTRAST).detectAndCompute(
        picture,
        None,  # pyright: ignore[reportArgumentType, reportCallIssue]
    )
    return Fingerprint(
        file=hashlib.sha256(data).hexdigest(),
        pixels=hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest(),
        hashes=perceptual_hashes(image),
        shape=picture.shape,
        points=np.array([point.pt for point in found], dtype=np.float32).reshape(-1, 2),
        descriptors=np.zeros((0, 128), np.uint8) if descriptors is None else descriptors.astype(np.uint8),
        overlay=_with_long_side(grey, _OVERLAY),
    )


def _with_long_side(grey: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(grey.shape)
    width, height = (max(1, round(length * scale)) for length in (grey.shape[1], grey.shape[0]))
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def find_look_alikes(photos: Sequence[Fingerprint], *, advance: Callable[[], None] = lambda: None) -> list[LookAlike]:
    """Find near-duplicates, and pairs similar enough to deserve a look.

    Exact copies are paired only with the first of them, which is compared with all others. Time grows slightly faster
    than the number of photos. The result depends on the photos alone.

    Args:
        photos: the fingerprint of each photo.
        advance: called after each photo, for a progress bar.

    Returns:
        The pairs, in the order of the photos.
    """
    found = {(pair.first, pair.second): pair for pair in _exact_copies(photos)}
    later = {second for _, second in found}
    originals = [number for number in range(len(photos)) if number not in later]
    for first, second, mirrored in _hash_pairs([photos[number].hashes for number in originals]):
        ends = originals[first], originals[second]
        found[ends] = _by_hash(photos, *ends, mirrored=mirrored)
    for first, second, mirrored, moved in _shared_keypoints([photos[number] for number in originals], advance):
        pair = _by_keypoints(photos, originals[first], originals[second], mirrored, moved)
        known = found.get((originals[first], originals[second]))
        if pair and (known is None or pair.agreement > known.agreement):
            found[pair.first, pair.second] = pair
    for _ in later:
        advance()
    return [found[ends] for ends in sorted(found)]


def _exact_copies(photos: Sequence[Fingerprint]) -> Iterator[LookAlike]:
    first_of: dict[str, int] = {}
    for number, photo in enumerate(photos):
        first = first_of.setdefault(photo.pixels, number)
        if first != number:
            how = "same file" if photos[first].file == photo.file else "same pixels"
            yield LookAlike(first, number, how, copy=True, mirrored=False, agreement=1.0, points=0)


def _by_hash(photos: Sequence[Fingerprint], first: int, second: int, *, mirrored: bool) -> LookAlike:
    """Compare two whole pictures. A hash alone is too coarse: different photos on a plain background can share one."""
    one, other = photos[first].overlay, photos[second].overlay
    (height, width), (other_height, other_width) = one.shape, other.shape
    stretched = np.array([[other_width / width, 0, 0], [0, other_height / height, 0]])
    agreement = _agreement(one[:, ::-1] if mirrored else one, other, stretched)
    return LookAlike(first, second, "hash", agreement >= COPY_AGREEMENT, mirrored, agreement, points=0)


def _by_keypoints(
    photos: Sequence[Fingerprint], first: int, second: int, mirrored: bool, moved: tuple[np.ndarray, np.ndarray]
) -> LookAlike | None:
    """Align two pictures by their shared keypoints, and compare them; None if they have nothing more in common."""
    start, end = moved
    transform, kept = cv2.estimateAffine2D(
        start, end, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE, maxIters=1000
    )
    if transform is None or not _is_plausible(transform[:, :2]):
        return None
    inside = kept.ravel() > 0
    points = min(_distinct(start[inside]), _distinct(end[inside]))
    if points < _FEW_POINTS:
        return None
    one, other = photos[first], photos[second]
    shrink, grow = (photo.overlay.shape[1] / photo.shape[1] for photo in (other, one))
    transform = transform * shrink
    transform[:, :2] /= grow
    agreement = _agreement(one.overlay[:, ::-1] if mirrored else one.overlay, other.overlay, transform)
    if agreement < (_AGAIN_AGREEMENT if points >= _POINTS else _CLEAR_AGREEMENT):
        return None
    return LookAlike(first, second, "keypoints", agreement >= COPY_AGREEMENT, mirrored, agreement, points)


def _is_plausible(matrix: np.ndarray) -> bool:
    """Return whether a transform, float [2, 2], could come from cropping, rotating and resizing a photo."""
    longest, shortest = np.linalg.svd(matrix, compute_uv=False)
    lasting = np.linalg.det(matrix) > 0 and shortest > _SCALES[0] and longest < _SCALES[1]
    return bool(lasting and longest < _STRETCH * shortest)


def _distinct(points: np.ndarray) -> int:
    """Count distinct points. SIFT returns several for one place, and one may match many."""
    return len(np.unique(np.round(points / _SPREAD), axis=0))


def _agreement(one: np.ndarray, other: np.ndarray, transform: np.ndarray) -> float:
    """Return the median correlation of 8 x 8 blocks of two uint8 [h, w] pictures after alignment.

    Correlation ignores changes of light and colour; the median ignores boxes over some of the blocks. Returns 0 if too
    few structured blocks overlap.
    """
    height, width = (length // _BLOCK * _BLOCK for length in other.shape)
    if not height or not width:  # a strip
        return 0.0
    laid = cv2.warpAffine(np.ascontiguousarray(one), transform, (width, height))
    inside = cv2.warpAffine(np.full_like(one, 255), transform, (width, height))
    left, right = _blocks(laid), _blocks(other[:height, :width])
    spread = left.std(axis=1), right.std(axis=1)
    usable = (_blocks(inside).min(axis=1) > 250) & (np.minimum(*spread) >= _FLAT)
    if usable.sum() < _BLOCKS:
        return 0.0
    product = ((left - left.mean(axis=1, keepdims=True)) * (right - right.mean(axis=1, keepdims=True))).mean(axis=1)
    return float(np.median(product[usable] / (spread[0] * spread[1])[usable]))


def _blocks(picture: np.ndarray) -> np.ndarray:
    """Cut [h, w] into float32 [blocks, pixels]."""
    height, width = picture.shape
    cut = picture.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).swapaxes(1, 2)
    return cut.reshape(-1, _BLOCK * _BLOCK).astype(np.float32)


def _shared_keypoints(
    photos: Sequence[Fingerprint], advance: Callable[[], None]
) -> Iterator[tuple[int, int, bool, tuple[np.ndarray, np.ndarray]]]:
    """Yield pairs of photos with matching keypoints: first, second, mirrored, and the points of each, float32 [M, 2].

    If mirrored, the first photo's x refers to its mirror image.
    """
    owner = np.repeat(np.arange(len(photos)), [len(photo.points) for photo in photos])
    places = np.concatenate([np.zeros((0, 2), np.float32), *(photo.points for photo in photos)])
    # A thread of its own has a random state of its own, always the same: FLANN draws from it to build its trees.
    with ThreadPoolExecutor(1) as fresh_thread:
        matches = fresh_thread.submit(_matches, photos, owner, advance).result()
    for mirrored, (start, end) in zip((False, True), matches, strict=True):
        pair = owner[start] * len(photos) + owner[end]
        order = np.argsort(pair, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(pair[order])) + 1):
            if len(part) >= _VOTES:
                first, second = int(owner[start[part[0]]]), int(owner[end[part[0]]])
                here = places[start[part]]
                if mirrored:
                    here[:, 0] = photos[first].shape[1] - 1 - here[:, 0]
                yield first, second, mirrored, (here, places[end[part]])


def _matches(
    photos: Sequence[Fingerprint], owner: np.ndarray, advance: Callable[[], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of matching keypoints, int [2, M] by global number, and pairs that match when one is mirrored.

    Args:
        photos: the photos.
        owner: int [all keypoints], the photo of each. The first keypoint of a pair belongs to the earlier photo.
        advance: called after each photo.
    """
    found = [np.zeros((2, 0), np.int64)], [np.zeros((2, 0), np.int64)]
    for low in range(0, len(photos), _INDEXED):
        indexed = np.concatenate([photo.descriptors for photo in photos[low : low + _INDEXED]])
        index = cv2.flann.Index(_rooted(indexed), _KD_TREES) if len(indexed) >= _NEIGHBOURS else None
        for number in range(low, len(photos)):
            asked = photos[number].descriptors
            for pairs, descriptors in zip(found, (asked, _mirrored(asked)), strict=True):
                if index is not None and len(asked):
                    here, there = _nearest(index, descriptors)
                    ends = np.stack([here + np.searchsorted(owner, number), there + np.searchsorted(owner, low)])
                    pairs.append(ends[:, owner[ends[0]] != owner[ends[1]]])
            if number < low + _INDEXED:
                advance()
    plain, mirrored = (np.unique(np.sort(np.concatenate(pairs, axis=1), axis=0), axis=1) for pairs in found)
    return plain, mirrored


def _nearest(index: cv2.flann.Index, descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match descriptors, uint8 [K, 128], with those of the index; return both numbers, int [M] each."""
    near, squared = index.knnSearch(_rooted(descriptors), _NEIGHBOURS, params=_SEARCH)  # nearest first
    # A keypoint that looks like any other is as far from its last neighbour as from its first.
    like = (squared < np.maximum(_CLOSE**2, _DISTINCT**2 * squared[:, -1:])) & (near >= 0)
    asked, rank = np.nonzero(like)
    return asked, near[asked, rank]


def _rooted(descriptors: np.ndarray) -> np.ndarray:
    """Return RootSIFT, float32 of norm 1, which matches better (Arandjelovic & Zisserman, CVPR 2012)."""
    sums = descriptors.sum(axis=1, dtype=np.float32, keepdims=True)
    return np.sqrt(descriptors / np.maximum(sums, 1), dtype=np.float32)


def _mirrored(descriptors: np.ndarray) -> np.ndarray:
    """Return the descriptors, uint8 [K, 128], of the same places in the mirror image.

    SIFT counts gradients by row, column and one of eight directions relative to the keypoint's own. Mirroring reverses
    the rows and the directions.
    """
    directions = -np.arange(8) % 8
    return descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, directions].reshape(-1, 128)
