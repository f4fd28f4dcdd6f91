"""Simulate the camera and image processing: from linear light to the bytes of a JPEG file.

All blurs are in pixels of a picture 256 pixels wide, so that the picture is the same at every size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .fields import blur, smoothstep

MID_GREY = 0.36
"""Linear mean that the exposure meter aims at for light skin: our own choice, by eye."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Settings and flaws of one camera.

    Attributes:
        defocus: standard deviation of the lens blur.
        motion: length of the motion blur, 0 for a steady hand.
        motion_angle: direction of the motion blur in radians.
        vignetting: share of light lost in the corners.
        exposure: exposure compensation in stops.
        metering: 0 for a meter that keeps dark skin dark, 1 for one that makes all skin mid grey.
        balance: gains of red, green and blue.
        photon_noise: standard deviation of the noise at white, in linear light.
        readout_noise: standard deviation of the noise in the dark, in linear light.
        grain: standard deviation of the blur of the noise, as by noise reduction.
        contrast: share of an S-curve in the tone curve.
        saturation: factor on the colours' distance from grey.
        sharpening: strength of the halos along edges.
        halo: standard deviation of the halos.
        reduction: factor by which the picture was downscaled and upscaled again, as on the web.
        jpeg_quality: quality of the JPEG file, 40 to 95.
    """

    defocus: float
    motion: float
    motion_angle: float
    vignetting: float
    exposure: float
    metering: float
    balance: tuple[float, float, float]
    photon_noise: float
    readout_noise: float
    grain: float
    contrast: float
    saturation: float
    sharpening: float
    halo: float
    reduction: float
    jpeg_quality: int


def draw_camera(*, rng: np.random.Generator) -> Camera:
    """Draw a random camera: mostly a phone in focus, sometimes a worse camera or a picture from the web."""
    cast = 1.9 if rng.random() < 0.12 else 1.0  # failed white balance
    # A colder white balance makes skin lilac, which real photos do not show.
    warmth = max(cast * rng.normal(0.01, 0.06), -0.09)
    tint = cast * rng.normal(0.0, 0.010)
    return Camera(
        defocus=float(rng.uniform(0.35, 0.8) + (rng.gamma(1.5, 0.4) if rng.random() < 0.25 else 0.0)),
        motion=float(rng.uniform(1.0, 4.0)) if rng.random() < 0.1 else 0.0,
        motion_angle=float(rng.uniform(0.0, math.pi)),
        vignetting=float(rng.uniform(0.0, 0.35)),
        exposure=float(rng.normal(-0.1, 0.4)),
        metering=float(rng.uniform(0.3, 0.7)),
        balance=(math.exp(warmth), math.exp(tint), math.exp(-1.3 * warmth)),
        photon_noise=float(rng.uniform(0.003, 0.02)),
        readout_noise=float(rng.uniform(0.001, 0.006)),
        grain=float(rng.uniform(0.0, 0.9)),
        contrast=float(rng.uniform(0.1, 1.1)),
        saturation=float(np.clip(rng.normal(1.0, 0.2), 0.45, 1.6)),
        sharpening=float(rng.uniform(0.0, 1.3)) if rng.random() < 0.5 else 0.0,
        halo=float(rng.uniform(0.7, 2.0)),
        reduction=float(rng.uniform(1.1, 2.0)) if rng.random() < 0.3 else 1.0,
        jpeg_quality=int(rng.integers(40, 96)),
    )


def expose(radiance: np.ndarray, face: np.ndarray, camera: Camera, *, rng: np.random.Generator) -> np.ndarray:
    """Return the camera's picture of linear light: sRGB float32 [S, S, 3], 0 to 1.

    Args:
        radiance: linear RGB float32 [S, S, 3].
        face: weights of the exposure meter, float32 [S, S], 0 to 1.
        camera: settings and flaws of the camera.
        rng: random generator of the sensor noise.
    """
    size = radiance.shape[0]
    scale = size / 256
    # The meter moves the mean towards mid grey, but only part of the way: dark skin stays dark.
    brightness = float((cv2.transform(radiance, np.full((1, 3), 1 / 3)) * face).sum() / max(face.sum(), 1.0))
    gain = (MID_GREY / brightness) ** camera.metering * 2.0**camera.exposure * 1.25 ** (1.0 - camera.metering)
    picture = _moved(blur(radiance, camera.defocus * scale), camera, scale)
    axis = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    falloff = 1.0 - 0.5 * camera.vignetting * (axis[:, None] ** 2 + axis[None, :] ** 2)
    picture = picture * falloff[..., None] * (gain * np.array(camera.balance, np.float32))
    noise = blur(rng.standard_normal(picture.shape, dtype=np.float32), camera.grain)
    sigma = cv2.sqrt(camera.photon_noise**2 * picture + camera.readout_noise**2)
    encoded = _developed(picture + noise * sigma, contrast=camera.contrast)
    to_grey = np.full((3, 3), 1 / 3)
    encoded = cv2.transform(encoded, camera.saturation * np.eye(3) + (1.0 - camera.saturation) * to_grey)
    if camera.sharpening:
        encoded = encoded + camera.sharpening * (encoded - blur(encoded, camera.halo * scale))
    return _resampled(np.clip(encoded, 0.0, 1.0).astype(np.float32), camera.reduction)


def _moved(picture: np.ndarray, camera: Camera, scale: float) -> np.ndarray:
    """Apply motion blur."""
    length = camera.motion * scale
    if length < 1.0:
        return picture
    side = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((side, side), np.float32)
    reach = np.array([math.cos(camera.motion_angle), math.sin(camera.motion_angle)]) * length / 2
    ends = [np.rint((side // 2 + sign * reach) * 16).astype(int).tolist() for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, shift=4)
    return cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def _developed(linear: np.ndarray, *, contrast: float) -> np.ndarray:
    """Apply the tone curve to linear light; return float32, 0 to 1.

    Highlights above a knee of 0.7 roll off, approaching 1 without reaching it. The sRGB transfer curve (IEC 61966-2-1)
    and an S-curve follow. The lookup table is finer than one 8-bit step of the picture.
    """
    knee, brightest, steps = 0.7, 2.5, 2**14
    light = np.linspace(0.0, brightest, steps)
    rolled = np.where(light > knee, 1.0 - (1.0 - knee) * np.exp((knee - light) / (1.0 - knee)), light)
    encoded = np.where(rolled <= 0.0031308, 12.92 * rolled, 1.055 * np.maximum(rolled, 1e-6) ** (1 / 2.4) - 0.055)
    curve = ((1.0 - contrast) * encoded + contrast * smoothstep(0.0, 1.0, encoded)).astype(np.float32)
    return curve[(np.clip(linear, 0.0, brightest) * ((steps - 1) / brightest)).astype(np.uint16)]


def _resampled(picture: np.ndarray, reduction: float) -> np.ndarray:
    size = picture.shape[0]
    if reduction == 1.0:
        return picture
    small = cv2.resize(picture, (round(size / reduction),) * 2, interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC), 0.0, 1.0)


def encode_jpeg(image: np.ndarray, *, quality: int) -> bytes:
    """Encode an RGB uint8 [H, W, 3] picture as a JPEG file without metadata."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {image.shape} and type {image.dtype}")
    return data.tobytes()


def decode_jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG file made by `encode_jpeg` to RGB uint8 [H, W, 3]."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise ValueError(f"OpenCV could not decode {len(data)} bytes as a JPEG file")
    return picture
