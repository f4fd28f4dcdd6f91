"""Check and open DICOM photographs (VL Photographic Image, secondary capture) with pydicom; see `containers`.

Only the pixels of the first frame and what describes them is used: no patient data reaches any output.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from PIL import Image

from .containers import open_jpeg
from .opened import BadFileError, OpenedPicture, check_size

_PIXEL_BYTES: Final = 14  # measured: 9 for uncompressed RGB; other decoders keep a further copy
_DIFFERENCE_PIXEL_BYTES: Final = 30  # measured: 27; pydicom converts to RGB in floating point
_JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
_COLOURS: Final = ("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR")
_COLOUR_DIFFERENCES: Final = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # pydicom makes RGB of them
_REMEDY: Final = 'pydicom, to read DICOM: pip install ".[dicom]" in the checkout\'s folder'
_LARGEST_HEADER: Final = 1_000_000  # bytes of a value outside the pixels that is loaded


def open_dicom(data: bytes) -> OpenedPicture:
    """Open the first frame of a DICOM file with 8 bits per sample."""
    try:
        from pydicom import dcmread
        from pydicom.encaps import get_frame
        from pydicom.pixels import apply_color_lut, pixel_array
    except ImportError as error:
        raise BadFileError(_REMEDY, str(error)) from error
    header = dcmread(io.BytesIO(data), defer_size=_LARGEST_HEADER, stop_before_pixels=True)
    colour, bits = str(header.PhotometricInterpretation), int(header.BitsStored)
    if colour not in (*_COLOURS, *_COLOUR_DIFFERENCES) or bits != 8:
        raise BadFileError("a photograph with 8 bits per sample", f"{bits} bits of {colour}")
    if header.file_meta.TransferSyntaxUID == _JPEG_BASELINE and colour != "RGB":
        file = dcmread(io.BytesIO(data))
        return open_jpeg(get_frame(file.PixelData, 0, number_of_frames=int(header.get("NumberOfFrames", 1))))
    pixel_bytes = _DIFFERENCE_PIXEL_BYTES if colour in _COLOUR_DIFFERENCES else _PIXEL_BYTES
    check_size(int(header.Columns), int(header.Rows), pixel_bytes)
    pixels = pixel_array(io.BytesIO(data), index=0)
    if colour == "PALETTE COLOR":
        pixels = _eight_bits(apply_color_lut(pixels, header))
    if colour == "MONOCHROME1":
        pixels = 255 - pixels
    return OpenedPicture(Image.fromarray(pixels), pixel_bytes=pixel_bytes, profile=header.get("ICCProfile"))


def _eight_bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values
