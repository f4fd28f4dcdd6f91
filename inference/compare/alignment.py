"""Lay one photo over another of the same place, and cut out what both show."""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np

from ...datasets.transform import shrunk

SIDE: Final = 800
"""Longest side in pixels of the pictures that are aligned and compared."""

_FEWEST: Final = 15
"""Minimum number of keypoints that agree on one movement."""

_SPREAD: Final = 0.08
"""Minimum share of the first photo that those keypoints surround. A logo on two photos has many, close together."""

_SHARED: Final = 0.25
"""Minimum share of the first photo that the second one shows too."""

_KEYPOINTS: Final = 2000
_CONTRAST: Final = 0.01  # of a keypoint; a quarter of OpenCV's default, because skin has little
_DISTINCT: Final = 0.8  # Lowe's limit on the distance of a match, as a share of the distance of the next best
_TOLERANCE: Final = 6.0  # pixels by which a moved point may miss its match
_SCALES: Final = (0.3, 3.0)


class Aligned(NamedTuple):
    """What two photos both show, at the same scale.

    Attributes:
        before: RGB uint8 [H, W, 3], cut from the first photo.
        after: RGB uint8 [H, W, 3], the same place in the second.
    """

    before: np.ndarray
    after: np.ndarray


def align(before: np.ndarray, after: np.ndarray) -> Aligned | None:
    """Find the place that two upright RGB uint8 [H, W, 3] photos share; None if there is none.

    Keypoints (SIFT: Lowe, IJCV 60:91, 2004) must agree on one movement: shift, rotation and zoom. The photo with more
    detail is shrunk to the scale of the other, so that detail alone changes nothing.
    """
    before, after = shrunk(before, SIDE), shrunk(after, SIDE)
    movement = _movement(before, after)
    if movement is None:
        return None
    zoom = _zoom(movement)
    if zoom < 1.0:  # the first photo has more detail
        longest = max(before.shape[:2])
        before = shrunk(before, round(longest * zoom))
        movement[:, :2] *= longest / max(before.shape[:2])
    else:
        after = shrunk(after, round(max(after.shape[:2]) / zoom))
        movement = movement / zoom
    height, width = before.shape[:2]
    window = _shared_window((height, width), after.shape[:2], movement)
    if window is None:
        return None
    laid = cv2.warpAffine(after, movement, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    top, bottom, left, right = window
    return Aligned(*(np.ascontiguousarray(photo[top:bottom, left:right]) for photo in (before, laid)))


def _movement(before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """Return where each pixel of one photo lies in the other, float64 [2, 3], or None."""
    (start, here), (end, there) = _keypoints(before), _keypoints(after)
    if min(len(here), len(there)) < _FEWEST:
        return None
    pairs = [pair for pair in cv2.BFMatcher().knnMatch(here, there, k=2) if len(pair) == 2]
    matches = [near for near, next_best in pairs if near.distance < _DISTINCT * next_best.distance]
    if len(matches) < _FEWEST:
        return None
    starts, ends = start[[match.queryIdx for match in matches]], end[[match.trainIdx for match in matches]]
    movement, kept = cv2.estimateAffinePartial2D(
        starts, ends, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE, maxIters=5000, confidence=0.999
    )
    if movement is None or not _SCALES[0] <= _zoom(movement) <= _SCALES[1]:
        return None
    agreeing = np.unique(np.round(starts[kept.ravel() > 0]), axis=0)  # SIFT may return several for one place
    if len(agreeing) < _FEWEST:
        return None
    surrounded = cv2.contourArea(cv2.convexHull(agreeing)) / (before.shape[0] * before.shape[1])
    return movement if surrounded >= _SPREAD else None


def _zoom(movement: np.ndarray) -> float:
    """Return how many pixels of the second photo a pixel of the first one spans."""
    return float(np.hypot(movement[0, 0], movement[1, 0]))


def _keypoints(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return places, float32 [K, 2], and descriptors, float32 [K, 128], after evening out the light.

    The descriptors are RootSIFT, which matches better (Arandjelovic & Zisserman, CVPR 2012).
    """
    grey = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))
    found, descriptors = cv2.SIFT.create(nfeatures=_KEYPOINTS, contrastThreshold=_CONTRAST).detectAndCompute(
        grey,
        None,  # pyright: ignore[reportArgumentType, reportCallIssue]
    )
    if descriptors is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1))
    return np.array([point.pt for point in found], np.float32), rooted


def _shared_window(
    before: tuple[int, int], after: tuple[int, int], movement: np.ndarray
) -> tuple[int, int, int, int] | None:
    """Return top, bottom, left and right, in the first photo, of a large rectangle that both photos show.

    Args:
        before: height and width of the first photo in pixels.
        after: height and width of the second.
        movement: where each pixel of the first photo lies in the second, float64 [2, 3].
    """
    height, width = before
    corners = np.array([[0, 0], [after[1], 0], [after[1], after[0]], [0, after[0]]], np.float32)
    outline = cv2.transform(corners[None], cv2.invertAffineTransform(movement))[0]
    whole = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    _, both = cv2.intersectConvexConvex(whole, outline.astype(np.float32))
    if both is None:
        return None
    x, y = both[:, 0].mean(axis=0)
    for share in np.linspace(1.0, 0.3, 71):  # of the bounding box; less is left where the photos are turned
        left, right = (x + share * (side - x) for side in (both[:, 0, 0].min(), both[:, 0, 0].max()))
        top, bottom = (y + share * (side - y) for side in (both[:, 0, 1].min(), both[:, 0, 1].max()))
        edges = [(left, top), (right, top), (right, bottom), (left, bottom)]
        if min(cv2.pointPolygonTest(both, (float(a), float(b)), True) for a, b in edges) >= -1.0:
            enough = (right - left) * (bottom - top) >= _SHARED * height * width
            return (round(top), round(bottom), round(left), round(right)) if enough else None
    return None
