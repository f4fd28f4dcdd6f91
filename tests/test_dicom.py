"""DICOM photographs, with the extra `dicom`: the pixels are read, patient data is not."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scarlens
from scarlens.datasets.reading.reader import ImageReadError, read_image
from scarlens.datasets.rendering import render_photo

pydicom = pytest.importorskip("pydicom", reason="needs the extra 'dicom'")

SCENE = render_photo("rolling", seed=2, size=128).image[:96]
GREY = SCENE[..., 1]


def dicom(pixels: bytes, colour: str, *, syntax: str = "1.2.840.10008.1.2.1", frames: int = 1, **tags: object) -> bytes:
    """Write a VL Photographic Image of the size of the scene."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = "1.2.3", syntax
    file = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    file.PatientName, file.PatientID = "Doe^Jane", "4711"
    file.Rows, file.Columns, file.NumberOfFrames = *SCENE.shape[:2], frames
    file.SamplesPerPixel = 1 if colour in ("MONOCHROME1", "MONOCHROME2") else 3
    file.PhotometricInterpretation, file.PlanarConfiguration = colour, 0
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    for name, value in tags.items():
        setattr(file, name, value)
    file.PixelData = pixels if syntax.endswith(".1.2.1") else encapsulate([pixels])
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=98, subsampling=0)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (dicom(SCENE.tobytes(), "RGB"), SCENE),
        (dicom(SCENE.tobytes() + (SCENE // 2).tobytes(), "RGB", frames=2), SCENE),
        (dicom(GREY.tobytes(), "MONOCHROME2"), np.dstack([GREY] * 3)),
        (dicom((255 - GREY).tobytes(), "MONOCHROME1"), np.dstack([GREY] * 3)),
        (dicom(jpeg(SCENE), "YBR_FULL_422", syntax="1.2.840.10008.1.2.4.50"), SCENE),
        (dicom(np.asarray(Image.fromarray(SCENE).convert("YCbCr")).tobytes(), "YBR_FULL"), SCENE),
    ],
    ids=["RGB", "first frame", "grey", "inverted grey", "JPEG", "YBR"],
)
def test_colour_spaces_and_frames(data: bytes, expected: np.ndarray):
    pixels = read_image(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 2


def test_no_patient_data_in_any_output(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.dcm").write_bytes(dicom(SCENE.tobytes(), "RGB"))
    table = tmp_path / "table.csv"
    assert scarlens.predict_folder(tmp_path / "photos", table).errors == 0
    prediction = scarlens.predict(tmp_path / "photos" / "a.dcm")
    said = table.read_text() + str(prediction.to_dict()) + prediction.to_text()
    assert "Doe" not in said and "4711" not in said
    assert b"Doe" not in (prediction.preview or b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dicom(SCENE.tobytes(), "RGB", BitsStored=12, BitsAllocated=16), "a photograph with 8 bits per sample"),
        (dicom(SCENE.tobytes(), "RGB", Rows=60_000, Columns=60_000), "pixels, found 60000 x 60000"),
        (dicom(SCENE.tobytes()[:99], "RGB"), "a complete, undamaged DICOM file"),
        (dicom(SCENE.tobytes(), "RGB")[:400], "a complete, undamaged DICOM file"),
    ],
    ids=["12 bits", "huge", "few pixels", "cut"],
)
def test_what_cannot_be_read_is_an_error(data: bytes, message: str):
    with pytest.raises(ImageReadError, match=message):
        read_image(data)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch):
    data = dicom(SCENE.tobytes(), "RGB")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageReadError, match=r'pip install "\.\[dicom\]"'):
        read_image(data)
